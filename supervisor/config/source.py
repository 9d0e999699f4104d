"""The only reader of config.json: from a path and an environment to a checked Configuration.

Parse, lay the environment over the file, validate, read the dotenv file that this names, validate the whole, check it
against the machine. The first thing wrong ends it with one ConfigurationError; nothing is ever half loaded.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from supervisor.config.configuration import Configuration
from supervisor.config.environment import DATA_URL, LOG_LEVEL, Override, leaves, merged, overrides, parse_dotenv
from supervisor.config.json_text import JsonError, parse_json
from supervisor.config.problems import dotted, first_problem, shown_value
from supervisor.config.regular_file import UnreadableFileError, read_text
from supervisor.config.settings import Settings
from supervisor.errors import ConfigurationError
from supervisor.spelling import nearest_or_all
from supervisor.state_folder import MAX_SOCKET_PATH, StateFolder

_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_ENVIRONMENT = "environment variable"
_DATABASE = re.compile(r"sqlite(\+pysqlite)?:///(?!:memory:|file:)[^?]+|postgres(ql(\+psycopg)?)?://.*")
"""What store/engine.py opens: what is found valid here must not be refused at the start."""


def load(path: Path, environ: Mapping[str, str]) -> Configuration:
    """Read config.json at ``path`` and what overrides it. ``environ`` wins over the dotenv file, that over config.json.

    Raises:
        ConfigurationError: the first thing wrong, with file or variable, key and value.
    """
    path = absolute(path)
    return build(path, parse(path, read(path)), environ)


def absolute(path: Path) -> Path:
    """The form in which config.json is named from here on; a symbolic link stays one."""
    return Path(os.path.normpath(path.absolute()))


def read(path: Path) -> str:
    """The text of config.json.

    Raises:
        ConfigurationError: there is no such file, or it is not to be had as text.
    """
    text = _read(path)
    if text is None:
        raise ConfigurationError(str(path), "", "there is no such file", hint=_where_to_find(path))
    return text


def _where_to_find(path: Path) -> str:
    """``path`` is missing; who asks from within a project, in a plugin's folder, wants that of the project."""
    above = next((folder for folder in path.parent.parents if os.path.isfile(folder / path.name)), None)  # noqa: PTH113 - raises nothing
    if above is None:
        return "make one with 'xcore init', or name it with --config"
    return f"there is one in {above}: run it there, name it with --config, or make one here with 'xcore init'"


def parse(path: Path, text: str) -> dict[str, Any]:
    """The document in ``text``, which is or shall be that of ``path``; its keys are not looked at yet.

    Raises:
        ConfigurationError: no JSON object, or one beyond the limits of json_text.py.
    """
    if not text.strip():
        raise ConfigurationError(str(path), "", "is empty", hint="write {} for all defaults, or run 'xcore init'")
    try:
        tree = parse_json(text)
    except JsonError as error:
        raise ConfigurationError(str(path), dotted(error.key), error.problem) from error
    if not isinstance(tree, dict):
        raise ConfigurationError(str(path), "", f"must be an object, not {shown_value(tree)}", hint="write {...}")
    return tree


def build(path: Path, tree: Mapping[str, Any], environ: Mapping[str, str]) -> Configuration:
    """Check the document of ``path``, with what overrides it, as a whole.

    Raises:
        ConfigurationError: the first thing wrong, with file or variable, key and value.
    """
    found = overrides(environ, _ENVIRONMENT, tree)
    settings = _validated(path, tree, found)
    dotenv = _read_dotenv(path, settings, environ)
    if in_dotenv := overrides(dotenv.variables, f"{dotenv.place}:", tree):
        found = [*in_dotenv, *found]
        settings = _validated(path, tree, found)
    configuration = Configuration(
        path=path,
        manager=settings.manager,
        gateway=settings.gateway,
        supervisor=settings.supervisor,
        plugins=settings.plugins,
        tasks=settings.tasks,
        data_url=_data_url(*_variable(DATA_URL, environ, dotenv)),
        log_level=_log_level(*_variable(LOG_LEVEL, environ, dotenv)),
        override_sources={key: override.source for override in found for key in leaves(override)},
    )
    _check_socket_paths(configuration)
    _check_files(configuration)
    return configuration


def validate(path: Path, tree: Mapping[str, Any]) -> Settings:
    """Check a document that shall be written to ``path``; the environment has no say in it.

    Raises:
        ConfigurationError: the first key that is wrong.
    """
    return _validated(path, tree, [])


def _validated(path: Path, tree: Mapping[str, Any], found: Sequence[Override]) -> Settings:
    document = {name: value for name, value in merged(tree, found).items() if name != "$schema"}
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        problem = first_problem(Settings, error)
        source = _variable_behind(problem.location, tree, found) or str(path)
        raise ConfigurationError(source, problem.key, problem.text, hint=problem.hint) from error


def _variable_behind(location: tuple[str | int, ...], tree: Any, found: Sequence[Override]) -> str | None:
    """The variable that put there what is at ``location``; None: config.json did."""
    for override in reversed(found):
        if location[: len(override.key)] == override.key:
            return override.source
    for part in location:
        if not isinstance(tree, dict) or part not in tree:
            # Not in the file, so it came to be with an override of something inside it.
            return next((o.source for o in reversed(found) if o.key[: len(location)] == location), None)
        tree = tree[part]
    return None


def _read(path: Path) -> str | None:
    try:
        return read_text(path)
    except UnreadableFileError as error:
        raise ConfigurationError(str(path), "", error.problem) from error


@dataclass(frozen=True)
class _Dotenv:
    """What a dotenv file adds to the environment."""

    place: str
    variables: Mapping[str, str]


def _read_dotenv(path: Path, settings: Settings, environ: Mapping[str, str]) -> _Dotenv:
    if not settings.manager.dotenv:
        return _Dotenv("", {})
    file = Path(os.path.normpath(path.parent / settings.manager.dotenv))
    variables = parse_dotenv(_read(file) or "", str(file), environ)
    return _Dotenv(str(file), {name: value for name, value in variables.items() if name not in environ})


def _variable(name: str, environ: Mapping[str, str], dotenv: _Dotenv) -> tuple[str, str]:
    """Where a variable of a name of its own is set, and to what; "" if nowhere."""
    if name in environ:
        return f"{_ENVIRONMENT} {name}", environ[name]
    return f"{dotenv.place}: {name}", dotenv.variables.get(name, "")


def _data_url(source: str, url: str) -> str | None:
    if url and not _DATABASE.fullmatch(url):
        # The value may hold a password: it is not repeated.
        raise ConfigurationError(
            source, "", "must be the address of a SQLite or PostgreSQL database",
            hint="write sqlite:///path/to/file.db or postgresql://user:password@host/database",
        )  # fmt: skip
    return url or None


def _log_level(source: str, level: str) -> str:
    if level and level.upper() not in _LOG_LEVELS:
        raise ConfigurationError(
            source, "", f"there is no log level {shown_value(level)}", hint=nearest_or_all(level, _LOG_LEVELS)
        )
    return level.upper() or "INFO"


def _check_socket_paths(configuration: Configuration) -> None:
    folder = configuration.state_dir
    length = len(os.fsencode(StateFolder(folder).longest_socket()))
    if length > MAX_SOCKET_PATH:
        room = len(os.fsencode(folder)) - (length - MAX_SOCKET_PATH)
        raise ConfigurationError(
            str(configuration.path), "supervisor.state_dir", f"{folder} is too long for the Unix sockets in it",
            hint=f"name a folder whose whole path has at most {room} bytes",
        )  # fmt: skip


def _check_files(configuration: Configuration) -> None:
    files = {
        "gateway.ssl_certfile": configuration.ssl_certfile,
        "gateway.ssl_keyfile": configuration.ssl_keyfile,
        "supervisor.base_environment": configuration.base_environment,
    }
    for key, file in files.items():
        if file is not None and not file.is_file():
            raise ConfigurationError(str(configuration.path), key, f"there is no file {file}")
