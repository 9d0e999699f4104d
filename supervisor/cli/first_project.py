"""What ``xcore init`` writes: the smallest configuration, plugin and task that there is something to see of."""

import json

_SECTIONS = {"manager": {"plugins": {"directory": "./plugins"}, "tasks": {"directory": "./backgroundtask"}}}
CONFIG = json.dumps(_SECTIONS, indent=2) + "\n"

IGNORED = "/.xcore/\n__pycache__/\n.env\n"

PLUGIN = '''"""A first plugin, served under /app/hello/."""

from fastapi import APIRouter

PLUGIN_INFO = {"name": "Hello", "version": "0.1.0", "author": "you", "Api_prefix": "/app/hello"}

router = APIRouter(prefix="/app/hello")


@router.get("/")
def greet(name: str = "world") -> dict[str, str]:
    return {"message": f"Hello, {name}!"}


class Plugin:
    def run(self) -> None:
        """Part of the contract; nothing to do here."""
'''

TASK = '''"""A first task: a service that runs in a process of its own, and a job that runs every ten minutes."""

import os


def tell_load() -> None:
    print("load", *os.getloadavg())


def service_main(service) -> None:
    while service.running:
        print("still here")
        service.wait(60)


metadata = {
    "type": "service",
    "moduleDir": "core",
    "description": "a service and a job to begin with",
    "version": "0.1.0",
    "author": "you",
    "con": [{"func": tell_load, "name": "tell_load", "minutes": 10}],
}
'''
