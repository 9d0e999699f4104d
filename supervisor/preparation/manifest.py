"""A plugin's manifest: the tables of its pyproject.toml that concern us, with config.json's overrides. Pure.

``[tool.xcore]`` says how the plugin is run, ``[project]`` or the older ``[tool.poetry]`` who it is. A folder without a
pyproject.toml has a manifest of defaults.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import ValidationError

from plugin_runtime.excerpt import excerpt, line_of
from supervisor.config.plugin_keys import PluginKeys
from supervisor.config.problems import Problem, all_problems, dotted, shown_value
from supervisor.errors import PluginInvalidError

_FILE = "pyproject.toml"


class PluginManifest(PluginKeys):
    """Everything known of a plugin before any of its code has run."""

    plugin: str
    """Folder name: the identity."""
    title: str = ""
    """``[project] name``; PLUGIN_INFO's goes before it, as for the next two."""
    version: str = ""
    author: str = ""
    requires_python: str = ""
    """A PEP 440 set of versions, ">=3.9,<4"; "" = any."""

    @property
    def contract(self) -> Literal["app", "seed"]:
        """What the worker loads: the ``app``, or run.py with PLUGIN_INFO, Plugin and router."""
        return "app" if self.app else "seed"


def parse_manifest(plugin: str, pyproject_text: str | None, overrides: Mapping[str, Any]) -> PluginManifest:
    """Combine pyproject.toml (None: there is none) with what config.json says under ``plugins.<plugin>``.

    Raises:
        PluginInvalidError: the first thing wrong, with the place where the author or the operator finds it.
    """
    text = pyproject_text or ""
    try:
        return _manifest(plugin, text, overrides)
    except PluginInvalidError as error:
        raise _located(error, text.split("\n")) from error.__cause__


def _manifest(plugin: str, text: str, overrides: Mapping[str, Any]) -> PluginManifest:
    document = _Table(plugin, "", _parse(plugin, text))
    table = document.table("tool").table("xcore").values
    for error in _key_errors(plugin, table, overrides):
        raise error
    keys = PluginKeys.model_validate(_merged(table, overrides))
    return PluginManifest(plugin=plugin, **_identity(document), **dict(keys))


def check_servable(manifest: PluginManifest) -> None:
    """Refuse a plugin that no worker could import, though its environment may serve others.

    Raises:
        PluginInvalidError: its name does not fit what it is.
    """
    for error in _name_errors(manifest.plugin, manifest.app):
        raise error


def manifest_errors(plugin: str, pyproject_text: str | None, overrides: Mapping[str, Any]) -> list[PluginInvalidError]:
    """All that keeps it from being served: every key, one thing of the rest, and what ``check_servable`` refuses."""
    text = pyproject_text or ""
    return [_located(error, text.split("\n")) for error in _manifest_errors(plugin, text, overrides)]


def _manifest_errors(plugin: str, text: str, overrides: Mapping[str, Any]) -> list[PluginInvalidError]:
    try:
        document = _Table(plugin, "", _parse(plugin, text))
        table = document.table("tool").table("xcore").values
        errors = [
            *_key_errors(plugin, table, overrides),
            *_name_errors(plugin, {**table, **overrides}.get("app")),
        ]
    except PluginInvalidError as error:
        return [error]
    try:
        _identity(document)
    except PluginInvalidError as error:
        errors.append(error)
    return errors


def _name_errors(plugin: str, app: object) -> Iterator[PluginInvalidError]:
    """A run.py is imported as ``plugins.<name>.run``, where a dot stands between packages."""
    if not app and "." in plugin:
        problem = f"a plugin with a run.py is imported by its name, and {plugin!r} has a dot"
        yield PluginInvalidError(plugin, "its folder", problem, hint="rename its folder")


def concerns_keys(error: PluginInvalidError) -> bool:
    """Whether it is about a key of ours; else it is what installers read, too, and find the same fault with."""
    return error.place.startswith((f"{_FILE} [tool.xcore]", "config.json "))


def _located(error: PluginInvalidError, lines: Sequence[str]) -> PluginInvalidError:
    """The same error with the line of the file that it is about; one that a look at its beginnings of lines finds."""
    file, _, place = error.place.partition(" ")
    if file != _FILE:
        return error
    line = _line(place, error.problem, lines)
    location = f"{_FILE}:{line}" if line else _FILE
    return PluginInvalidError(
        error.plugin,
        error.place,
        error.problem,
        hint=error.hint,
        location=location,
        excerpt=excerpt(lines, line),
    )


def _line(place: str, problem: str, lines: Sequence[str]) -> int:
    """``place``: "[tool.xcore] instances"; "" where it is no TOML, and the parser's own words name the line."""
    if not place:
        named = re.search(r"at line (\d+)", problem)
        return int(named[1]) if named else len(lines) if "end of document" in problem else 0
    table, _, key = place.partition(" ")
    return line_of(re.split(r"[.\[]", key)[0], lines, below=table) or line_of(table, lines)


def _parse(plugin: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, which names line and column, or a number of 4300 digits
        raise PluginInvalidError(plugin, _FILE, f"not valid TOML: {error}") from error
    except RecursionError as error:
        raise PluginInvalidError(plugin, _FILE, "not valid TOML: nested too deeply") from error


def _key_errors(plugin: str, table: Mapping[str, Any], overrides: Mapping[str, Any]) -> Iterator[PluginInvalidError]:
    """Of the author's table; where nothing is wrong with that, of what the operator's overrides make of it."""
    alone = list(_errors(plugin, table, {}))
    yield from alone or _errors(plugin, _merged(table, overrides), overrides)


def _errors(plugin: str, keys: Mapping[str, Any], overrides: Mapping[str, Any]) -> Iterator[PluginInvalidError]:
    try:
        PluginKeys.model_validate(keys)
    except ValidationError as error:
        for problem in all_problems(PluginKeys, error):
            yield PluginInvalidError(plugin, _place(plugin, problem, overrides), problem.text, hint=problem.hint)


def _merged(table: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**table, **overrides}
    if "env" in overrides:
        merged["env"] = {**table.get("env", {}), **overrides["env"]}
    return merged


def _place(plugin: str, problem: Problem, overrides: Mapping[str, Any]) -> str:
    # Keys that only contradict each other have no place of their own: the override is what is newer.
    overridden = problem.location[0] in overrides if problem.location else bool(overrides)
    if overridden:
        return f"config.json {dotted(('plugins', plugin, *problem.location))}"
    return f"{_FILE} [tool.xcore] {problem.key}".rstrip()


class _Table:
    """One table of the document, and how to name it in a message."""

    def __init__(self, plugin: str, name: str, values: dict[str, Any]) -> None:
        self.values = values
        self._plugin = plugin
        self._name = name

    def table(self, key: str) -> "_Table":
        return _Table(self._plugin, f"{self._name}.{key}".lstrip("."), self._get(key, dict, "a table", {}))

    def text(self, key: str) -> str:
        return str(self._get(key, str, "a string", ""))

    def items(self, key: str) -> list[Any]:
        return list(self._get(key, list, "a list", []))

    def invalid(self, key: str, problem: str, hint: str = "") -> PluginInvalidError:
        place = f"[{self._name}] {key}" if self._name else f"[{key}]"
        return PluginInvalidError(self._plugin, f"{_FILE} {place}", problem, hint=hint)

    def _get(self, key: str, kind: type, expected: str, default: Any) -> Any:
        value = self.values.get(key, default)
        if not isinstance(value, kind):
            raise self.invalid(key, f"must be {expected}, not {shown_value(value)}")
        return value


def _identity(document: _Table) -> dict[str, Any]:
    project, poetry = document.table("project"), document.table("tool").table("poetry")
    return {
        "title": project.text("name") or poetry.text("name"),
        "version": project.text("version") or poetry.text("version"),
        "author": _authors(project) or _authors(poetry),
        "requires_python": _requires_python(project, poetry.table("dependencies")),
    }


def _authors(table: _Table) -> str:
    """Names without addresses: PEP 621 has tables, Poetry's own table "Name <address>"."""
    names = []
    for entry in table.items("authors"):
        if isinstance(entry, dict):
            names.append(str(entry.get("name") or entry.get("email", "")))
        else:
            names.append(str(entry).partition("<")[0].strip())
    return ", ".join(name for name in names if name)


def _requires_python(project: _Table, dependencies: _Table) -> str:
    if standard := project.text("requires-python"):
        return _checked(project, "requires-python", standard)
    return _checked(dependencies, "python", _pep440(dependencies.text("python")))


def _checked(table: _Table, key: str, versions: str) -> str:
    try:
        SpecifierSet(versions)
    except InvalidSpecifier as error:
        raise table.invalid(key, f"cannot read {shown_value(versions)}", 'write it like ">=3.9,<4"') from error
    return versions


def _pep440(constraint: str) -> str:
    """Poetry's ^, ~ and bare versions in terms of PEP 440; what is neither comes back as it is."""
    return ",".join(_pep440_part(part.strip()) for part in constraint.split(",") if part.strip() not in {"", "*"})


def _pep440_part(part: str) -> str:
    match = re.fullmatch(r"(\^|~(?!=)|)\s*(\d+(?:\.\d+)*)(\.\*)?", part)
    if match is None:
        return part
    operator, version, wildcard = match.groups()
    if not operator:
        return f"=={version}{wildcard or ''}"
    numbers = [int(number) for number in version.split(".")]
    # ^3.9 ends before 4; ~3.9 and ~3.9.1 end before 3.10; ~3 ends before 4.
    upper = [numbers[0] + 1] if operator == "^" or len(numbers) == 1 else [numbers[0], numbers[1] + 1]
    return f">={version},<{'.'.join(map(str, upper))}"
