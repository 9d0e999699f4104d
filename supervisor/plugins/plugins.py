"""All plugins: found in their directory, brought up side by side, followed as it changes."""

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import replace
from typing import Any

from plugin_runtime.protocol import Cause, Kind, Phase, PluginHealth, PluginState
from plugin_runtime.views import PluginError
from supervisor.config.configuration import Configuration
from supervisor.config.unknown_names import warn_of_unknown_names
from supervisor.errors import ConflictError, StoreError, UnknownNameError
from supervisor.plugins.directory import PluginDirectory
from supervisor.plugins.folder import PluginFolder
from supervisor.plugins.plugin import Plugin
from supervisor.plugins.services import PluginServices
from supervisor.store.exits import ExitLog
from supervisor.store.repository import PluginRow
from supervisor.supervision.child_events import CONFIGURATION, SUPERVISOR, WATCHER
from supervisor.watching.directory_look import Difference
from supervisor.works import Works

logger = logging.getLogger(__name__)

LOOK_INTERVAL = 0.5
"""Seconds between two looks at whether plugins are asked for; workers tell of that every second."""

_ON_THE_WAY = {PluginState.PENDING, PluginState.INSTALLING, PluginState.STARTING, PluginState.BACKOFF}


class Plugins:
    """Owns every Plugin. None of them ever waits for another."""

    def __init__(self, directory: PluginDirectory, services: PluginServices, exits: ExitLog) -> None:
        self._directory = directory
        self._services = services
        self._exits = exits
        self._plugins: dict[str, Plugin] = {}
        self._awaited: set[str] = set()
        """Those whose folders were not there at the start, and have not come yet."""
        self._works = Works()
        self._closing = False
        self._looking: asyncio.TimerHandle | None = None
        services.gateways.wanted = self._wake

    def __contains__(self, name: object) -> bool:
        return name in self._plugins

    def __iter__(self) -> Iterator[Plugin]:
        """By name."""
        return iter(sorted(self._plugins.values(), key=lambda plugin: plugin.name))

    def knows(self, name: str) -> bool:
        """Whether there is such a plugin: a folder, though it may not be served, or a record."""
        return name in self or (self._directory.path / name).is_dir()

    # --- life ---

    async def discover(self) -> None:
        """Find the folders and begin to bring up each; returns before they are up. From now on changes are followed.

        Raises:
            StoreError: it is not known which plugins are disabled.
            ConfigurationError: the plugin directory cannot be read.
        """
        rows = {row.name: row for row in await self._services.repository.get_all()}
        folders = await self._directory.first_look(row.name for row in rows.values() if row.active)
        for name, row in rows.items():
            if name not in folders:
                self.remember(row)
        found = [Plugin(name, folder.path, self._services, rows.get(name)) for name, folder in folders.items()]
        self._plugins.update((plugin.name, plugin) for plugin in found)
        active = [plugin for plugin in found if plugin.active]
        late = {plugin.name for plugin in active if folders[plugin.name].is_awaited and not self._has_outlived(plugin)}
        for plugin in sorted(active, key=lambda plugin: plugin.name in late):
            plugin.claim_former(meanwhile=plugin.name in late)
        for plugin in active:
            if folders[plugin.name].is_awaited:
                self._await_folder(plugin)
            else:
                self.begin(plugin, self._bring_up(plugin))
        if not folders:
            logger.info("There are no plugins in %s yet", self._directory.path)
        self._look()
        configuration = self._services.live.current
        warn_of_unknown_names("plugins", configuration.plugins, self._plugins, self._directory.path)
        self._services.live.subscribe(self._apply)
        self._directory.start(self._follow)
        self._services.pruning.soon()

    def _await_folder(self, plugin: Plugin) -> None:
        """It is to be served, and its folder was not found: it is late, away for a moment, or gone.

        Workers that have outlived the supervisor before serve on meanwhile, as they would if it had not died.
        """
        self._awaited.add(plugin.name)
        if self._has_outlived(plugin):
            # Failed it would look settled before it has taken over its workers, and they would be ended.
            self.begin(plugin, self._bring_up(plugin))
        else:
            plugin.deployment.trouble.error = _folder_missing(plugin)
        if self._directory.trouble:
            logger.error("Plugin %s is not served before its folder is there: %s", plugin.name, self._directory.trouble)

    def _has_outlived(self, plugin: Plugin) -> bool:
        """Whether workers of it were left by the supervisor before."""
        return bool(self._services.around.survivors.of(plugin.name, Kind.WORKER))

    def remember(self, row: PluginRow) -> Plugin:
        """Have one that has a record and no folder."""
        record = replace(row, active=False)
        plugin = self._plugins[row.name] = Plugin(row.name, self._directory.path / row.name, self._services, record)
        self._services.changed()
        return plugin

    def forget(self, plugin: Plugin) -> None:
        """Have nothing more to do with one that has neither a record nor a folder."""
        if self._plugins.get(plugin.name) is plugin:
            del self._plugins[plugin.name]
            self._awaited.discard(plugin.name)
            self._works.begin(_let_go(plugin), f"forget-{plugin.name}")
            self._services.pruning.soon()
            self._services.changed()

    async def settled(self) -> None:
        """Wait until nothing is being done with any plugin."""
        for works in self._all_works:
            await works.wait_done()

    async def close(self) -> None:
        """End what is being done with plugins, and begin nothing more; their processes are the tree's to stop."""
        self._closing = True
        if self._looking is not None:
            self._looking.cancel()
        await self._directory.close()
        await asyncio.gather(*(plugin.deployment.close() for plugin in self._plugins.values()))
        await self._services.templates.close()
        await asyncio.gather(*(works.close() for works in self._all_works))

    @property
    def _all_works(self) -> list[Works]:
        return [self._works, *(plugin.works for plugin in self._plugins.values())]

    @property
    def is_closing(self) -> bool:
        """Whatever was started now would never be stopped."""
        return self._closing

    def retry_refused(self) -> None:
        """A prefix has become free: whoever was refused may have it now."""
        for plugin in self._plugins.values():
            if plugin.deployment.trouble.awaits_prefix and not self._closing:
                self.begin(plugin, plugin.deployment.admit())

    def _look(self) -> None:
        """Let those stop that nobody asks for."""
        self._looking = asyncio.get_running_loop().call_later(LOOK_INTERVAL, self._look)
        for plugin in self._plugins.values():
            plugin.look()
            if plugin.deployment.trouble.is_due and not plugin.works:
                self.begin(plugin, plugin.deployment.follow(SUPERVISOR))

    def _wake(self, name: str) -> None:
        plugin = self._plugins.get(name)
        if plugin is not None and not self._closing:
            plugin.wake()

    async def _bring_up(self, plugin: Plugin) -> None:
        try:
            plugin.serving.last_exit = await self._exits.last_exit(plugin.name)
        except StoreError as error:
            logger.warning("Cannot read the last exit of plugin %s: %s", plugin.name, error)
        await plugin.deployment.bring_up()
        if plugin.name in self._awaited:  # what serves has outlived the supervisor before
            plugin.deployment.trouble.error = _folder_missing(plugin)
            self._services.changed()
        elif plugin.deployment.is_stale and plugin.is_autoreloaded:
            await plugin.deployment.follow(SUPERVISOR)

    # --- what changes ---

    def _follow(self, difference: Difference, folders: Mapping[str, PluginFolder]) -> None:
        """The directory is another one than at the last look."""
        if self._closing:
            return
        for name in difference.removed:
            self._awaited.discard(name)
            plugin = self._plugins.get(name)  # None: it was forgotten meanwhile
            if plugin is not None and plugin.active:
                logger.warning("The folder of plugin %s is gone: it is disabled", name)
                self._works.begin(self._disable_vanished(plugin), f"vanished-{name}")
            elif plugin is not None and plugin.record is None:
                logger.info("The folder of plugin %s is gone, and nothing else is known of it", name)
                self.forget(plugin)
        for name in (*difference.new, *(name for name in difference.changed if name not in self._plugins)):
            self._appeared(name, folders[name])
        for name in difference.changed:
            plugin = self._plugins[name]
            if name in self._awaited:
                self._came(plugin)
            elif plugin.note_change():
                self.begin(plugin, plugin.deployment.follow(WATCHER))

    def _came(self, plugin: Plugin) -> None:
        """The folder of one is there that was not at the start."""
        self._awaited.discard(plugin.name)
        plugin.deployment.trouble.clear()
        plugin.deployment.is_stale = plugin.prepared is not None  # what serves was made before
        if plugin.active:
            logger.info("The folder of plugin %s is there", plugin.name)
            self.begin(plugin, self._bring_up(plugin))
        else:
            self._appeared(plugin.name, PluginFolder(plugin.name, plugin.folder))

    def _appeared(self, name: str, folder: PluginFolder) -> None:
        plugin = self._plugins.get(name)
        if plugin is None:
            logger.info("Plugin %s is new", name)
            plugin = self._plugins[name] = Plugin(name, folder.path, self._services)
            self.begin(plugin, self._welcome(plugin))
        else:
            hint = f"enable it with xcore plugin enable {name}"
            logger.warning("The folder of plugin %s is there; it stays disabled: %s", name, hint)
        self._services.changed()

    async def _welcome(self, plugin: Plugin) -> None:
        """Bring up one that came while xcore runs, as it was left where it has been here before."""
        try:
            plugin.recall(await self._services.repository.get(plugin.name))
        except UnknownNameError:
            logger.debug("Plugin %s was never here before", plugin.name)
        except StoreError as error:
            logger.warning("Cannot read the record of plugin %s: %s", plugin.name, error)
        if plugin.active:
            await self._bring_up(plugin)
        else:
            logger.warning("Plugin %s is disabled: enable it with xcore plugin enable %s", plugin.name, plugin.name)

    async def _disable_vanished(self, plugin: Plugin) -> None:
        plugin.active = False  # whatever the database says: there is nothing that could be served
        try:
            await self.set_active(plugin, WATCHER, active=False)
        except StoreError as error:
            logger.warning("Cannot write down that plugin %s is disabled: %s", plugin.name, error)
            plugin.works.cancel()
        await self.obey(plugin, Cause.DISABLED, WATCHER)

    def _apply(self, before: Configuration, after: Configuration) -> list[str]:
        """Follow a change of the configuration: what a plugin is made with is followed like a change of its folder."""
        self._directory.interval = after.manager.plugins.interval
        for plugin in self._plugins.values():
            if before.plugin_overrides(plugin.name) != after.plugin_overrides(plugin.name):
                plugin.deployment.is_stale = True
                if plugin.active and not self._closing:
                    self.begin(plugin, plugin.deployment.follow(CONFIGURATION))
        if before.plugins != after.plugins:
            warn_of_unknown_names("plugins", after.plugins, self._plugins, self._directory.path)
        return []

    async def set_active(self, plugin: Plugin, actor: str, *, active: bool) -> None:
        """Write down whether it is to be served, now and at every start; ``obey`` is to follow.

        Raises:
            StoreError: that cannot be stored, and nothing is done.
        """
        await plugin.set_active(active=active)
        logger.info("Plugin %s is %s (%s)", plugin.name, "enabled" if active else "disabled", actor)
        if not active:
            plugin.works.cancel()  # it may take minutes, and is not wanted any more

    async def obey(self, plugin: Plugin, cause: Cause, actor: str) -> None:
        """Serve it or not, as it is wanted by now; return when its instances are started, or gone."""
        if plugin.active:
            await self._bring_up(plugin)
        else:
            await plugin.deployment.retire(cause, actor)

    def begin(self, plugin: Plugin, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Do something with a plugin beside all else; what goes wrong is logged.

        Raises:
            ConflictError: xcore is stopping, and what is started now would never be stopped.
        """
        if self._closing:
            work.close()
            raise ConflictError(f"cannot work on plugin {plugin.name!r}: xcore is stopping")
        return plugin.works.begin(work, f"plugin-{plugin.name}")

    # --- what is known ---

    @property
    def is_settled(self) -> bool:
        return all(plugin.state not in _ON_THE_WAY for plugin in self._plugins.values())

    def health(self) -> dict[str, PluginHealth]:
        return {
            plugin.name: PluginHealth(plugin.state.value, plugin.ready, plugin.wanted, plugin.restarts)
            for plugin in self._plugins.values()
        }

    def named(self, name: str) -> Plugin:
        """Raises UnknownNameError where there is no such plugin."""
        try:
            return self._plugins[name]
        except KeyError:
            raise UnknownNameError("plugin", name, list(self._plugins)) from None


async def _let_go(plugin: Plugin) -> None:
    await plugin.works.close()  # its environment may be in the making: nobody will want it
    await plugin.deployment.close()


def _folder_missing(plugin: Plugin) -> PluginError:
    return PluginError(
        Phase.MANIFEST.value,
        "FolderMissing",
        f"there is no folder {plugin.folder}",
        hint=f"it is served as soon as there is; if it is gone for good: xcore plugin disable {plugin.name}",
    )
