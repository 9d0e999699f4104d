"""One plugin as the supervisor runs it: how it is brought up, its instances, its route.

A plugin is brought up by a task of its own, so that none waits for another's installer. Whatever that ends with is kept
here and shown; it never ends anybody else.
"""

import asyncio
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from plugin_runtime.protocol import Cause, PluginState, Route
from plugin_runtime.views import ExitView, PluginError
from supervisor.child import Child
from supervisor.errors import ConflictError, PluginRefusedError, StoreError
from supervisor.held_prefix import HeldPrefix
from supervisor.idle_stop import IdleStop
from supervisor.jobs.plugin_jobs import declare_jobs
from supervisor.manifest import PluginManifest
from supervisor.plugin_services import PluginServices
from supervisor.plugin_state import state_of_instances
from supervisor.plugin_view import route_of
from supervisor.prefixes import check_plugin_name
from supervisor.preparation import PreparationError, Prepared
from supervisor.store.repository import PluginFacts
from supervisor.worker_spec import api_prefix, default_prefix, manifest_prefix
from supervisor.workers import Workers

logger = logging.getLogger(__name__)


class Plugin:
    """One folder of the plugin directory."""

    def __init__(
        self,
        name: str,
        folder: Path,
        services: PluginServices,
        *,
        active: bool,
        prefix: str = "",
        count: int | None = None,
    ) -> None:
        """``prefix``: what it claimed in an earlier life; taken again until it says something else.

        ``count``: instances that an operator has asked for; None: as many as its manifest says.
        """
        self.name = name
        self.folder = folder
        self.active = active
        self.prepared: Prepared | None = None
        self.workers = Workers(name, services, self._changed)
        self._idle = IdleStop(name, self.workers, services.gateways, services.around.clock, self._changed)
        self._error: PluginError | None = None
        self._services = services
        self._former_prefix = prefix
        self._held = HeldPrefix(name, services.claims, self._prefix_dropped)
        self._refused = False
        self._preparing = False
        self._installing = False
        self._count = count
        self._lock = asyncio.Lock()

    # --- what others see ---

    @property
    def prefix(self) -> str:
        """What it owns of the URL space; "" while it owns nothing."""
        return self._held.value

    @property
    def state(self) -> PluginState:
        if not self.active:
            return PluginState.DISABLED
        if self._refused:
            return PluginState.REFUSED
        if self._idle.is_asleep:
            return PluginState.IDLE
        if self.instances:
            return state_of_instances([child.state for child in self.instances], self.wanted)
        if self._error is not None:
            return PluginState.FAILED
        return PluginState.INSTALLING if self._installing else PluginState.PENDING

    @property
    def wanted(self) -> int:
        if not self.active:
            return 0
        if self.prepared is None:
            return self._count or 1
        manifest = self.prepared.build.manifest
        return 1 if manifest.exclusive else self._count or manifest.instances

    @property
    def ready(self) -> int:
        return self.workers.ready

    @property
    def instances(self) -> list[Child]:
        return self.workers.children

    @property
    def error(self) -> PluginError | None:
        """What keeps it, or a worker of it, from being served as it should."""
        return self._error or self.workers.error

    @property
    def notes(self) -> list[str]:
        """What does not work and keeps it from nothing, in sentences for people."""
        return self.workers.notes

    @property
    def last_exit(self) -> ExitView | None:
        return self.workers.last_exit

    @property
    def is_refused(self) -> bool:
        return self._refused

    # --- what is done with it ---

    async def bring_up(self) -> None:
        """Prepare and start it; returns when its instances are started, or with ``error`` set."""
        async with self._lock:
            await self._bring_up()

    async def restart(self, actor: str) -> None:
        """Replace all instances, one after the other; a plugin of which none is ready is brought up from the beginning.

        Returns when each is ready or has failed.

        Raises:
            ReplacementError: a new instance did not become ready; those that serve go on.
        """
        async with self._lock:
            if self.ready:
                self._idle.forget()
                await self.workers.replace_all(Cause.OPERATOR, actor)
                return
            # What it is made from may be what somebody has just mended.
            self._preparing = True
            self._idle.forget()
            await self.workers.retire(Cause.OPERATOR, actor)
            await self._bring_up()
            await self.workers.settled()

    def check_count(self, count: int) -> PluginManifest:
        """Return its manifest, if that allows ``count`` instances.

        Raises:
            ConflictError: it must not have so many, or it is not known yet whether it may.
        """
        if self.prepared is None:
            raise ConflictError(f"cannot scale plugin {self.name!r}: it is {self.state.value}", hint="mend it first")
        manifest = self.prepared.build.manifest
        if count > 1 and manifest.exclusive:
            raise ConflictError(
                f"cannot run {count} instances of plugin {self.name!r}: it is exclusive",
                hint="take exclusive = true out of its manifest first",
            )
        return manifest

    async def want(self, count: int) -> None:
        """Write down that there shall be ``count`` instances, also after a restart of xcore; ``scale`` makes it so.

        Raises:
            ConflictError: it must not have so many.
            StoreError: the wish cannot be written down, and is not followed.
        """
        wanted = None if self.check_count(count).instances == count else count
        await self._services.repository.scale(self.name, wanted)
        self._count = wanted

    async def scale(self, actor: str) -> None:
        """Have as many instances as are wanted; returns when they are ready or have failed. If idle, it is woken."""
        async with self._lock:
            self._idle.wake()
            if self.instances:
                await self.workers.scale(self.wanted, actor)

    def wake(self) -> None:
        """A request waits for it."""
        self._idle.wake()

    def look(self) -> None:
        """Let it stop if nobody has asked for it for long enough; to be called every second or so."""
        self._idle.look(self._idle_stop, held=self._lock.locked())

    @property
    def _idle_stop(self) -> float:
        """Seconds. What config.json says takes effect at once; 0 without a manifest."""
        written: float | None = self._services.live.current.plugin_overrides(self.name).get("idle_stop")
        if written is not None or self.prepared is None:
            return written or 0.0
        return self.prepared.build.manifest.idle_stop

    async def admit(self) -> None:
        """Try again to get the prefix that was refused."""
        async with self._lock:
            if self._refused:
                await self._bring_up()

    async def _bring_up(self) -> None:
        self._error, self._refused, self._preparing = None, False, True
        self._changed()
        try:
            await self._guarded(self._prepare_and_admit())
        finally:
            self._preparing = self._installing = False
            self._changed()

    async def _guarded(self, step: Coroutine[Any, Any, None]) -> None:
        """The boundary of a plugin: whatever goes wrong with it is shown there, and is nobody else's trouble."""
        try:
            await step
        except PreparationError as error:
            self._error = error.error
            # Code that cannot be imported cannot say its prefix: callers of the default shall learn that it failed.
            self._held.take_meanwhile(default_prefix(self.name))
            logger.error("Plugin %s cannot be served (%s): %s", self.name, error.error.phase, error)  # noqa: TRY400
        except PluginRefusedError as error:
            self._refused = True
            self._error = PluginError("manifest", "PluginRefused", str(error), hint=error.hint)
            logger.error("%s", error)  # noqa: TRY400 - a sentence for the operator; the traceback would be ours
        except Exception as error:
            self._error = PluginError("internal", type(error).__name__, "failed inside xcore; its log has the details")
            logger.exception("Plugin %s cannot be brought up", self.name)
        self._changed()

    async def _prepare_and_admit(self) -> None:
        check_plugin_name(self.folder.name)
        preparation = self._services.preparation
        manifest = await preparation.read_manifest(self.name, self.folder)
        prefix = manifest_prefix(manifest)
        if prefix is not None:
            # Before the long part: its callers wait, or learn that it failed, and nobody builds what will be refused.
            self._held.take(prefix)
            self._changed()
        self.prepared = await preparation.prepare(manifest, self.folder, self._progress)
        await self._admit(self.prepared)

    async def _admit(self, prepared: Prepared) -> None:
        """Claim the prefix, register the plugin and start its instances."""
        self._held.take(api_prefix(prepared.build.manifest, prepared.description))
        self._refused, self._error = False, None
        await self._register(prepared)
        self.workers.start(prepared, self.prefix, self.wanted)
        declare_jobs(self._services.jobs, prepared.build, self._services.configuration.supervisor.adopt_grace)

    def claim_former(self) -> None:
        """Own what it owned in an earlier life, before any newcomer can take it."""
        self._held.take_meanwhile(self._former_prefix)

    def _prefix_dropped(self) -> None:
        self._services.gateways.drop_route(self.name)
        self._services.released()

    async def _register(self, prepared: Prepared) -> None:
        found, manifest = prepared.description, prepared.build.manifest
        facts = PluginFacts(
            name=self.name,
            version=found.version or manifest.version,
            author=found.author or manifest.author,
            api_prefix=self.prefix,
            tag_for_identified=found.tags,
            trigger=found.trigger,
        )
        try:
            await self._services.repository.register(facts)
        except StoreError as error:
            # Serving never depends on the database; the record is written at the next start at the latest.
            logger.warning("Cannot register plugin %s: %s", self.name, error)

    def _progress(self, line: str) -> None:
        self._services.around.logs.write(self.name, "installer", "out", [line])
        if not self._installing:
            self._installing = True
            logger.info("Building the environment of plugin %s", self.name)
            self._changed()

    # --- what the gateways are told ---

    def _changed(self) -> None:
        if self.prefix:
            self._services.gateways.set_route(self.route())
        self._services.changed()

    def route(self) -> Route:
        """What the gateways are to know of it now."""
        limits = self.prepared.build.manifest if self.prepared else None
        parking = self._idle.is_parking
        return route_of(
            self.name,
            self.prefix,
            [] if parking else self.workers.linked,
            state=PluginState.IDLE if parking else self.state,
            expected=parking or self._preparing or self.workers.is_expected,
            error=self.error.message if self.error else "",
            request_timeout=limits.request_timeout if limits else 0.0,
            max_in_flight=limits.max_in_flight if limits else 0,
        )
