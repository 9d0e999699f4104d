"""TaskManager: every job that tasks and plugins declare, when it is due, and every run of it on record."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from plugin_runtime.task_protocol import RunFinished
from plugin_runtime.task_views import JobView, MomentView, RunLog, RunView
from plugin_runtime.views import ExitView
from supervisor.channels.operations import Operation
from supervisor.clock import Clock
from supervisor.errors import StoreError
from supervisor.jobs.declarations import is_of, problem_of, unknown_job
from supervisor.jobs.former_runs import FormerRuns
from supervisor.jobs.host import JobHost
from supervisor.jobs.launcher import Declared, Launcher
from supervisor.jobs.records import RunRecords
from supervisor.jobs.request import SCHEDULER
from supervisor.jobs.rows import JobRows
from supervisor.jobs.runner import STARTS, Runner
from supervisor.jobs.view import job_view, moments
from supervisor.schedule.job_spec import JobKind, JobSpec
from supervisor.schedule.scheduler import Entry, Firing, Miss, Scheduler
from supervisor.store.store import Store
from supervisor.supervision.surroundings import Surroundings
from supervisor.supervision.tree import Tree
from supervisor.works import Works

logger = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds that runs wait for their next moments to be stored; a database in trouble must not stop the schedule."""
RETRY = 5.0
"""Seconds between two tries of what the database did not do."""
MOST_MOMENTS = 1000
"""In one answer."""

Due = Callable[[Sequence[Firing | Miss]], None]
MakeScheduler = Callable[[Clock, Due], Scheduler]


async def _nothing_to_reload(actor: str) -> None:
    """Until somebody is there who can."""


class TaskManager:
    """Owns the declarations and the task that acts when jobs are due. ``start`` it before anything is declared.

    The next moment of a job is committed before the run begins that is due now: a supervisor that is killed between
    loses a run rather than doubling it.
    """

    def __init__(
        self,
        store: Store,
        around: Surroundings,
        tree: Tree,
        recorded: Callable[[ExitView], None],
        *,
        starts: int = STARTS,
        scheduler: MakeScheduler = Scheduler,
    ) -> None:
        """``recorded``: takes the exit record of each run's process; ``starts``: runs that may start at once."""
        self._declared: dict[str, Declared] = {}
        self._clock = around.clock
        self._rows = JobRows(store.jobs)
        self._records = RunRecords(store.runs, store.observations.put)
        self._former = FormerRuns(around.survivors, around.clock)
        launcher = Launcher(self._declared, around, tree, recorded)
        self._runner = Runner(launcher, self._records, around.clock, starts=starts)
        self._scheduler = scheduler(around.clock, self._due)
        self._scheduler.changed = self._entry_changed
        self._fired: list[Firing | Miss] = []
        self._wake = asyncio.Event()
        self._works = Works()
        self._in_trouble = False
        self.begin_reload: Callable[[str], Awaitable[None]] = _nothing_to_reload
        """Reads the modules of all tasks again, and declares what changed."""

    # --- life ---

    async def start(self) -> None:
        """Learn what was known of jobs, and begin to fire.

        Raises:
            StoreError: it is not known which jobs are paused.
        """
        await self._rows.load()
        try:
            await self._records.load(going_on=await self._former.load(self._records.history))
        except StoreError as error:
            logger.warning("Cannot read how the last runs of jobs ended, trying again: %s", error)
            self._works.begin(self._load_records(), "jobs-load-runs")
        self._works.begin(self._work(), "jobs-due")
        self._scheduler.start()

    async def close(self, *, handing_over: bool = False) -> None:
        """Begin nothing more. Runs are the tree's to stop, and their ends are still put on record.

        ``handing_over``: another supervisor takes this one's place, and begins what waits here.
        """
        self._scheduler.close()
        await self._works.close()
        self._runner.close(handing_over=handing_over)
        self._carry_out(len(self._fired))
        await self._save()

    def forget_former_runs(self) -> None:
        """Close the runs of a supervisor before that nobody goes on with: everything that lives has been taken over."""
        if self._former.were_found:
            self._former.forget_waiting()
            self._works.begin(self._load_records(at_once=True), "jobs-close-runs")

    async def _load_records(self, *, at_once: bool = False) -> None:
        pause = 0.0 if at_once else RETRY
        while True:
            await asyncio.sleep(pause)
            with suppress(StoreError):
                await self._records.load(going_on=self._former.waiting)
                return
            pause = RETRY

    # --- what owners say ---

    def declare(self, host: JobHost, jobs: Sequence[JobSpec]) -> list[str]:
        """Replace the jobs of a host, task or plugin; returns what is wrong, in sentences. Runs under way go on."""
        accepted: dict[str, JobSpec] = {}
        problems = []
        for spec in jobs:
            if problem := problem_of(spec, host, accepted, self._declared):
                logger.error("%s", problem)
                problems.append(problem)
            else:
                accepted[spec.id] = spec
        for job, declared in list(self._declared.items()):
            if job not in accepted and is_of(declared, host):
                self._withdraw(job)
        for spec in accepted.values():
            self._declare(spec, host)
            self._runner.take_over(spec, self._former)
        self._wake.set()
        return problems

    def withdraw(self, owner: str, kind: JobKind | None = None) -> None:
        """Schedule none of an owner's jobs any more; runs under way go on. ``kind``: only as a task, or as a plugin."""
        for job, declared in list(self._declared.items()):
            if declared.spec.owner == owner and kind in {None, declared.spec.kind}:
                self._withdraw(job)

    def finished(self, message: RunFinished) -> None:
        """A service says how a run ended that is shared with it."""
        self._runner.finished(message)

    def service_survived(self, owner: str) -> None:
        """The process of a service goes on that a supervisor before started."""
        self._former.service_survived(owner)

    def service_connected(self, owner: str) -> None:
        """The process of a service can be spoken to again; what it said before may not have arrived."""
        self._runner.service_connected(owner)
        jobs = [declared.spec for declared in self._declared.values() if declared.spec.owner == owner]
        self._runner.take_over_shared(owner, jobs, self._former)

    def service_ended(self, owner: str, record: ExitView) -> None:
        """The process of a service ended; what ran in it has ended, too."""
        self._former.service_ended(owner)
        self._runner.service_ended(owner, record)

    def _declare(self, spec: JobSpec, host: JobHost) -> None:
        before = self._declared.get(spec.id)
        self._declared[spec.id] = Declared(spec, host)
        if before is not None and before.spec == spec:
            return
        row = self._rows.declare(spec)
        self._scheduler.declare(spec, paused=row.paused, next_run=row.next_run)

    def _withdraw(self, job: str) -> None:
        del self._declared[job]
        self._scheduler.withdraw(job)

    # --- what the schedule says ---

    def _entry_changed(self, entry: Entry) -> None:
        self._rows.set_next_run(entry.spec.id, entry.due)
        self._wake.set()

    def _due(self, fired: Sequence[Firing | Miss]) -> None:
        self._fired.extend(fired)
        self._wake.set()

    async def _work(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY if self._in_trouble else None):
                    await self._wake.wait()
            self._wake.clear()
            # What fires while these are stored has its own next moment to be stored first.
            count = len(self._fired)
            await self._save()
            self._carry_out(count)

    async def _save(self) -> None:
        try:
            # The limit holds for waiting for others, too, who may have more patience with the database.
            async with asyncio.timeout(PATIENCE):
                await self._rows.save(PATIENCE)
        except (StoreError, TimeoutError) as error:
            if not self._in_trouble:
                cause = str(error) or "the database is busy"
                logger.warning("Cannot store when jobs are due next, runs begin all the same: %s", cause)
            self._in_trouble = True
        except Exception:  # the boundary of the schedule: whatever is wrong with one row, every job goes on
            logger.exception("Cannot store when jobs are due next, runs begin all the same")
        else:
            self._in_trouble = False

    def _carry_out(self, count: int) -> None:
        fired, self._fired = self._fired[:count], self._fired[count:]
        for finding in fired:
            try:
                self._act_on(finding)
            except Exception:  # the boundary of the schedule, as above
                logger.exception("Cannot act on job %s, which is due", finding.job.id)

    def _act_on(self, finding: Firing | Miss) -> None:
        job, due = finding.job, finding.due
        if isinstance(finding, Firing):
            self._runner.request(job, SCHEDULER, due)
        else:
            message = f"due at {job.trigger.local(due)}, noticed {finding.late:.1f} s late"
            self._runner.missed(job, SCHEDULER, due, message)

    # --- operations ---

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {
            "jobs.list": self.list_jobs,
            "jobs.show": self.show_job,
            "jobs.run": self.run_job,
            "jobs.pause": self.pause,
            "jobs.resume": self.resume,
            "jobs.reload": self.reload,
            "jobs.next": self.next_moments,
            "runs.list": self.list_runs,
            "runs.show": self.show_run,
            "runs.follow": self.follow,
        }

    async def list_jobs(self, owner: str | None = None, active: bool | None = None) -> list[JobView]:  # noqa: FBT001
        """By id; ``active``: only those that are activated, paused or not, or only the others."""
        chosen = (
            declared.spec
            for declared in self._declared.values()
            if owner in {None, declared.spec.owner} and active in {None, declared.spec.activate}
        )
        return [self._view(spec) for spec in sorted(chosen, key=lambda spec: spec.id)]

    async def show_job(self, id: str) -> JobView:  # noqa: A002 - the name that callers know
        return self._view(self._named(id))

    async def run_job(self, id: str, actor: str) -> RunView:  # noqa: A002
        """Now, by the rule of overlap, also a paused job or one that is not activated."""
        return self._runner.request(self._named(id), actor)

    async def pause(self, id: str, actor: str) -> JobView:  # noqa: A002
        """Return when it is stored. A run under way goes on."""
        return await self._set_paused(id, actor, paused=True)

    async def resume(self, id: str, actor: str) -> JobView:  # noqa: A002
        """Return when it is stored. What was due meanwhile is not made up for."""
        return await self._set_paused(id, actor, paused=False)

    async def reload(self, actor: str) -> list[JobView]:
        """Have the modules of all tasks read again."""
        logger.info("Reading the jobs of all tasks again (%s)", actor)
        await self.begin_reload(actor)
        return await self.list_jobs()

    async def next_moments(self, id: str, count: int = 10) -> list[MomentView]:  # noqa: A002
        """When it is due, as far as its trigger says; also of a job that is paused or not activated."""
        spec = self._named(id)
        due = self._scheduler.entries[id].due
        first = spec.trigger.next_after(self._clock.time()) if due is None else due
        return moments(spec.trigger, first, max(0, min(count, MOST_MOMENTS)))

    async def list_runs(self, job: str | None = None, limit: int = 100) -> list[RunView]:
        """Newest first, also of jobs that are not declared any more."""
        return await self._records.newest(job, limit)

    async def show_run(self, id: str) -> RunView:  # noqa: A002
        return await self._records.show(id)

    async def follow(self, id: str, after: int = 0, wait: float = 0.0) -> RunLog:  # noqa: A002
        return await self._records.follow(id, after, wait)

    async def _set_paused(self, job: str, actor: str, *, paused: bool) -> JobView:
        self._named(job)
        try:
            await self._rows.set_paused(job, paused=paused)
        finally:
            self._wake.set()  # whatever is to be stored after it, or in its place
        logger.info("Job %s is %s (%s)", job, "paused" if paused else "resumed", actor)
        spec = self._named(job)  # it may have been withdrawn meanwhile; the pause is stored for when it comes back
        if self._scheduler.entries[job].paused is not paused:
            (self._scheduler.pause if paused else self._scheduler.resume)(job)
        return self._view(spec)

    def _named(self, job: str) -> JobSpec:
        try:
            return self._declared[job].spec
        except KeyError:
            raise unknown_job(job, self._declared) from None

    def _view(self, spec: JobSpec) -> JobView:
        running, queued = self._runner.counts(spec.id)
        return job_view(
            spec,
            paused=self._rows.is_paused(spec.id),
            next_run=self._scheduler.entries[spec.id].starts,
            running=running,
            queued=queued,
            last_run=self._records.last(spec.id),
        )
