"""The one thread that talks to the database."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


class StoreThread:
    """Runs jobs one after another, in order of submission.

    Own thread, not asyncio.to_thread: SQLite wants one writer anyway, the order of commits is the order of calls, and a
    database that hangs must not use up the threads that others share. Not a daemon: the interpreter does not leave in
    the middle of a commit, so whoever starts it must call ``finish``.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._finished: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="store", daemon=False)

    def start(self) -> None:
        self._thread.start()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Queue ``work``; cancelling the future before its turn comes means that it never runs."""
        future: Future[T] = Future()
        self._jobs.put(lambda: _settle(future, work))
        return future

    def finish(self) -> Future[None]:
        """Let the thread end after the jobs submitted so far; the future is done when only its very end is left."""
        self._jobs.put(None)
        return self._finished

    def join(self) -> None:
        """Wait for the thread; a matter of microseconds once ``finish`` is done."""
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
        self._finished.set_result(None)


def _settle(future: Future[T], work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001  the boundary of the thread: whoever waits for the future gets it
        future.set_exception(error)
    else:
        future.set_result(result)
