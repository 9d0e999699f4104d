"""Runs of a supervisor before that may still go on, in a process of their own or in their service, or begin at last."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from plugin_runtime.protocol import Kind
from plugin_runtime.task_views import RunView
from supervisor.clock import Clock
from supervisor.errors import StoreError
from supervisor.processes.process_records import ProcessRecord
from supervisor.processes.survivors import Survivors
from supervisor.schedule.job_spec import JobSpec
from supervisor.store.runs import RunHistory

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FormerRun:
    """One of them. ``age``: seconds since it began; ``process``: None where it runs in its service."""

    view: RunView
    age: float
    process: ProcessRecord | None

    @property
    def started(self) -> float:
        """Seconds since the epoch."""
        return self.view.started or 0.0


class FormerRuns:
    """Those that nobody has gone on with yet."""

    def __init__(self, survivors: Survivors, clock: Clock) -> None:
        self._survivors = survivors
        self._clock = clock
        self._rows: dict[str, RunView] = {}
        self._services: set[str] = set()
        """Owners of services that go on, and have not been spoken to yet."""
        self.were_found = False

    @property
    def waiting(self) -> set[str]:
        """Ids of those that had not begun when their supervisor handed them over."""
        return {view.id for view in self._rows.values() if view.started is None}

    async def load(self, history: RunHistory) -> set[str]:
        """Read what is on record of them, if any can go on; return the ids of those that are not to be closed yet."""
        if not self._survivors:
            return set()
        self.were_found = True
        try:
            self._rows = {view.id: view for view in await history.open_runs()}
        except StoreError as error:
            logger.warning("Cannot read which runs were under way, those with processes go on: %s", error)
        return set(self._rows)

    def take(self, job: JobSpec) -> list[FormerRun]:
        """Hand over the runs of a job whose processes live; newest first."""
        found = []
        for record in reversed(self._survivors.of(job.owner, Kind.JOB)):
            declared, _, run = record.id.rpartition(".")
            if declared == job.id:
                self._survivors.take(record)
                view = self._rows.pop(run) if run in self._rows else self._unknown(job, run, record)
                found.append(FormerRun(view, record.age, record))
        return found

    def give_up(self, run: FormerRun) -> None:
        """Have its process ended: nobody goes on with it."""
        if run.process is not None:
            self._survivors.dismiss(run.process, lambda: None)

    def take_waiting(self, job: JobSpec) -> list[RunView]:
        """Hand over the runs of a job that had not begun; oldest first."""
        found = [view for view in self._rows.values() if view.job == job.id and view.started is None]
        for view in found:
            del self._rows[view.id]
        return found

    def forget_waiting(self) -> None:
        """Those that are left never begin."""
        for run in self.waiting:
            del self._rows[run]

    def service_survived(self, owner: str) -> None:
        """The process of a service goes on that a supervisor before started."""
        self._services.add(owner)

    def service_ended(self, owner: str) -> None:
        """And with it what ran in it."""
        self._services.discard(owner)

    def take_shared(self, owner: str, jobs: Iterable[JobSpec]) -> list[tuple[JobSpec, FormerRun]]:
        """Hand over what runs inside a service that goes on and can be spoken to; ``jobs``: all that are declared."""
        if owner not in self._services:
            return []
        self._services.discard(owner)
        found = []
        for job in (job for job in jobs if job.owner == owner):
            rows = [view for view in self._rows.values() if view.job == job.id and view.started is not None]
            for view in rows if job.shared else []:
                del self._rows[view.id]
                age = max(0.0, self._clock.time() - (view.started or 0.0))
                found.append((job, FormerRun(view, age, None)))
        return found

    def _unknown(self, job: JobSpec, run: str, record: ProcessRecord) -> RunView:
        """Its row was not written before its supervisor died."""
        started = self._clock.time() - record.age
        return RunView(id=run, job=job.id, started=started, finished=None, outcome=None, scheduled=None, actor="")
