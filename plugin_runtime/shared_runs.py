"""Runs of jobs inside the process of their task's service."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import sys
from collections.abc import Awaitable, Callable, Mapping
from threading import Lock, Thread, Timer
from time import monotonic
from typing import Any, Optional

from plugin_runtime import event_loop, local_side, outcome
from plugin_runtime.interruption import error_of
from plugin_runtime.task_protocol import Outcome, RunFinished, RunJob

_CANCELLED = (asyncio.CancelledError, concurrent.futures.CancelledError)


class SharedRuns:
    """Runs jobs side by side with the service. ``start`` is called by one thread, and returns at once."""

    def __init__(self, functions: Mapping[str, Callable[[], Any]], report: Callable[[RunFinished], None]) -> None:
        """``report``: called from any thread, once for each run."""
        self._functions = functions
        self._report = report
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._swept = False
        self._latest: dict[str, _SharedRun] = {}
        """By job: the supervisor lets a run of it begin when the one before is over."""

    def await_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on coroutines are awaited in this loop, the service's own, and not in new ones."""
        self._loop = loop

    def leave_loop(self) -> None:
        """What is cancelled from now on was cancelled since the service has ended: its run has nothing to say."""
        self._swept = True

    def start(self, job: RunJob) -> None:
        """Begin a run; what keeps it from beginning is reported as its failure.

        One that has begun already is asked for again after a reconnect, since the report of its end may have been lost
        with the connection: then that is all that is done.
        """
        latest = self._latest.get(job.job)
        if latest is not None and latest.run == job.run:
            if latest.finished is not None and not self._swept:
                self._report(latest.finished)
            return
        function = self._functions.get(job.job)
        if function is None:
            known = ", ".join(sorted(self._functions)) or "none"
            unknown = LookupError(f"this service has no job {job.job!r}; it has: {known}")
            self._report(outcome.finished(job.run, unknown))
            return
        run = self._latest[job.job] = _SharedRun(job, function, self._loop, self._ended)
        try:
            run.start()
        except RuntimeError as error:  # no more threads
            run.end(error)

    def _ended(self, finished: RunFinished, error: Optional[BaseException]) -> None:
        if self._swept and isinstance(error, _CANCELLED):
            return
        self._report(finished)
        if finished.traceback:
            sys.stderr.write(f"Run {finished.run} failed:\n{finished.traceback}")


class _SharedRun:
    """One run, in a thread of its own, which may hand a coroutine on to the service's loop.

    A thread cannot be ended from outside: when its time is over that is reported, and the thread left alone. A
    coroutine is cancelled.
    """

    def __init__(
        self,
        job: RunJob,
        function: Callable[[], Any],
        loop: Optional[asyncio.AbstractEventLoop],
        ended: Callable[[RunFinished, Optional[BaseException]], None],
    ) -> None:
        self.run = job.run
        self.finished: Optional[RunFinished] = None
        """How it ended; None: it goes on."""
        self._job = job
        self._function = function
        self._loop = loop
        self._tell = ended
        self._deadline = monotonic() + job.timeout
        self._timer = Timer(job.timeout, self._overran) if job.timeout else None
        self._lock = Lock()

    def start(self) -> None:
        """Raise RuntimeError where the process can have no more threads."""
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()
        Thread(target=self._work, name=f"job {self._job.job}", daemon=True).start()

    def end(self, error: Optional[BaseException]) -> None:
        """Tell how it ended, unless its time was over before."""
        self._end(outcome.finished(self._job.run, error), error)

    def _overran(self) -> None:
        self._end(RunFinished(self._job.run, Outcome.TIMED_OUT.value))

    def _end(self, finished: RunFinished, error: Optional[BaseException] = None) -> None:
        with self._lock:
            first = self.finished is None
            if first:
                self.finished = finished
        if first:
            if self._timer is not None:
                self._timer.cancel()
            self._tell(finished, error)

    def _work(self) -> None:
        local_side.serve_run(self.run)
        try:
            result = self._function()
            error = self._await(result) if inspect.isawaitable(result) else None
        except BaseException as raised:  # noqa: BLE001 - boundary to the author's code
            error = raised
        self.end(error)

    def _await(self, work: Awaitable[Any]) -> Optional[BaseException]:
        if self._loop is None:
            return event_loop.run(self._await_in_loop(work))
        return asyncio.run_coroutine_threadsafe(self._await_in_loop(work), self._loop).result()

    async def _await_in_loop(self, work: Awaitable[Any]) -> Optional[BaseException]:
        task = asyncio.ensure_future(error_of(work))
        rest = max(0.0, self._deadline - monotonic()) if self._job.timeout else None
        done, _ = await asyncio.wait({task}, timeout=rest)
        if not done:
            self._overran()
            await event_loop.cancel(task)
            return None
        return task.result()
