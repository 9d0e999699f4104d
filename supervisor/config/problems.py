"""From what pydantic found to one sentence: the key, what is wrong with its value, what to write instead.

Knows models and annotations in general and none of our keys, so that config.json and pyproject.toml share it.
"""

import json
import re
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from supervisor.spelling import nearest_or_all

Location = tuple[int | str, ...]

_LONGEST_VALUE = 60
"""Characters of a wrong value that a message repeats."""

_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "an object",
    "float_type": "a number",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "model_type": "an object",
    "string_type": "a string",
    "tuple_type": "a list",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "enum": "{expected}",
    "literal_error": "{expected}",
}
"""What a value must be, by pydantic's type of error."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a document. ``location`` is empty where the whole document is meant."""

    location: Location
    text: str
    hint: str = ""

    @property
    def key(self) -> str:
        return dotted(self.location)


def dotted(location: Sequence[int | str]) -> str:
    """``gateway.cors_origins[0]``; parts that are no plain words are quoted, as in TOML."""
    key = ""
    for part in location:
        if isinstance(part, int):
            key += f"[{part}]"
        else:
            word = part if re.fullmatch(r"[\w$-]+", part) else json.dumps(part)
            key += f".{word}" if key else word
    return key


def first_problem(model: type[BaseModel], error: ValidationError) -> Problem:
    """The first of the errors that validating a document against ``model`` gave."""
    return next(all_problems(model, error))


def all_problems(model: type[BaseModel], error: ValidationError) -> Iterator[Problem]:
    """Each of them."""
    for details in error.errors(include_url=False):
        yield _problem(model, details)


def _problem(model: type[BaseModel], details: ErrorDetails) -> Problem:
    # Pydantic's mark for a wrong key of a mapping, which is named by its path already.
    location = details["loc"][:-1] if details["loc"][-1:] == ("[key]",) else details["loc"]
    match details["type"]:
        case "extra_forbidden":
            return _unknown_key(model, location)
        case "missing":
            return Problem(location, "is missing")
        case "value_error":
            # Raised by a validator of ours for a key or, where keys contradict each other, for a section.
            text = str(details["ctx"]["error"])
            shown = "" if isinstance(details["input"], dict | BaseModel) else f", not {shown_value(details['input'])}"
            return Problem(location, text + shown)
    return Problem(
        location, f"must be {_expected(details)}, not {shown_value(details['input'])}", _hint(model, details)
    )


def unknown_key(model: type[BaseModel], location: Sequence[str]) -> Problem | None:
    """What is wrong with a path that names no key of ``model``; None: it names one, or a section of them."""
    for depth, part in enumerate(location):
        inside = annotation_at(model, location[:depth])
        if isinstance(inside, type) and issubclass(inside, BaseModel):
            if part not in inside.model_fields:
                return _unknown_key(model, tuple(location[: depth + 1]))
        elif get_origin(inside) is not dict:
            hint = f"{dotted(location[:depth])} has no keys of its own"
            return Problem(tuple(location[: depth + 1]), "unknown key", hint)
    return None


def annotation_at(model: type[BaseModel], location: Sequence[int | str]) -> Any:
    """The annotation of the key at ``location``, without Annotated and None; None where there is no such key."""
    annotation: Any = model
    for part in location:
        annotation = _inner(annotation, part)
    return annotation


def shown_value(value: object) -> str:
    """A wrong value as a person would have written it; containers are only named."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, int) and abs(value) >= 10**_LONGEST_VALUE:
        return "a number that large"  # printing it would take quadratic time, or fail
    text = json.dumps(value, default=str)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}... ({len(text)} characters)"


def _unknown_key(model: type[BaseModel], location: Location) -> Problem:
    section = annotation_at(model, location[:-1])
    return Problem(location, "unknown key", nearest_or_all(str(location[-1]), section.model_fields))


def _expected(details: ErrorDetails) -> str:
    template = _EXPECTED.get(details["type"])
    if template is None:
        return details["msg"].removeprefix("Input should be ")
    return template.format(**details.get("ctx", {}))


def _hint(model: type[BaseModel], details: ErrorDetails) -> str:
    value = details["input"]
    if isinstance(value, str) and re.fullmatch(r"true|false|-?\d{1,15}(\.\d+)?", value):
        return f"write {value} without quotes"
    default = _default_at(model, details["loc"])
    return "" if default is None else f"the default is {json.dumps(default)}"


def _default_at(model: type[BaseModel], location: Location) -> Any:
    section = annotation_at(model, location[:-1]) if location else None
    if not (isinstance(section, type) and issubclass(section, BaseModel)):
        return None
    default = section.model_fields[str(location[-1])].get_default(call_default_factory=False)
    return default if default is not PydanticUndefined and isinstance(default, bool | int | float | str) else None


def _inner(annotation: Any, part: int | str) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(part))
        return _bare(field.annotation) if field else None
    arguments = get_args(annotation)
    return _bare(arguments[1 if get_origin(annotation) is dict else 0]) if arguments else None


def _bare(annotation: Any) -> Any:
    while get_origin(annotation) in {Annotated, Union, types.UnionType}:
        annotation = get_args(annotation)[0]
    return annotation
