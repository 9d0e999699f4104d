"""The service of a task: the process that runs its ``service_main``, and what replaces it."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from plugin_runtime.protocol import Cause, Failed, Progress, State
from plugin_runtime.task_protocol import RunFinished
from plugin_runtime.views import ExitView, PluginError
from plugin_runtime.wire import Envelope, to_wire
from supervisor.changes import Changes
from supervisor.config.live import LiveConfiguration
from supervisor.jobs import plugin_jobs
from supervisor.monitoring.resources import Resources
from supervisor.plugins.view import error_of_failure
from supervisor.spec import RestartWhen
from supervisor.store.tasks import TaskRepository
from supervisor.supervision.child import Child, is_replaced
from supervisor.supervision.child_events import RestartRequested, StartRequested, StopRequested
from supervisor.supervision.surroundings import Surroundings
from supervisor.supervision.tree import Tree
from supervisor.tasks.base_template import BaseTemplate
from supervisor.tasks.preparation import TaskPreparation
from supervisor.tasks.spec import TaskBuild, service_restart_policy, service_settings, service_spec

logger = logging.getLogger(__name__)

PROOF = 1.0
"""Seconds that a service has to run after it was ready, to count as started: what is wrong with a new one mostly shows
in its first lines. Longer would make everybody wait who starts a good one."""


class JobBook(plugin_jobs.JobBook, Protocol):
    """Where jobs are declared, and who wants to know of shared runs: TaskManager."""

    def finished(self, message: RunFinished) -> None:
        """A service says how a run ended that is shared with it."""

    def service_survived(self, owner: str) -> None:
        """The process of a service goes on that a supervisor before started."""

    def service_connected(self, owner: str) -> None:
        """The process of a service can be spoken to, for the first time or again."""

    def service_ended(self, owner: str, record: ExitView) -> None:
        """The process of a service ended, and what ran in it."""


@dataclass(frozen=True)
class TaskServices:
    """What tasks work with; the same for all of them."""

    live: LiveConfiguration
    around: Surroundings
    tree: Tree
    preparation: TaskPreparation
    base: BaseTemplate
    jobs: JobBook
    repository: TaskRepository
    resources: Resources
    recorded: Callable[[ExitView], None]
    """Takes every exit record."""
    changed: Callable[[], None]
    """Called when a task may be in another state."""


class Service:
    """At most one child, from when it is first wanted until it is retired; implements ChildOwner for it."""

    def __init__(self, name: str, services: TaskServices) -> None:
        self.child: Child | None = None
        self.last_exit: ExitView | None = None
        self.error: PluginError | None = None
        """Why its process could not start, until one is ready."""
        self._name = name
        self._services = services
        self._build: TaskBuild | None = None
        self._failure: Failed | None = None
        self._changes = Changes()

    @property
    def has_process(self) -> bool:
        return self.child is not None and self.child.incarnation is not None

    # --- what is done with it ---

    def use(self, build: TaskBuild) -> None:
        """Start the next process with ``build``, whoever or whatever asks for one."""
        self._build = build

    def start(self, actor: str) -> None:
        """Have it run, with a full budget of restarts; one that runs is left alone."""
        self._made().post(StartRequested(actor))

    def restart(self, cause: Cause, actor: str) -> None:
        """Have another process of it in any case, with a full budget of restarts if there is none now."""
        self._made().post(RestartRequested(cause, actor))

    async def replace(self, cause: Cause, actor: str) -> None:
        """``restart`` it; return when the new process is ready or it is certain that none will be for now."""
        child = self._made()
        former = child.incarnation
        self.restart(cause, actor)
        await self._changes.until(lambda: is_replaced(child, former))

    async def prove(self) -> None:
        """Return when its process has run for PROOF seconds, or it is certain that none will run for now."""
        child = self.child
        while child is not None:
            await self._changes.until(lambda: is_replaced(child, None))
            incarnation = child.incarnation
            if incarnation is None:
                return
            try:
                async with asyncio.timeout(PROOF):
                    await self._changes.until(lambda: child.incarnation is not incarnation)  # noqa: B023 - awaited here
            except TimeoutError:
                return

    def stop(self, cause: Cause, actor: str) -> Callable[[], bool]:
        """Begin to stop it; what is returned says whether the process is gone."""
        child = self.child
        if child is None:
            return lambda: True
        former = child.incarnation
        child.post(StopRequested(cause, actor))
        # Not whether it is settled: somebody may want it to run again before this process is gone.
        return lambda: child.incarnation is None or child.incarnation is not former

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what only its process can make true."""
        await self._changes.until(condition)

    async def retire(self, cause: Cause, actor: str) -> None:
        """Stop it and take it out of the process table."""
        if self.child is not None:
            child = self.child
            await self._services.tree.remove(child, cause, actor)
            if self.child is child:
                self.child = None
        self.error = self._failure = None

    def follow_policy(self) -> None:
        """Go by what ``auto_restart`` and ``max_retries`` are now; the process is not touched."""
        if self.child is None:
            return
        policy = service_restart_policy(self._name, self._services.live.current)
        self.child.respecify(replace(self.child.spec, restart=policy))
        if policy.when is RestartWhen.NEVER and self.child.state is State.BACKOFF:
            # It waits for a start that nobody wants any more.
            self.child.post(StopRequested(Cause.DISABLED, "configuration"))

    def _made(self) -> Child:
        if self.child is None:
            child = Child(service_spec(self._built, self._services.live.current), self, self._services.around)
            self._services.tree.add(child)
            self.child = child
        return self.child

    @property
    def _built(self) -> TaskBuild:
        assert self._build is not None  # noqa: S101 - a task uses what it has prepared
        return self._build

    # --- ChildOwner ---

    def settings_for(self, child: Child, token: str) -> Mapping[str, Any]:
        configuration = self._services.live.current
        # Here and not sooner: the exit record of the process before shall say which version that was.
        child.respecify(service_spec(self._built, configuration))
        settings: Mapping[str, Any] = to_wire(service_settings(self._built, configuration))
        return settings

    def adopted(self, child: Child, token: str, settings: Mapping[str, Any]) -> None:
        self._services.jobs.service_survived(self._name)

    def changed(self, child: Child) -> None:
        self._note_failure(child)
        if child.state is State.RUNNING:
            self.error = None
            self._services.resources.sample_soon()
        self._tell()

    def connected(self, child: Child) -> None:
        self._services.jobs.service_connected(self._name)

    def disconnected(self, child: Child) -> None:
        """Its exit follows, or it comes back."""

    def received(self, child: Child, envelope: Envelope) -> None:
        match envelope.message:
            case RunFinished() as message:
                self._services.jobs.finished(message)
            case Progress(phase):
                logger.debug("%s: %s", child, phase)
            case other:
                logger.warning("%s sent an unexpected %s", child, type(other).__name__)

    def withdraw(self, child: Child, done: Callable[[], None]) -> None:
        done()

    def used_up(self, child: Child, cause: Cause) -> bool:
        return False

    def exited(self, child: Child, record: ExitView) -> None:
        self.last_exit = record
        failure, self._failure = self._failure, None
        if failure is not None:
            self.error = error_of_failure(failure, record)
        self._services.resources.forget(child.spec.id)
        self._services.recorded(record)
        self._services.jobs.service_ended(self._name, record)
        self._tell()

    def _note_failure(self, child: Child) -> None:
        """Remember why it could not start; its child forgets it at the next spawn, which may follow at once."""
        failure = child.record.failure
        if failure is None:
            return
        if child.incarnation is not None:
            self._failure = failure
        elif self.last_exit is not None:
            self.error = error_of_failure(failure, self.last_exit)

    def _tell(self) -> None:
        self._changes.notify()
        self._services.changed()
