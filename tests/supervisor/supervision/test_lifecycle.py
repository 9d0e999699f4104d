"""One child's life: every cell of the table as it is documented, and how it starts and stops, rule by rule."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from plugin_runtime.protocol import Cause, State
from supervisor.spec import ExitStatus, RestartPolicy, Timeouts
from supervisor.supervision.child_events import (
    Adopted,
    Arm,
    AskToStop,
    BackoffElapsed,
    BecameReady,
    CancelSpawn,
    Command,
    Disarm,
    Drained,
    DrainTimeoutElapsed,
    Event,
    Exited,
    Hung,
    HurryRequested,
    KillGroup,
    KillTimeoutElapsed,
    LimitExceeded,
    ProbeElapsed,
    RecordExit,
    Recovered,
    ReportUnkillable,
    SignalGroup,
    Spawn,
    SpawnCancelled,
    Spawned,
    SpawnFailed,
    StableElapsed,
    Stalled,
    StartFailed,
    StartTimeoutElapsed,
    TermTimeoutElapsed,
    TimerEvent,
)
from supervisor.supervision.child_record import Policy
from supervisor.supervision.lifecycle import IllegalTransitionError, advance
from tests.fakes.child_life import CRASH, FINISH, KILLED, NO_SPAWN, RESTART, START, STOP, WAY_TO, Life, failure

STATES_PAGE = Path(__file__).parents[3] / "docs" / "reference" / "states.md"
HARD_LIMIT = LimitExceeded(Cause.MEMORY_LIMIT, graceful=False)
TERM = SignalGroup(signal.SIGTERM)

EXAMPLES: dict[str, Event] = {
    type(event).__name__: event
    for event in (
        START,
        STOP,
        RESTART,
        HurryRequested(),
        Spawned(),
        Adopted(100.0, 3),
        NO_SPAWN,
        SpawnCancelled(),
        BecameReady(),
        StartFailed(failure()),
        Stalled(),
        Recovered(),
        Hung(),
        HARD_LIMIT,
        Drained(),
        CRASH,
        *(timer() for timer in get_args(TimerEvent)),
    )
}


def documented_cells() -> list[tuple[str, State, str]]:
    """Event, state and outcome of each cell of the grid in states.md."""
    lines = STATES_PAGE.read_text().splitlines()
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    header = next(index for index, row in enumerate(rows) if row[0] == "Event")
    grid = [row for row in rows[header + 2 :] if len(row) == len(rows[header])]
    columns = [State(name) for name in rows[header][1:]]
    return [(row[0], state, cell) for row in grid for state, cell in zip(columns, row[1:], strict=True)]


def life_in(state: State, event: Event) -> Life:
    """A plain life in ``state``, as the page shows it, ready for ``event``."""
    events = WAY_TO[state]
    if state is State.STARTING and isinstance(event, Spawned | Adopted | SpawnFailed | SpawnCancelled):
        events = (START,)
    life = Life(*events)
    if isinstance(event, TimerEvent):
        life.record = replace(life.record, armed=event)
    return life


@pytest.mark.parametrize("state", State)
def test_each_state_is_reached_by_its_shortest_life(state):
    """The cells below are tried where they claim to be."""
    assert Life(*WAY_TO[state]).state is state


def test_the_page_has_a_cell_for_each_event_and_state():
    """No event and no state is left undecided."""
    named = {(event, state) for event, state, _ in documented_cells()}
    assert named == {(event.__name__, state) for event in get_args(Event) for state in State}


@pytest.mark.parametrize(("name", "state", "outcome"), documented_cells())
def test_each_cell_does_what_the_page_says(name, state, outcome):
    """docs/reference/states.md is the truth about every event in every state."""
    event = EXAMPLES[name]
    life = life_in(state, event)
    before = life.record
    if outcome == "!":
        with pytest.raises(IllegalTransitionError, match=f"{name}.* in state {state.value}"):
            life.sees(event)
        return
    life.sees(event)
    if outcome == "-":
        assert (life.record, life.instructions) == (before, [])
    else:
        assert life.state is (state if outcome == "same" else State(outcome))


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("timer", get_args(TimerEvent))
def test_a_timer_that_is_not_armed_cannot_elapse(state, timer):
    """At most one timer is armed; one that elapses late is a mistake of the shell."""
    life = Life(*WAY_TO[state])
    if life.record.armed == timer():
        return
    with pytest.raises(IllegalTransitionError):
        life.sees(timer())


def test_nothing_is_said_about_a_process_before_it_was_spawned():
    """Spawned or SpawnFailed is the first that is heard of a process."""
    for event in (BecameReady(), StartFailed(failure()), Hung(), HARD_LIMIT, Drained(), CRASH):
        with pytest.raises(IllegalTransitionError):
            Life(START).sees(event)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", get_args(Command))
def test_requests_are_legal_in_every_state(state, event):
    """50 clicks on enable, disable and restart end in no error (whatever comes between them)."""
    Life(*WAY_TO[state]).sees(EXAMPLES[event.__name__])


# --- starting -----------------------------------------------------------------------------------------------


def test_a_start_spawns_and_waits_for_readiness():
    """Started means that the child said so, never that it was spawned."""
    life = Life()
    assert life.sees(START) == [Spawn()]
    assert life.sees(Spawned()) == [Arm(StartTimeoutElapsed(), 60.0)]
    assert life.state is State.STARTING
    assert life.sees(BecameReady(), after=2.0) == [Arm(StableElapsed(), 30.0)]
    assert life.state is State.RUNNING


def test_never_ready_is_killed_as_a_group_and_counts_as_a_crash():
    """Reliability 11: killed at start_timeout, recorded, back-off."""
    life = Life(START, Spawned())
    assert life.waits() == [KillGroup(), Arm(KillTimeoutElapsed(), 10.0)]
    life.sees(KILLED, after=0.1)
    record = life.exit_record()
    assert (record.cause, record.actor, record.status.signal) == (Cause.START_TIMEOUT, "supervisor", 9)
    assert record.uptime == pytest.approx(60.1)
    assert life.record.budget.streak == 1


def test_a_child_that_says_why_it_cannot_start_is_recorded_with_its_words():
    """Reliability 8: the exit record has the failure's message."""
    life = Life(START, Spawned(), StartFailed(failure()), Exited(ExitStatus(exit_code=70), jitter=0.0))
    assert life.exit_record().cause is Cause.START_FAILED
    assert life.exit_record().message == "no module named 'flask'"
    assert life.record.budget.streak == 1


def test_a_child_that_says_it_cannot_start_and_stays_is_killed():
    """It has the term timeout to exit, not the rest of the start timeout."""
    life = Life(START, Spawned(), StartFailed(failure()))
    assert life.delay_of(StartTimeoutElapsed) == 5.0
    assert KillGroup() in life.waits()
    life.sees(KILLED)
    assert life.exit_record().cause is Cause.START_FAILED


def test_ready_after_a_failed_start_is_not_believed():
    """Fail closed: what said that it cannot start gets no requests."""
    life = Life(START, Spawned(), StartFailed(failure()))
    assert life.sees(BecameReady()) == []
    assert life.state is State.STARTING


def test_a_second_failure_of_one_start_changes_nothing():
    """The first one names the cause."""
    life = Life(START, Spawned(), StartFailed(failure()))
    before = life.record
    assert life.sees(StartFailed(failure(permanent=True))) == []
    assert life.record == before


def test_a_permanent_failure_is_not_tried_again():
    """An invalid plugin is failed without probing until something changes."""
    life = Life(START, Spawned(), StartFailed(failure(permanent=True)), Exited(ExitStatus(exit_code=70), jitter=0.0))
    assert (life.state, life.record.armed, life.record.wanted) == (State.FAILED, None, True)
    assert life.record.failure == failure(permanent=True)


@pytest.mark.parametrize("code", [78, 79])
@pytest.mark.parametrize("state", [State.STARTING, State.RUNNING, State.STALLED])
def test_exit_codes_that_cannot_heal_are_not_tried_again(state, code):
    """78 and 79 mean: not before something changes."""
    life = Life(*WAY_TO[state], Exited(ExitStatus(exit_code=code), jitter=0.0))
    assert (life.state, life.record.armed) == (State.FAILED, None)
    assert life.exit_record().cause is Cause.START_FAILED


def test_last_words_read_after_the_exit_still_count():
    """The kernel may tell of the death before the control channel's last message is read."""
    life = Life(START, NO_SPAWN)
    life.sees(StartFailed(failure()))
    assert (life.state, life.record.failure) == (State.BACKOFF, failure())
    assert life.sees(StartFailed(failure(permanent=True))) == [Disarm()]
    assert life.state is State.FAILED


def test_a_failure_is_forgotten_with_the_next_start():
    """What is shown is why the last process did not start, not one before."""
    assert Life(START, Spawned(), StartFailed(failure()), CRASH).record.failure is None


def test_a_spawn_that_failed_is_recorded_and_tried_again_later():
    """Reliability 33: recorded, and never at once, since what was lacking is still lacking."""
    life = Life(START, NO_SPAWN)
    record = life.exit_record()
    assert (record.cause, record.status, record.uptime) == (Cause.START_FAILED, ExitStatus(), 0.0)
    assert record.message == NO_SPAWN.message
    assert life.delay_of(BackoffElapsed) == 0.5
    assert life.waits() == [Spawn()]
    life.sees(NO_SPAWN)
    assert life.delay_of(BackoffElapsed) == 0.5
    life.waits()
    life.sees(NO_SPAWN)
    assert life.delay_of(BackoffElapsed) == 1.0


# --- stopping -----------------------------------------------------------------------------------------------


def test_stop_is_a_ladder_that_ends_at_the_stop_timeout():
    """Reliability 12: asked, SIGTERM, and SIGKILL exactly stop_timeout after the request."""
    life = Life(*WAY_TO[State.RUNNING])
    asked_at = life.now
    assert life.sees(STOP) == [AskToStop(Cause.OPERATOR, 25.0), Arm(DrainTimeoutElapsed(), 25.0)]
    assert life.state is State.DRAINING
    assert life.waits() == [TERM, Arm(TermTimeoutElapsed(), 5.0)]
    assert life.state is State.STOPPING
    assert life.waits() == [KillGroup(), Arm(KillTimeoutElapsed(), 10.0)]
    assert life.now - asked_at == 30.0
    life.sees(KILLED)
    assert (life.state, life.record.wanted, life.record.armed) == (State.EXITED, False, None)
    assert life.exit_record() == RecordExit(Cause.OPERATOR, "operator", KILLED.status, 30.0)


def test_drained_early_leaves_the_whole_rest_of_the_time_after_term():
    """Where nobody can be asked, SIGTERM comes at once and stop_timeout still holds."""
    life = Life(*WAY_TO[State.RUNNING], STOP)
    assert life.sees(Drained(), after=1.0) == [TERM, Arm(TermTimeoutElapsed(), 29.0)]


def test_a_child_that_is_not_ready_is_stopped_by_term_at_once():
    """It has no requests to finish, and may not listen yet."""
    life = Life(START, Spawned())
    assert life.sees(STOP) == [TERM, Arm(TermTimeoutElapsed(), 30.0)]
    assert life.state is State.STOPPING


def test_a_stop_between_spawn_and_spawned_ends_the_process_once_it_is_there():
    """No process may escape a stop because it was being born."""
    life = Life(START)
    assert life.sees(STOP) == [CancelSpawn()]
    assert life.sees(Spawned(), after=1.0) == [TERM, Arm(TermTimeoutElapsed(), 29.0)]
    life.sees(FINISH)
    assert (life.state, life.exit_record().cause) == (State.EXITED, Cause.OPERATOR)


def test_a_stop_between_spawn_and_a_failed_spawn_leaves_it_stopped():
    """Nothing is retried that nobody wants."""
    life = Life(START, STOP, NO_SPAWN)
    assert (life.state, life.record.armed) == (State.EXITED, None)


def test_a_spawn_that_is_cancelled_leaves_no_record():
    """Nobody lived: what was to be stopped is stopped, what was to be restarted waits anew, as one that never ran."""
    life = Life(START, STOP)
    assert life.sees(SpawnCancelled()) == []
    assert (life.state, life.record.ending) == (State.EXITED, None)
    life = Life(START)
    assert life.sees(RESTART) == [CancelSpawn()]
    assert life.sees(SpawnCancelled()) == [Spawn()]
    assert (life.state, life.record.ending, life.record.restarts) == (State.STARTING, None, 0)
    assert life.sees(Spawned()) == [Arm(StartTimeoutElapsed(), 60.0)]


def test_a_start_takes_a_stop_back_that_touched_nothing_yet():
    """The process that is being spawned is as good as another one."""
    life = Life(START, STOP, START)
    assert life.sees(Spawned()) == [Arm(StartTimeoutElapsed(), 60.0)]


@pytest.mark.parametrize("between", [(RESTART,), (RESTART, STOP)])
def test_a_start_after_other_requests_before_spawned_counts_once(between):
    """Only a stop is taken back; what a restart asked for is done once and leaves no free restart behind."""
    life = Life(START, *between, START, Spawned())
    if between == (RESTART,):
        assert life.instructions[0] == TERM
        life.sees(FINISH, Spawned())
    life.sees(CRASH)
    assert life.record.budget.streak == 1


def test_what_killed_it_first_is_recorded_when_a_stop_comes_later():
    """It said that it cannot start; that somebody stops it a moment later is no reason."""
    life = Life(START, Spawned(), StartFailed(failure()), STOP, FINISH)
    assert (life.exit_record().cause, life.state) == (Cause.START_FAILED, State.EXITED)


def test_a_start_does_not_rescue_a_child_that_cannot_start():
    """It exits next, and its exit is a failed start."""
    life = Life(START, Spawned(), StartFailed(failure()), START, Exited(ExitStatus(exit_code=1), jitter=0.0))
    assert life.exit_record().cause is Cause.START_FAILED


def test_stop_during_backoff_cancels_the_restart():
    """A stopped child stays stopped."""
    life = Life(START, NO_SPAWN)
    assert life.sees(STOP) == [Disarm()]
    assert (life.state, life.record.wanted) == (State.EXITED, False)


def test_stop_of_a_failed_child_ends_the_probing():
    """As in back-off."""
    life = Life(START, NO_SPAWN, policy=Policy(RestartPolicy(limit=1)))
    assert life.record.armed == ProbeElapsed()
    assert life.sees(STOP) == [Disarm()]
    assert life.state is State.EXITED


def test_the_first_cause_of_an_ending_stays():
    """The record names what the signal was sent for, not what came in later."""
    life = Life(*WAY_TO[State.RUNNING], RESTART, STOP, FINISH)
    assert (life.exit_record().cause, life.exit_record().actor) == (Cause.RELOAD, "watcher")
    assert life.state is State.EXITED


def test_a_cause_of_ours_wins_over_what_the_status_says():
    """A child that crashes while it is stopped was stopped."""
    life = Life(*WAY_TO[State.RUNNING], STOP, Exited(ExitStatus(signal=11), jitter=0.0))
    assert life.exit_record().cause is Cause.OPERATOR


def test_what_the_shell_knows_wins_over_what_the_status_says():
    """SIGKILL by the kernel for want of memory is no plain signal."""
    life = Life(*WAY_TO[State.RUNNING], Exited(ExitStatus(signal=9), jitter=0.0, cause=Cause.OUT_OF_MEMORY))
    assert life.exit_record().cause is Cause.OUT_OF_MEMORY


def test_a_hurry_takes_the_next_rung():
    """Reliability 26: a second signal hurries; a third kills."""
    life = Life(*WAY_TO[State.RUNNING], STOP)
    assert life.sees(HurryRequested()) == [TERM, Arm(TermTimeoutElapsed(), 5.0)]
    assert life.sees(HurryRequested()) == [KillGroup(), Arm(KillTimeoutElapsed(), 10.0)]
    assert life.sees(HurryRequested()) == []


def test_a_hurry_never_prolongs_the_ladder():
    """What is left of stop_timeout is the most that SIGTERM gets."""
    life = Life(*WAY_TO[State.RUNNING], STOP, policy=Policy(timeouts=Timeouts(stop=4.0)))
    life.sees(HurryRequested(), after=1.0)
    assert life.delay_of(TermTimeoutElapsed) == 3.0


def test_a_process_that_outlives_sigkill_is_reported_once_and_waited_for():
    """Two processes of one child never exist, not even where the kernel holds one back."""
    life = Life(*WAY_TO[State.RUNNING], RESTART, HurryRequested(), HurryRequested())
    assert life.waits() == [ReportUnkillable()]
    assert (life.state, life.record.armed) == (State.STOPPING, None)
    assert Spawn() in life.sees(KILLED, after=3600.0)


def test_no_stop_time_at_all_goes_through_the_rungs_at_once():
    """stop_timeout = 0 is allowed and means SIGKILL, now."""
    life = Life(*WAY_TO[State.RUNNING], STOP, policy=Policy(timeouts=Timeouts(stop=0.0)))
    assert life.delay_of(DrainTimeoutElapsed) == 0.0
    life.waits()
    assert life.delay_of(TermTimeoutElapsed) == 0.0
    assert KillGroup() in life.waits()


def test_an_illegal_event_changes_nothing():
    """Records are frozen: who raises has no half-made one to leave behind."""
    life = Life(*WAY_TO[State.RUNNING])
    before = life.record
    with pytest.raises(IllegalTransitionError) as raised:
        advance(before, Spawned(), life.now, life.policy)
    assert (raised.value.state, raised.value.event) == (State.RUNNING, Spawned())
    assert life.record == before


def test_times_of_the_process_go_with_it():
    """A dead child has no uptime."""
    record = Life(*WAY_TO[State.RUNNING], STOP, FINISH).record
    assert (record.spawned_at, record.ending) == (None, None)
