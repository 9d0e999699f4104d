"""One plugin as the supervisor runs it: what is wanted of it, what others see of it, and its route."""

import asyncio
from pathlib import Path

from plugin_runtime.protocol import Cause, PluginState, Route
from plugin_runtime.views import ExitView, PluginError, ProgressView
from supervisor.errors import ConflictError
from supervisor.plugins.deployment import Deployment
from supervisor.plugins.services import PluginServices
from supervisor.plugins.state import state_of_instances
from supervisor.plugins.view import route_of, trouble_of
from supervisor.preparation.manifest import PluginManifest
from supervisor.preparation.preparation import Prepared
from supervisor.store.repository import PluginRow
from supervisor.supervision.child import Child
from supervisor.works import Works


class Plugin:
    """One folder of the plugin directory."""

    def __init__(
        self,
        name: str,
        folder: Path,
        services: PluginServices,
        record: PluginRow | None = None,
        *,
        active: bool = True,
    ) -> None:
        """``record``: of an earlier life. ``active``: whether it is to be served where there is no record."""
        self.name = name
        self.folder = folder
        self.record = record
        """As it was read or written last."""
        self.active = record.active if record else active
        self.deployment = Deployment(name, folder, services, self._wanted_of, self._changed)
        self.serving = self.deployment.serving
        self.works = Works()
        """What is being done with it."""
        self._services = services
        self._count = record.instances if record else None
        """Instances that an operator has asked for; None: as many as its manifest says."""
        self._orders = asyncio.Lock()

    # --- what others see ---

    @property
    def prefix(self) -> str:
        """What it owns of the URL space; "" while it owns nothing."""
        return self.serving.held.value

    @property
    def prepared(self) -> Prepared | None:
        """What serves is made from."""
        return self.serving.prepared

    @property
    def state(self) -> PluginState:
        if not self.active:
            return PluginState.DISABLED
        if self.deployment.is_refused:
            return PluginState.REFUSED
        if self.serving.idle.is_asleep:
            return PluginState.IDLE
        if self.instances:
            return state_of_instances([child.state for child in self.instances], self.wanted)
        if self.deployment.trouble.error is not None and not self.deployment.is_expected:
            return PluginState.FAILED
        return PluginState.INSTALLING if self.deployment.installation.is_under_way else PluginState.PENDING

    @property
    def wanted(self) -> int:
        if self.prepared is None:
            return (self._count or 1) if self.active else 0
        return self._wanted_of(self.prepared.build.manifest)

    def _wanted_of(self, manifest: PluginManifest) -> int:
        if not self.active:
            return 0
        return 1 if manifest.exclusive else self._count or manifest.instances

    @property
    def ready(self) -> int:
        return self.serving.ready

    @property
    def restarts(self) -> int:
        return self.serving.restarts

    @property
    def instances(self) -> list[Child]:
        return self.serving.children

    @property
    def is_leaving(self) -> bool:
        """Something is being done with it, or processes of it are on their way out."""
        return bool(self.works) or not self.serving.is_over

    @property
    def error(self) -> PluginError | None:
        """What keeps it, or its newest code, or a worker of it, from being served as it should."""
        return self.deployment.trouble.error or self.serving.error

    @property
    def is_outdated(self) -> bool:
        """It serves, and its newest code cannot be; ``error`` says why."""
        return self.deployment.trouble.error is not None and self.prepared is not None

    @property
    def notes(self) -> list[str]:
        """What is to be known of it and keeps it from nothing, in sentences for people."""
        return self.deployment.notes

    @property
    def template(self) -> str:
        """Id of the process that its workers are forked from; "" without one."""
        return self.serving.template

    @property
    def progress(self) -> ProgressView | None:
        """Of the build of its environment, while there is one."""
        return self.deployment.installation.view

    @property
    def last_exit(self) -> ExitView | None:
        return self.serving.last_exit

    @property
    def is_autoreloaded(self) -> bool:
        """Whether a change of its folder is followed at once. What config.json says takes effect at once, too."""
        configuration = self._services.live.current
        if not configuration.manager.plugins.autoreload:
            return False
        written: bool | None = configuration.plugin_overrides(self.name).get("autoreload")
        if written is None and self.prepared is not None:
            written = self.prepared.build.manifest.autoreload
        return written is not False

    # --- what is done with it ---

    async def has_folder(self) -> bool:
        """Whether there is anything to be served."""
        return await asyncio.to_thread(self.folder.is_dir)

    async def set_active(self, *, active: bool) -> None:
        """Write down whether it is to be served; of several at once, the one that is stored last holds.

        Raises:
            StoreError: that cannot be stored, and nothing has changed.
        """
        async with self._orders:
            self.record = await self._services.repository.status(self.name, active=active)
            self.active = active
        self._changed()

    def recall(self, row: PluginRow) -> None:
        """It was here before: be what it was then."""
        self.record, self.active, self._count = row, row.active, row.instances
        if self.active:
            self.claim_former()

    def forget_record(self) -> None:
        """Be, for whoever enables it again, as if it had never been here."""
        self.record = self._count = None

    def note_change(self) -> bool:
        """Its folder says something else; whether that is to be followed now, or waits for somebody's order."""
        self.deployment.is_stale = True
        return self.active and self.is_autoreloaded

    async def restart(self, actor: str) -> None:
        """Replace all instances, one after the other; a plugin of which none is ready is brought up from the beginning.

        Returns when each is ready or has failed.

        Raises:
            ReplacementError: a new instance did not become ready; those that serve go on.
        """
        async with self.deployment.lock:
            if self.ready and self.serving.workers is not None:
                self.serving.idle.forget()
                await self.serving.workers.replace_all(Cause.OPERATOR, actor)
                return
        await self.deployment.bring_up_anew(Cause.OPERATOR, actor)

    def check_count(self, count: int) -> PluginManifest:
        """Return its manifest, if that allows ``count`` instances.

        Raises:
            ConflictError: it must not have so many, or it is not known yet whether it may.
        """
        if self.prepared is None:
            first = "mend it" if self.error else "let it come up"
            raise ConflictError(
                f"cannot scale plugin {self.name!r}: it is {self.state.value}",
                hint=f"{first} first; see xcore plugin show {self.name}",
            )
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
        async with self.deployment.lock:
            self.serving.idle.wake()
            if self.serving.workers is not None and self.instances:
                await self.serving.workers.scale(self.wanted, actor)

    def wake(self) -> None:
        """A request waits for it."""
        self.serving.idle.wake()

    def look(self) -> None:
        """Let it stop if nobody has asked for it for long enough; to be called every second or so."""
        self.serving.idle.look(self._idle_stop, held=self.deployment.lock.locked())

    @property
    def _idle_stop(self) -> float:
        """Seconds. What config.json says takes effect at once; 0 without a manifest."""
        written: float | None = self._services.live.current.plugin_overrides(self.name).get("idle_stop")
        if written is not None or self.prepared is None:
            return written or 0.0
        return self.prepared.build.manifest.idle_stop

    def claim_former(self, *, meanwhile: bool = False) -> None:
        """Own what it owned in an earlier life, before any newcomer can take it, until it says something else.

        ``meanwhile``: until any newcomer takes it, since there is no folder of this one.
        """
        prefix = self.record.api_prefix if self.record else ""
        if meanwhile:
            self.serving.held.take_meanwhile(prefix)
        else:
            self.serving.held.take_former(prefix)

    # --- what the gateways are told ---

    def _changed(self) -> None:
        if self._services.gateways.development:
            self._services.gateways.set_trouble(trouble_of(self.name, self.error, self.deployment.installation.lines))
        if self.prefix:
            self._services.gateways.set_route(self.route())
        self._services.changed()

    def route(self) -> Route:
        """What the gateways are to know of it now."""
        limits = self.prepared.build.manifest if self.prepared else None
        parking = self.serving.idle.is_parking
        return route_of(
            self.name,
            self.prefix,
            [] if parking else self.serving.linked,
            state=PluginState.IDLE if parking else self.state,
            expected=parking or self.deployment.is_expected,
            error=self.error.message if self.error else "",
            request_timeout=limits.request_timeout if limits else 0.0,
            max_in_flight=limits.max_in_flight if limits else 0,
        )
