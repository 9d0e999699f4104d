"""Which runs of each job there are, and what a further one means to them. Pure.

A job has at most one run at a time, begun or about to, and at most one that waits for its end.
"""

from dataclasses import dataclass

from supervisor.jobs.request import RunRequest
from supervisor.schedule.overlap import Verdict, decide


@dataclass(frozen=True)
class Decision:
    """``displaced``: the run that waited until now and never begins."""

    verdict: Verdict
    displaced: RunRequest | None = None


class Books:
    """Owns the table of current and waiting runs, by job."""

    def __init__(self) -> None:
        self._current: dict[str, RunRequest] = {}
        self._waiting: dict[str, RunRequest] = {}

    @property
    def waiting(self) -> list[RunRequest]:
        """Those that wait for the end of another."""
        return list(self._waiting.values())

    def current(self, job: str) -> RunRequest | None:
        return self._current.get(job)

    def is_waiting(self, job: str) -> bool:
        return job in self._waiting

    def request(self, request: RunRequest) -> Decision:
        """Enter a run, unless it is skipped."""
        job = request.job.id
        displaced = None
        verdict = decide(request.job.overlap, running=job in self._current, queued=job in self._waiting)
        match verdict:
            case Verdict.BEGIN:
                self._current[job] = request
            case Verdict.WAIT:
                self._waiting[job] = request
            case Verdict.REPLACE:
                displaced, self._waiting[job] = self._waiting.get(job), request
        return Decision(verdict, displaced)

    def ended(self, request: RunRequest) -> RunRequest | None:
        """Strike out the current run of a job; the one that waited is current now, and returned.

        Raises:
            ValueError: it is not the current one: a mistake of ours.
        """
        job = request.job.id
        if (current := self._current.get(job)) is None or current.id != request.id:
            raise ValueError(f"run {request.id} of job {job!r} is not on the books")
        del self._current[job]
        following = self._waiting.pop(job, None)
        if following is not None:
            self._current[job] = following
        return following

    def drop_waiting(self, request: RunRequest) -> None:
        """Strike out a run that waits."""
        del self._waiting[request.job.id]
