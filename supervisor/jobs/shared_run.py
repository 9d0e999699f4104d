"""One run of a job inside the process of its task's service."""

import asyncio

from plugin_runtime.protocol import Cause
from plugin_runtime.task_protocol import Outcome, RunFinished, RunJob
from plugin_runtime.task_views import RunView
from plugin_runtime.views import ExitView
from supervisor.clock import Clock
from supervisor.errors import ConflictError
from supervisor.jobs.former_runs import FormerRun
from supervisor.jobs.outcome import Conclusion, conclusion_of_service, conclusion_of_word
from supervisor.jobs.request import RunListener, RunRequest
from supervisor.jobs.stopwatch import Stopwatch
from supervisor.jobs.view import active_view, ended_view
from supervisor.supervision.child import Child
from supervisor.supervision.child_record import SERVING

LAST_WORD = 5.0
"""Seconds after its timeout in which the service has to report it; without a word the run is over for us, too."""


class SharedRun:
    """Implements ActiveRun. Its lines are the service's: nobody can tell them apart."""

    def __init__(
        self,
        request: RunRequest,
        service: Child | None,
        clock: Clock,
        listener: RunListener,
        last_word: float = LAST_WORD,
        former: FormerRun | None = None,
    ) -> None:
        """``former``: it has begun before, in a service that goes on.

        Raises:
            ConflictError: there is no service that could take it.
        """
        self._request = request
        self._former = former
        self._service = _fit(service) if former is None else _known(service)
        self._listener = listener
        self._last_word = last_word
        self._pid = self._service.pid
        self._watch = Stopwatch(clock)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def request(self) -> RunRequest:
        return self._request

    @property
    def view(self) -> RunView:
        return active_view(self._request, self._watch.started, self._pid)

    def begin(self) -> None:
        if self._former is None:
            self._watch.start()
        else:
            self._watch.resume(self._former.started, self._former.age)
        left = self._left
        if left:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(left + self._last_word, self._overran)
        self._order(left)
        self._listener.ready(self)

    def ask_again(self) -> None:
        """After a reconnect: the order, or the word that it has ended, may have been lost with the connection."""
        self._order(self._left)

    @property
    def _left(self) -> float:
        """Seconds of its timeout; 0 where it has none."""
        return self._watch.left(self._request.job.timeout)

    def _order(self, left: float) -> None:
        """Have the service begin with it, unless it has done so before."""
        self._service.send(RunJob(self._request.id, self._request.job.name, left))

    def stop(self, cause: Cause, actor: str) -> None:
        """Nothing can be done: a thread cannot be killed. It ends by itself, by its timeout or with the service."""

    def finished(self, word: RunFinished) -> None:
        """The service says how it ended."""
        self._end(conclusion_of_word(word))

    def service_ended(self, record: ExitView) -> None:
        """And with it all that ran in it."""
        self._end(conclusion_of_service(record))

    def _overran(self) -> None:
        message = f"its service did not report the end of its timeout of {self._request.job.timeout:g} s"
        self._end(Conclusion(Outcome.TIMED_OUT, message=message))

    def _end(self, conclusion: Conclusion) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._listener.ended(self, ended_view(self.view, conclusion, self._watch))


def _known(service: Child | None) -> Child:
    if service is None:
        raise ConflictError("the service that it ran in is gone")
    return service


def _fit(service: Child | None) -> Child:
    if service is None:
        raise ConflictError("there is no service that it could run in")
    if service.state not in SERVING or service.incarnation is None or service.incarnation.connection is None:
        raise ConflictError(f"the service that it would run in is {service.state.value}")
    return service
