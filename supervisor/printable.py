"""Text of foreign origin, made harmless: terminals, log viewers and readers of lines take no commands from it. Pure."""

import re
from collections.abc import Sequence

# Control characters but newline and tab; DEL and C1 (a terminal may take 0x9b for the start of a sequence); characters
# that other readers take for line ends; those that change the direction of writing and so what people believe to read.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def harmless(lines: Sequence[str]) -> list[str]:
    """Escape what is unsafe, in all lines at once.

    One substitution per kind of character, not per occurrence: a flood of NULs shall cost no more than other floods.
    """
    if not lines:
        return []
    text = "\n".join(lines).replace("\r\n", "\n").removesuffix("\r")
    for char in set(_UNSAFE.findall(text)):
        text = text.replace(char, char.encode("unicode_escape").decode())
    return text.split("\n")


def one_line(text: str) -> str:
    """Escape line ends as well: a name of a folder or a plugin's error message may hold some."""
    return "\\n".join(harmless([text]))
