"""Whether a process still turns its event loop, told apart from one that is only busy. Pure: time is an argument.

A watchdog thread of the guest says every second how long ago the event loop last turned. What follows:

    loop   thread   CPU      verdict
    turns  answers  any      fine, however long requests take
    silent answers  any      stalled, then hung
    silent silent   rising   busy (an import or C code holds the GIL), hung after hang_cpu_limit
    silent silent   still    stalled, then hung

A thread that was held up answers before the loop does, so after a busy time the clock starts anew: otherwise the first
sign of life after a minute of C code would be a loop age that means death.
"""

from dataclasses import dataclass, replace
from enum import Enum

from supervisor.spec import LivenessPolicy

CHECK_INTERVAL = 1.0
"""Seconds between two checks of one child; beats come as often."""
BEAT_TIMEOUT = 3.0
"""Seconds without a beat until the watchdog thread counts as silent: two late ones are a loaded machine."""
BUSY_SHARE = 0.05
"""Share of one core between two checks that counts as work; a frozen or waiting process uses none."""
SUSPENDED = 5
"""Check intervals between two checks that mean that it was us who did not run."""


class Verdict(Enum):
    """What is known of an event loop."""

    FINE = "fine"
    STALLED = "stalled"
    """Silent for long enough to send new requests elsewhere."""
    BUSY = "busy"
    """Silent, but at work: wait, and send new requests elsewhere."""
    HUNG = "hung"
    """Silent for too long."""


@dataclass(frozen=True)
class LivenessState:
    """What was seen of one process so far; the clocks start with its first check."""

    beat_at: float = 0.0
    loop_age: float = 0.0
    """As the last beat had it."""
    worked_at: float | None = None
    """When it was last seen at work while it was silent."""
    cpu_seconds: float | None = None
    checked_at: float | None = None


def observe_beat(state: LivenessState, loop_age: float, now: float) -> LivenessState:
    """Take note of a beat received at ``now``."""
    return replace(state, beat_at=now, loop_age=max(0.0, loop_age))


def check(
    state: LivenessState,
    policy: LivenessPolicy,
    now: float,
    cpu_seconds: float | None,
    interval: float = CHECK_INTERVAL,
) -> tuple[LivenessState, Verdict]:
    """Judge at ``now``; ``cpu_seconds``: used by the process so far, None where it could not be read.

    To be called every ``interval`` seconds while the process is ready. Where much more time has passed since the last
    check, supervisor or machine were suspended and nothing can be said of the child: the clocks start anew.
    """
    if state.checked_at is None or now - state.checked_at > SUSPENDED * interval:
        return LivenessState(beat_at=now, cpu_seconds=cpu_seconds, checked_at=now), Verdict.FINE
    silent_thread = now - state.beat_at if now - state.beat_at > BEAT_TIMEOUT else 0.0
    worked_at = now if silent_thread and _is_at_work(state, now, cpu_seconds) else state.worked_at
    verdict = _judge(policy, state.loop_age + silent_thread, None if worked_at is None else now - worked_at)
    if verdict is Verdict.FINE:
        worked_at = None
    return replace(state, worked_at=worked_at, cpu_seconds=cpu_seconds, checked_at=now), verdict


def _is_at_work(state: LivenessState, now: float, cpu_seconds: float | None) -> bool:
    if cpu_seconds is None or state.cpu_seconds is None or state.checked_at is None:
        return False
    return cpu_seconds - state.cpu_seconds > BUSY_SHARE * (now - state.checked_at)


def _judge(policy: LivenessPolicy, silent: float, idle: float | None) -> Verdict:
    """``silent``: how long the loop has not turned; ``idle``: since it was last seen at work, None if it was not."""
    if silent < policy.stalled:
        return Verdict.FINE
    if idle is not None and silent >= policy.hang_cpu_limit:
        return Verdict.HUNG
    unexplained = silent if idle is None else idle
    if unexplained >= policy.hung:
        return Verdict.HUNG
    return Verdict.STALLED if unexplained >= policy.stalled else Verdict.BUSY
