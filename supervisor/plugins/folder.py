"""The plugin directory at one moment: which folders in it are plugins, and what each holds.

A plugin is a folder, or a link to one, whose name starts neither with ``__`` nor with a dot; it is called like the
folder. What cannot be read is a plugin too, one with a problem: nothing is passed over in silence. Reads files and
blocks: call it in a thread.
"""

import errno
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from supervisor.errors import ConfigurationError, OutOfResourcesError, PluginInvalidError
from supervisor.preparation.snapshot import DOTENV, Snapshot
from supervisor.watching.directory_look import Look, look_at, printable

logger = logging.getLogger(__name__)

Ignores = Callable[[str], bool]
"""Whether the settings ignore a file or folder of this name."""
EnvFiles = Callable[[str], str]
"""The env_file of a plugin, as its manifest or the operator says."""


def dotenv_of(_plugin: str) -> str:
    """Of every plugin whose manifest says nothing else."""
    return DOTENV


@dataclass(frozen=True)
class PluginFolder:
    """One plugin's folder. Equal to another one of the same content."""

    name: str
    """Of the plugin."""
    path: Path
    snapshot: Snapshot | None = None
    """None where it cannot be taken."""
    problem: str = ""
    """Why not: place, cause and what to do, for the plugin's author."""

    @property
    def is_awaited(self) -> bool:
        """No look has found it yet; there was such a plugin when xcore ran last."""
        return self.snapshot is None and not self.problem


def look(
    directory: Path, before: Look[PluginFolder], ignores: Ignores, env_file_of: EnvFiles = dotenv_of
) -> Look[PluginFolder]:
    """Read ``directory`` now; files that have not changed since ``before`` are not read again.

    Raises:
        FileNotFoundError: it is not there.
        OSError: it cannot be read. Neither says anything about the plugins.
    """
    return look_at(directory, before, partial(_read, directory, ignores, env_file_of))


def plugin_folders(directory: Path) -> list[Path]:
    """Folders that mean to be plugins, by name; reads nothing of them.

    Raises:
        ConfigurationError: the directory cannot be read.
    """
    try:
        folders = [path for path in directory.iterdir() if path.is_dir()]
    except FileNotFoundError:
        logger.warning("The plugin directory %s does not exist", directory)
        return []
    except OSError as error:
        problem = f"cannot read {directory}: {error.strerror}"
        raise ConfigurationError("the configuration", "manager.plugins.directory", problem) from error
    return sorted(folder for folder in folders if not is_no_plugin(folder.name))


def directories(directory: Path, folders: Iterable[PluginFolder]) -> dict[str, Ignores]:
    """Where changes are to be told of: the plugin directory, and every folder that counts in a plugin.

    To each, which names of files and folders in it never matter. An environment has thousands of folders, and the
    kernel tells of a limited number of them only.
    """
    return {str(directory): is_no_plugin, **dict(below for folder in folders for below in _directories(folder))}


def is_no_plugin(name: str) -> bool:
    """Whether nothing of this name in the plugin directory can be a plugin."""
    return name.startswith((".", "__"))


def _directories(folder: PluginFolder) -> Iterator[tuple[str, Ignores]]:
    top, snapshot = str(folder.path), folder.snapshot
    if snapshot is None:
        yield top, lambda _: False  # whatever is done there may mend it
    else:
        yield from ((f"{top}/{path}" if path else top, snapshot.ignored_in(path)) for path in snapshot.folders)


def _read(
    directory: Path,
    ignores: Ignores,
    env_file_of: EnvFiles,
    entry: "os.DirEntry[str]",
    before: Mapping[str, PluginFolder],
) -> PluginFolder | None:
    if is_no_plugin(entry.name) or (problem := _problem(entry)) is None:
        return None
    name, path = printable(entry.name), directory / entry.name
    if problem:
        return PluginFolder(name, path, problem=problem)
    known = before.get(name)
    try:
        snapshot = Snapshot.take(path, ignores, known.snapshot if known else None, env_file_of(name))
    except PluginInvalidError as error:
        return PluginFolder(name, path, problem=_said(error))
    except OutOfResourcesError as error:
        return PluginFolder(name, path, problem=error.message)
    except Exception as error:
        # The boundary of one plugin: what is wrong with its files must not keep the others from being followed.
        problem = f"{path}: cannot be read: {type(error).__name__}: {error}"
        if known is None or known.problem != problem:
            logger.exception("Cannot read the folder of plugin %s", name)
        return PluginFolder(name, path, problem=problem)
    return PluginFolder(name, path, snapshot)


def _said(error: PluginInvalidError) -> str:
    problem = f"{error.place}: {error.problem}"
    return f"{problem}; {error.hint}" if error.hint else problem


def _problem(entry: "os.DirEntry[str]") -> str | None:
    """Why what may be a folder cannot be told to be one, or nothing; None where it is none."""
    try:
        return "" if entry.is_dir() else None
    except OSError as error:
        # A link in a circle leads nowhere, like one whose target is gone.
        return None if error.errno == errno.ELOOP else f"{entry.path}: cannot be read: {error.strerror}"
