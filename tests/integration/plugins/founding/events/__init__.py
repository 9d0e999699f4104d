"""A plugin as the founding system had them: everything is defined in the package, and run.py hands it out."""

import asyncio
import os
from pathlib import Path

from fastapi import APIRouter

from .store import EVENTS, remember

PLUGIN_INFO = {
    "name": "Events",
    "version": "2.1.0",
    "author": "The founding system",
    "Api_prefix": "/app/event",
    "tag_for_identified": ["event", "calendar"],
    "trigger": 3,
}

router = APIRouter(prefix="/event", tags=["event"])


@router.get("/")
async def list_events():
    return EVENTS


@router.post("/{title}", status_code=201)
async def add_event(title: str):
    return remember(title)


@router.get("/about/surroundings")
def surroundings():
    """What such plugins rely on: the project as working directory, their package's name, their own .env."""
    return {
        "in_project": Path("plugins", "events", "run.py").is_file(),
        "package": __name__,
        "colour": os.environ.get("EVENTS_COLOUR"),
    }


class Plugin:
    def __init__(self):
        self.running = False

    def run(self):
        self.running = True

    async def concured(self):
        while True:
            await asyncio.sleep(60)
