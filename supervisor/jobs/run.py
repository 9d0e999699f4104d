"""One run of a job in a process of its own: a child that is started once and whose end is an outcome."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from errno import ESRCH
from typing import Any

from plugin_runtime.protocol import Cause, Progress, State
from plugin_runtime.task_protocol import RunFinished
from plugin_runtime.task_views import RunView
from plugin_runtime.views import ExitView
from plugin_runtime.wire import Envelope
from supervisor.errors import SpawnError
from supervisor.jobs.former_runs import FormerRun
from supervisor.jobs.host import RunProcess
from supervisor.jobs.live_log import LiveLog, Tee
from supervisor.jobs.outcome import conclusion_of_exit, conclusion_of_word
from supervisor.jobs.request import RunListener, RunRequest
from supervisor.jobs.stopwatch import Stopwatch
from supervisor.jobs.view import active_view, ended_view
from supervisor.spec import ChildSpec, ExitStatus, Limits, RestartPolicy, RestartWhen
from supervisor.supervision.child import Child
from supervisor.supervision.child_events import SUPERVISOR, StartRequested, StopRequested
from supervisor.supervision.child_record import Ending
from supervisor.supervision.exits import exit_record
from supervisor.supervision.surroundings import Surroundings
from supervisor.supervision.tree import Tree

logger = logging.getLogger(__name__)

_BEFORE_READY = {State.PENDING, State.STARTING}


@dataclass(frozen=True)
class RunServices:
    """What the runs of all jobs work with."""

    around: Surroundings
    tree: Tree
    recorded: Callable[[ExitView], None]
    """Takes the exit record of each process."""
    retire: Callable[[Child], None]
    """Removes a child that has ended from the process table."""


class Run:
    """Implements ChildOwner for its one process, and ActiveRun."""

    def __init__(
        self,
        request: RunRequest,
        process: RunProcess,
        services: RunServices,
        log: LiveLog,
        listener: RunListener,
        former: FormerRun | None = None,
    ) -> None:
        """``former``: it has begun before, and its process goes on."""
        around = replace(services.around, logs=Tee(log, services.around.logs))
        self._request = request
        self._former = former
        self._settings = process.settings
        self._services = services
        self._listener = listener
        self._child = Child(spec_of_run(process.spec), self, around)
        self._watch = Stopwatch(around.clock)
        self._word: RunFinished | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ending: Ending | None = None
        """Why it was told to end; its child forgets that where there was no process."""
        self._ended = False

    @property
    def request(self) -> RunRequest:
        return self._request

    @property
    def view(self) -> RunView:
        incarnation = self._child.incarnation
        tail = incarnation.output.tail if incarnation else []
        return replace(active_view(self._request, self._watch.started, self._child.pid), log_tail=tail)

    def begin(self) -> None:
        if self._former is None:
            self._watch.start()
        else:
            self._watch.resume(self._former.started, self._former.age)
        self._services.tree.add(self._child)
        if left := self._watch.left(self._request.job.timeout):
            self._arm(left)
        self._child.post(StartRequested(self._request.actor))

    def stop(self, cause: Cause, actor: str) -> None:
        self._child.post(StopRequested(cause, actor))

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._overran)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _overran(self) -> None:
        self.stop(Cause.JOB_TIMEOUT, SUPERVISOR)

    # --- ChildOwner ---

    def settings_for(self, child: Child, token: str) -> Mapping[str, Any]:
        if self._former is not None:
            raise SpawnError(
                child.spec.id, child.spec.command[0], ProcessLookupError(ESRCH, "it ended before it was taken over")
            )
        return self._settings

    def adopted(self, child: Child, token: str, settings: Mapping[str, Any]) -> None:
        """It goes on as it is."""

    def changed(self, child: Child) -> None:
        self._ending = child.record.ending or self._ending
        if child.state is State.EXITED and not self._ended and self._ending is not None:
            self._never_born(child, self._ending)
        elif child.state not in _BEFORE_READY:
            self._listener.ready(self)

    def connected(self, child: Child) -> None:
        """It is told all in its Welcome."""

    def disconnected(self, child: Child) -> None:
        """Its exit follows, or it comes back."""

    def received(self, child: Child, envelope: Envelope) -> None:
        match envelope.message:
            case RunFinished(run) as word if run == self._request.id:
                self._finished(child, word)
            case Progress(phase):
                logger.debug("%s: %s", child, phase)
            case other:
                logger.warning("%s sent an unexpected %s", child, type(other).__name__)

    def _finished(self, child: Child, word: RunFinished) -> None:
        """Take its word, unless it is the word of one that we have interrupted; it exits next."""
        if child.record.ending is None and self._word is None:
            self._word = word
            # Its work is done, but a thread that it left behind may keep it from exiting for ever.
            self._arm(child.spec.timeouts.stop)

    def withdraw(self, child: Child, done: Callable[[], None]) -> None:
        done()

    def used_up(self, child: Child, cause: Cause) -> bool:
        return False

    def exited(self, child: Child, record: ExitView) -> None:
        self._services.recorded(record)
        self._end(child, record)

    def _never_born(self, child: Child, ending: Ending) -> None:
        """It was stopped while it waited for its template: no process, so no exit record, and yet an outcome."""
        status, actor = ExitStatus(), ending.actor
        self._end(child, exit_record(child.spec, None, ending.cause, status, uptime=0.0, log_tail=[], actor=actor))

    def _end(self, child: Child, record: ExitView) -> None:
        self._ended = True
        self._disarm()
        self._services.retire(child)
        if self._word is not None:
            conclusion = conclusion_of_word(self._word)
        else:
            conclusion = conclusion_of_exit(child.record.failure, record, self._request.job.timeout)
        view = ended_view(active_view(self._request, self._watch.started, record.pid), conclusion, self._watch)
        self._listener.ended(
            self,
            replace(
                view,
                log_tail=record.log_tail,
                peak_memory_mb=record.peak_memory_mb,
                cpu_seconds=None if record.cpu_seconds is None else round(record.cpu_seconds, 3),
            ),
        )


def spec_of_run(spec: ChildSpec) -> ChildSpec:
    """The same, started once and never again: what replaces a process, as soft limits do, would run the job twice."""
    hard = Limits(memory_hard_mb=spec.limits.memory_hard_mb, open_files=spec.limits.open_files)
    return replace(spec, restart=RestartPolicy(when=RestartWhen.NEVER), limits=hard)
