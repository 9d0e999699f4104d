"""``Plugin.concured``: a job of the plugin's own beside its requests, in one process at a time.

While a worker is being replaced there are two of its name. The job of the new one begins when that of the old one has
ended, and at the latest when its process has: each holds a lock for as long, which the kernel takes back at the end of
the process. It is a record lock, since flock's would be held by every process that the plugin forks as well.
"""

from __future__ import annotations

import asyncio
import fcntl
import inspect
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from threading import Thread
from typing import Any, Optional

LOOK_INTERVAL = 0.1
"""Seconds between two looks whether the lock is free. No call waits for a lock and can be cancelled, too."""
STOP_TIME = 2.0
"""Seconds that it gets to end. It has been cancelled then, or is a thread that nothing tells to end."""


class OwnJob:
    """The job in this process. Made, started and stopped in the event loop."""

    def __init__(
        self, find: Callable[[], Callable[[], Any]], lock: str, failed: Callable[[BaseException], None]
    ) -> None:
        """``find``: returns the function, and may raise; ``lock``: path of a file; ``failed``: told what was raised."""
        self._find = find
        self._path = lock
        self._failed = failed
        self._lock: Optional[FileIO] = None
        self._task: Optional[asyncio.Task[None]] = None
        self._in_thread = False
        self._stopping = False

    def start(self) -> None:
        """Begin once it is this process's turn."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="concured")

    async def stop(self, timeout: float) -> None:
        """Cancel it and wait for its end, for at most ``timeout`` seconds and STOP_TIME."""
        if self._task is None:
            return
        self._stopping = True
        if not self._in_thread:
            self._task.cancel()
        await asyncio.wait({self._task}, timeout=min(timeout, STOP_TIME))
        if self._task.done() and self._lock is not None:
            self._lock.close()

    async def _run(self) -> None:
        try:
            await self._take_turn()
            await self._call(self._find())
        except asyncio.CancelledError as error:
            if not self._stopping:
                self._failed(error)
            raise
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - boundary: a SystemExit of the plugin's would end the loop
            self._failed(error)

    async def _take_turn(self) -> None:
        # Kept until it is stopped, and not only until it returns: its successor's workers may be taken away again.
        self._lock = FileIO(self._path, "a")
        while True:
            with suppress(BlockingIOError, PermissionError):  # POSIX leaves open which of the two it is
                fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            await asyncio.sleep(LOOK_INTERVAL)

    async def _call(self, function: Callable[[], Any]) -> None:
        result = function() if inspect.iscoroutinefunction(function) else await self._call_in_thread(function)
        if inspect.isawaitable(result):
            await result

    async def _call_in_thread(self, function: Callable[[], Any]) -> Any:
        """In a daemon thread, which keeps nobody from ending; a pool's would."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[tuple[Any, Optional[BaseException]]] = loop.create_future()

        def tell(result: Any, error: Optional[BaseException]) -> None:
            if not ended.done():
                ended.set_result((result, error))  # not set_exception(): it takes no StopIteration

        def call() -> None:
            outcome: tuple[Any, Optional[BaseException]]
            try:
                outcome = function(), None
            except BaseException as error:  # noqa: BLE001 - boundary to foreign code; raised again in the loop
                outcome = None, error
            with suppress(RuntimeError):  # the loop is closed: nobody is interested any more
                loop.call_soon_threadsafe(tell, *outcome)

        self._in_thread = True
        Thread(target=call, name="concured", daemon=True).start()
        result, error = await ended
        self._in_thread = False
        if error is not None:
            raise error
        return result
