"""JSON as we take it: every key once, bounded in depth, and a place for everything that is wrong. Pure."""

import json
import re
from collections.abc import Iterator
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")

MAX_DEPTH = 32
"""Levels of nesting; far more than our keys have, far less than what Python's stack takes."""


class JsonError(ValueError):
    """``key``: where, as far as the text could be read; () for the whole of it."""

    def __init__(self, problem: str, key: tuple[str | int, ...] = ()) -> None:
        super().__init__(problem)
        self.problem = problem
        self.key = key


class _Twice:
    """Stands for the values of a key that is given twice, until its whole path is known."""


def parse_json(text: str) -> Any:
    """Parse one document. NaN and Infinity come through as floats, for the check of values to name their keys.

    Raises:
        JsonError: not JSON, nested deeper than MAX_DEPTH, or a key twice in one object.
    """
    try:
        tree = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise JsonError(f"not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise JsonError(f"nested more than {MAX_DEPTH} levels deep") from error
    except ValueError as error:  # a whole number of more than 4300 digits
        raise JsonError(f"not valid JSON: {error}") from error
    for location, value in _walk(tree):
        if len(location) > MAX_DEPTH:
            raise JsonError(f"nested more than {MAX_DEPTH} levels deep", location[:3])
        if isinstance(value, _Twice):
            raise JsonError("the key is given twice", location)
        if any(isinstance(part, str) and _SURROGATE.search(part) for part in location[-1:]):
            raise JsonError("the key must not contain half of a surrogate pair", location)
    return tree


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        result[name] = _Twice() if name in result else value
    return result


def _walk(tree: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    # Not recursive: the document may be nested almost as deeply as the stack is.
    pending: list[tuple[tuple[str | int, ...], Any]] = [((), tree)]
    while pending:
        location, value = pending.pop()
        yield location, value
        if isinstance(value, dict):
            pending += [((*location, name), item) for name, item in value.items()]
        elif isinstance(value, list):
            pending += [((*location, index), item) for index, item in enumerate(value)]
