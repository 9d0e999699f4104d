"""When something began and how long it took, each by the clock that is made for it."""

from supervisor.clock import Clock

_LEAST = 0.001
"""Seconds; 0 would let a run go on for as long as it takes."""


class Stopwatch:
    """Started once. The wall clock may be set meanwhile: a duration is never the difference of two of its moments."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: float | None = None
        self.started: float | None = None
        """Seconds since the epoch."""

    def start(self) -> None:
        self.started = self._clock.time()
        self._since = self._clock.monotonic()

    def resume(self, started: float, age: float) -> None:
        """As if it had been started ``age`` seconds ago, when the wall clock said ``started``."""
        self.started = started
        self._since = self._clock.monotonic() - age

    def left(self, timeout: float) -> float:
        """Seconds of ``timeout`` that are left, a moment at least; 0, which stands for any time, stays 0."""
        return max(_LEAST, timeout - (self.elapsed or 0.0)) if timeout else 0.0

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock.time()

    @property
    def elapsed(self) -> float | None:
        """Seconds since its start; None before."""
        return None if self._since is None else round(self._clock.monotonic() - self._since, 3)
