"""The two clocks of the supervisor: one for intervals, one for the records that people read."""

import time
from typing import Protocol


class Clock(Protocol):
    """Tests replace it by a clock they move by hand."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; the only clock for intervals, since it never jumps."""

    def time(self) -> float:
        """Seconds since the epoch; for records only."""


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()
