"""Was it the fork, or the code? What becomes of processes decides which of both is believed."""

import signal

import pytest

from plugin_runtime.protocol import Cause, Failed, Kind, State
from supervisor.spec import ExitStatus
from supervisor.state_folder import StateFolder
from supervisor.supervision.child_events import (
    BecameReady,
    Exited,
    RestartRequested,
    SpawnFailed,
    StartFailed,
    StartTimeoutElapsed,
    StopRequested,
)
from supervisor.supervision.child_record import ChildRecord, Ending
from supervisor.supervision.trust import FAULTS, BirthOutcome, Trust, outcome_of
from tests.fakes.process_table import guest_spec

READY, FAULT, OTHER = BirthOutcome
STARTING = ChildRecord(State.STARTING, wanted=True, spawned_at=1.0)


def exited(code=None, number=None, cause=None):
    return Exited(ExitStatus(exit_code=code, signal=number), 0.0, cause)


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (BecameReady(), READY),
        *((exited(number=number), FAULT) for number in sorted(FAULTS)),
        (exited(code=1), FAULT),
        (exited(code=139), FAULT),
        (StartTimeoutElapsed(), FAULT),
        (exited(number=signal.SIGKILL), OTHER),
        (exited(number=signal.SIGTERM), OTHER),
        (exited(number=signal.SIGSEGV, cause=Cause.OUT_OF_MEMORY), OTHER),
        (exited(code=0), OTHER),
        (exited(code=70), OTHER),
        (exited(code=78), OTHER),
        (exited(code=80), OTHER),
        (exited(), OTHER),
        (StopRequested(Cause.OPERATOR, "operator"), OTHER),
        (RestartRequested(Cause.RELOAD, "supervisor"), OTHER),
        (SpawnFailed("no more processes", 0.0), OTHER),
        (StartFailed(Failed("import", "ValueError", "no")), OTHER),
    ],
)
def test_what_counts_as_coming_to_grief(event, outcome):
    """What a process brings upon itself without a word; not what others do to it, nor what it explains."""
    assert outcome_of(STARTING, event) is outcome


@pytest.mark.parametrize(
    "known",
    [
        {"failure": Failed("import", "ValueError", "no")},
        {"ending": Ending(Cause.OPERATOR, "operator", 1.0)},
        {"ending": Ending(Cause.START_TIMEOUT, "supervisor", 1.0)},
    ],
)
@pytest.mark.parametrize("event", [exited(number=signal.SIGSEGV), exited(code=1), StartTimeoutElapsed()])
def test_what_has_a_reason_is_no_grief(known, event):
    """It said why, or was being ended: whatever it dies of then proves nothing."""
    record = ChildRecord(State.STARTING, wanted=True, spawned_at=1.0, **known)
    assert outcome_of(record, event) is OTHER


F, X = True, False


@pytest.mark.parametrize(
    ("lives", "allows", "lost"),
    [
        ([], True, False),
        ([(F, READY)], True, False),
        ([(F, OTHER)], True, False),
        ([(X, FAULT)], True, False),
        ([(X, READY)], True, False),
        ([(F, FAULT)], False, False),
        ([(F, FAULT), (F, READY)], False, False),
        ([(F, FAULT), (X, OTHER)], False, False),
        ([(F, FAULT), (X, FAULT)], True, False),
        ([(F, FAULT), (X, FAULT), (F, FAULT)], False, False),
        ([(F, FAULT), (X, FAULT), (X, READY)], True, False),
        ([(F, FAULT), (X, READY)], False, True),
        ([(F, FAULT), (X, OTHER), (X, READY)], False, True),
        ([(F, FAULT), (X, READY), (X, FAULT)], False, True),
    ],
)
def test_the_fork_is_to_blame_where_the_same_lives_without_it(tmp_path, lives, allows, lost):
    """Executed after a death it gets ready: then nothing is forked any more. It dies as well: then it is the code."""
    trust, spec = Trust(), guest_spec(StateFolder(tmp_path))
    for forked, outcome in lives:
        trust.judge(spec, outcome, forked=forked)
    assert (trust.allows(spec), trust.lost) == (allows, lost)


def test_a_program_proves_nothing_for_another(tmp_path):
    """A task that gets ready says nothing of the plugin's worker; another instance does."""
    trust, folder = Trust(), StateFolder(tmp_path)
    worker, other = (guest_spec(folder, id=f"guest.{number}") for number in (1, 2))
    run, task = guest_spec(folder, kind=Kind.JOB), guest_spec(folder, name="sweep")
    trust.judge(worker, FAULT, forked=True)
    assert [trust.allows(spec) for spec in (worker, other, run, task)] == [False, False, True, True]
    trust.judge(run, READY, forked=False)
    trust.judge(task, READY, forked=False)
    assert not trust.lost
    trust.judge(other, READY, forked=False)
    assert trust.lost
    assert not trust.allows(run)
