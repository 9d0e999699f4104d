"""From a plugin's folder to the environment it runs in."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from supervisor.environments import project
from supervisor.environments.builder import Builder, Plan
from supervisor.environments.environment import Environment
from supervisor.environments.interpreters import Interpreters
from supervisor.environments.progress import OnProgress, unheard
from supervisor.environments.project import Project
from supervisor.errors import EnvironmentBuildError

BASE = "_base"
"""Owner of the base environments; a plugin's folder of that name is not to be had."""
SHIPPED_BASE = Path(__file__).with_name("base") / "pyproject.toml"


@dataclass(frozen=True)
class _Wanted:
    """``owner``: the plugin, or BASE where it has nothing of its own to install."""

    owner: str
    project: Project
    constraints: tuple[str | None, ...]


class Installer:
    """Gives every plugin its environment; built once per content, found again without starting any process."""

    def __init__(self, folder: Path, builder: Builder, interpreters: Interpreters, base: Path | None = None) -> None:
        """``folder``: of all environments; ``base``: key ``supervisor.base_environment``, a pyproject.toml."""
        self._folder = folder
        self._builder = builder
        self._interpreters = interpreters
        self._base = base or SHIPPED_BASE

    async def ensure(
        self, plugin: str, folder: Path | None, on_progress: OnProgress = unheard, *, anew: bool = False
    ) -> Environment:
        """Return the environment of the plugin in ``folder``, built now where it is not there yet.

        ``on_progress`` gets what is being done and every line of the installer. ``anew``: build another one beside
        that which is there.

        Raises:
            EnvironmentBuildError: with the installer's last lines and, where known, what to do.
        """
        return await self._builder.ensure(await self.plan(plugin, folder), on_progress, anew=anew)

    async def plan(self, plugin: str, folder: Path | None) -> Plan:
        """Say which environment the plugin in ``folder`` gets, without building it.

        Without a folder (core tasks), without a pyproject.toml, and without dependencies in it: the base environment.

        Raises:
            EnvironmentBuildError: its dependencies cannot be had, or no installed Python fits.
        """
        # The plugin directory may lie on a file server, which may not answer for minutes.
        wanted = await asyncio.to_thread(self._wanted, plugin, folder)
        wanted.project.check()
        interpreter = await self._interpreters.choose(plugin, *wanted.constraints)
        return Plan(plugin, self._folder / wanted.owner, wanted.project, interpreter, plugin)

    async def problems(self, plugin: str, folder: Path) -> list[EnvironmentBuildError]:
        """All that is wrong with what ``plan`` goes by; it tells the first only."""
        try:
            wanted = self._wanted(plugin, folder)
        except EnvironmentBuildError as error:
            return [error]
        found = []
        try:
            wanted.project.check()
        except EnvironmentBuildError as error:
            found.append(error)
        try:
            await self._interpreters.choose(plugin, *wanted.constraints)
        except EnvironmentBuildError as error:
            found.append(error)
        return found

    def _wanted(self, plugin: str, folder: Path | None) -> _Wanted:
        own = project.read(plugin, folder / "pyproject.toml") if folder is not None else None
        if own is not None and own.has_dependencies:
            return _Wanted(plugin, own, (own.requires_python,))
        base = project.read(plugin, self._base)
        if base is None:
            raise EnvironmentBuildError(
                plugin,
                f"there is no base environment {self._base}",
                hint="let supervisor.base_environment name a pyproject.toml",
            )
        return _Wanted(BASE, base, (base.requires_python, own.requires_python if own is not None else None))
