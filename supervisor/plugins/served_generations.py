"""Which generations of a plugin have served, and what they were made from: for rollbacks and the next supervisor."""

from dataclasses import replace
from pathlib import Path

from plugin_runtime.protocol import Kind
from supervisor.plugins.services import PluginServices
from supervisor.preparation.generations import Served
from supervisor.preparation.preparation import Prepared
from supervisor.preparation.worker_spec import Build
from supervisor.works import Works


class ServedGenerations:
    """Owns what is kept of them: the one that serves, the one before, and one that was rolled back from."""

    def __init__(self, plugin: str, folder: Path, services: PluginServices) -> None:
        self._plugin = plugin
        self._folder = folder
        self._services = services
        self._served = Served()
        self._written: Served | None = None
        """None before anybody has read what an earlier supervisor wrote down."""
        self._expected = ""
        self._removals = Works()

    @property
    def has_former(self) -> bool:
        """Whether another one served before that may serve again."""
        return bool(self._served.before)

    @property
    def notes(self) -> list[str]:
        """That what serves is there by a rollback, and how to end that; in sentences for people."""
        if not self._served.withdrawn:
            return []
        take_up = f"to serve what its folder says: xcore plugin reload {self._plugin}"
        return [f"generation {self._served.current} serves since the plugin was rolled back; {take_up}"]

    def is_withdrawn(self, prepared: Prepared) -> bool:
        """Whether the operator has rolled back from this one."""
        return prepared.build.generation.hash == self._served.withdrawn

    def expect(self, build: Build) -> None:
        """It may be about to serve: nobody may remove it meanwhile."""
        self._expected = build.generation.hash

    async def forgive(self) -> None:
        """Whatever was rolled back may serve again, whenever the plugin is brought up next."""
        await self._read()
        await self._write(replace(self._served, withdrawn=""))

    async def close(self) -> None:
        """Remove nothing more."""
        await self._removals.close()

    async def recall(self) -> Prepared | None:
        """What served last, by this supervisor or one before; None where it is not kept."""
        await self._read()
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

    async def _read(self) -> None:
        if self._written is None:
            self._served = self._written = await self._services.preparation.served(self._plugin)

    async def _write(self, served: Served) -> None:
        self._served = served
        if served != self._written:
            await self._services.preparation.note_served(self._plugin, served)
            self._written = served

    async def _keep(self, served: Served) -> None:
        await self._write(served)
        # By itself: it waits for a build that is under way, and whoever is here keeps all others from the plugin.
        self._removals.begin(self._remove_others(), f"generations-{self._plugin}")

    async def _remove_others(self) -> None:
        await self._services.preparation.prune(self._plugin, self._needed)
        self._services.pruning.soon()  # of what they were made with

    def _needed(self) -> set[str]:
        """Hashes of those that must not be removed now."""
        in_use = {child.spec.generation for child in self._services.tree.children if child.spec.name == self._plugin}
        kept = {self._served.current, self._served.before, self._served.withdrawn, self._expected} - {""}
        return in_use | kept | self._services.pruning.generations(self._plugin)

    async def _kept(self, generation: str) -> Prepared | None:
        return await self._services.preparation.restore(self._plugin, self._folder, generation) if generation else None
