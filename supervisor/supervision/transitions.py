"""The handlers of lifecycle.py's table: what a child becomes, and what is to be done, when an event happens to it.

Each takes the moment and returns the next record with instructions in the order of their execution. ``transition``
alone writes the state, and keeps the timer with it: a timer belongs to the state in which it was armed.
"""

import signal
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from plugin_runtime.protocol import Cause, ExitCode, State
from supervisor.spec import ExitStatus
from supervisor.supervision.child_events import (
    SUPERVISOR,
    Adopted,
    Arm,
    AskToStop,
    BackoffElapsed,
    CancelSpawn,
    Disarm,
    DrainTimeoutElapsed,
    DumpStacks,
    Exited,
    Instruction,
    KillGroup,
    KillTimeoutElapsed,
    LimitExceeded,
    ProbeElapsed,
    RecordExit,
    ReportUnkillable,
    RestartRequested,
    SignalGroup,
    Spawn,
    SpawnFailed,
    StableElapsed,
    StartFailed,
    StartTimeoutElapsed,
    StopRequested,
    TermTimeoutElapsed,
)
from supervisor.supervision.child_record import ChildRecord, Ending, Policy
from supervisor.supervision.restart import Budget, backoff_delay, restarts_after, spend

STACKS_TIMEOUT = 0.5
"""Seconds between asking for the stacks and SIGKILL, which would overtake the request. Writing takes milliseconds."""
KILL_TIMEOUT = 10.0
"""Seconds after SIGKILL until we say that the process does not go. A machine that swaps needs some of them."""

_PERMANENT = frozenset({ExitCode.INVALID, ExitCode.UNSUPPORTED_PYTHON})
"""Exit codes that no restart heals."""

E = TypeVar("E")
Outcome = tuple[ChildRecord, list[Instruction]]


@dataclass(frozen=True)
class Moment(Generic[E]):
    """All that a handler may know."""

    child: ChildRecord
    event: E
    now: float
    policy: Policy


AnyMoment = Moment[Any]


def transition(child: ChildRecord, state: State, *instructions: Instruction, arm: Arm | None = None) -> Outcome:
    """Enter ``state``, with ``arm`` as its timer or none."""
    following = replace(child, state=state, armed=arm.event if arm else None)
    if arm is not None:
        return following, [*instructions, arm]
    return following, [Disarm(), *instructions] if child.armed else [*instructions]


def ignore(at: AnyMoment) -> Outcome:
    return at.child, []


# --- starting -----------------------------------------------------------------------------------------------


def start(at: AnyMoment) -> Outcome:
    return _spawn(replace(at.child, wanted=True, budget=Budget()))


def spawn_again(at: AnyMoment) -> Outcome:
    return _spawn(at.child)


def _spawn(child: ChildRecord, *before: Instruction) -> Outcome:
    again = child.state not in {State.PENDING, State.EXITED}
    return transition(replace(child, failure=None, restarts=child.restarts + again), State.STARTING, *before, Spawn())


def spawned(at: AnyMoment) -> Outcome:
    alive = replace(at.child, spawned_at=at.now)
    if alive.ending is not None:
        return _terminate(alive, at)
    return transition(alive, State.STARTING, arm=Arm(StartTimeoutElapsed(), at.policy.timeouts.start))


def adopted(at: Moment[Adopted]) -> Outcome:
    since = replace(at.child, restarts=at.event.restarts)
    known, instructions = spawned(replace(at, child=since))
    return replace(known, spawned_at=at.now - at.event.age), instructions


def spawn_failed(at: Moment[SpawnFailed]) -> Outcome:
    record = RecordExit(Cause.START_FAILED, "", ExitStatus(), 0.0, at.event.message)
    # Never at once: what the machine lacked a moment ago it still lacks.
    return _bury(record, at, at.event.jitter, least_delay=at.policy.restart.delay)


def spawn_cancelled(at: AnyMoment) -> Outcome:
    """Nobody lived, so there is nothing to record."""
    unborn = replace(at.child, ending=None, restart_requested=False)
    return transition(unborn, State.STARTING, Spawn()) if at.child.wanted else transition(unborn, State.EXITED)


def became_ready(at: AnyMoment) -> Outcome:
    if at.child.ending is not None:
        return ignore(at)
    return _run(at.child, at)


def start_failed(at: Moment[StartFailed]) -> Outcome:
    if at.child.ending is not None:
        return ignore(at)
    failed = replace(at.child, failure=at.event.failure, ending=Ending(Cause.START_FAILED, "", at.now))
    # It exits next; one that does not is not worth the rest of its start timeout.
    return transition(failed, State.STARTING, arm=Arm(StartTimeoutElapsed(), at.policy.timeouts.term))


def start_failed_before_exit(at: Moment[StartFailed]) -> Outcome:
    """Its last words, read after its exit was noticed."""
    known = replace(at.child, failure=at.event.failure)
    return transition(known, State.FAILED) if at.event.failure.permanent else (known, [])


def start_timeout_elapsed(at: AnyMoment) -> Outcome:
    ending = at.child.ending or Ending(Cause.START_TIMEOUT, SUPERVISOR, at.now)
    return _kill(replace(at.child, ending=ending))


# --- running ------------------------------------------------------------------------------------------------


def _run(child: ChildRecord, at: AnyMoment) -> Outcome:
    return transition(child, State.RUNNING, arm=Arm(StableElapsed(), at.policy.restart.stable))


def recovered(at: AnyMoment) -> Outcome:
    return _run(at.child, at)


def stable_elapsed(at: AnyMoment) -> Outcome:
    return replace(at.child, budget=Budget()), []


def stalled(at: AnyMoment) -> Outcome:
    # The stable run is over: a child that stalls and hangs after each start must not pass for stable.
    return transition(at.child, State.STALLED)


def hung(at: AnyMoment) -> Outcome:
    ended = replace(at.child, ending=Ending(Cause.HANG, SUPERVISOR, at.now))
    return transition(ended, State.STOPPING, DumpStacks(), arm=Arm(TermTimeoutElapsed(), STACKS_TIMEOUT))


def limit_exceeded(at: Moment[LimitExceeded]) -> Outcome:
    if not at.event.graceful:
        return hard_limit_exceeded(at)
    return _end(replace(at.child, restart_requested=True), Ending(at.event.cause, SUPERVISOR, at.now), at)


def hard_limit_exceeded(at: Moment[LimitExceeded]) -> Outcome:
    """A soft one counts for nothing here: before ready it would meet every successor, while draining it is met."""
    if at.event.graceful:
        return ignore(at)
    return _kill(replace(at.child, ending=Ending(at.event.cause, SUPERVISOR, at.now)))


# --- stopping -----------------------------------------------------------------------------------------------


def stay_down(at: AnyMoment) -> Outcome:
    return transition(replace(at.child, wanted=False), State.EXITED)


def stop(at: Moment[StopRequested]) -> Outcome:
    unwanted, _ = leave_no_successor(at)
    return _end(unwanted, Ending(at.event.cause, at.event.actor, at.now), at)


def restart(at: Moment[RestartRequested]) -> Outcome:
    succeeded, _ = leave_successor(at)
    return _end(succeeded, Ending(at.event.cause, at.event.actor, at.now), at)


def leave_no_successor(at: AnyMoment) -> Outcome:
    return replace(at.child, wanted=False, restart_requested=False), []


def leave_successor(at: AnyMoment) -> Outcome:
    return replace(at.child, wanted=True, restart_requested=True), []


def take_back_stop(at: AnyMoment) -> Outcome:
    """A stop that came between Spawn and Spawned has not touched the process."""
    if at.child.wanted:
        return ignore(at)
    return replace(at.child, wanted=True, ending=None), []


def _end(child: ChildRecord, ending: Ending, at: AnyMoment) -> Outcome:
    """Enter the ladder: at its first rung with a child that serves, at SIGTERM with one that has nothing to drain."""
    ended = replace(child, ending=child.ending or ending)
    if child.state is not State.STARTING:
        ask = AskToStop(ending.cause, at.policy.timeouts.drain)
        return transition(ended, State.DRAINING, ask, arm=Arm(DrainTimeoutElapsed(), ask.drain))
    return (ended, [CancelSpawn()]) if child.spawned_at is None else _terminate(ended, at)


def drain_over(at: AnyMoment) -> Outcome:
    return _terminate(at.child, at)


def _terminate(child: ChildRecord, at: AnyMoment, at_most: float = float("inf")) -> Outcome:
    """SIGTERM; SIGKILL follows when all of ``timeouts.stop`` is over, however soon the rungs before were taken."""
    since = child.ending.since if child.ending else at.now
    left = min(at_most, max(0.0, since + at.policy.timeouts.stop - at.now))
    return transition(child, State.STOPPING, SignalGroup(signal.SIGTERM), arm=Arm(TermTimeoutElapsed(), left))


def term_timeout_elapsed(at: AnyMoment) -> Outcome:
    return _kill(at.child)


def _kill(child: ChildRecord) -> Outcome:
    return transition(child, State.STOPPING, KillGroup(), arm=Arm(KillTimeoutElapsed(), KILL_TIMEOUT))


def kill_timeout_elapsed(at: AnyMoment) -> Outcome:
    # Nothing is stronger than SIGKILL; the process goes when the kernel lets it, and only then may another follow.
    return at.child, [ReportUnkillable()]


def hurry_draining(at: AnyMoment) -> Outcome:
    return _terminate(at.child, at, at_most=at.policy.timeouts.term)


def hurry_stopping(at: AnyMoment) -> Outcome:
    return _kill(at.child) if isinstance(at.child.armed, TermTimeoutElapsed) else ignore(at)


# --- after the death ----------------------------------------------------------------------------------------


def exited(at: Moment[Exited]) -> Outcome:
    child, event = at.child, at.event
    ending = child.ending or Ending(event.cause or event.status.natural_cause, "", at.now)
    uptime = at.now - child.spawned_at if child.spawned_at is not None else 0.0
    message = child.failure.message if child.failure and ending.cause is Cause.START_FAILED else ""
    return _bury(RecordExit(ending.cause, ending.actor, event.status, uptime, message), at, event.jitter)


def _bury(record: RecordExit, at: AnyMoment, jitter: float, *, least_delay: float = 0.0) -> Outcome:
    """Record the death and decide what follows it."""
    dead = replace(at.child, spawned_at=None, ending=None, restart_requested=False)
    if not at.child.wanted:
        return transition(dead, State.EXITED, record)
    if at.child.restart_requested:
        return _spawn(dead, record)
    if _cannot_heal(at.child, record):
        return transition(dead, State.FAILED, record)
    if restarts_after(at.policy.restart, record.cause):
        spent = replace(dead, budget=spend(dead.budget, at.policy.restart, at.now))
        return _retry(
            spent, record, max(least_delay, backoff_delay(at.policy.restart, spent.budget.streak, jitter)), at
        )
    if record.cause is Cause.FINISHED:
        return transition(replace(dead, wanted=False), State.EXITED, record)
    return transition(dead, State.FAILED, record)


def _retry(child: ChildRecord, record: RecordExit, delay: float, at: AnyMoment) -> Outcome:
    if child.budget.exhausted:
        probe = at.policy.restart.probe
        return transition(child, State.FAILED, record, arm=None if probe is None else Arm(ProbeElapsed(), probe))
    if delay <= 0:
        return _spawn(child, record)
    return transition(child, State.BACKOFF, record, arm=Arm(BackoffElapsed(), delay))


def _cannot_heal(child: ChildRecord, record: RecordExit) -> bool:
    if record.status.exit_code in _PERMANENT:
        return True
    return record.cause is Cause.START_FAILED and child.failure is not None and child.failure.permanent
