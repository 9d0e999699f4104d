"""Which of a plugin's workers takes the next request: the one with the fewest in flight, stalled ones last. Pure."""

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Candidate(Protocol):
    """What the choice depends on."""

    @property
    def stalled(self) -> bool:
        """Its event loop has not answered for a while."""

    @property
    def in_flight(self) -> int:
        """Requests it has now."""


C = TypeVar("C", bound=Candidate)


def choose(candidates: Sequence[C], turn: int) -> C | None:
    """Return the least busy candidate; among equals the next one in turn, None if there is none.

    ``turn``: a number that grows by one with every call, so that ties go round.
    """
    if len(candidates) < 2:  # noqa: PLR2004 - nothing to choose; most plugins have one worker
        return candidates[0] if candidates else None
    start = turn % len(candidates)
    return min((*candidates[start:], *candidates[:start]), key=_load)


def _load(candidate: Candidate) -> tuple[bool, int]:
    return candidate.stalled, candidate.in_flight
