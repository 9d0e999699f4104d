"""Code on the main thread that can be interrupted: by SIGTERM and SIGINT, and from other threads through them.

Only a signal gets a function out of a system call, and Python runs its handlers on the main thread only, so that is
where services and runs are called, and how they are interrupted. While a coroutine is awaited its task is cancelled
instead: an exception out of nowhere would break the event loop.

asyncio is imported where it is used: it would be half of the cost of a run that awaits nothing.

Handlers stay installed after the end of the function, where they do nothing: with its default action a signal that
comes late would kill the process before it has told how the function ended.
"""

from __future__ import annotations

import inspect
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    import asyncio

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(SystemExit):
    """Raised in the author's function where it stands; derived so that ``except Exception`` lets it pass."""


class MainThread:
    """Calls one function on the main thread, once. Made and used there; ``interrupt`` is for any thread."""

    def __init__(self, terminated: Callable[[], bool]) -> None:
        """``terminated``: called at every signal, in its handler; True: the function is to be interrupted."""
        self._terminated = terminated
        self._interruptible = False
        self._pending = False
        self._task: Optional[asyncio.Task[Any]] = None

    def watch_signals(self) -> None:
        """Handle them from now on; a handler that the author's module has set is replaced."""
        for number in SIGNALS:
            signal.signal(number, self._signalled)

    def interrupt(self) -> None:
        """Send the process SIGTERM, to the main thread: another thread that took it would leave that one asleep."""
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def run(self, function: Callable[..., Any], *arguments: Any) -> Optional[BaseException]:
        """Call the function, and await what it returns if that can be awaited; return what was raised, if anything."""
        try:
            result = self._call(function, *arguments)
            if inspect.isawaitable(result):
                return self._await(result)
        except BaseException as error:  # noqa: BLE001 - boundary: all that an author's code raises is the author's news
            return error
        return None

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        # Two layers: the first signal may come between the end of the function and the assignment below.
        try:
            try:
                self._interruptible = True
                if self._pending:
                    raise Interrupted
                return function(*arguments)
            finally:
                self._interruptible = False
        finally:
            self._interruptible = False

    def _signalled(self, number: int, frame: object) -> None:
        if self._terminated():
            self._pending = True
            if self._interruptible:
                raise Interrupted

    def _await(self, work: Awaitable[Any]) -> Optional[BaseException]:
        from plugin_runtime import event_loop  # noqa: PLC0415 - see the top of the file

        try:
            return event_loop.run(self._await_in_loop(work))
        finally:
            self.watch_signals()  # a loop that closes leaves the default actions behind

    async def _await_in_loop(self, work: Awaitable[Any]) -> Optional[BaseException]:
        import asyncio  # noqa: PLC0415 - see the top of the file

        loop = asyncio.get_running_loop()
        task = self._task = loop.create_task(error_of(work), name="main")
        for number in SIGNALS:
            loop.add_signal_handler(number, self._signalled_in_loop)
        if self._pending:
            loop.call_soon(task.cancel)  # not now: what was never begun is never closed
        await asyncio.wait({task})
        return asyncio.CancelledError() if task.cancelled() else task.result()

    def _signalled_in_loop(self) -> None:
        if self._terminated() and self._task is not None:
            self._task.cancel()


async def error_of(work: Awaitable[Any]) -> Optional[BaseException]:
    """Await ``work`` and return what it raises: a SystemExit that leaves a task would stop the whole loop."""
    try:
        await work
    except BaseException as error:  # noqa: BLE001 - handed on as a value
        return error
    return None
