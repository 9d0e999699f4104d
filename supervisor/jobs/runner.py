"""Has runs carried out: by the rules of overlap, so many starts at a time, each to exactly one end."""

import asyncio
import logging
import os
import secrets
from collections.abc import Callable, Sequence
from itertools import count

from plugin_runtime.protocol import Cause
from plugin_runtime.task_protocol import Outcome, RunFinished
from plugin_runtime.task_views import RunView
from plugin_runtime.views import ExitView
from supervisor.clock import Clock
from supervisor.errors import ConflictError
from supervisor.jobs.admission import Admission
from supervisor.jobs.books import Books
from supervisor.jobs.former_runs import FormerRun, FormerRuns
from supervisor.jobs.live_log import LiveLog
from supervisor.jobs.records import RunRecords
from supervisor.jobs.request import ActiveRun, RunFactory, RunRequest
from supervisor.jobs.shared_run import SharedRun
from supervisor.jobs.view import unbegun_view
from supervisor.schedule.job_spec import JobSpec
from supervisor.schedule.overlap import Verdict

logger = logging.getLogger(__name__)

STARTS = max(2, os.cpu_count() or 1)
"""Runs between spawn and ready at once. More would not be ready sooner, and would slow down everything that serves."""

_ID_BYTES = 8
"""Of a run's id: history of years, and none takes another's row."""
_STOPPING = "xcore is stopping"
_REPLACED = "a newer run took its place"

Soon = Callable[[Callable[[], None]], object]
"""Has something called in another turn of the event loop."""


def _call_soon(work: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(work)


class Runner:
    """Owns the books, the admission and the active runs; implements RunListener. Used in the event loop's thread."""

    def __init__(
        self, factory: RunFactory, records: RunRecords, clock: Clock, *, starts: int = STARTS, soon: Soon = _call_soon
    ) -> None:
        """``starts``: how many may start at once."""
        self._factory = factory
        self._records = records
        self._clock = clock
        self._starts = starts
        self._soon = soon
        self._books = Books()
        self._admission: Admission[RunRequest] = Admission(starts)
        self._active: dict[str, ActiveRun] = {}
        self._numbers = count(1)
        self._pumping = False
        self._closing = self._handing_over = False

    # --- what others want ---

    def request(self, job: JobSpec, actor: str, scheduled: float | None = None) -> RunView:
        """Have a job run as its rule of overlap allows; the answer is how things stand right now."""
        return self._enter(self._new(job, actor, scheduled))

    def take_over(self, job: JobSpec, former: FormerRuns) -> None:
        """Go on with the runs of a job that a supervisor before began, and request again those that waited."""
        for run in former.take(job):
            if not self.resume(job, run):
                former.give_up(run)
        if not job.shared:  # otherwise what goes on in its service has to come first
            self._request_again(job, former)

    def take_over_shared(self, owner: str, jobs: Sequence[JobSpec], former: FormerRuns) -> None:
        """The same for what is shared with a service, as soon as that can be spoken to; ``jobs``: all of its owner."""
        for job, run in former.take_shared(owner, jobs):
            self.resume(job, run)
        for job in jobs:
            self._request_again(job, former)

    def resume(self, job: JobSpec, former: FormerRun) -> bool:
        """Go on with a run that a supervisor before began: the only one of its job, by the rules of overlap.

        False: it is given up, and its process is to be ended.
        """
        if self._books.current(job.id) is not None:
            logger.warning("Run %s of job %s is given up: another one is under way", former.view.id, job.id)
            return False
        request = self._renewed(job, former.view)
        self._books.request(request)
        logger.info("Run %s of job %s goes on", request.id, job.id)
        self._begin(request, lambda log: self._factory.resume(request, former, log, self))
        return request.id in self._active

    def missed(self, job: JobSpec, actor: str, due: float, message: str) -> RunView:
        """Put on record that a run was noticed too late to begin."""
        return self._never(self._new(job, actor, due), Outcome.MISSED, message)

    def finished(self, word: RunFinished) -> None:
        """A service says how a shared run ended."""
        run = self._active.get(word.run)
        if isinstance(run, SharedRun):
            run.finished(word)
        else:
            logger.debug("Run %s has ended before its service says so", word.run)

    def service_connected(self, owner: str) -> None:
        """The process of a service can be spoken to again."""
        for run in self._shared_with(owner):
            run.ask_again()

    def service_ended(self, owner: str, record: ExitView) -> None:
        """The process of a service is gone, and all that ran in it."""
        for run in self._shared_with(owner):
            run.service_ended(record)

    def counts(self, job: str) -> tuple[int, int]:
        """How many runs of a job there are, begun or about to, and how many wait for their end."""
        return int(self._books.current(job) is not None), int(self._books.is_waiting(job))

    def close(self, *, handing_over: bool = False) -> None:
        """Begin nothing more; what has begun is ended by others, and put on record all the same.

        ``handing_over``: the supervisor that takes this one's place begins what waits.
        """
        self._closing, self._handing_over = True, handing_over
        waiting, unadmitted = self._books.waiting, self._admission.waiting
        for request in waiting:
            self._books.drop_waiting(request)
        for request in unadmitted:
            self._admission.leave(request.id)
            self._books.ended(request)
        for request in (*unadmitted, *waiting):
            self._turn_away(request)

    # --- RunListener ---

    def ready(self, run: ActiveRun) -> None:
        self._admission.leave(run.request.id)
        self._wake()

    def ended(self, run: ActiveRun, view: RunView) -> None:
        self._over(run.request, view)

    # --- inside ---

    def _request_again(self, job: JobSpec, former: FormerRuns) -> None:
        for waiting in former.take_waiting(job):
            self._enter(self._renewed(job, waiting))

    def _enter(self, request: RunRequest) -> RunView:
        if self._closing:
            return self._turn_away(request)
        job = request.job.id
        decision = self._books.request(request)
        if decision.displaced is not None:
            self._never(decision.displaced, Outcome.SKIPPED, _REPLACED)
        match decision.verdict:
            case Verdict.SKIP:
                return self._never(request, Outcome.SKIPPED, self._why_skipped(job))
            case Verdict.BEGIN:
                self._admit(request)
            case Verdict.REPLACE:
                self._replace(job, request.actor)
        return self._records.view(request.id)

    def _shared_with(self, owner: str) -> list[SharedRun]:
        runs = self._active.values()
        return [run for run in runs if isinstance(run, SharedRun) and run.request.job.owner == owner]

    def _new(self, job: JobSpec, actor: str, scheduled: float | None) -> RunRequest:
        request = RunRequest(secrets.token_hex(_ID_BYTES), next(self._numbers), job, actor, scheduled)
        self._records.expect(request)
        return request

    def _renewed(self, job: JobSpec, view: RunView) -> RunRequest:
        """A run of a supervisor before."""
        request = RunRequest(view.id, next(self._numbers), job, view.actor, view.scheduled)
        self._records.expect(request)
        return request

    def _turn_away(self, request: RunRequest) -> RunView:
        """A run that has no place on the books, and gets none any more."""
        if self._handing_over:
            return self._records.leave(request.id)
        return self._never(request, Outcome.SKIPPED, _STOPPING)

    def _never(self, request: RunRequest, outcome: Outcome, message: str) -> RunView:
        """A run that has no place on the books."""
        view = unbegun_view(request, outcome, message, self._clock.time())
        self._records.end(view)
        return view

    def _give_up(self, request: RunRequest, outcome: Outcome, message: str) -> None:
        """A run that has its place, and yet does not begin."""
        self._over(request, unbegun_view(request, outcome, message, self._clock.time()))

    def _why_skipped(self, job: str) -> str:
        return "the run before has not ended" + (", and another waits for it" if self._books.is_waiting(job) else "")

    def _replace(self, job: str, actor: str) -> None:
        old = self._books.current(job)
        if old is None:
            return
        if old.id in self._active:
            self._active[old.id].stop(Cause.OVERLAP, actor)
        else:
            self._give_up(old, Outcome.SKIPPED, _REPLACED)

    def _admit(self, request: RunRequest) -> None:
        """A shared run starts no process: it need not wait."""
        if request.job.shared:
            self._begin(request)
        else:
            # Its number and not its arrival here: it may have waited for the end of another run before.
            self._admission.enter(request.id, request.number, request)
            self._wake()

    def _wake(self) -> None:
        """In another turn: where starts fail at once, a thousand of them must not be one turn of the event loop."""
        if self._admission.has_next and not self._pumping:
            self._pumping = True
            self._soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        for _ in range(self._starts):
            if self._admission.has_next:
                self._begin(self._admission.admit())
        self._wake()

    def _begin(self, request: RunRequest, make: Callable[[LiveLog], ActiveRun] | None = None) -> None:
        make = make or (lambda log: self._factory.make(request, log, self))
        try:
            run = make(self._records.log(request.id))
            self._active[request.id] = run
            self._records.begin(run)
        except ConflictError as error:
            self._give_up(request, Outcome.SKIPPED, str(error))
        except Exception:  # a mistake of ours or of the host's: it must not keep the place from the runs to come
            logger.exception("Cannot begin run %s of job %s", request.id, request.job.id)
            self._give_up(request, Outcome.FAILED, "failed inside xcore; its log has the details")

    def _over(self, request: RunRequest, view: RunView) -> None:
        self._active.pop(request.id, None)
        self._admission.leave(request.id)
        following = self._books.ended(request)
        try:
            self._records.end(view)
        finally:  # whatever becomes of the record, the place is free
            if following is not None:
                self._admit(following)
            self._wake()
