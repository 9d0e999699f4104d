"""What is wrong with a trigger, for the author of its job. Pure."""

from collections.abc import Iterable
from difflib import get_close_matches


class TriggerError(ValueError):
    """``key``: dotted, within the trigger's declaration: "cron_params.hour"; ``hint``: what to write instead."""

    def __init__(self, key: str, problem: str, hint: str = "") -> None:
        super().__init__(f"{key}: {problem}; {hint}" if hint else f"{key}: {problem}")
        self.key = key
        self.problem = problem
        self.hint = hint


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names what ``word`` is most like; empty where it is like nothing."""
    found = get_close_matches(word, sorted(known), n=1)
    return f'did you mean "{found[0]}"?' if found else ""
