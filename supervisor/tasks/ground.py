"""What a task stands on: the base environment, or that of the plugin whose code it uses."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from plugin_runtime.protocol import ENV_DATA_DIR, ENV_RUNTIME, Phase
from plugin_runtime.views import PluginError
from supervisor.config.configuration import Configuration
from supervisor.config.live import LiveConfiguration
from supervisor.environments.environment import Environment
from supervisor.environments.installer import BASE, Installer
from supervisor.environments.progress import OnProgress
from supervisor.environments.runtime import Runtime
from supervisor.errors import PluginRefusedError
from supervisor.preparation.prefixes import check_plugin_name
from supervisor.preparation.preparation import PreparationError, in_phase
from supervisor.preparation.worker_spec import Build
from supervisor.processes.spawn import clean_environment
from supervisor.state_folder import StateFolder


@dataclass(frozen=True)
class Ground:
    """Equal to another one where a process would find everything the same."""

    environment: Environment
    guest_packages: Path
    variables: Mapping[str, str]
    """The whole environment of its processes."""
    plugin: Build | None = None
    """Whose package is importable."""

    @property
    def owner(self) -> str | None:
        """Name of the plugin."""
        return self.plugin.name if self.plugin else None

    @property
    def template(self) -> str:
        """Owner of the template that its processes are forked from: the plugin's, or that of the base environment."""
        return self.plugin.name if self.plugin else BASE


class PluginBuilds(Protocol):
    """Who builds plugins: Preparation."""

    async def build(self, name: str, folder: Path, on_progress: OnProgress) -> Build:
        """Raise PreparationError."""


class Grounds:
    """Makes them, and builds what is missing for them."""

    def __init__(self, live: LiveConfiguration, installer: Installer, runtime: Runtime, plugins: PluginBuilds) -> None:
        self._live = live
        self._installer = installer
        self._runtime = runtime
        self._plugins = plugins

    async def make(self, task: str, plugin: str | None, on_progress: OnProgress) -> Ground:
        """For ``task``; ``plugin``: whose it is, None for a core task.

        Raises:
            PreparationError: with phase, cause and what to do.
        """
        if plugin is None:
            return await in_phase(Phase.ENVIRONMENT, self._core(task, on_progress))
        build = await self._plugins.build(plugin, await self._folder(task, plugin), on_progress)
        variables = {**build.variables, **self._env(task)}
        return Ground(build.environment, build.guest_packages, variables, build)

    async def _core(self, task: str, on_progress: OnProgress) -> Ground:
        environment = await self._installer.ensure(task, None, on_progress)
        guest = await self._runtime.ensure(environment.interpreter, on_progress)
        data = StateFolder(self._configuration.state_dir).data / task
        await asyncio.to_thread(data.mkdir, parents=True, exist_ok=True)
        ours = {ENV_RUNTIME: str(guest.path), ENV_DATA_DIR: str(data)}
        return Ground(environment, guest.path, {**clean_environment(os.environ), **self._env(task), **ours})

    async def _folder(self, task: str, plugin: str) -> Path:
        """Of a plugin that may be disabled, or not be served at all; its environment can be had all the same."""
        directory = self._configuration.plugins_directory
        try:
            check_plugin_name(plugin)
        except PluginRefusedError as error:
            raise _no_plugin(task, plugin, error.problem) from error
        if not await asyncio.to_thread((directory / plugin).is_dir):
            raise _no_plugin(task, plugin, f"there is no such folder in {directory}")
        return directory / plugin

    def _env(self, task: str) -> Mapping[str, str]:
        return self._configuration.task_keys(task).env

    @property
    def _configuration(self) -> Configuration:
        return self._live.current


def _no_plugin(task: str, plugin: str, problem: str) -> PreparationError:
    message = f"task {task!r} belongs to plugin {plugin!r} by its moduleDir: {problem}"
    hint = "add the plugin, or correct moduleDir in the metadata"
    return PreparationError(PluginError(Phase.MANIFEST.value, "PluginMissing", message, hint=hint))
