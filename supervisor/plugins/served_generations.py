"""Which generations of a plugin have served, and what they were made from: for rollbacks and the next supervisor."""

from dataclasses import replace
from pathlib import Path

from plugin_runtime.protocol import Kind
from supervisor.plugins.services import PluginServices
from supervisor.preparation.generations import Served
from supervisor.preparation.preparation import Prepared


class ServedGenerations:
    """Owns what is kept of them: the one that serves, the one before, and one that was rolled back from."""

    def __init__(self, plugin: str, folder: Path, services: PluginServices) -> None:
        self._plugin = plugin
        self._folder = folder
        self._services = services
        self._served = Served()
        self._written = self._served
        self._expected = ""

    @property
    def has_former(self) -> bool:
        """Whether another one served before that may serve again."""
        return bool(self._served.before)

    def is_withdrawn(self, prepared: Prepared) -> bool:
        """Whether the operator has rolled back from this one."""
        return prepared.build.generation.hash == self._served.withdrawn

    def expect(self, prepared: Prepared) -> None:
        """The folder says this: it is about to serve, and nobody may remove it meanwhile."""
        self._expected = prepared.build.generation.hash
        if not self.is_withdrawn(prepared):
            self.forgive()

    def forgive(self) -> None:
        """Whatever was rolled back may serve again; that is written down with the next ``note``."""
        self._served = replace(self._served, withdrawn="")

    async def recall(self) -> Prepared | None:
        """What served last, by this supervisor or one before; None where it is not kept."""
        self._served = self._written = await self._services.preparation.served(self._plugin)
        return await self._kept(self._served.current)

    async def former(self) -> Prepared | None:
        """What served before what serves; None where it is not kept any more."""
        return await self._kept(self._served.before)

    def outlived(self, prepared: Prepared) -> bool:
        """Whether workers of this generation have outlived the supervisor before, and may be taken over."""
        survivors = self._services.around.survivors.of(self._plugin, Kind.WORKER)
        return any(record.generation == prepared.build.generation.hash for record in survivors)

    async def note(self, prepared: Prepared) -> None:
        """It serves."""
        generation = prepared.build.generation.hash
        if generation == self._served.current:
            await self._keep(self._served)
        else:
            await self._keep(Served(generation, before=self._served.current))

    async def note_rollback(self, prepared: Prepared) -> None:
        """It serves again, in the place of what served after it."""
        await self._keep(Served(prepared.build.generation.hash, withdrawn=self._served.current))

    async def _keep(self, served: Served) -> None:
        preparation = self._services.preparation
        self._served = served
        if served != self._written:
            await preparation.note_served(self._plugin, served)
            self._written = served
        in_use = {child.spec.generation for child in self._services.tree.children if child.spec.name == self._plugin}
        kept = {served.current, served.before, served.withdrawn, self._expected} - {""}
        await preparation.prune(self._plugin, in_use | kept | self._services.pruning.generations(self._plugin))
        self._services.pruning.soon()

    async def _kept(self, generation: str) -> Prepared | None:
        return await self._services.preparation.restore(self._plugin, self._folder, generation) if generation else None
