"""Who may start now: to start a process and import its code is all CPU, and many are due at the same moment. Pure."""

from typing import Generic, TypeVar

T = TypeVar("T")


class Admission(Generic[T]):
    """Lets so many start at once, each under a key of its own; who has waited longest goes first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._starting: set[str] = set()
        self._waiting: dict[str, tuple[float, T]] = {}

    @property
    def has_next(self) -> bool:
        """Whether somebody waits whom there is room for."""
        return bool(self._waiting) and len(self._starting) < self._limit

    @property
    def waiting(self) -> list[T]:
        """Those without a place, the longest waiting first."""
        return [self._waiting[key][1] for key in sorted(self._waiting, key=self._since)]

    def enter(self, key: str, since: float, one: T) -> None:
        """Wait for a place; ``since``: a number or moment that decides whose turn is first."""
        self._waiting[key] = (since, one)

    def admit(self) -> T:
        """Give the place to the next one; only while ``has_next``."""
        key = min(self._waiting, key=self._since)
        self._starting.add(key)
        return self._waiting.pop(key)[1]

    def leave(self, key: str) -> None:
        """Give the place back, or wait no longer."""
        self._starting.discard(key)
        self._waiting.pop(key, None)

    def _since(self, key: str) -> float:
        return self._waiting[key][0]
