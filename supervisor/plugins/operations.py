"""What can be asked of plugins, over HTTP or the command socket."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from plugin_runtime.protocol import Cause
from plugin_runtime.views import PluginView
from supervisor.changes import within
from supervisor.channels.operations import Operation
from supervisor.config.plugin_keys import MOST_INSTANCES
from supervisor.environments.build_log import BuildLogs
from supervisor.errors import ConflictError, InvalidValueError, UnknownNameError
from supervisor.monitoring.log_files import MOST_LINES, LogFiles
from supervisor.plugins.plugin import Plugin
from supervisor.plugins.plugins import Plugins
from supervisor.plugins.services import PluginServices
from supervisor.plugins.view import plugin_view
from supervisor.preparation.prefixes import check_plugin_name, normalise_prefix
from supervisor.store.repository import PluginChanges, PluginFacts

logger = logging.getLogger(__name__)


class PluginOperations:
    """Begins what it is asked for, and with ``wait`` seconds sees its end: TookTooLongError where that is too short."""

    def __init__(self, plugins: Plugins, services: PluginServices, logs: LogFiles, build_logs: BuildLogs) -> None:
        self._plugins = plugins
        self._services = services
        self._logs = logs
        self._build_logs = build_logs

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {
            "plugins.list": self.list_plugins,
            "plugins.show": self.show,
            "plugins.add": self.add,
            "plugins.update": self.update,
            "plugins.delete": self.delete,
            "plugins.restart": self.restart,
            "plugins.reload": self.reload,
            "plugins.rollback": self.rollback,
            "plugins.install": self.install,
            "plugins.enable": self.enable,
            "plugins.disable": self.disable,
            "plugins.scale": self.scale,
            "plugins.logs": self.read_logs,
        }

    async def list_plugins(self, *, active: bool | None = None) -> list[PluginView]:
        return [self._view(plugin) for plugin in self._plugins if active is None or plugin.active is active]

    async def show(self, name: str) -> PluginView:
        return self._view(self._plugins.named(name))

    async def add(
        self,
        name: str,
        actor: str,
        version: str = "",
        author: str = "",
        api_prefix: str = "",
        tag_for_identified: Sequence[str] = (),
        trigger: int = 1,
    ) -> PluginView:
        """Keep a record of a plugin whose folder is yet to come: it is disabled, also when the folder is there."""
        self._check_open(name, "add")
        check_plugin_name(name)
        if name in self._plugins:
            raise ConflictError(f"cannot add plugin {name!r}: there is one of that name", hint="update it instead")
        facts = PluginFacts(name, version, author, _prefix(api_prefix), list(tag_for_identified), trigger)
        row = await self._services.repository.add(facts, active=False)
        logger.info("Plugin %s is added (%s)", name, actor)
        if name not in self._plugins:
            return self._view(self._plugins.remember(row))
        plugin = self._plugins.named(name)  # its folder came while this was written
        plugin.recall(row)
        self._plugins.begin(plugin, self._plugins.obey(plugin, Cause.DISABLED, actor))
        return self._view(plugin)

    async def update(
        self,
        name: str,
        actor: str,
        version: str | None = None,
        author: str | None = None,
        api_prefix: str | None = None,
        tag_for_identified: Sequence[str] | None = None,
        trigger: int | None = None,
    ) -> PluginView:
        """Change the record of a plugin; what its code says replaces it with the next start or reload."""
        plugin = self._changeable(name, "update", disabled=True)
        tags = None if tag_for_identified is None else list(tag_for_identified)
        prefix = None if api_prefix is None else _prefix(api_prefix)
        changes = PluginChanges(version, author, prefix, tags, trigger)
        plugin.record = await self._services.repository.update(name, changes, active=plugin.active)
        logger.info("The record of plugin %s is changed (%s)", name, actor)
        return self._view(plugin)

    async def delete(self, name: str, actor: str) -> dict[str, Any]:
        """Forget a plugin that is disabled, wholly as soon as its folder is gone, too.

        A ``folder`` that is left counts as new with the next start; "" where there is none.
        """
        plugin = self._changeable(name, "forget", disabled=True)
        if plugin.active:
            raise ConflictError(f"cannot forget plugin {name!r}: it is enabled", hint="disable it first")
        if plugin.is_leaving:  # whoever came next under its name would meet its processes, prefix and route
            doing = "something is still being done with it" if plugin.serving.is_over else "it is still being stopped"
            raise ConflictError(f"cannot forget plugin {name!r}: {doing}", hint="try again in a while")
        with suppress(UnknownNameError):  # only its folder was left
            await self._services.repository.delete(name)
        plugin.forget_record()  # before the look: a folder that goes after it is followed as one without a record
        has_folder = await plugin.has_folder()
        if not has_folder:
            self._plugins.forget(plugin)
        logger.info("Plugin %s is forgotten (%s)", name, actor)
        return {"name": name, "folder": str(plugin.folder) if has_folder else ""}

    async def restart(self, name: str, actor: str, wait: float = 0.0) -> PluginView:
        plugin = self._changeable(name, "restart")
        return await self._change(plugin, lambda: plugin.restart(actor), "restart", wait)

    async def reload(self, name: str, actor: str, wait: float = 0.0) -> PluginView:
        """Serve what its folder says now, also where changes of it are not followed by themselves."""
        plugin = self._changeable(name, "reload")
        return await self._change(plugin, lambda: self._reloaded(plugin, actor), "reload", wait)

    async def _reloaded(self, plugin: Plugin, actor: str) -> None:
        await plugin.deployment.reload(actor)
        await _settled(plugin)

    async def rollback(self, name: str, actor: str, wait: float = 0.0) -> PluginView:
        """Serve the generation that did before this one."""
        plugin = self._changeable(name, "roll back")
        plugin.deployment.check_rollback()
        return await self._change(plugin, lambda: plugin.deployment.roll_back(actor), "rollback", wait)

    async def install(self, name: str, actor: str, wait: float = 0.0) -> PluginView:
        """Build its environment anew, and serve from it where it is served at all."""
        plugin = self._changeable(name, "install", disabled=True)
        await _check_folder(plugin, "install")
        return await self._change(plugin, lambda: self._installed(plugin, actor), "installation", wait)

    async def _installed(self, plugin: Plugin, actor: str) -> None:
        await plugin.deployment.install(actor)
        await _settled(plugin)

    async def enable(self, name: str, actor: str, wait: float = 0.0) -> PluginView:
        """Serve it, now and at every start."""
        plugin = self._changeable(name, "enable", disabled=True)
        await _check_folder(plugin, "enable")
        await self._plugins.set_active(plugin, actor, active=True)
        return await self._change(plugin, lambda: self._enabled(plugin, actor), "start", wait)

    async def disable(self, name: str, actor: str, wait: float = 0.0) -> PluginView:
        """Stop it until it is enabled again, also at the next start."""
        plugin = self._changeable(name, "disable", disabled=True)
        await self._plugins.set_active(plugin, actor, active=False)
        return await self._change(plugin, lambda: self._plugins.obey(plugin, Cause.DISABLED, actor), "stop", wait)

    async def _enabled(self, plugin: Plugin, actor: str) -> None:
        await self._plugins.obey(plugin, Cause.DISABLED, actor)
        await _settled(plugin)

    async def scale(self, name: str, instances: int, actor: str, wait: float = 0.0) -> PluginView:
        if not 1 <= instances <= MOST_INSTANCES:
            raise InvalidValueError("instances", f"must be from 1 to {MOST_INSTANCES}, not {instances}")
        plugin = self._changeable(name, "scale")
        await plugin.want(instances)
        return await self._change(plugin, lambda: plugin.scale(actor), "scaling", wait)

    async def read_logs(self, name: str, tail: int = 100) -> list[str]:
        self._plugins.named(name)
        return await asyncio.to_thread(self._logs.read_tail, name, max(0, min(tail, MOST_LINES)))

    def _view(self, plugin: Plugin) -> PluginView:
        traffic = self._services.gateways.traffic.of(plugin.name)
        return plugin_view(plugin, self._services.resources.latest, traffic, self._build_logs.latest(plugin.name))

    def _changeable(self, name: str, verb: str, *, disabled: bool = False) -> Plugin:
        """``disabled``: it may be disabled."""
        plugin = self._plugins.named(name)
        if not plugin.active and not disabled:
            hint = f"enable it first: xcore plugin enable {name}"
            raise ConflictError(f"cannot {verb} plugin {name!r}: it is disabled", hint=hint)
        self._check_open(name, verb)
        return plugin

    def _check_open(self, name: str, verb: str) -> None:
        if self._plugins.is_closing:
            # A gateway may still hand in orders while it drains: what is started now would never be stopped.
            raise ConflictError(f"cannot {verb} plugin {name!r}: xcore is stopping")

    async def _change(
        self, plugin: Plugin, change: Callable[[], Coroutine[Any, Any, None]], what: str, wait: float
    ) -> PluginView:
        task = self._plugins.begin(plugin, change())
        if wait > 0:
            see = f"xcore plugin show {plugin.name}"
            await within(wait, task, f"the {what} of plugin {plugin.name!r}", see=see)
        return self._view(plugin)


async def _check_folder(plugin: Plugin, verb: str) -> None:
    if not await plugin.has_folder():
        hint = f"put it there, or have the plugin forgotten: xcore plugin remove {plugin.name}"
        raise ConflictError(f"cannot {verb} plugin {plugin.name!r}: there is no folder {plugin.folder}", hint=hint)


async def _settled(plugin: Plugin) -> None:
    """Whoever gave an order is to see that it serves: where it is idle, it is woken."""
    plugin.wake()
    await plugin.serving.settled()


def _prefix(text: str) -> str:
    """Its normal form; raises InvalidValueError where it can be no prefix."""
    try:
        return normalise_prefix(text) if text else ""
    except ValueError as error:
        raise InvalidValueError("Api_prefix", str(error)) from error
