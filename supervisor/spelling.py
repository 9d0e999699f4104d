"""What somebody meant who wrote a word that is not known. Pure."""

import difflib
from collections.abc import Iterable


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like a wrong one; None where it is like none. Upper and lower case are alike."""
    lower = {candidate.lower(): candidate for candidate in sorted(known)}
    close = difflib.get_close_matches(word.lower(), lower, n=1)
    return lower[close[0]] if close else None


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names what ``word`` is most like; "" where it is like nothing."""
    close = closest(word, known)
    return "" if close is None else f"did you mean {close!r}?"


def nearest_or_all(word: str, known: Iterable[str]) -> str:
    """A hint that names what ``word`` is most like, or all that is known."""
    words = sorted(known)
    return nearest(word, words) or f"known: {', '.join(words)}"
