"""A run that was asked for, what it is while it goes on, and who is told of it."""

from dataclasses import dataclass
from typing import Protocol

from plugin_runtime.protocol import Cause
from plugin_runtime.task_views import RunView
from supervisor.jobs.former_runs import FormerRun
from supervisor.jobs.live_log import LiveLog
from supervisor.schedule.job_spec import JobSpec

SCHEDULER = "scheduler"
"""Actor of runs that were due."""


@dataclass(frozen=True)
class RunRequest:
    """Somebody, or the schedule, wants a job to run once."""

    id: str
    """Of the run, unique for ever."""
    number: int
    """Counts them in order of arrival, since the wall clock may jump."""
    job: JobSpec
    """As it was declared then."""
    actor: str
    scheduled: float | None = None
    """Seconds since the epoch when it was due; None where somebody asked for it."""


class ActiveRun(Protocol):
    """A run that has begun and not ended: Run, SharedRun."""

    @property
    def request(self) -> RunRequest: ...

    @property
    def view(self) -> RunView:
        """As of now."""

    def begin(self) -> None:
        """Called once; may have ended when this returns."""

    def stop(self, cause: Cause, actor: str) -> None:
        """End it before its time, as far as that can be done; its end is told to the listener."""


class RunListener(Protocol):
    """Told by a run what becomes of it, in the event loop's thread."""

    def ready(self, run: ActiveRun) -> None:
        """Its start, which is all CPU, is over. May come again."""

    def ended(self, run: ActiveRun, view: RunView) -> None:
        """It is over; told once."""


class RunFactory(Protocol):
    """Makes runs; Launcher, outside of tests."""

    def make(self, request: RunRequest, log: LiveLog, listener: RunListener) -> ActiveRun:
        """A run that has not begun, whose lines go to ``log``.

        Raises:
            ConflictError: it cannot be run now.
        """

    def resume(self, request: RunRequest, former: FormerRun, log: LiveLog, listener: RunListener) -> ActiveRun:
        """The same for a run that a supervisor before began."""
