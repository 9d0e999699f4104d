"""Records of what became of the runs of jobs.

A thousand jobs may run every minute, and each keeps its newest runs: a million rows. So every question here is answered
from an index, and old rows go a few at a time: those of the jobs whose runs just ended, and the oldest of all.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial

from sqlalchemy import Select, delete, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from plugin_runtime.task_protocol import Outcome
from plugin_runtime.task_views import RunView
from supervisor.clock import Clock
from supervisor.errors import UnknownNameError
from supervisor.store.database import Database
from supervisor.store.insert import upsert
from supervisor.store.models import Run
from supervisor.store.settings import StoreSettings

MOST_REMOVED = 1000
"""Rows removed by one transaction, of one job or by age: commands wait behind it."""

_FIELDS = tuple(name for name in RunView.__dataclass_fields__ if name != "from_memory")
_BRIEF = tuple(name for name in _FIELDS if name not in {"log_tail", "traceback"})


class RunHistory:
    """Every method is one transaction. Newest first is by arrival, since the wall clock may jump.

    Rows are written as observations: at the start of a run, and again at its end.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def runs(self, job: str | None = None, limit: int = 100) -> list[RunView]:
        """Newest first; of all jobs where ``job`` is None."""
        return await self._database.read("list runs", partial(_runs, job=job, limit=limit))

    async def run(self, run: str) -> RunView:
        """Raise UnknownNameError where there is none, or none any more."""
        return await self._database.read("get the run", partial(_run, run=run))

    async def open_runs(self) -> list[RunView]:
        """Those without an outcome, oldest first."""
        return await self._database.read("list the open runs", _open_runs)

    async def last_runs(self) -> dict[str, RunView]:
        """The newest run of each job, without its output and traceback."""
        return await self._database.read("list the last runs", _last_runs)

    async def abandon(self, crashed: str, skipped: str, ours: Collection[str] = ()) -> int:
        """Mark runs without an outcome as crashed, and return how many they were; those that never began as skipped.

        ``crashed``, ``skipped``: the messages of these. All but ``ours``, which this supervisor has begun: they are
        those of one that died. When they really ended nobody knows; ``finished`` is now, and there is no duration.
        """
        messages = {Outcome.CRASHED: crashed, Outcome.SKIPPED: skipped}
        work = partial(_abandon, messages=messages, ours=frozenset(ours), now=self._clock.time())
        return await self._database.write("close abandoned runs", work)


class RunWriter:
    """Writes runs as part of transactions of others; belongs to the store's thread.

    Owns the tally of ends by job since its oldest rows were last removed: to count a job's rows at each of its ends
    would cost more than all else that is done for a run.
    """

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._slack = max(1, settings.kept_runs // 20)
        """Ends between two removals: so many rows more than wanted there may be."""
        self._ends: Counter[str] = Counter()

    def write(self, session: Session, runs: Sequence[RunView]) -> None:
        """Insert runs, or update those that are known by their ids, and remove what is too much or too old.

        What has an outcome is never overwritten by what has none: a start may be written again after the end, by a
        retry. Runs that have not ended are never removed, however much came after them.
        """
        rows = [{name: getattr(view, name) for name in _FIELDS} for view in coalesced(runs)]
        upsert(session, Run, rows, key=Run.id, only=lambda new: or_(new.outcome.is_not(None), Run.outcome.is_(None)))
        if crowded := self._crowded(view.job for view in runs if view.outcome is not None):
            _remove_surplus(session, crowded, self._settings.kept_runs)
        if finished := [view.finished for view in runs if view.finished is not None]:
            _remove_old(session, max(finished) - self._settings.kept_run_age)

    def _crowded(self, ended: Iterable[str]) -> list[str]:
        """Jobs whose rows are to be counted now: never counted since the start, or enough ends ago."""
        crowded = []
        for job in ended:
            if job not in self._ends or self._ends[job] + 1 >= self._slack:
                self._ends[job] = 0
                crowded.append(job)
            else:
                self._ends[job] += 1
        return crowded


def coalesced(runs: Sequence[RunView]) -> list[RunView]:
    """One for each id, in the order of their first appearance, as writing all of them one by one would leave it."""
    latest: dict[str, RunView] = {}
    for view in runs:
        known = latest.get(view.id)
        if known is None or view.outcome is not None or known.outcome is None:
            latest[view.id] = view
    return list(latest.values())


def _remove_surplus(session: Session, jobs: Sequence[str], kept: int) -> None:
    counted = select(Run.job, func.count()).where(Run.job.in_(jobs)).group_by(Run.job).having(func.count() > kept)
    for job, count in session.execute(counted):
        oldest = select(Run.sequence).where(Run.job == job).order_by(Run.sequence)
        # The last of those that are too many: so few index entries are read, not all that stay.
        bound = oldest.offset(min(count - kept, MOST_REMOVED) - 1).limit(1).scalar_subquery()
        session.execute(delete(Run).where(Run.job == job, Run.sequence <= bound, Run.outcome.is_not(None)))


def _remove_old(session: Session, finished_before: float) -> None:
    oldest = select(Run.sequence).where(Run.finished < finished_before).order_by(Run.finished).limit(MOST_REMOVED)
    session.execute(delete(Run).where(Run.sequence.in_(oldest)))


def _runs(session: Session, *, job: str | None, limit: int) -> list[RunView]:
    query = select(Run).order_by(Run.sequence.desc()).limit(limit)
    if job is not None:
        query = query.where(Run.job == job)
    return [_view(row) for row in session.scalars(query)]


def _open_runs(session: Session) -> list[RunView]:
    query = select(Run).where(Run.outcome.is_(None)).order_by(Run.sequence)
    return [_view(row) for row in session.scalars(query)]


def _run(session: Session, *, run: str) -> RunView:
    row = session.scalars(select(Run).where(Run.id == run)).one_or_none()
    if row is None:
        raise UnknownNameError("run", run)  # what is known is too much to list
    return _view(row)


def _last_runs(session: Session) -> dict[str, RunView]:
    return {row.job: RunView(**row._mapping) for row in session.execute(_last_runs_query())}  # noqa: SLF001 (its public interface, despite the name)


def _last_runs_query() -> Select[tuple[object, ...]]:
    """Skips from job to job in the index: GROUP BY would read all of it."""
    first = select(func.min(Run.job).label("job")).cte("job_names", recursive=True)
    following = select(func.min(Run.job)).where(Run.job > first.c.job).scalar_subquery()
    names = first.union_all(select(following).where(first.c.job.is_not(None)))
    other = aliased(Run)
    newest = select(func.max(other.sequence)).where(other.job == names.c.job).scalar_subquery()
    columns = [getattr(Run, name) for name in _BRIEF]
    return select(*columns).select_from(names).join(Run, Run.sequence == newest)


def _abandon(session: Session, *, messages: Mapping[Outcome, str], ours: frozenset[str], now: float) -> int:
    crashed, abandoned = 0, []
    for sequence, run, started in session.execute(
        select(Run.sequence, Run.id, Run.started).where(Run.outcome.is_(None))
    ):
        if run not in ours:
            outcome = Outcome.SKIPPED if started is None else Outcome.CRASHED
            crashed += outcome is Outcome.CRASHED
            ended = {"outcome": outcome.value, "message": messages[outcome], "finished": now}
            abandoned.append({"sequence": sequence, **ended})
    if abandoned:
        session.execute(update(Run), abandoned)
    return crashed


def _view(row: Run) -> RunView:
    return RunView(**{name: getattr(row, name) for name in _FIELDS})
