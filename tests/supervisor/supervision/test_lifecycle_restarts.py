"""What makes a child start again: requests, crashes, hangs and limits, rule by rule."""

import signal

import pytest

from plugin_runtime.protocol import Cause, State
from supervisor.spec import ExitStatus, RestartPolicy, RestartWhen
from supervisor.supervision.child_events import (
    Arm,
    AskToStop,
    BackoffElapsed,
    BecameReady,
    Disarm,
    DrainTimeoutElapsed,
    DumpStacks,
    Exited,
    Hung,
    KillGroup,
    KillTimeoutElapsed,
    LimitExceeded,
    ProbeElapsed,
    RecordExit,
    Recovered,
    SignalGroup,
    Spawn,
    Spawned,
    SpawnFailed,
    StableElapsed,
    Stalled,
    TermTimeoutElapsed,
)
from supervisor.supervision.child_record import Policy
from supervisor.supervision.restart import Budget
from tests.fakes.child_life import CRASH, FINISH, KILLED, NO_SPAWN, RESTART, START, STOP, WAY_TO, Life

HARD_LIMIT = LimitExceeded(Cause.MEMORY_LIMIT, graceful=False)
SOFT_LIMIT = LimitExceeded(Cause.RECYCLE, graceful=True)
TERM = SignalGroup(signal.SIGTERM)


# --- restarting ---------------------------------------------------------------------------------------------


def test_a_requested_restart_spends_no_budget():
    """Restarts that a file change or an operator asked for are no crashes."""
    life = Life(*WAY_TO[State.RUNNING])
    for _ in range(50):
        life.sees(RESTART, FINISH)
        assert life.instructions[-1] == Spawn()
        life.sees(Spawned(), BecameReady())
    assert (life.record.budget, life.record.restarts) == (Budget(), 50)
    life.sees(CRASH)
    assert life.record.budget.streak == 1


def test_a_restart_while_stopping_starts_again_after_the_exit():
    """The latest wish counts."""
    life = Life(*WAY_TO[State.RUNNING], STOP, RESTART)
    assert life.state is State.DRAINING
    assert Spawn() in life.sees(FINISH)
    assert life.record.wanted


def test_a_start_while_stopping_starts_again_after_the_exit():
    """enable right after disable."""
    assert Spawn() in Life(*WAY_TO[State.RUNNING], STOP, START, FINISH).instructions


def test_a_restart_acts_at_once_after_a_kill_that_would_have_failed_it():
    """Reliability 9: a restart by hand asks no budget."""
    policy = Policy(RestartPolicy(limit=1))
    life = Life(*WAY_TO[State.RUNNING], HARD_LIMIT, RESTART, KILLED, policy=policy)
    assert life.instructions[-1] == Spawn()
    assert life.exit_record().cause is Cause.MEMORY_LIMIT


@pytest.mark.parametrize("request_", [START, RESTART])
def test_a_request_during_backoff_acts_at_once_and_resets_the_counters(request_):
    """Reliability 9: who mends a plugin does not wait for its back-off."""
    life = Life(START, NO_SPAWN)
    life.waits()
    life.sees(NO_SPAWN)
    assert life.sees(request_) == [Disarm(), Spawn()]
    assert life.record.budget == Budget()


def test_a_restart_of_a_stopped_child_starts_it():
    """As service managers do."""
    life = Life(*WAY_TO[State.EXITED])
    assert life.sees(RESTART) == [Spawn()]
    assert life.record.wanted


def test_a_restart_between_spawn_and_spawned_replaces_the_process():
    """What is being spawned may have the settings of before."""
    life = Life(START, RESTART)
    assert TERM in life.sees(Spawned())
    assert Spawn() in life.sees(FINISH)


# --- crashing -----------------------------------------------------------------------------------------------


def spawn_and_crash(life: Life) -> None:
    life.sees(Spawned(), CRASH)


def test_the_first_crash_restarts_at_once():
    """Reliability 1: a new process within milliseconds."""
    life = Life(*WAY_TO[State.RUNNING])
    record = RecordExit(Cause.SIGNAL, "", KILLED.status, 5.0)
    assert life.sees(KILLED, after=5.0) == [Disarm(), record, Spawn()]
    assert (life.state, life.record.restarts, life.record.spawned_at) == (State.STARTING, 1, None)


def test_a_crash_loop_backs_off_and_fails_at_the_limit():
    """Reliability 9: 0, then 0.5 s doubling to the cap; the 8th crash in the window makes it failed."""
    life = Life(START)
    spawn_and_crash(life)
    delays = []
    for _ in range(6):
        spawn_and_crash(life)
        delays.append(life.delay_of(BackoffElapsed))
        life.waits()
    spawn_and_crash(life)
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0]
    assert (life.state, life.delay_of(ProbeElapsed)) == (State.FAILED, 300.0)


def test_a_failed_child_is_probed_by_single_attempts():
    """Causes heal; but a probe is no new budget of eight crashes."""
    life = Life(START, NO_SPAWN, policy=Policy(RestartPolicy(limit=1)))
    for _ in range(3):
        assert life.waits() == [Spawn()]
        spawn_and_crash(life)
        assert (life.state, life.delay_of(ProbeElapsed)) == (State.FAILED, 300.0)


def test_a_probe_that_stays_up_fills_the_budget():
    """Healed is healed."""
    life = Life(START, NO_SPAWN, policy=Policy(RestartPolicy(limit=2)))
    life.waits()
    spawn_and_crash(life)
    life.waits()
    life.sees(Spawned(), BecameReady())
    life.waits()
    assert life.record.budget == Budget()
    assert Spawn() in life.sees(CRASH)


def test_a_stable_run_resets_the_counters():
    """Reliability 9: the next crash after 30 s up restarts at once again."""
    life = Life(START)
    spawn_and_crash(life)
    spawn_and_crash(life)
    life.waits()
    life.sees(Spawned(), BecameReady())
    assert life.waits() == []
    assert (life.state, life.record.armed) == (State.RUNNING, None)
    assert life.sees(CRASH)[-1] == Spawn()


def test_a_failed_child_without_probe_stays_failed():
    """Tasks: max_retries used up means stopped until somebody acts."""
    life = Life(START, NO_SPAWN, policy=Policy(RestartPolicy(limit=1, probe=None)))
    assert (life.state, life.record.armed) == (State.FAILED, None)


@pytest.mark.parametrize(
    ("when", "exit_", "state"),
    [
        (RestartWhen.ALWAYS, FINISH, State.STARTING),
        (RestartWhen.ALWAYS, CRASH, State.STARTING),
        (RestartWhen.ON_FAILURE, FINISH, State.EXITED),
        (RestartWhen.ON_FAILURE, CRASH, State.STARTING),
        (RestartWhen.NEVER, FINISH, State.EXITED),
        (RestartWhen.NEVER, CRASH, State.FAILED),
    ],
)
def test_the_policy_decides_about_an_exit_by_itself(when, exit_, state):
    """Reliability 10: policy honoured; a crash that is not restarted stays visible as failed."""
    life = Life(*WAY_TO[State.RUNNING], exit_, policy=Policy(RestartPolicy(when=when)))
    assert life.state is state
    assert life.record.wanted == (state is not State.EXITED)
    assert life.exit_record().cause is (Cause.FINISHED if exit_ is FINISH else Cause.CRASH)


def test_finishing_at_once_under_always_backs_off():
    """A program that ends at once must not spin."""
    life = Life(START, Spawned(), FINISH, Spawned(), FINISH)
    assert life.state is State.BACKOFF


def test_a_requested_restart_happens_even_with_restart_never():
    """The policy is about exits that nobody asked for."""
    policy = Policy(RestartPolicy(when=RestartWhen.NEVER))
    assert Spawn() in Life(*WAY_TO[State.RUNNING], RESTART, FINISH, policy=policy).instructions


def test_jitter_comes_with_the_event():
    """Children that died together do not start together, and the core draws no numbers."""
    life = Life(START, SpawnFailed("no", jitter=0.9), policy=Policy())
    life.waits()
    life.sees(Spawned(), Exited(ExitStatus(exit_code=1), jitter=0.5))
    assert life.delay_of(BackoffElapsed) == pytest.approx(0.475)


# --- stalls, hangs, limits ----------------------------------------------------------------------------------


def test_a_stall_that_passes_restarts_nothing():
    """Reliability 6: SIGCONT in time, no restart."""
    life = Life(*WAY_TO[State.RUNNING])
    assert life.sees(Stalled()) == [Disarm()]
    assert life.sees(Recovered()) == [Arm(StableElapsed(), 30.0)]
    assert (life.state, life.record.restarts) == (State.RUNNING, 0)


def test_a_stall_interrupts_the_stable_run():
    """A child that hangs after each start would pass for stable otherwise: hung takes as long as stable."""
    life = Life(*WAY_TO[State.RUNNING], Stalled())
    assert life.record.armed is None


@pytest.mark.parametrize("state", [State.RUNNING, State.STALLED, State.DRAINING])
def test_a_hung_child_writes_its_stacks_and_is_killed(state):
    """Reliability 7: the record says hang; SIGKILL waits for the stacks, which it would overtake."""
    life = Life(*WAY_TO[state])
    assert life.sees(Hung()) == [DumpStacks(), Arm(TermTimeoutElapsed(), 0.5)]
    assert KillGroup() in life.waits()
    life.sees(KILLED)
    assert life.exit_record().cause is Cause.HANG


def test_a_hang_spends_budget():
    """It is a crash by another name."""
    life = Life(*WAY_TO[State.RUNNING], Hung())
    life.waits()
    life.sees(KILLED)
    assert life.record.budget.streak == 1


def test_over_a_hard_limit_is_killed_at_once_and_counts_as_a_crash():
    """Reliability 15."""
    life = Life(*WAY_TO[State.RUNNING])
    assert life.sees(HARD_LIMIT) == [KillGroup(), Arm(KillTimeoutElapsed(), 10.0)]
    life.sees(KILLED)
    assert (life.exit_record().cause, life.record.budget.streak) == (Cause.MEMORY_LIMIT, 1)


def test_over_a_soft_limit_is_replaced_in_order_and_spends_nothing():
    """Recycling is maintenance."""
    life = Life(*WAY_TO[State.RUNNING])
    assert life.sees(SOFT_LIMIT) == [AskToStop(Cause.RECYCLE, 25.0), Arm(DrainTimeoutElapsed(), 25.0)]
    life.sees(FINISH)
    assert (life.exit_record().cause, life.state, life.record.budget) == (Cause.RECYCLE, State.STARTING, Budget())


@pytest.mark.parametrize("state", [State.STARTING, State.DRAINING])
def test_a_soft_limit_is_passed_over_where_it_changes_nothing(state):
    """Before ready it would meet every successor as well; a draining child is on its way out."""
    life = Life(*WAY_TO[state])
    before = life.record
    assert life.sees(SOFT_LIMIT) == []
    assert life.record == before
