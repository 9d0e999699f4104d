"""asyncio tasks that nobody awaits: each has an owner, a name, an end, and words in the log if it fails."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from supervisor.errors import XcoreError

logger = logging.getLogger(__name__)


class Works:
    """Owns those that one object has begun, until they are done."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def __bool__(self) -> bool:
        """Whether any is under way."""
        return bool(self._tasks)

    def begin(self, work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        """Have ``work`` done by itself; what it fails with is logged here, also where somebody waits for it.

        After ``close`` it is given up before its first step.
        """
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        if self._is_closed:
            task.cancel()
        return task

    def cancel(self) -> None:
        """Give up all that is under way."""
        for task in self._tasks:
            task.cancel()

    async def wait_done(self) -> None:
        """Wait until all that is under way is done, whatever it ends with."""
        if self._tasks:
            await asyncio.wait(self._tasks)  # not gather: who waits may give up, and the work goes on

    async def close(self) -> None:
        """Begin nothing more; give up all that is under way, and wait for its end."""
        self._is_closed = True
        self.cancel()
        await self.wait_done()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, XcoreError):
            logger.error("%s", error)
        elif error is not None:
            logger.error("%s failed inside xcore", task.get_name(), exc_info=error)
