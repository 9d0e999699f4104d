"""What a plugin's folder says, made ready to be served; and what is there already, where that serves instead of it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from plugin_runtime.views import PluginError
from supervisor.plugins.served_generations import ServedGenerations
from supervisor.plugins.services import PluginServices
from supervisor.plugins.serving import Serving
from supervisor.plugins.trouble import PluginTrouble
from supervisor.preparation.installation import Installation
from supervisor.preparation.prefixes import check_plugin_name
from supervisor.preparation.preparation import PreparationError, Prepared

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Beginning:
    """What a plugin is to be served from where nothing serves it."""

    prepared: Prepared
    is_provisional: bool = False
    """Nobody has looked at what the folder says."""
    error: PluginError | None = None
    """Why it is not what the folder says."""


class FolderSource:
    """Of one plugin. Owns its builds and what is kept of its generations.

    It has the plugin hold a prefix before its first build, and changes nothing of what serves.
    """

    def __init__(
        self,
        serving: Serving,
        trouble: PluginTrouble,
        plugin: str,
        folder: Path,
        services: PluginServices,
        changed: Callable[[], None],
    ) -> None:
        """``changed``: called when there is anything new to be shown, or to be told to the gateways."""
        self.installation = Installation("plugin", plugin, services.around, changed)
        self.served = ServedGenerations(plugin, folder, services)
        self._serving = serving
        self._trouble = trouble
        self._plugin = plugin
        self._folder = folder
        self._preparation = services.preparation
        self._live = services.live
        self._changed = changed

    async def beginning(self) -> Beginning:
        """What to begin with: what the folder says, unless that is broken or withdrawn and something else has served.

        Raises:
            PluginRefusedError: the name of the folder is not to be had.
            PreparationError: there is nothing that could be served.
        """
        check_plugin_name(self._folder.name)
        kept = await self.served.recall()
        if kept is not None and self.served.outlived(kept):
            # They serve on, and what the folder says replaces them as any change of it would.
            return Beginning(kept, is_provisional=True)
        try:
            prepared = await self.prepare()
        except PreparationError as error:
            if kept is None:
                raise
            logger.error("Plugin %s is served as it was (%s): %s", self._plugin, error.error.phase, error.told)  # noqa: TRY400
            return Beginning(kept, error=error.error)
        if kept is not None and self.served.is_withdrawn(prepared):
            return Beginning(kept)
        await self.served.forgive()
        return Beginning(prepared)

    async def prepare(self) -> Prepared:
        """Make ready what the folder says; nobody removes it before something else is made.

        Raises:
            PluginRefusedError: the prefix in its manifest is not to be had.
            PreparationError: with phase, cause and what to do.
        """
        manifest = await self._preparation.read_manifest(self._plugin, self._folder)
        if self._serving.prepared is None:
            # Before the long part: its callers wait, or learn that it failed, and nobody builds what will be refused.
            await self._serving.held.take_expected(manifest, self._folder, self._live.current)
            self._changed()
        if self._trouble.builds_anew:
            await self.build_anew()
        build = await self._preparation.assemble(manifest, self._folder, self.installation.follow)
        self.served.expect(build)
        before, may_assume = self._serving.prepared, self._serving.is_overlapping(manifest)
        return await self._preparation.examine(build, before, may_assume=may_assume)

    async def build_anew(self) -> None:
        """Build another environment beside the one in use; what is prepared next has it.

        Raises:
            PreparationError: with cause and what to do.
        """
        await self._preparation.build_anew(self._plugin, self._folder, self.installation.follow)
        self._trouble.builds_anew = False
