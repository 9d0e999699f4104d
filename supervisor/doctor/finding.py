"""What a probe found, and what that means. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from supervisor.errors import XcoreError


class Result(StrEnum):
    """How a check came out; only ``missing`` makes the whole examination fail."""

    OK = "ok"
    WARNING = "warning"
    """xcore runs, with less than it could do."""
    MISSING = "missing"
    """xcore does not run, or not safely."""


@dataclass(frozen=True)
class Finding:
    """``meaning`` and ``advice`` are empty where nothing is wrong, or where those of the check say it all."""

    result: Result
    found: str
    """What was seen, on one line."""
    meaning: str = ""
    """What it means for xcore."""
    advice: str = ""
    """What to do about it."""


class NotExaminedError(XcoreError):
    """It could not be tried, which says nothing about it."""

    def __init__(self, cause: object) -> None:
        super().__init__(f"not examined: {cause}")


def ok(found: str) -> Finding:
    return Finding(Result.OK, found)


def warning(found: str, meaning: str = "", advice: str = "") -> Finding:
    return Finding(Result.WARNING, found, meaning, advice)


def missing(found: str, meaning: str = "", advice: str = "") -> Finding:
    return Finding(Result.MISSING, found, meaning, advice)
