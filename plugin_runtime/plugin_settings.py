"""A plugin's settings from the environment variables of its process, typed: what plugin_runtime.settings does."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import os
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union

_OF_JSON = (list, dict, set, frozenset, tuple)
"""Types that are written as JSON."""
_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}

_owner = ""
"""Name of the plugin that this process belongs to, or of the core's task that it runs."""


class SettingsError(ValueError):
    """Variables are missing or cannot be understood; ``problems`` names each.

    Their values, which may be secret, are not told.
    """

    def __init__(self, owner: str, problems: list[str]) -> None:
        super().__init__(
            f"cannot read the settings of {owner!r}: {'; '.join(problems)}; variables are set in the .env of the "
            "plugin's folder, and by env in its manifest or in config.json"
        )
        self.owner = owner
        self.problems = problems


def belong_to(owner: str) -> None:
    """Say whose process this is."""
    global _owner  # noqa: PLW0603 - a fact about the process, as its environment is
    _owner = owner


def read(model: Callable[..., Any], prefix: typing.Optional[str], environ: Mapping[str, str] = os.environ) -> Any:
    """Make what plugin_runtime.settings returns."""
    start = re.sub(r"\W", "_", f"{_owner}_").upper() if prefix is None else prefix
    if dataclasses.is_dataclass(model):
        return _read_dataclass(model, start, environ)
    return _read_pydantic(model, start, environ)


def _read_dataclass(model: Any, prefix: str, environ: Mapping[str, str]) -> Any:
    types = typing.get_type_hints(model)
    values: dict[str, Any] = {}
    problems = []
    for field in (field for field in dataclasses.fields(model) if field.init):
        variable = prefix + field.name.upper()
        if variable not in environ:
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                problems.append(f"{variable} is missing")
            continue
        wanted = _without_none(types[field.name])
        try:
            values[field.name] = _convert(environ[variable], wanted)
        except (ValueError, ArithmeticError):  # the last is what Decimal and timedelta raise
            problems.append(f"{variable} is {_expected(wanted)}")
        except TypeError:
            problems.append(f"{variable} cannot be read: a text makes no {_name(wanted)}")
    if problems:
        raise SettingsError(_owner, problems)
    return model(**values)


def _convert(text: str, wanted: Any) -> Any:
    if wanted is bool:
        if text.lower() not in _BOOLEANS:
            raise ValueError
        return _BOOLEANS[text.lower()]
    container = _container(wanted)
    if container is not None:
        try:
            return _contents(json.loads(text), container)
        except TypeError as error:  # of the text: it is another container, or has a list where a set cannot
            raise ValueError from error
    if wanted is Any:
        return text
    if typing.get_origin(wanted) is Literal:
        return _choice(text, typing.get_args(wanted))
    if wanted is dt.timedelta:
        return dt.timedelta(seconds=float(text))
    if hasattr(wanted, "fromisoformat"):  # a date, a time, or both
        return wanted.fromisoformat(re.sub("[zZ]$", "+00:00", text))  # which Python 3.10 does not read
    return wanted(text)


def _contents(value: Any, container: type) -> Any:
    """Items that JSON knows as such are taken as they are."""
    if not isinstance(value, dict if container is dict else list):
        raise TypeError
    return container(value)


def _choice(text: str, choices: tuple[Any, ...]) -> Any:
    """The one that is written like this; an enum's member by its value."""
    for choice in choices:
        if text == str(choice.value if isinstance(choice, enum.Enum) else choice):
            return choice
    raise ValueError


def _read_pydantic(model: Any, prefix: str, environ: Mapping[str, str]) -> Any:
    types = typing.get_type_hints(model)
    variables: dict[str, str] = {}
    values: dict[str, Any] = {}
    problems = []
    fields = model.model_fields if hasattr(model, "model_fields") else model.__fields__  # pydantic 2 and 1
    for name, field in fields.items():
        key = _key_of(name, field)
        variable = variables[key] = prefix + name.upper()
        if variable in environ:
            try:
                values[key] = _prepare(environ[variable], _without_none(types.get(name, str)))
            except ValueError:
                problems.append(f"{variable} is not JSON")
    if problems:
        raise SettingsError(_owner, problems)
    try:
        return model(**values)
    except ValueError as error:  # pydantic's ValidationError, in version 1 and 2
        raise SettingsError(_owner, _problems_of(error, variables)) from None


def _key_of(name: str, field: Any) -> str:
    """Under which the model takes the value of a field."""
    alias = getattr(field, "validation_alias", None) or field.alias  # pydantic 1 has the latter only
    choices = getattr(alias, "choices", (alias,))
    return next((choice for choice in choices if isinstance(choice, str)), name)


def _prepare(text: str, wanted: Any) -> Any:
    """What pydantic is given: it makes numbers, dates and the like of texts itself."""
    is_model = hasattr(wanted, "model_fields") or hasattr(wanted, "__fields__")
    return json.loads(text) if is_model or _container(wanted) else text


def _problems_of(error: ValueError, variables: Mapping[str, str]) -> list[str]:
    if not hasattr(error, "errors"):
        raise error  # of the model's own code, which is not pydantic's to wrap
    problems = []
    for found in error.errors():
        first, *inner = found["loc"] or ("",)
        name = variables.get(str(first), str(first)) + "".join(f"[{part!r}]" for part in inner)
        is_missing = "missing" in found["type"] and not inner
        problems.append(f"{name} is missing" if is_missing else f"{name}: {found['msg']}".removeprefix(": "))
    return problems


def _without_none(wanted: Any) -> Any:
    """T of Optional[T]."""
    if typing.get_origin(wanted) is Union or type(wanted).__name__ == "UnionType":  # T | None, since Python 3.10
        parts = [part for part in typing.get_args(wanted) if part is not type(None)]
        return parts[0] if len(parts) == 1 else Any
    return wanted


def _container(wanted: Any) -> typing.Optional[type]:
    origin = typing.get_origin(wanted) or wanted
    return next((one for one in _OF_JSON if origin is one), None)


def _expected(wanted: Any) -> str:
    """What a text is that cannot be made one of these."""
    if typing.get_origin(wanted) is Literal:
        return f"none of {', '.join(map(repr, typing.get_args(wanted)))}"
    return f"no {'number of seconds' if wanted is dt.timedelta else _name(wanted)}"


def _name(wanted: Any) -> str:
    return getattr(wanted, "__name__", str(wanted))
