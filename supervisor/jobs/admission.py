"""Who may start now: to start a process and import its code is all CPU, and many are due at the same moment. Pure."""

import heapq

from supervisor.jobs.request import RunRequest


class Admission:
    """Lets so many start at once; the one that was asked for first goes first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._starting: set[str] = set()
        self._queue: list[tuple[int, RunRequest]] = []
        self._waiting: set[str] = set()

    @property
    def has_next(self) -> bool:
        """Whether somebody waits whom there is room for."""
        return bool(self._waiting) and len(self._starting) < self._limit

    @property
    def waiting(self) -> list[RunRequest]:
        """Those without a place."""
        return [request for _, request in self._queue if request.id in self._waiting]

    def enter(self, request: RunRequest) -> None:
        """Wait for a place. Number and not arrival decides: it may have waited for another run before."""
        heapq.heappush(self._queue, (request.number, request))
        self._waiting.add(request.id)

    def admit(self) -> RunRequest:
        """Give the place to the next one; only while ``has_next``."""
        while True:
            _, request = heapq.heappop(self._queue)
            if request.id in self._waiting:
                break
        self._waiting.remove(request.id)
        self._starting.add(request.id)
        return request

    def leave(self, run: str) -> None:
        """Give the place back, or wait no longer."""
        self._starting.discard(run)
        self._waiting.discard(run)
