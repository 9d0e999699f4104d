"""How a run ended: from its last words and from the exit of its process to what people are shown. Pure.

A run that said how it ended has ended so, whatever became of its process afterwards. One that was being ended by us has
lost its say: what it returns while it is interrupted is no success. Whoever calls passes only words that count.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from plugin_runtime.protocol import Cause, ExitCode, Failed
from plugin_runtime.task_protocol import Outcome, RunFinished
from plugin_runtime.views import ExitView
from supervisor.spec import ExitStatus

BY_CAUSE: Mapping[Cause, Outcome] = {
    Cause.CRASH: Outcome.CRASHED,
    Cause.SIGNAL: Outcome.CRASHED,
    Cause.OUT_OF_MEMORY: Outcome.CRASHED,
    Cause.FINISHED: Outcome.CRASHED,  # without a word: exited before the function had returned
    Cause.PARENT_LOST: Outcome.CRASHED,
    Cause.UNKNOWN: Outcome.CRASHED,
    Cause.START_FAILED: Outcome.FAILED,
    Cause.START_TIMEOUT: Outcome.TIMED_OUT,
    Cause.JOB_TIMEOUT: Outcome.TIMED_OUT,
    Cause.MEMORY_LIMIT: Outcome.KILLED,
    Cause.CPU_LIMIT: Outcome.KILLED,
    Cause.HANG: Outcome.KILLED,
    Cause.OVERLAP: Outcome.KILLED,
    Cause.OPERATOR: Outcome.KILLED,
    Cause.DISABLED: Outcome.KILLED,
    Cause.RELOAD: Outcome.KILLED,
    Cause.ROLLBACK: Outcome.KILLED,
    Cause.RECYCLE: Outcome.KILLED,
    Cause.SCALE_DOWN: Outcome.KILLED,
    Cause.IDLE: Outcome.KILLED,
    Cause.UPGRADE: Outcome.KILLED,
    Cause.SHUTDOWN: Outcome.KILLED,
}
"""Of a run whose process ended before it had said anything."""

_MESSAGES: Mapping[Cause, str] = {
    Cause.START_TIMEOUT: "its module was not imported within start_timeout",
    Cause.MEMORY_LIMIT: "it used more memory than memory_hard_mb",
    Cause.CPU_LIMIT: "it used more CPU time than it may",
    Cause.HANG: "its process did not answer any more",
    Cause.OVERLAP: "a newer run took its place",
    Cause.SHUTDOWN: "xcore was stopped",
}

_SAID = {outcome.value: outcome for outcome in (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.TIMED_OUT)}
"""What a run may say of itself."""


@dataclass(frozen=True)
class Conclusion:
    """What is shown of the end of a run."""

    outcome: Outcome
    exception: str | None = None
    traceback: str | None = None
    message: str = ""


def conclusion_of_word(finished: RunFinished) -> Conclusion:
    """What a run says of itself."""
    outcome = _SAID.get(finished.outcome)
    if outcome is None:
        return Conclusion(Outcome.FAILED, message=f"it said {finished.outcome!r}, which is no outcome")
    return Conclusion(outcome, finished.exception, finished.traceback)


def conclusion_of_exit(failure: Failed | None, record: ExitView, timeout: float) -> Conclusion:
    """Tell from the exit of its process how a run ended that had said nothing.

    ``failure``: why it could not start; ``timeout``: the job's, in seconds.
    """
    cause = Cause(record.cause)
    if cause is Cause.START_FAILED and failure is not None:
        exception = f"{failure.type}: {failure.message}"
        return Conclusion(Outcome.FAILED, exception, failure.traceback or None, failure.hint)
    return Conclusion(BY_CAUSE[cause], message=_message(cause, record, timeout))


def conclusion_of_service(record: ExitView) -> Conclusion:
    """Tell from the exit of the service that it ran in how a shared run ended."""
    cause = Cause(record.cause)
    killed = BY_CAUSE[cause] is Outcome.KILLED
    message = f"the service that it ran in ended ({cause.value}, {_how(record)})"
    return Conclusion(Outcome.KILLED if killed else Outcome.CRASHED, message=message)


def _message(cause: Cause, record: ExitView, timeout: float) -> str:
    if cause is Cause.JOB_TIMEOUT:
        return f"it took longer than its timeout of {timeout:g} s"
    if cause is Cause.START_FAILED:
        return record.message or _start_failure(record)
    match BY_CAUSE[cause]:
        case Outcome.CRASHED:
            return f"its process ended without a word, {_how(record)}"
        case _:
            by = f" by {record.actor}" if record.actor else ""
            return _MESSAGES.get(cause, f"it was ended{by}, {cause.value}")


def _start_failure(record: ExitView) -> str:
    if record.exit_code == ExitCode.UNSUPPORTED_PYTHON:
        return "its Python is not supported"
    return f"its process could not start, {_how(record)}"


def _how(record: ExitView) -> str:
    """SIGKILL; exit code 3; its end is unknown."""
    status = ExitStatus(record.exit_code, record.signal)
    return "its end is unknown" if record.exit_code is record.signal is None else str(status)
