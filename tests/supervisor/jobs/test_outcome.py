"""How a run ended, for every way in which its process can."""

from dataclasses import replace

import pytest

from plugin_runtime.protocol import Cause, Failed
from plugin_runtime.task_protocol import Outcome, RunFinished
from plugin_runtime.views import ExitView
from supervisor.jobs.outcome import BY_CAUSE, Conclusion, conclusion_of_exit, conclusion_of_service, conclusion_of_word

DEATH = ExitView("1", "reports", "reports.cleanup.1", "job", "crash", None, None, "", 0.0, 1.0, [])
NO_MODULE = Failed("import", "ModuleNotFoundError", "no module named 'pandas'", "install it", "Traceback ...")


def death(cause, code=None, signal=None, **fields):
    return replace(DEATH, cause=cause.value, exit_code=code, signal=signal, **fields)


def test_every_cause_has_an_outcome():
    """Whatever a process may die of, its run ends."""
    assert set(BY_CAUSE) == set(Cause)


@pytest.mark.parametrize(
    ("record", "outcome", "message"),
    [
        (death(Cause.CRASH, 3), "crashed", "its process ended without a word, exit code 3"),
        (death(Cause.SIGNAL, signal=9), "crashed", "its process ended without a word, SIGKILL"),
        (death(Cause.FINISHED, 0), "crashed", "its process ended without a word, exit code 0"),
        (death(Cause.UNKNOWN), "crashed", "its process ended without a word, its end is unknown"),
        (death(Cause.OUT_OF_MEMORY, signal=9), "crashed", "its process ended without a word, SIGKILL"),
        (death(Cause.PARENT_LOST, 80), "crashed", "its process ended without a word, exit code 80"),
        (death(Cause.JOB_TIMEOUT, signal=9), "timed_out", "it took longer than its timeout of 1.5 s"),
        (death(Cause.JOB_TIMEOUT, 0), "timed_out", "it took longer than its timeout of 1.5 s"),
        (death(Cause.START_TIMEOUT, signal=9), "timed_out", "its module was not imported within start_timeout"),
        (death(Cause.MEMORY_LIMIT, signal=9), "killed", "it used more memory than memory_hard_mb"),
        (death(Cause.OVERLAP, 0), "killed", "a newer run took its place"),
        (death(Cause.SHUTDOWN, signal=15), "killed", "xcore was stopped"),
        (death(Cause.HANG, signal=9), "killed", "its process did not answer any more"),
        (death(Cause.OPERATOR, 0, actor="token:ci"), "killed", "it was ended by token:ci, operator"),
        (death(Cause.RELOAD, 0), "killed", "it was ended, reload"),
        (death(Cause.START_FAILED, message="cannot start: no memory"), "failed", "cannot start: no memory"),
        (death(Cause.START_FAILED, 79), "failed", "its Python is not supported"),
        (death(Cause.START_FAILED, 70), "failed", "its process could not start, exit code 70"),
    ],
    ids=str,
)
def test_a_run_that_said_nothing_ended_as_its_process_did(record, outcome, message):
    assert conclusion_of_exit(None, record, 1.5) == Conclusion(Outcome(outcome), message=message)


def test_a_module_that_cannot_be_imported_is_a_failure_with_its_traceback():
    """As if the function had raised it."""
    assert conclusion_of_exit(NO_MODULE, death(Cause.START_FAILED, 70), 0.0) == Conclusion(
        Outcome.FAILED, "ModuleNotFoundError: no module named 'pandas'", "Traceback ...", "install it"
    )


def test_what_it_says_after_we_began_to_end_it_does_not_count():
    """An import that fails because it is interrupted is not the reason of the end."""
    assert conclusion_of_exit(NO_MODULE, death(Cause.SHUTDOWN, 70), 0.0).outcome is Outcome.KILLED


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "timed_out"])
def test_a_runs_word_is_taken(outcome):
    """What it raised goes along."""
    said = RunFinished("1", outcome, "ValueError: no", "Traceback ...")
    assert conclusion_of_word(said) == Conclusion(Outcome(outcome), "ValueError: no", "Traceback ...")


@pytest.mark.parametrize("outcome", ["skipped", "killed", "", "SUCCEEDED"])
def test_a_run_cannot_claim_what_only_we_can_know(outcome):
    """Its code speaks a protocol that it may misuse."""
    conclusion = conclusion_of_word(RunFinished("1", outcome))
    assert conclusion.outcome is Outcome.FAILED
    assert repr(outcome) in conclusion.message


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        (death(Cause.CRASH, 1), "crashed"),
        (death(Cause.FINISHED, 0), "crashed"),
        (death(Cause.HANG, signal=9), "killed"),
        (death(Cause.OPERATOR, 0), "killed"),
        (death(Cause.SHUTDOWN, 0), "killed"),
        (death(Cause.START_FAILED, 70), "crashed"),
    ],
    ids=str,
)
def test_a_shared_run_ends_with_its_service(record, outcome):
    """Not failed, not timed out: it is not the run that did anything wrong."""
    conclusion = conclusion_of_service(record)
    assert conclusion.outcome == outcome
    assert record.cause in conclusion.message
