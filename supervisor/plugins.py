"""All plugins: found in their directory, brought up side by side, asked about and acted on by name."""

import asyncio
import logging
import os
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from plugin_runtime.protocol import PluginHealth, PluginState
from plugin_runtime.views import PluginView
from supervisor.changes import within
from supervisor.config.plugin_keys import MOST_INSTANCES
from supervisor.config.unknown_names import warn_of_unknown_names
from supervisor.errors import (
    ConfigurationError,
    ConflictError,
    InvalidValueError,
    PluginRefusedError,
    StoreError,
    UnknownNameError,
)
from supervisor.log_files import LogFiles
from supervisor.operations import Operation
from supervisor.plugin import Plugin
from supervisor.plugin_services import PluginServices
from supervisor.plugin_view import plugin_view
from supervisor.store.exits import ExitLog
from supervisor.works import Works

logger = logging.getLogger(__name__)

MOST_LINES = 10_000
"""Of a log in one answer."""

LOOK_INTERVAL = 0.5
"""Seconds between two looks at whether plugins are asked for; workers tell of that every second."""

_ON_THE_WAY = {PluginState.PENDING, PluginState.INSTALLING, PluginState.STARTING, PluginState.BACKOFF}


class Plugins:
    """Owns every Plugin and what is being done with them."""

    def __init__(self, directory: Path, services: PluginServices, logs: LogFiles, exits: ExitLog) -> None:
        self._directory = directory
        self._services = services
        self._logs = logs
        self._exits = exits
        self._plugins: dict[str, Plugin] = {}
        self._works = Works()
        self._closing = False
        self._looking: asyncio.TimerHandle | None = None
        services.gateways.wanted = self._wake

    # --- life ---

    async def discover(self) -> None:
        """Find the folders and begin to bring up each; returns before they are up.

        Raises:
            StoreError: it is not known which plugins are disabled.
            ConfigurationError: the plugin directory cannot be read.
        """
        known = {row.name: row for row in await self._services.repository.get_all()}
        for folder in await asyncio.to_thread(plugin_folders, self._directory):
            name = _printable(folder.name)
            row = known.get(name)
            plugin = Plugin(
                name,
                folder,
                self._services,
                active=row.active if row else True,
                prefix=row.api_prefix if row else "",
                count=row.instances if row else None,
            )
            self._plugins[name] = plugin
        active = [plugin for plugin in self._plugins.values() if plugin.active]
        for plugin in active:
            plugin.claim_former()
        for plugin in active:
            self._works.begin(self._bring_up(plugin), f"plugin-{plugin.name}")
        if not self._plugins:
            logger.info("There are no plugins in %s yet", self._directory)
        self._look()
        warn_of_unknown_names("plugins", self._services.configuration.plugins, self._plugins, self._directory)

    async def settled(self) -> None:
        """Wait until no plugin is on its way any more."""
        await self._works.wait_done()

    async def close(self) -> None:
        """End what is being done with plugins, and begin nothing more; their processes are the tree's to stop."""
        self._closing = True
        if self._looking is not None:
            self._looking.cancel()
        await self._works.close()
        await asyncio.gather(*(plugin.workers.close() for plugin in self._plugins.values()))

    def retry_refused(self) -> None:
        """A prefix has become free: whoever was refused may have it now."""
        for plugin in self._plugins.values():
            if plugin.is_refused and not self._closing:
                self._works.begin(plugin.admit(), f"plugin-{plugin.name}")

    def _look(self) -> None:
        """Let those stop that nobody asks for."""
        self._looking = asyncio.get_running_loop().call_later(LOOK_INTERVAL, self._look)
        for plugin in self._plugins.values():
            plugin.look()

    def _wake(self, name: str) -> None:
        plugin = self._plugins.get(name)
        if plugin is not None and not self._closing:  # what is started while xcore stops would never be stopped
            plugin.wake()

    async def _bring_up(self, plugin: Plugin) -> None:
        try:
            plugin.workers.last_exit = await self._exits.last_exit(plugin.name)
        except StoreError as error:
            logger.warning("Cannot read the last exit of plugin %s: %s", plugin.name, error)
        await plugin.bring_up()

    # --- what is known ---

    @property
    def is_settled(self) -> bool:
        return all(plugin.state not in _ON_THE_WAY for plugin in self._plugins.values())

    def health(self) -> dict[str, PluginHealth]:
        return {
            plugin.name: PluginHealth(
                plugin.state.value,
                plugin.ready,
                plugin.wanted,
                plugin.workers.restarts,
            )
            for plugin in self._plugins.values()
        }

    def named(self, name: str) -> Plugin:
        """Raises UnknownNameError where there is no such plugin."""
        try:
            return self._plugins[name]
        except KeyError:
            raise UnknownNameError("plugin", name, list(self._plugins)) from None

    def _view(self, plugin: Plugin) -> PluginView:
        return plugin_view(plugin, self._services.resources.latest, self._services.gateways.traffic.of(plugin.name))

    # --- operations ---

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {
            "plugins.list": self.list_plugins,
            "plugins.show": self.show,
            "plugins.restart": self.restart,
            "plugins.scale": self.scale,
            "plugins.logs": self.read_logs,
        }

    async def list_plugins(self, *, active: bool | None = None) -> list[PluginView]:
        chosen = (p for p in self._plugins.values() if active is None or p.active is active)
        return [self._view(plugin) for plugin in sorted(chosen, key=lambda p: p.name)]

    async def show(self, name: str) -> PluginView:
        return self._view(self.named(name))

    async def restart(self, name: str, actor: str, wait: float = 0.0) -> PluginView:
        plugin = self._changeable(name, "restart")
        return await self._change(plugin, plugin.restart(actor), "restart", wait)

    async def scale(self, name: str, instances: int, actor: str, wait: float = 0.0) -> PluginView:
        if not 1 <= instances <= MOST_INSTANCES:
            raise InvalidValueError("instances", f"must be from 1 to {MOST_INSTANCES}, not {instances}")
        plugin = self._changeable(name, "scale")
        await plugin.want(instances)
        return await self._change(plugin, plugin.scale(actor), "scaling", wait)

    def _changeable(self, name: str, verb: str) -> Plugin:
        plugin = self.named(name)
        if not plugin.active:
            raise PluginRefusedError(name, "it is disabled", hint="enable it first")
        if self._closing:
            # A gateway may still hand in orders while it drains: what is started now would never be stopped.
            raise ConflictError(f"cannot {verb} plugin {name!r}: xcore is stopping")
        return plugin

    async def _change(self, plugin: Plugin, change: Coroutine[Any, Any, None], what: str, wait: float) -> PluginView:
        """Begin it, and with ``wait`` seconds see its end."""
        task = self._works.begin(change, f"{what}-{plugin.name}")
        if wait > 0:
            await within(wait, task, f"the {what} of plugin {plugin.name!r}")
        return self._view(plugin)

    async def read_logs(self, name: str, tail: int = 100) -> list[str]:
        self.named(name)
        return await asyncio.to_thread(self._logs.read_tail, name, max(0, min(tail, MOST_LINES)))


def plugin_folders(directory: Path) -> list[Path]:
    """Folders that mean to be plugins, by name. Hidden ones, ``__pycache__`` and the like are none."""
    try:
        folders = [path for path in directory.iterdir() if path.is_dir()]
    except FileNotFoundError:
        logger.warning("The plugin directory %s does not exist", directory)
        return []
    except OSError as error:
        problem = f"cannot read {directory}: {error.strerror}"
        raise ConfigurationError("the configuration", "manager.plugins.directory", problem) from error
    return sorted(folder for folder in folders if not folder.name.startswith((".", "__")))


def _printable(name: str) -> str:
    """A folder's name may be any bytes; what is no UTF-8 is escaped, or no message could ever hold it."""
    return os.fsencode(name).decode(errors="backslashreplace")
