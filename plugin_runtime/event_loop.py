"""The event loop of a guest: made, turned until one coroutine ends, swept."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

CANCEL_TIME = 1.0
"""Seconds that tasks get to end when they are cancelled."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` in a loop of its own, and cancel what it leaves behind."""
    loop = _new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(_sweep())
        asyncio.set_event_loop(None)
        loop.close()


async def cancel(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks, and leave those that do not end within CANCEL_TIME."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=CANCEL_TIME)


async def _sweep() -> None:
    """Cancel the tasks that foreign code has left behind."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        await cancel(*left)
    await asyncio.get_running_loop().shutdown_asyncgens()


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not there for every Python
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
