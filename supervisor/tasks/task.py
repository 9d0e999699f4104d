"""One background task as the supervisor runs it: its module, its service and its jobs.

What is found in its file is described first, in a process; only then are its jobs declared anew and its service
replaced. So a broken save leaves alone what runs, and is shown. Whatever goes wrong with a task ends there.
"""

import asyncio
import logging
from pathlib import Path

from plugin_runtime.protocol import Cause, Phase, PluginState
from plugin_runtime.views import ExitView, PluginError, ProgressView
from supervisor.config.policies import restart_policy
from supervisor.errors import StoreError
from supervisor.jobs.host import RunProcess
from supervisor.plugins.state import state_of_instances
from supervisor.preparation.installation import Installation
from supervisor.preparation.preparation import PreparationError
from supervisor.schedule.job_spec import JobKind, JobSpec
from supervisor.store.tasks import TaskRow
from supervisor.supervision.child import Child
from supervisor.supervision.child_events import SUPERVISOR, WATCHER
from supervisor.supervision.trouble import Trouble
from supervisor.tasks.discovery import name_problem
from supervisor.tasks.preparation import PreparedTask
from supervisor.tasks.service import Service, TaskServices
from supervisor.tasks.spec import run_process
from supervisor.tasks.view import facts_of

logger = logging.getLogger(__name__)


class Task:
    """One file of the task directory; implements JobHost. Jobs of a stopped task stay scheduled: only its service is.

    What takes time is done by one at a time; ``stop`` waits for nobody.
    """

    def __init__(self, name: str, file: Path, services: TaskServices, row: TaskRow | None) -> None:
        """``row``: its record of an earlier life, which says whether it is enabled."""
        self.name = name
        self.file = file
        self.row = row
        self.enabled = row.status if row else True
        self.prepared: PreparedTask | None = None
        self._services = services
        self._service = Service(name, services)
        self._refusal = name_problem(name)
        policy = restart_policy(services.live.current.supervisor.restart)
        self._trouble = Trouble(services.around.clock, policy)
        self._stale = False
        self._preparing = False
        self._installation = Installation("task", name, services.around, services.changed)
        self._lock = asyncio.Lock()
        self._orders = asyncio.Lock()

    # --- what others see ---

    @property
    def service(self) -> Child | None:
        return self._service.child

    @property
    def state(self) -> PluginState:
        if self._refusal:
            return PluginState.REFUSED
        child = self._service.child
        if child is not None and (self.enabled or self._service.has_process):
            return state_of_instances([child.state], 1)
        if not self.enabled:
            return PluginState.DISABLED
        if self.prepared is not None and not self._has_service:
            return PluginState.IDLE
        if self._installation.is_under_way:
            return PluginState.INSTALLING
        return PluginState.FAILED if self._trouble.error is not None and not self._preparing else PluginState.PENDING

    @property
    def error(self) -> PluginError | None:
        """What keeps its file, or else its service, from being run."""
        if self._refusal:
            return PluginError(Phase.MANIFEST.value, "TaskRefused", self._refusal, hint="rename the file")
        return self._trouble.error or self._service.error

    @property
    def progress(self) -> ProgressView | None:
        """Of the build of its environment, while there is one."""
        return self._installation.view

    @property
    def is_refused(self) -> bool:
        return bool(self._refusal)

    @property
    def last_exit(self) -> ExitView | None:
        """Of its service."""
        return self._service.last_exit

    @last_exit.setter
    def last_exit(self, record: ExitView | None) -> None:
        """As the database has it, before there was one in this life."""
        self._service.last_exit = self._service.last_exit or record

    @property
    def _has_service(self) -> bool:
        return self.prepared is not None and self.prepared.description.has_service

    @property
    def _prepared(self) -> PreparedTask:
        """For what is done only with a task that has been prepared."""
        assert self.prepared is not None  # noqa: S101 - see above
        return self.prepared

    @property
    def _is_behind(self) -> bool:
        """Whether its file may say something else than what was prepared."""
        return self.prepared is None or self._stale or self._trouble.error is not None

    @property
    def is_due(self) -> bool:
        """Whether what could not be prepared is to be tried again."""
        return self._trouble.is_due

    # --- what is done with it ---

    async def bring_up(self) -> None:
        """Describe it, declare its jobs, and start its service unless it is disabled."""
        async with self._lock:
            await self._renew(Cause.RELOAD, SUPERVISOR)

    def note_change(self) -> bool:
        """Its file is another one now; whether that is to be followed at once, or waits for somebody's order."""
        self._stale = True
        return self._services.live.current.task_keys(self.name).autoreload

    async def follow_change(self) -> None:
        """Follow what its file says now, unless somebody else has done it meanwhile."""
        async with self._lock:
            if self._stale:
                await self._renew(Cause.RELOAD, WATCHER)

    async def try_again(self) -> None:
        """Prepare what could not be prepared before, unless somebody else has done it meanwhile."""
        async with self._lock:
            if self.is_due:
                await self._renew(Cause.RELOAD, SUPERVISOR)

    async def reload(self, actor: str) -> None:
        """Read its module again and follow what is another now; the service is replaced only if its code is."""
        async with self._lock:
            await self._renew(Cause.RELOAD, actor)

    async def restart(self, cause: Cause, actor: str) -> None:
        """Replace the service's process, by one of what the file says now if that can be run.

        Returns when the new one is ready or has failed.
        """
        async with self._lock:
            is_new = await self._prepare()
            await self._drop_former_service(cause, actor)
            if self.enabled and self._has_service:
                await self._service.replace(cause, actor)
            if is_new:
                await self._register()

    async def enable(self) -> None:
        """Let it run, now and at every boot; ``start`` is to follow.

        Raises:
            StoreError: that cannot be stored, and nothing is done.
        """
        async with self._orders:
            self.row = await self._services.repository.status(self.name, enabled=True)
            self.enabled = True

    async def start(self, actor: str) -> None:
        """Start the service unless it runs, with a full budget; what was not prepared or has changed is prepared."""
        async with self._lock:
            is_new = not self._service.has_process and self._is_behind and await self._prepare()
            await self._drop_former_service(Cause.OPERATOR, actor)
            if self.enabled and self._has_service:
                self._service.start(actor)
            if is_new:
                await self._register()

    async def prove(self) -> None:
        """Return when its service has kept running for a moment, or it is certain that it will not for now."""
        await self._service.prove()

    async def stop(self, actor: str) -> None:
        """Let its service not run until it is started again, also at boot; return when its process is gone.

        Raises:
            StoreError: that cannot be stored, and nothing is done.
        """
        async with self._orders:
            self.row = await self._services.repository.status(self.name, enabled=False)
            self.enabled = False
            is_gone = self._service.stop(Cause.OPERATOR, actor)
        self._services.changed()
        await self._service.until(is_gone)

    async def retire(self) -> None:
        """End it with its service: its file is gone. Nothing else may be done with it any more; its record is kept."""
        self._services.jobs.withdraw(self.name, JobKind.TASK)
        await self._service.retire(Cause.DISABLED, WATCHER)

    def follow_policy(self) -> None:
        """Go by what the configuration says of restarts now."""
        self._service.follow_policy()

    # --- inside ---

    async def _renew(self, cause: Cause, actor: str) -> None:
        before = self.prepared
        if await self._prepare():
            await self._follow(before, cause, actor)
            await self._register()

    async def _prepare(self) -> bool:
        """Describe what is in the file now; True: jobs and the next process of the service are made from it."""
        self._trouble.begin(anew=not self.is_due)  # whoever else asks for it has mended something
        self._stale, self._preparing = False, True
        self._services.changed()
        try:
            prepared = await self._services.preparation.prepare(self.name, self.file, self._installation.follow)
        except PreparationError as error:
            self._trouble.failed(error.error)
            logger.error("Task %s cannot be run (%s): %s", self.name, error.error.phase, error.told)  # noqa: TRY400
            return False
        except Exception as error:  # the boundary of a task: a mistake of ours is shown there, and is nobody else's
            self._trouble.failed_inside(error, f"xcore task restart {self.name}")
            logger.exception("Task %s cannot be prepared", self.name)
            return False
        else:
            await self._accept(prepared)
            return True
        finally:
            self._preparing = False
            self._installation.end()

    async def _accept(self, prepared: PreparedTask) -> None:
        self.prepared = prepared
        self._services.base.provide(prepared.build)
        self._service.use(prepared.build)
        problems = self._services.jobs.declare(self, prepared.jobs)
        self._trouble.clear()
        self._trouble.error = _refused_jobs(problems) if problems else None
        # A run may go on for longer than versions come and go, and read its copy late: for a traceback, in a fork.
        in_use = {child.spec.generation for child in self._services.tree.children if child.spec.name == self.name}
        keep = in_use | {prepared.build.copy.hash}
        await asyncio.to_thread(self._services.preparation.forget_others, self.name, keep)

    async def _follow(self, before: PreparedTask | None, cause: Cause, actor: str) -> None:
        """Have the service be what was prepared; ``before``: what it was until now."""
        await self._drop_former_service(cause, actor)
        if not self.enabled or not self._has_service:
            return
        if self._service.child is None:
            self._service.start(actor)
        elif before is None or before.build != self._prepared.build:
            self._service.restart(cause, actor)

    async def _drop_former_service(self, cause: Cause, actor: str) -> None:
        """End the service of a module that has none any more, whoever noticed."""
        if self.prepared is not None and not self._has_service:
            await self._service.retire(cause, actor)

    async def _register(self) -> None:
        """After all else: what runs never depends on the database."""
        try:
            async with self._orders:  # its answer must not take the place of a later order's
                self.row = await self._services.repository.register(facts_of(self.name, self._prepared))
        except StoreError as error:
            logger.warning("Cannot register task %s: %s", self.name, error)
        self._services.changed()

    # --- JobHost ---

    def run_process(self, job: JobSpec, run: str) -> RunProcess:
        return run_process(self._prepared.build, self._services.live.current, job, run)


def _refused_jobs(problems: list[str]) -> PluginError:
    several = problems if len(problems) > 1 else []
    return PluginError(Phase.MANIFEST.value, "JobRefused", "; ".join(problems), problems=several)
