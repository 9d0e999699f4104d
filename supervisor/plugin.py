"""One plugin as the supervisor runs it: how it is brought up, its instances, its route.

A plugin is brought up by a task of its own, so that none waits for another's installer. Whatever that ends with is kept
here and shown; it never ends anybody else.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from plugin_runtime.protocol import (
    MAX_SCHEMA,
    Cause,
    Failed,
    PluginSchema,
    PluginState,
    Progress,
    Route,
    Schema,
    State,
    UpstreamDied,
)
from plugin_runtime.views import ExitView, PluginError
from plugin_runtime.wire import Envelope, to_wire
from supervisor.changes import Changes
from supervisor.child import Child, Surroundings, is_replaced
from supervisor.child_events import RestartRequested, StartRequested
from supervisor.config.configuration import Configuration
from supervisor.config.policies import liveness_policy, restart_policy
from supervisor.errors import PluginRefusedError, StoreError
from supervisor.gateways import Gateways
from supervisor.held_prefix import HeldPrefix
from supervisor.jobs.plugin_jobs import JobBook, declare_jobs
from supervisor.plugin_state import state_of_instances
from supervisor.plugin_view import Link, error_of_failure, route_of
from supervisor.prefixes import Claims, check_plugin_name
from supervisor.preparation import Preparation, PreparationError, Prepared
from supervisor.resources import Resources
from supervisor.store.repository import PluginFacts, Repository
from supervisor.tree import Tree
from supervisor.worker_spec import Build, api_prefix, default_prefix, manifest_prefix, worker_settings, worker_spec

logger = logging.getLogger(__name__)

NEVER_RESENT = frozenset({Cause.HANG.value, Cause.MEMORY_LIMIT.value, Cause.OUT_OF_MEMORY.value})
"""A request may have been the cause of these deaths: sent again, it would kill the next worker too."""


@dataclass(frozen=True)
class PluginServices:
    """What plugins work with; the same for all of them."""

    configuration: Configuration
    around: Surroundings
    tree: Tree
    preparation: Preparation
    claims: Claims
    gateways: Gateways
    repository: Repository
    resources: Resources
    jobs: JobBook
    recorded: Callable[[ExitView], None]
    """Takes every exit record."""
    changed: Callable[[], None]
    """Called when something that /health shows may be different."""
    released: Callable[[], None]
    """Called when a prefix has become free."""


class Plugin:
    """One folder of the plugin directory; implements ChildOwner for its workers."""

    def __init__(self, name: str, folder: Path, services: PluginServices, *, active: bool, prefix: str = "") -> None:
        """``prefix``: what it claimed in an earlier life; taken again until it says something else."""
        self.name = name
        self.folder = folder
        self.active = active
        self.prepared: Prepared | None = None
        self.instances: list[Child] = []
        self.error: PluginError | None = None
        self.last_exit: ExitView | None = None
        self._services = services
        self._former_prefix = prefix
        self._held = HeldPrefix(name, services.claims, self._prefix_dropped)
        self._refused = False
        self._preparing = False
        self._installing = False
        self._links: dict[str, Link] = {}
        self._failures: dict[str, Failed] = {}
        self._changes = Changes()
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
        if self.instances:
            return state_of_instances([child.state for child in self.instances], self.wanted)
        if self.error is not None:
            return PluginState.FAILED
        return PluginState.INSTALLING if self._installing else PluginState.PENDING

    @property
    def wanted(self) -> int:
        if not self.active:
            return 0
        return self.prepared.build.manifest.instances if self.prepared else 1

    @property
    def ready(self) -> int:
        return sum(child.state in {State.RUNNING, State.STALLED} for child in self.instances)

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
        """
        async with self._lock:
            if not self.ready:
                self._preparing = True
                await self._retire(actor)
                await self._bring_up()
                await self._changes.until(lambda: all(is_replaced(child, None) for child in self.instances))
                return
            for child in self.instances:
                await self._replace(child, actor)

    async def _retire(self, actor: str) -> None:
        """Forget instances that do not serve: what they are made from may be what somebody has just mended."""
        retired, self.instances = self.instances, []
        await asyncio.gather(*(self._services.tree.remove(child, Cause.OPERATOR, actor) for child in retired))

    async def _replace(self, child: Child, actor: str) -> None:
        former = child.incarnation
        child.post(RestartRequested(Cause.OPERATOR, actor))
        await self._changes.until(lambda: is_replaced(child, former))

    async def admit(self) -> None:
        """Try again to get the prefix that was refused."""
        async with self._lock:
            if self._refused:
                await self._bring_up()

    async def _bring_up(self) -> None:
        self.error, self._refused, self._preparing = None, False, True
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
            self.error = error.error
            # Code that cannot be imported cannot say its prefix: callers of the default shall learn that it failed.
            self._held.take_meanwhile(default_prefix(self.name))
            logger.error("Plugin %s cannot be served (%s): %s", self.name, error.error.phase, error)  # noqa: TRY400
        except PluginRefusedError as error:
            self._refused = True
            self.error = PluginError("manifest", "PluginRefused", str(error), hint=error.hint)
            logger.error("%s", error)  # noqa: TRY400 - a sentence for the operator; the traceback would be ours
        except Exception as error:
            self.error = PluginError("internal", type(error).__name__, "failed inside xcore; its log has the details")
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
        self._refused, self.error = False, None
        await self._register(prepared)
        self._start_instances(prepared.build)
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

    def _start_instances(self, build: Build) -> None:
        settings = self._services.configuration.supervisor
        restart = restart_policy(settings.restart, build.manifest.restart)
        liveness = liveness_policy(settings.heartbeat)
        for number in range(1, build.manifest.instances + 1):
            child = Child(worker_spec(build, number, restart, liveness), self, self._services.around)
            self._services.tree.add(child)
            self.instances.append(child)
        for child in self.instances:
            child.post(StartRequested("supervisor"))

    def _progress(self, line: str) -> None:
        self._services.around.logs.write(self.name, "installer", "out", [line])
        if not self._installing:
            self._installing = True
            logger.info("Building the environment of plugin %s", self.name)
            self._changed()

    # --- ChildOwner ---

    def settings_for(self, child: Child, token: str) -> Mapping[str, Any]:
        assert self.prepared is not None  # noqa: S101 - instances are made from it
        link = Link(token, str(self._services.around.folder.link_socket(token)), secrets.token_bytes(16))
        self._links[child.spec.id] = link
        settings = replace(
            worker_settings(self.prepared.build, self.prefix, self._services.configuration.supervisor.adopt_grace),
            link_path=link.path,
            link_secret=link.secret,
        )
        wire: Mapping[str, Any] = to_wire(settings)
        return wire

    def changed(self, child: Child) -> None:
        self._note_failure(child)
        if child.state is State.RUNNING:
            self._services.resources.sample_soon()
        self._changed()

    def connected(self, child: Child) -> None:
        """It is told all in its Welcome."""

    def disconnected(self, child: Child) -> None:
        """Its exit follows, or it comes back."""

    def received(self, child: Child, envelope: Envelope) -> None:
        match envelope.message:
            case Progress(phase):
                logger.debug("%s: %s", child, phase)
            case Schema(_, document) if len(document) > MAX_SCHEMA:
                logger.warning("%s sent a schema of %d bytes; it is left out", child, len(document))
            case Schema(hash_, document):
                self._services.gateways.set_schema(PluginSchema(self.name, self.prefix, hash_, document))
            case other:
                logger.warning("%s sent an unexpected %s", child, type(other).__name__)

    def withdraw(self, child: Child, done: Callable[[], None]) -> None:
        self._publish()  # it is draining by now, so it is no upstream any more
        self._services.gateways.when_switched(done)

    def exited(self, child: Child, record: ExitView) -> None:
        self.last_exit = record
        link = self._links.pop(child.spec.id, None)
        if link is not None:
            Path(link.path).unlink(missing_ok=True)
            resend = record.cause not in NEVER_RESENT
            self._services.gateways.tell_death(UpstreamDied(child.spec.id, link.incarnation, record.cause, resend))
        self._services.resources.forget(child.spec.id)
        failure = self._failures.pop(child.spec.id, None)
        if failure is not None:
            self.error = error_of_failure(failure, record)
        self._services.recorded(record)

    # --- inside ---

    def _note_failure(self, child: Child) -> None:
        """Remember why a process could not start; its child forgets it at the next spawn, which may follow at once."""
        failure = child.record.failure
        if failure is None:
            return
        if child.incarnation is not None:
            self._failures[child.spec.id] = failure
        elif self.last_exit is not None:
            self.error = error_of_failure(failure, self.last_exit)

    def _changed(self) -> None:
        if self.ready:
            self.error = None
        self._publish()
        self._services.changed()
        self._changes.notify()

    def _publish(self) -> None:
        if self.prefix:
            self._services.gateways.set_route(self.route())

    def route(self) -> Route:
        """What the gateways are to know of it now."""
        limits = self.prepared.build.manifest if self.prepared else None
        return route_of(
            self.name,
            self.prefix,
            [(child, self._links[child.spec.id]) for child in self.instances if child.spec.id in self._links],
            state=self.state,
            expected=self._preparing or any(_is_coming(child) for child in self.instances),
            error=self.error.message if self.error else "",
            request_timeout=limits.request_timeout if limits else 0.0,
            max_in_flight=limits.max_in_flight if limits else 0,
        )


def _is_coming(child: Child) -> bool:
    """Whether a ready process of this child may be there soon."""
    if child.state in {State.DRAINING, State.STOPPING}:
        return child.record.wanted
    return child.state in {State.PENDING, State.STARTING, State.BACKOFF}
