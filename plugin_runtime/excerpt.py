"""The line of an author's file that an error names, with those around it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

AROUND = 1
"""Lines before and after it."""
LINE_LIMIT = 200
"""Characters of one; generated code has lines of megabytes."""


def excerpt(lines: Sequence[str], number: int) -> list[str]:
    """Line ``number``, counted from 1, and its neighbours as people read them; empty where there is no such line.

    Each with its number; the line itself is marked with ``>``.
    """
    if not 1 <= number <= len(lines):
        return []
    first = max(1, number - AROUND)
    shown = enumerate(lines[first - 1 : number + AROUND], start=first)
    return [f"{'>' if at == number else ' '} {at:4} | {line.rstrip()[:LINE_LIMIT]}".rstrip() for at, line in shown]


def line_of(word: str, lines: Sequence[str], below: str = "") -> int:
    """Number of the first line that begins with ``word``; 0 where none does.

    ``below``: look only at what follows the line that begins with this.
    """
    start = line_of(below, lines) if below else 0
    for number, line in enumerate(lines[start:], start=start + 1):
        if line.startswith(word) and not line[len(word) : len(word) + 1].isalnum():
            return number
    return 0
