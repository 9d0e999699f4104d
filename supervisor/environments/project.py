"""What a pyproject.toml and its poetry.lock say about an environment, and nothing else of them."""

import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomlkit

from supervisor.environments.file_system import is_want_of_machine
from supervisor.errors import BuildInterruptedError, EnvironmentBuildError

_FILE_URL = re.compile(r"^\s*([A-Za-z0-9._-]+)[^;]*?@\s*file:")
_PROJECT_NAME = re.compile(r"[a-zA-Z0-9]([\w.-]*[a-zA-Z0-9])?", re.ASCII)
_DYNAMIC = ("requires-python", "dependencies", "optional-dependencies")
# What Poetry's lock hash covers; the rest (authors, readme, plugins to install, ...) can only make a build fail.
_LOCKED_PROJECT_KEYS = ("requires-python", "dependencies", "optional-dependencies")
_LOCKED_POETRY_KEYS = ("dependencies", "source", "extras", "dev-dependencies", "group", "build-constraints")
_RESOLVED_PROJECT_KEYS = ("dependencies",)
_RESOLVED_POETRY_KEYS = ("dependencies", "source", "build-constraints")


@dataclass(frozen=True)
class Project:
    """The parts of a pyproject.toml that decide which packages an environment has."""

    name: str
    """Of the plugin, for messages."""
    project: Mapping[str, Any] = field(default_factory=dict)
    """Table [project]."""
    poetry: Mapping[str, Any] = field(default_factory=dict)
    """Table [tool.poetry]."""
    groups: Mapping[str, Any] = field(default_factory=dict)
    """Table [dependency-groups]."""
    lock: str | None = None
    """Content of poetry.lock."""

    @property
    def requires_python(self) -> str | None:
        """As written; of the two places that Poetry knows, [project] comes first."""
        for value in (self.project.get("requires-python"), _table(self.poetry, "dependencies").get("python")):
            if isinstance(value, str):
                return value
        return None

    @property
    def has_dependencies(self) -> bool:
        """Without any there is nothing to install, and the base environment serves."""
        return bool(self.project.get("dependencies") or set(_table(self.poetry, "dependencies")) - {"python"})

    @property
    def dependency_tables(self) -> dict[str, Any]:
        """Everything that changes what is installed; equal tables, equal environment."""
        return {
            "requires-python": self.project.get("requires-python"),
            "project": self.project.get("dependencies"),
            "poetry": self.poetry.get("dependencies"),
            "main": _table(self.poetry, "group").get("main"),
            "source": self.poetry.get("source"),
            "build-constraints": self.poetry.get("build-constraints"),
        }

    def installable(self, python_version: str) -> str:
        """The pyproject.toml that Poetry gets.

        With a lock it holds all that the lock's hash covers. Without one only what is to be resolved, and for exactly
        this Python: a plugin that says nothing about Python, or ">=3.8", would else be resolved for versions on which
        its dependencies never worked.
        """
        document: dict[str, Any] = {"tool": {"poetry": self._poetry_table(python_version) | {"package-mode": False}}}
        if self.project:
            document["project"] = self._project_table(python_version)
        if self.groups and self.lock is not None:
            document["dependency-groups"] = self.groups
        return tomlkit.dumps(document)

    def _project_table(self, python_version: str) -> dict[str, Any]:
        name = self.project.get("name")
        valid = isinstance(name, str) and _PROJECT_NAME.fullmatch(name)
        table: dict[str, Any] = {"name": name if valid else "xcore-plugin", "version": "0"}
        dynamic = self.project.get("dynamic")
        if isinstance(dynamic, list) and (kept := [key for key in dynamic if key in _DYNAMIC]):
            table["dynamic"] = kept
        if self.lock is not None:
            return table | _only(self.project, _LOCKED_PROJECT_KEYS)
        return table | _only(self.project, _RESOLVED_PROJECT_KEYS) | {"requires-python": f"=={python_version}"}

    def _poetry_table(self, python_version: str) -> dict[str, Any]:
        if self.lock is not None:
            return _only(self.poetry, _LOCKED_POETRY_KEYS)
        table = _only(self.poetry, _RESOLVED_POETRY_KEYS)
        if dependencies := _table(self.poetry, "dependencies"):
            table["dependencies"] = dependencies | {"python": f"=={python_version}"}
        if main := _table(self.poetry, "group").get("main"):
            table["group"] = {"main": main}
        return table

    def check(self) -> None:
        """Raise EnvironmentBuildError where a dependency cannot be installed from a copy."""
        paths = self.path_dependencies()
        if not paths:
            return
        what = f"path {'dependency' if len(paths) == 1 else 'dependencies'} {', '.join(map(repr, paths))}"
        raise EnvironmentBuildError(
            self.name,
            f"{what} in pyproject.toml cannot be installed from a copy of it",
            hint="name a release, a Git repository or a URL, or put the code into the plugin's own folder",
        )

    def path_dependencies(self) -> list[str]:
        """Names of dependencies that lie at a path, which a copy of pyproject.toml cannot reach."""
        written = self.project.get("dependencies")
        urls = [d for d in written if isinstance(d, str)] if isinstance(written, list) else []
        names = [match[1] for d in urls if (match := _FILE_URL.match(d))]
        main = _table(_table(self.poetry, "group"), "main")
        for table in (_table(self.poetry, "dependencies"), _table(main, "dependencies")):
            names += [name for name, value in table.items() if any("path" in option for option in _options(value))]
        return names


def parse(name: str, text: str, lock: str | None = None) -> Project:
    """Read the text of a pyproject.toml and, where there is one, of its poetry.lock.

    Raises:
        EnvironmentBuildError: not TOML.
    """
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise EnvironmentBuildError(name, f"pyproject.toml is not valid TOML: {error}") from error
    poetry = _table(_table(data, "tool"), "poetry")
    return Project(name, _table(data, "project"), poetry, _table(data, "dependency-groups"), lock)


def read(name: str, pyproject: Path) -> Project | None:
    """Read ``pyproject`` and the poetry.lock beside it; None where there is no such file.

    Raises:
        EnvironmentBuildError: as ``parse``, or a file that cannot be read.
    """
    text = _read_text(name, pyproject)
    return None if text is None else parse(name, text, _read_text(name, pyproject.with_name("poetry.lock")))


def _read_text(name: str, file: Path) -> str | None:
    try:
        # A FIFO of that name would be waited for without end.
        if not stat.S_ISREG(file.stat().st_mode):
            raise EnvironmentBuildError(name, f"{file} is not a file")
        return file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        kind = BuildInterruptedError if is_want_of_machine(error) else EnvironmentBuildError
        raise kind(name, f"{file} cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise EnvironmentBuildError(name, f"{file} cannot be read: {error}") from error


def _table(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    # What is no table is left to Poetry, whose messages on it are good.
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def _only(data: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: data[key] for key in keys if key in data}


def _options(value: Any) -> Iterator[Mapping[str, Any]]:
    for option in value if isinstance(value, list) else [value]:
        if isinstance(option, dict):
            yield option
