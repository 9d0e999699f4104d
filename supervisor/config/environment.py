"""Settings from environment variables and the dotenv file: their names, their values, their place in the tree.

Nothing here reads or writes ``os.environ``: the variables are an argument, and what a dotenv file says stays inside the
configuration instead of leaking into every process we start.
"""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dotenv.parser import parse_stream
from dotenv.variables import parse_variables

from supervisor.config.dotenv_file import line_of
from supervisor.config.json_text import MAX_DEPTH, JsonError, parse_json
from supervisor.config.problems import annotation_at, dotted
from supervisor.config.settings import Settings
from supervisor.errors import ConfigurationError

PREFIX = "XCORE__"
"""``XCORE__GATEWAY__PORT=0`` sets ``gateway.port``."""
DATA_URL = "DATA_URL"
LOG_LEVEL = "LOG_LEVEL"

_NAMED = frozenset({"plugins", "tasks"})
"""Sections whose second level are names, in which case matters."""
_KEY_OF_NAMED = 3
"""Parts of ``plugins.<name>.<key>``; what follows are names of variables, in which case matters too."""


@dataclass(frozen=True)
class Override:
    """One key that a variable sets. ``source``: where the variable was found, for messages."""

    key: tuple[str, ...]
    value: Any
    source: str


def parse_dotenv(text: str, source: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of a dotenv file. ``${NAME}`` stands for one above it in the file or, before that, in ``environ``.

    Raises:
        ConfigurationError: a line that is no assignment.
    """
    variables: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            cause = f"cannot read line {line_of(binding)}"
            raise ConfigurationError(source, "", cause, hint="write NAME=value, or # for a comment")
        if binding.key is not None and binding.value is not None:
            atoms = parse_variables(binding.value)
            variables[binding.key] = "".join(atom.resolve({**variables, **environ}) for atom in atoms)
    return variables


def overrides(variables: Mapping[str, str], place: str, tree: Mapping[str, Any]) -> list[Override]:
    """The keys that ``variables`` set, outer ones first. ``tree``: config.json, which knows how names are spelled.

    Raises:
        ConfigurationError: a variable that names no key.
    """
    found = []
    for name in (name for name in variables if name.startswith(PREFIX)):
        # A name that is not UTF-8 reaches us with surrogates in it, which cannot be printed.
        source = f"{place} {name.encode(errors='backslashreplace').decode()}"
        key = _key(name, source, tree)
        found.append(Override(key, _value(variables[name], key), source))
    return sorted(found, key=lambda override: len(override.key))


def merged(tree: Mapping[str, Any], found: Iterable[Override]) -> dict[str, Any]:
    """``tree`` with the overrides laid over it; objects are merged, everything else replaced."""
    result = dict(tree)
    for override in found:
        result = _with(result, override.key, override.value)
    return result


def leaves(override: Override) -> frozenset[str]:
    """The dotted keys that an override sets; its value must have been validated, which bounds its depth."""

    def below(key: tuple[str, ...], value: Any) -> set[str]:
        if isinstance(value, dict):
            return {leaf for name, item in value.items() for leaf in below((*key, name), item)}
        return {dotted(key)}

    return frozenset(below(override.key, override.value))


def _key(name: str, source: str, tree: Mapping[str, Any]) -> tuple[str, ...]:
    parts = name.removeprefix(PREFIX).split("__")
    if not all(parts) or len(parts) > MAX_DEPTH or not source.endswith(name):
        raise ConfigurationError(source, "", "names no key", hint=f"write {PREFIX}SECTION__KEY")
    section = parts[0].lower()
    if section not in _NAMED or len(parts) == 1:
        return tuple(part.lower() for part in parts)
    known = tree.get(section)
    key = (part.lower() for part in parts[2:_KEY_OF_NAMED])
    return (section, _spelled(parts[1], known if isinstance(known, dict) else {}), *key, *parts[_KEY_OF_NAMED:])


def _spelled(name: str, known: Mapping[str, Any]) -> str:
    """A name keeps its case, except that one in capitals that config.json does not know is taken in small letters."""
    return name.lower() if name.isupper() and name not in known else name


def _value(text: str, key: tuple[str, ...]) -> Any:
    try:
        value = parse_json(text)
    except JsonError:
        return text
    # A variable's value is always text: where text is wanted, 1 and true are that.
    wants_text = annotation_at(Settings, key) is str
    return text if wants_text and value is not None and not isinstance(value, str) else value


def _with(tree: Mapping[str, Any], key: tuple[str, ...], value: Any) -> dict[str, Any]:
    first, rest = key[0], key[1:]
    below = tree.get(first, {})
    if rest:
        # Where config.json has something else than an object its own error comes first: it is left as it is.
        return {**tree, first: _with(below, rest, value) if isinstance(below, dict) else below}
    if isinstance(value, dict) and isinstance(below, dict):
        return {**tree, first: merged(below, [Override((name,), item, "") for name, item in value.items()])}
    return {**tree, first: value}
