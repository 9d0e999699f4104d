"""The service of a task: what its author is given, and what runs ``service_main`` with it."""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from _thread import TIMEOUT_MAX, allocate_lock
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from threading import Timer, get_native_id
from typing import Any, Optional

from plugin_runtime.control import ControlChannel
from plugin_runtime.failure import author_traceback
from plugin_runtime.inbox import Listener
from plugin_runtime.interruption import Interrupted, MainThread
from plugin_runtime.joining import tell_imports
from plugin_runtime.protocol import ExitCode, Ready, Stop
from plugin_runtime.shared_runs import SharedRuns
from plugin_runtime.task_protocol import RunJob

LOST_DRAIN = 3.0
"""Seconds for a service to end in order when the supervisor is lost; less than the control thread's LOST_GRACE."""


class Service:
    """What ``service_main`` is called with. Its attributes are for the author; any thread may use them.

    Not built on threading.Event: it is set by a signal handler as well, which may interrupt the very thread that holds
    the event's lock, and would wait for it for ever.
    """

    def __init__(self, name: str, target: Callable[[Any], Any]) -> None:
        """Made on the thread that the service runs on."""
        self.name = name
        self.target = target
        self.start_time = time.time()
        """Seconds since the epoch."""
        self.thread_id = get_native_id()
        """As the kernel counts threads."""
        self._running = True
        self._closed = allocate_lock()  # held while the service shall run
        self._closed.acquire()
        self._waiting: dict[asyncio.Future[None], asyncio.AbstractEventLoop] = {}

    @property
    def running(self) -> bool:
        """False: the service is asked to end. May be set by anybody."""
        return self._running

    @running.setter
    def running(self, value: bool) -> None:
        self._running = bool(value)
        if self._running:
            self._closed.acquire(blocking=False)
            return
        self._open()
        for future, loop in list(self._waiting.items()):
            with suppress(RuntimeError):  # the loop is closed, and who waited in it is gone
                loop.call_soon_threadsafe(_wake, future)

    def wait(self, seconds: float) -> bool:
        """Sleep for so long, or until the service shall end; True: it shall."""
        if self._running and self._closed.acquire(timeout=min(max(seconds, 0.0), TIMEOUT_MAX)):
            self._reopen()
        return not self._running

    async def wait_async(self, seconds: float) -> bool:
        """Like ``wait``, for coroutines of any event loop."""
        loop = asyncio.get_running_loop()
        woken = loop.create_future()
        self._waiting[woken] = loop
        try:
            if self._running:
                await asyncio.wait({woken}, timeout=max(seconds, 0.0))
        finally:
            del self._waiting[woken]
        return not self._running

    def _reopen(self) -> None:
        """For the next one who waits; held again where somebody has set ``running`` true meanwhile."""
        self._open()
        if self._running:
            self._closed.acquire(blocking=False)

    def _open(self) -> None:
        with suppress(RuntimeError):  # it is open
            self._closed.release()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class ServiceProcess:
    """A process that runs one service from Ready to its end, and the shared runs beside it. Used on the main thread."""

    def __init__(
        self,
        name: str,
        service_main: Callable[[Any], Any],
        jobs: Mapping[str, Callable[[], Any]],
        channel: ControlChannel,
    ) -> None:
        self._service = Service(name, service_main)
        self._channel = channel
        self._runs = SharedRuns(jobs, channel.send)
        self._main = MainThread(self._terminated)
        self._asked = False
        self._code = ExitCode.OK

    def run(self) -> int:
        """Return the exit code: what ``sys.exit`` was called with, 1 where it raised, else 0."""
        self._main.watch_signals()
        self._channel.attach(Listener(None, self._received, self._lost))
        if not _is_async(self._service.target):
            self._announce()
        error = None if self._asked else self._main.run(self._call)
        return self._exit_code(error)

    def _call(self) -> Optional[Awaitable[None]]:
        result = self._service.target(self._service)
        return self._await(result) if inspect.isawaitable(result) else None

    async def _await(self, work: Awaitable[Any]) -> None:
        loop = asyncio.get_running_loop()
        self._channel.watch(loop)
        self._runs.await_in(loop)
        if _is_async(self._service.target):
            self._announce()
        try:
            await work
        finally:
            self._runs.leave_loop()

    def _announce(self) -> None:
        self._channel.beat()
        self._channel.send(Ready(), standing=True)
        tell_imports(self._channel)

    # --- called by the control thread, so that Stop arrives while a loop is blocked; or in a signal handler ---

    def _received(self, message: Any) -> None:
        if isinstance(message, Stop):
            self._ask_to_stop()
        elif isinstance(message, RunJob):
            self._runs.start(message)

    def _lost(self, code: ExitCode) -> None:
        self._code = code
        self._ask_to_stop()
        timer = Timer(LOST_DRAIN, self._main.interrupt)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # no more threads
            self._main.interrupt()

    def _terminated(self) -> bool:
        if self._asked:
            return True
        self._ask_to_stop()
        return False

    def _ask_to_stop(self) -> None:
        self._asked = True
        self._service.running = False

    # --- end ---

    def _exit_code(self, error: Optional[BaseException]) -> int:
        if error is None or (self._asked and isinstance(error, (Interrupted, asyncio.CancelledError))):
            return self._code
        if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
            return error.code or self._code
        # sys.exit("message") writes the message, as the interpreter would have done.
        sys.stderr.write(f"{error}\n" if isinstance(error, SystemExit) else author_traceback(error))
        return ExitCode.FAILED


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
