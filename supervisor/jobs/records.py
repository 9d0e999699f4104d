"""What is known of runs: in memory from the moment they are asked for until a while after their end, then on record.

Their rows are written when the database can be had, so a run that has just ended may be known here only. Memory is
bounded by what runs wrote, and holds every run that has not ended.
"""

import logging
import math
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace

from plugin_runtime.task_views import RunLog, RunView
from supervisor.errors import StoreError
from supervisor.jobs.live_log import LiveLog
from supervisor.jobs.request import ActiveRun, RunRequest
from supervisor.jobs.view import brief, fitting, size_of, waiting_view
from supervisor.store.runs import RunHistory

logger = logging.getLogger(__name__)

MOST_RUNS = 1000
"""In one answer."""
LONGEST_WAIT = 60.0
"""Seconds that somebody who follows a run may have to wait for an answer; then they ask again."""
KEPT_RUNS = 256
"""Runs kept in memory after their end."""
KEPT_SIZE = 4 * 1024 * 1024
"""Characters that they may have written, all together."""
KEPT_COUNTS = 10_000
"""Runs of which it is known how many lines they wrote, beyond those: who follows one goes by that numbering."""

ABANDONED = "the supervisor ended before it did"
NEVER_BEGUN = "the supervisor ended before it began"


@dataclass
class KnownRun:
    """One run in memory."""

    request: RunRequest
    log: LiveLog = field(default_factory=LiveLog)
    active: ActiveRun | None = None
    end: RunView | None = None

    @property
    def view(self) -> RunView:
        if self.end is not None:
            return self.end
        return self.active.view if self.active else waiting_view(self.request)

    @property
    def size(self) -> int:
        return self.log.size + (size_of(self.end) if self.end else 0)


class RunRecords:
    """Owns the known runs and what is known of each job's last one."""

    def __init__(
        self,
        history: RunHistory,
        put: Callable[[RunView], None],
        *,
        kept_runs: int = KEPT_RUNS,
        kept_size: int = KEPT_SIZE,
    ) -> None:
        """``put``: queues a row for the database."""
        self.history = history
        self._put = put
        self._kept_runs = kept_runs
        self._kept_size = kept_size
        self._known: dict[str, KnownRun] = {}
        self._ended: deque[KnownRun] = deque()
        self._ended_size = 0
        self._counts: dict[str, int] = {}
        """Lines that those wrote which were kept before."""
        self._last: dict[str, RunView] = {}

    async def load(self, going_on: Collection[str] = ()) -> None:
        """Close what a supervisor left open that died, and learn how each job ended last. Runs may go on meanwhile.

        ``going_on``: runs of that supervisor which may still go on, or begin.

        Raises:
            StoreError: not all of it could be done; it may be tried again.
        """
        abandoned = await self.history.abandon(ABANDONED, NEVER_BEGUN, {*self._known, *going_on})
        if abandoned:
            logger.warning("%d runs were under way when the supervisor before ended; they count as crashed", abandoned)
        stored = await self.history.last_runs()
        self._last = {job: brief(view) for job, view in stored.items()} | self._last

    # --- what happens ---

    def expect(self, request: RunRequest) -> None:
        """Know of a run that was asked for."""
        self._known[request.id] = KnownRun(request)

    def log(self, run: str) -> LiveLog:
        """Where the lines of a run go."""
        return self._known[run].log

    def begin(self, active: ActiveRun) -> None:
        """Have a run begin, on record from its first moment: a supervisor that is killed meanwhile leaves a trace."""
        known = self._known[active.request.id]
        known.active = active
        active.begin()
        if known.end is None:
            self._put(active.view)

    def end(self, view: RunView) -> None:
        """Put the end of a run on record, or that it never begins."""
        known = self._known[view.id]
        known.active, known.end = None, view
        known.log.close()
        self._last[view.job] = brief(view)
        self._put(view)
        self._ended.append(known)
        self._ended_size += known.size
        while len(self._ended) > self._kept_runs or (self._ended_size > self._kept_size and len(self._ended) > 1):
            self._forget(self._ended.popleft())

    def leave(self, run: str) -> RunView:
        """Put on record, for the next supervisor, that a run waits."""
        view = self.view(run)
        self._put(view)
        return view

    def _forget(self, oldest: KnownRun) -> None:
        self._ended_size -= oldest.size
        del self._known[oldest.request.id]
        self._counts[oldest.request.id] = oldest.log.next
        if len(self._counts) > KEPT_COUNTS:
            del self._counts[next(iter(self._counts))]

    # --- what is asked ---

    def view(self, run: str) -> RunView:
        """A run that has not ended, or just so."""
        return self._known[run].view

    def last(self, job: str) -> RunView | None:
        """The run that ended last, without its output and traceback; skipped and missed ones count."""
        return self._last.get(job)

    async def show(self, run: str) -> RunView:
        """One run with all that is known of it.

        Raises:
            UnknownNameError: there is none, or none any more.
            StoreError: only the database could know it.
        """
        known = self._known.get(run)
        return known.view if known else await self.history.run(run)

    async def newest(self, job: str | None, limit: int) -> list[RunView]:
        """Runs of one job or of all, newest first; without the database those that are known here, marked.

        Raises:
            StoreError: the database does not tell, and none is known here.
        """
        limit = max(0, min(limit, MOST_RUNS))
        try:
            stored = await self.history.runs(job, limit)
        except StoreError:
            views = self._joined(job, sorted(self._last.values(), key=lambda view: view.finished or 0.0, reverse=True))
            if not views:
                raise
            return fitting(replace(view, from_memory=True) for view in views[:limit])
        return fitting(self._joined(job, stored)[:limit])

    def _joined(self, job: str | None, others: Iterable[RunView]) -> list[RunView]:
        """The known runs of a job or of all, newest first, and those of ``others`` that are not known."""
        known = [known.view for known in reversed(self._known.values()) if job in {None, known.request.job.id}]
        older = [view for view in others if view.id not in self._known and job in {None, view.job}]
        return [*known, *older]

    async def follow(self, run: str, after: int, wait: float) -> RunLog:
        """What a run wrote from line ``after`` on; waits for it at most ``wait`` seconds.

        Raises:
            UnknownNameError, StoreError: as for ``show``.
        """
        known = self._known.get(run)
        if known is None:
            view = await self.history.run(run)
            return RunLog(view, *self._tail_of(view).read(after))
        await known.log.wait(after, min(wait, LONGEST_WAIT))
        lines, following = known.log.read(after)
        return RunLog(known.end or brief(known.view), lines, following)

    def _tail_of(self, view: RunView) -> LiveLog:
        """The lines on record, numbered as they were when they were written, where that is still known."""
        tail = view.log_tail
        log = LiveLog(math.inf, first=max(0, self._counts.get(view.id, 0) - len(tail)))
        log.append(tail)
        return log
