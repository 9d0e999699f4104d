"""Dotenv files, line by line."""

import io
from collections.abc import Mapping
from dataclasses import dataclass

from dotenv.parser import Binding, parse_stream


@dataclass(frozen=True)
class DotenvFile:
    """What a dotenv file says, as it is written: ``${NAME}`` stands for itself."""

    variables: Mapping[str, str]
    problems: list[str]
    """Lines that are left out, and what to write. Not what is in them, which may be secret."""


def read_dotenv(text: str) -> DotenvFile:
    variables: dict[str, str] = {}
    problems = []
    for binding in parse_stream(io.StringIO(text)):
        if "\0" in binding.original.string:  # no program can be started with such a variable
            problems.append(f"line {line_of(binding)}: it is left out; remove the NUL character in it")
        elif binding.key is not None and binding.value is not None:
            variables[binding.key] = binding.value
        elif binding.error or binding.key is not None:
            problems.append(f"line {line_of(binding)}: it is left out; write NAME=value, or # for a comment")
    return DotenvFile(variables, problems)


def line_of(binding: Binding) -> int:
    """Number of the line that it stands in: the blank ones above are part of it."""
    text = binding.original.string
    return binding.original.line + text[: -len(text.lstrip())].count("\n")
