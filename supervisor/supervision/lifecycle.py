"""The life of one child: a table of what each event means in each state.

Rules
- Pure, with transitions.py, child_events.py, child_record.py and restart.py: no clock, no chance, no I/O, no await.
  Time is an argument, random numbers are fields of events.
- A process is ended for a reason that is set before any signal is sent (``ChildRecord.ending``), so that the exit
  record is right even when it dies by itself a moment before the signal. The first reason stays, except that a hang
  and a hard limit replace it: a request may be the cause, and must not be sent to another worker.
- Requests are legal in every state, and so is what is said about a process once there was one: a child may say anything
  at any time, and its words may be read after its death. What is illegal is a mistake of ours, and raises.

Change together: child_events.py, this table, the grid in docs/reference/states.md (its every cell is a test).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from plugin_runtime.protocol import State
from supervisor.supervision import transitions as on
from supervisor.supervision.child_events import (
    Adopted,
    BackoffElapsed,
    BecameReady,
    Drained,
    DrainTimeoutElapsed,
    Event,
    Exited,
    Hung,
    HurryRequested,
    Instruction,
    KillTimeoutElapsed,
    LimitExceeded,
    ProbeElapsed,
    ProcessEvent,
    Recovered,
    RestartRequested,
    SpawnCancelled,
    Spawned,
    SpawnFailed,
    StableElapsed,
    Stalled,
    StartFailed,
    StartRequested,
    StartTimeoutElapsed,
    StopRequested,
    TermTimeoutElapsed,
    TimerEvent,
)
from supervisor.supervision.child_record import ChildRecord, Policy
from supervisor.supervision.transitions import Moment, Outcome

__all__ = ["TABLE", "ChildRecord", "Event", "IllegalTransitionError", "Instruction", "Policy", "advance"]


class IllegalTransitionError(RuntimeError):
    """The shell reported what cannot be: a mistake of ours, never of a plugin."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"cannot handle {event} in state {state.value}")
        self.state = state
        self.event = event


def advance(child: ChildRecord, event: Event, now: float, policy: Policy) -> tuple[ChildRecord, list[Instruction]]:
    """Let ``event`` happen at ``now`` (monotonic): the child as it is then, and what to do, in this order.

    Raises IllegalTransitionError for what cannot be.
    """
    handler = TABLE[child.state].get(type(event))
    if handler is None or _is_premature(child, event) or _is_unarmed(child, event):
        raise IllegalTransitionError(child.state, event)
    if isinstance(event, TimerEvent):
        child = replace(child, armed=None)
    return handler(Moment(child, event, now, policy))


def _is_premature(child: ChildRecord, event: Event) -> bool:
    """Between Spawn and Spawned there is nobody yet whom anything could be said about."""
    return isinstance(event, ProcessEvent) and child.state is State.STARTING and child.spawned_at is None


def _is_unarmed(child: ChildRecord, event: Event) -> bool:
    return isinstance(event, TimerEvent) and event != child.armed


_Row = Mapping[type, Callable[[Moment[Any]], Outcome]]

_DOWN: _Row = {
    StartRequested: on.start,
    StopRequested: on.stay_down,
    RestartRequested: on.start,
    HurryRequested: on.ignore,
}
_LATE: _Row = {
    BecameReady: on.ignore,
    StartFailed: on.ignore,
    Stalled: on.ignore,
    Recovered: on.ignore,
    Hung: on.ignore,
    LimitExceeded: on.ignore,
    Drained: on.ignore,
}
_READY: _Row = {
    **_LATE,
    StartRequested: on.ignore,
    StopRequested: on.stop,
    RestartRequested: on.restart,
    HurryRequested: on.ignore,
    Hung: on.hung,
    LimitExceeded: on.limit_exceeded,
    Exited: on.exited,
}
_ENDING: _Row = {
    **_LATE,
    StartRequested: on.leave_successor,
    StopRequested: on.leave_no_successor,
    RestartRequested: on.leave_successor,
    Exited: on.exited,
}

TABLE: Mapping[State, _Row] = {
    State.PENDING: _DOWN,
    State.STARTING: {
        **_LATE,  # no stall either: imports may hold the loop up, start_timeout is their limit
        StartRequested: on.take_back_stop,
        StopRequested: on.stop,
        RestartRequested: on.restart,
        HurryRequested: on.ignore,
        Spawned: on.spawned,
        Adopted: on.adopted,
        SpawnFailed: on.spawn_failed,
        SpawnCancelled: on.spawn_cancelled,
        BecameReady: on.became_ready,
        StartFailed: on.start_failed,
        LimitExceeded: on.hard_limit_exceeded,
        Exited: on.exited,
        StartTimeoutElapsed: on.start_timeout_elapsed,
    },
    State.RUNNING: {**_READY, Stalled: on.stalled, StableElapsed: on.stable_elapsed},
    State.STALLED: {**_READY, Recovered: on.recovered},
    State.DRAINING: {
        **_ENDING,
        HurryRequested: on.hurry_draining,
        Hung: on.hung,
        LimitExceeded: on.hard_limit_exceeded,
        Drained: on.drain_over,
        DrainTimeoutElapsed: on.drain_over,
    },
    State.STOPPING: {
        **_ENDING,
        HurryRequested: on.hurry_stopping,
        TermTimeoutElapsed: on.term_timeout_elapsed,
        KillTimeoutElapsed: on.kill_timeout_elapsed,
    },
    State.BACKOFF: {
        **_DOWN,
        **_LATE,
        StartFailed: on.start_failed_before_exit,
        BackoffElapsed: on.spawn_again,
    },
    State.EXITED: {**_DOWN, **_LATE},
    State.FAILED: {
        **_DOWN,
        **_LATE,
        StartFailed: on.start_failed_before_exit,
        ProbeElapsed: on.spawn_again,
    },
}
"""Handlers by state and event type; a cell that is not here is illegal."""
