"""PluginDirectory: which plugins there are, and whoever follows it told of what changes in them."""

import asyncio
import errno
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from supervisor.errors import ConfigurationError
from supervisor.plugins import folder as plugin_folder
from supervisor.plugins.folder import EnvFiles, Ignores, PluginFolder, dotenv_of, is_no_plugin
from supervisor.preparation import snapshot
from supervisor.watching.directory_look import Difference, Look
from supervisor.watching.folder_watch import FolderWatch
from supervisor.watching.followed_directory import FollowedDirectory

logger = logging.getLogger(__name__)

Follow = Callable[[Difference, Mapping[str, PluginFolder]], None]

_AWAY = {errno.ENOENT, errno.ENODEV}
"""The directory is being replaced, or is not mounted yet; it may come while xcore runs."""


class PluginDirectory:
    """Owns the watch of the plugin directory and the last look at it."""

    def __init__(
        self, directory: Path, ignores: Callable[[], Ignores], interval: float, env_file_of: EnvFiles = dotenv_of
    ) -> None:
        """``ignores``: gives the rule of the settings in force; ``env_file_of`` is called in a thread."""
        self.path = directory
        self._ignores = ignores
        self._env_file_of = env_file_of
        self._follow: Follow = lambda _difference, _folders: None
        self._watch = FolderWatch(directory, interval, is_no_plugin)
        self._plugins = FollowedDirectory(self._watch, self._read, "plugin", absent=logging.WARNING)
        self._looking = asyncio.Lock()
        self._closing = False

    @property
    def interval(self) -> float:
        """Seconds between two looks where no event comes. May be set at any time."""
        return self._watch.interval

    @interval.setter
    def interval(self, seconds: float) -> None:
        self._watch.interval = seconds

    @property
    def trouble(self) -> str:
        """Why the last look says nothing about the plugins; "" where it does."""
        return self._plugins.trouble

    async def first_look(self, expected: Iterable[str] = ()) -> Mapping[str, PluginFolder]:
        """What there is; to be called once, before ``start``. Without a directory there are none.

        ``expected``: names of plugins that are to be there. Those that are not found are among the folders, awaited;
        ``follow`` is told when they come, or when two more looks at the directory do not find them either.

        Raises:
            ConfigurationError: it cannot be read.
        """
        try:
            await self._plugins.read_first(PluginFolder(name, self.path / name) for name in expected)
        except OSError as error:
            if error.errno not in _AWAY:
                problem = f"cannot read {self._watch.folder}: {error.strerror or error}"
                raise ConfigurationError("the configuration", "manager.plugins.directory", problem) from error
            self._plugins.note(error)
        return self._plugins.entries

    def start(self, follow: Follow) -> None:
        """Follow changes from now on.

        ``follow``: called in the event loop when something has changed since the call before, or since the first look,
        with the names and all folders that there are; one that is not found for the first time is still among them.
        """
        self._follow = follow
        self._watch.start(self.look)

    async def look(self) -> None:
        """Look now; return when ``follow`` has been told."""
        async with self._looking:
            before = self._plugins.entries
            difference = await self._plugins.difference()
            if difference and not self._closing:
                for name in difference.changed:
                    _log_change(before.get(name), self._plugins.entries[name])
                self._follow(difference, self._plugins.entries)

    async def close(self) -> None:
        """Follow nothing any more."""
        self._closing = True
        await self._watch.close()

    def _read(self, directory: Path, before: Look[PluginFolder]) -> Look[PluginFolder]:
        ignores = self._ignores()
        seen = plugin_folder.look(directory, before, ignores, self._env_file_of)
        self._watch.directories = plugin_folder.directories(directory, seen.entries.values())
        return seen


def _log_change(before: PluginFolder | None, now: PluginFolder) -> None:
    """Say which files are to blame for what follows.

    Not where only the env_file is better known than at a look that came before the manifest was read. That is followed
    in silence: the file may have been changed since it was read.
    """
    if before is None or before.snapshot is None or now.snapshot is None:
        return
    seen = snapshot.diff(before.snapshot, now.snapshot)
    counted, counts = (taken.rules.always if taken.rules else frozenset() for taken in (before.snapshot, now.snapshot))
    if seen.modified or not {*seen.added, *seen.removed} <= counted ^ counts:
        logger.info("Plugin %s has changed: %s", now.name, seen)
