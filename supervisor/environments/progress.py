"""What is told of a build while it is under way. Pure."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class BuildProgress:
    """``step``: what is being done; ``line``: what was printed in it, "" at its beginning."""

    step: str
    line: str = ""


OnProgress = Callable[[BuildProgress], None]


def unheard(progress: BuildProgress) -> None:
    """Nobody waits for it."""
