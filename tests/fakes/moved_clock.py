"""A clock that stands still until a test moves it."""


class MovedClock:
    """Both clocks of the supervisor, moved together."""

    def __init__(self, time: float = 1_700_000_000.0) -> None:
        self._time = time
        self._monotonic = 1000.0

    def monotonic(self) -> float:
        return self._monotonic

    def time(self) -> float:
        return self._time

    def advance(self, seconds: float) -> None:
        self._time += seconds
        self._monotonic += seconds
