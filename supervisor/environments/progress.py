"""What is told of a build while it is under way. Pure."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """``step``: what is being done; ``line``: what was printed in it, "" at its beginning."""

    step: str
    line: str = ""


OnProgress = Callable[[Progress], None]


def unheard(progress: Progress) -> None:
    """Nobody waits for it."""
