"""Why workers of a plugin do not serve: in their own words, else by how they ended and how far they had come."""

from plugin_runtime.protocol import Cause, Failed, Phase, State
from plugin_runtime.views import ExitView, PluginError
from supervisor.plugins.view import error_of_exit, error_of_failure
from supervisor.supervision.child import Child
from supervisor.supervision.child_record import SERVING

OWN_DEATHS = frozenset(
    {
        Cause.CRASH.value,
        Cause.SIGNAL.value,
        Cause.OUT_OF_MEMORY.value,
        Cause.MEMORY_LIMIT.value,
        Cause.HANG.value,
        Cause.START_TIMEOUT.value,
    }
)
"""Causes of the end of a worker that nobody has asked for."""


class WorkerTrouble:
    """Of the workers of one generation; follows what their owner is told."""

    def __init__(self) -> None:
        self.error: PluginError | None = None
        """Why the last one that could not start could not, or died too often, until one is ready."""
        self._last_exit: ExitView | None = None
        self._last_phase = Phase.IMPORT.value
        self._phases: dict[Child, str] = {}
        """How far each has come."""
        self._failures: dict[Child, Failed] = {}

    def entered(self, child: Child, phase: str) -> None:
        """It has come so far."""
        self._phases[child] = phase

    def changed(self, child: Child) -> None:
        """Remember why it could not start: the child forgets it at the next spawn, which may follow at once."""
        failure = child.record.failure
        if failure is not None and child.incarnation is not None:
            self._failures[child] = failure
        elif failure is not None and self._last_exit is not None:
            self.error = error_of_failure(failure, self._last_exit)
        if child.state in SERVING:
            self._phases[child] = Phase.READY.value
        elif child.state in {State.BACKOFF, State.FAILED}:
            self.conclude()  # it was ready maybe, and died too often to be started again at once

    def exited(self, child: Child, record: ExitView) -> None:
        """Take its last words, or what is known without any where it was never ready."""
        self._last_exit = record
        self._last_phase = self._phases.pop(child, Phase.IMPORT.value)
        failure = self._failures.pop(child, None)
        if failure is not None:
            self.error = error_of_failure(failure, record)
        elif record.cause in OWN_DEATHS and self._last_phase != Phase.READY.value:
            self.error = error_of_exit(record, self._last_phase)

    def forget(self, child: Child) -> None:
        self._phases.pop(child, None)

    def conclude(self) -> None:
        """There has to be an error: where nobody had words for one, it is how the last worker ended."""
        if self.error is None and self._last_exit is not None:
            self.error = error_of_exit(self._last_exit, self._last_phase)
