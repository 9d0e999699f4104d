"""How that which a plugin's folder says comes to be served.

What is found in the folder is prepared first: environment, copy, validation. Only then is anything replaced. So a
broken save leaves alone what serves, and is shown. Whatever goes wrong with a plugin ends here, and is nobody else's
trouble.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from plugin_runtime.protocol import Cause, Phase
from plugin_runtime.views import PluginError
from supervisor.config.policies import restart_policy
from supervisor.errors import ConflictError, PluginRefusedError, ReplacementError, StoreError
from supervisor.plugins.folder_source import FolderSource
from supervisor.plugins.services import PluginServices
from supervisor.plugins.serving import OtherwiseError, Serving
from supervisor.plugins.trouble import PluginTrouble
from supervisor.plugins.view import facts_of
from supervisor.preparation.installation import Installation
from supervisor.preparation.manifest import PluginManifest
from supervisor.preparation.preparation import PreparationError, Prepared
from supervisor.preparation.worker_spec import api_prefix
from supervisor.supervision.child_events import SUPERVISOR

logger = logging.getLogger(__name__)

_OF_CODE = frozenset({Phase.MANIFEST.value, Phase.IMPORT.value})
"""Phases in which a validator finds what a worker does."""


class Deployment:
    """Of one plugin. What takes time is done by one at a time, in the order of asking."""

    def __init__(
        self,
        name: str,
        folder: Path,
        services: PluginServices,
        wanted_of: Callable[[PluginManifest], int],
        changed: Callable[[], None],
    ) -> None:
        """``wanted_of``: how many instances of something with this manifest; 0 while the plugin is not to be served.

        ``changed``: called when there is anything new to be shown, or to be told to the gateways.
        """
        self.serving = Serving(name, services, changed)
        self.is_stale = False
        """The folder may say something else than what was prepared last."""
        self.lock = asyncio.Lock()
        """Held by who changes what serves."""
        self._preparing = asyncio.Lock()
        """Held by who finds out what the folder says, which may take minutes. Never wanted with ``lock`` held."""
        self._name = name
        self._services = services
        self._wanted_of = wanted_of
        self._changed = changed
        self.is_beginning = False
        """It is being brought up; ``error`` is that of the time before."""
        self._is_followed = False
        """Somebody waits for their turn to serve what the folder says."""
        policy = restart_policy(services.configuration.supervisor.restart)
        self.trouble = PluginTrouble(name, self.serving.held, services.around.clock, policy)
        self._source = FolderSource(self.serving, self.trouble, name, folder, services, changed)

    @property
    def installation(self) -> Installation:
        """The build of its environment."""
        return self._source.installation

    @property
    def notes(self) -> list[str]:
        """What is to be known of it and keeps it from nothing, in sentences for people."""
        rolled_back = self._source.served.notes if self.serving.prepared is not None else []
        return [*rolled_back, *self.serving.notes]

    @property
    def is_refused(self) -> bool:
        """Nothing is served for want of a prefix or a name."""
        return self.trouble.awaits_prefix and self.serving.prepared is None

    @property
    def is_expected(self) -> bool:
        """Whether a ready worker may be there soon."""
        return self.is_beginning or self.serving.is_expected

    # --- what is done with it ---

    async def bring_up(self) -> None:
        """Prepare and start it unless that is done; returns when its instances are started, or with ``error`` set."""
        async with self._preparing, self.lock:
            if not self.serving.children:
                await self._bring_up()

    async def bring_up_anew(self, cause: Cause, actor: str) -> None:
        """Do it again where none of its workers is ready: what it is made from may be what somebody has just mended.

        Returns when they are ready or have failed.
        """
        async with self._preparing, self.lock:
            if self.serving.ready:  # somebody else has seen to it
                return
            self.is_beginning = True
            try:
                await self.serving.retire(cause, actor)
                await self._bring_up()
            finally:
                self.is_beginning = False
            await self.serving.settled()

    async def admit(self) -> None:
        """Try again to get the prefix that was refused."""
        async with self._preparing, self.lock:
            if self.is_refused:
                await self._bring_up()
                return
        if self.trouble.awaits_prefix:
            self.is_stale = True
            await self.follow(SUPERVISOR)

    async def follow(self, actor: str) -> None:
        """Serve what the folder says now, unless somebody else has seen to that meanwhile."""
        if self._is_followed:
            return
        self._is_followed = True
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._preparing)
            finally:
                self._is_followed = False
            if self._is_wanted and (self.is_stale or self.trouble.is_due):
                await self._renew(Cause.RELOAD, actor)

    async def reload(self, actor: str) -> None:
        """Serve what the folder says now, whatever was before; return when that is done.

        Raises:
            ReplacementError, ConflictError: it cannot be served; what did, if anything, goes on.
        """
        async with self._preparing:
            await self._source.served.forgive()
            self.is_stale = True
            await self._renew(Cause.RELOAD, actor)
            if (error := self.trouble.error) is not None:
                raise _no_reload(self._name, error, is_served=self.serving.prepared is not None)

    async def install(self, actor: str) -> None:
        """Build its environment anew, beside the one in use, and serve from it if the plugin is served at all.

        Raises:
            ConflictError: it cannot be built or served; what did goes on.
        """
        async with self._preparing:
            await self._source.served.forgive()
            await (self._renew(Cause.RELOAD, actor, anew=True) if self._is_wanted else self._install_unserved())
            if (error := self.trouble.error) is not None:
                raise ConflictError(error.message, hint=error.hint)

    async def _install_unserved(self) -> None:
        try:
            await self._source.build_anew()
            self.trouble.clear()
        except PreparationError as error:
            self.trouble.clear()  # nobody tries again for one that is not served
            self.trouble.error = error.error
        finally:
            self.installation.end()

    async def roll_back(self, actor: str) -> None:
        """Serve the generation that did before this one, until the folder says something else than it does now.

        Raises:
            ConflictError: there is none.
            ReplacementError: it cannot be served any more; what did goes on.
        """
        async with self.lock:
            self.check_rollback()
            before = await self._source.served.former()
            if before is None:
                raise _no_rollback(self._name, "the generation that served before is not kept any more")
            try:
                await self._replace(before, Cause.ROLLBACK, actor)
            except (PreparationError, PluginRefusedError) as error:
                raise ReplacementError(f"plugin {self._name!r} by the generation before", str(error)) from error
            self.trouble.clear()
            await self._source.served.note_rollback(before)
            generation = before.build.generation.hash
            logger.info("Plugin %s is rolled back to generation %s (%s)", self._name, generation, actor)

    def check_rollback(self) -> None:
        """Raise ConflictError where there is nothing to roll back to."""
        if self.serving.prepared is None:
            raise _no_rollback(self._name, "nothing serves it", hint=f"see xcore plugin show {self._name}")
        if not self._source.served.has_former:
            raise _no_rollback(self._name, "no other generation has served before this one")

    async def retire(self, cause: Cause, actor: str) -> None:
        """Stop it, and free its prefix; returns when its processes are gone."""
        async with self.lock:
            if self._is_wanted:  # again
                return
            self.trouble.clear()
            self._services.jobs.withdraw(self._name)
            # Gateways send it nothing more before it is stopped.
            self.serving.held.release()
            await self.serving.retire(cause, actor)
            self._services.pruning.soon()  # it may be forgotten by now

    async def close(self) -> None:
        """Begin nothing more and give up what is under way; the processes are the tree's to stop."""
        await self.serving.close()
        await self._source.served.close()

    # --- inside ---

    @property
    def _is_wanted(self) -> bool:
        return self._wanted_of(PluginManifest(plugin=self._name)) > 0

    async def _bring_up(self) -> None:
        self.is_beginning = True
        self.trouble.begin(anew=False)
        self._changed()
        try:
            if self._is_wanted:
                await self.trouble.guard(self._prepare_and_begin(), "cannot be served")
        finally:
            self.is_beginning = False
            self.installation.end()

    async def _renew(self, cause: Cause, actor: str, *, anew: bool = False) -> None:
        """``anew``: with another environment, whether or not there is one."""
        self.trouble.begin(anew=self.is_stale or anew, builds_anew=anew)
        self.is_stale = False
        if self.serving.prepared is None:
            async with self.lock:
                await self._bring_up()
            return
        try:
            await self.trouble.guard(self._prepare_and_replace(cause, actor), "goes on as it was")
        except asyncio.CancelledError:
            self.is_stale = True  # given up, and not done
            raise
        finally:
            self.installation.end()

    async def _prepare_and_begin(self) -> None:
        beginning = await self._source.beginning()
        self.is_stale |= beginning.is_provisional
        await self._begin(beginning.prepared)
        if beginning.error is not None:
            self.trouble.failed(beginning.error)

    async def _begin(self, prepared: Prepared) -> None:
        """Claim the prefix, start its instances and register the plugin: what serves never depends on the database."""
        await self.serving.cleared()
        self.trouble.clear()
        self.serving.held.take(api_prefix(prepared.build.manifest, prepared.description))
        self.serving.begin(prepared, self._wanted_of(prepared.build.manifest), SUPERVISOR)
        await self._source.served.note(prepared)
        await _register(self._services, self._name, self.serving.held.value, prepared)

    async def _prepare_and_replace(self, cause: Cause, actor: str) -> None:
        prepared = await self._source.prepare()
        generation = prepared.build.generation.hash
        async with self.lock:
            if not self._is_wanted or self.serving.prepared is None:
                return
            if self._source.served.is_withdrawn(prepared):
                self.trouble.clear()
                return
            if generation == self.serving.prepared.build.generation.hash:
                self.trouble.clear()
                await self._source.served.forgive()
                return
            prepared = await self._replace_by_code(prepared, cause, actor)
            self.trouble.clear()
            logger.info("Plugin %s is reloaded: generation %s (%s)", self._name, generation, actor)
            await self._source.served.note(prepared)
            await _register(self._services, self._name, self.serving.held.value, prepared)

    async def _replace_by_code(self, prepared: Prepared, cause: Cause, actor: str) -> Prepared:
        """Return what serves now, which may be more than was known of it."""
        before = self.serving.prepared
        if prepared.is_assumed and not self.serving.is_overlapping(prepared.build.manifest):
            # Nobody serves any more beside whom its workers could say what it is.
            prepared = await self._services.preparation.validate(prepared.build, before)
        try:
            await self._replace(prepared, cause, actor)
        except (OtherwiseError, PreparationError) as error:
            if not prepared.is_assumed or (isinstance(error, PreparationError) and error.error.phase not in _OF_CODE):
                raise
            # A worker that fails names one thing that is wrong with the code; a validator names all of them.
            prepared = await self._services.preparation.validate(prepared.build, before)
            await self._replace(prepared, cause, actor)
        return self.serving.prepared or prepared

    async def _replace(self, prepared: Prepared, cause: Cause, actor: str) -> None:
        await self.serving.replace(prepared, self._wanted_of(prepared.build.manifest), cause, actor)


async def _register(services: PluginServices, name: str, prefix: str, prepared: Prepared) -> None:
    try:
        await services.repository.register(facts_of(name, prefix, prepared))
    except StoreError as error:
        # Serving never depends on the database; the record is written at the next start at the latest.
        logger.warning("Cannot register plugin %s: %s", name, error)


def _no_reload(plugin: str, error: PluginError, *, is_served: bool) -> ReplacementError | ConflictError:
    if not is_served:
        return ConflictError(error.message, hint=error.hint)
    return ReplacementError(f"the code of plugin {plugin!r}", error.message, see=f"xcore plugin show {plugin}")


def _no_rollback(plugin: str, problem: str, hint: str = "change its files, and they are served") -> ConflictError:
    return ConflictError(f"cannot roll back plugin {plugin!r}: {problem}", hint=hint)
