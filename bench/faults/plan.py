"""Which faults come when: from a seed alone, so that a run can be told by it. Pure."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from plugin_runtime.protocol import Kind


class Blow(Enum):
    """What is done to a process."""

    KILL = "SIGKILL"
    TERM = "SIGTERM"
    STOP = "SIGSTOP"
    """And SIGCONT after ``Fault.hold``."""


@dataclass(frozen=True)
class Fault:
    """One fault. Times in seconds."""

    pause: float
    """From the fault before to this one."""
    kind: Kind
    blow: Blow
    choice: float
    """Which of those that live now, as a part of them: from 0 to less than 1."""
    hold: float
    """How long a process is stopped."""
    absence: float
    """How long the service manager waits before it starts the next supervisor."""
    late: bool
    """The absence begins when everything has ended because nobody came within the grace."""
    stumble: float
    """So long after its start the next supervisor is killed, too, and another one started; 0: it is not."""


WEIGHTS = {
    Kind.WORKER: 45,
    Kind.GATEWAY: 14,
    Kind.TASK: 12,
    Kind.JOB: 8,
    Kind.TEMPLATE: 8,
    Kind.SUPERVISOR: 8,
    Kind.GUARD: 5,
}
BLOWS = {Blow.KILL: 74, Blow.STOP: 14, Blow.TERM: 12}
MEAN_PAUSE = 0.4
LONGEST_HOLD = 10.0
"""Longer than it takes to be hung."""
LONGEST_PAUSE = 4.5
"""Of a supervisor: less than it notices, see liveness.SUSPENDED."""
LONGEST_ABSENCE = 2.0
LONGEST_STUMBLE = 2.0
"""About as long as a supervisor takes to be there."""
STUMBLES = 0.2
"""Of the supervisors that follow."""
LATE = 0.1
"""Of the absences of a supervisor that was killed."""
ORDERED = 0.25
"""A SIGTERM to a supervisor stops everything and starts it anew: so much of those that are drawn are carried out, the
others are kills."""


def plan(seed: int) -> Iterator[Fault]:
    """Give the faults of a seed, without end; the same ones each time."""
    dice = random.Random(seed)
    while True:
        # Always all of them are drawn, so that one does not change the others.
        kind = dice.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0]
        blow = dice.choices(tuple(BLOWS), tuple(BLOWS.values()))[0]
        pause = dice.expovariate(1 / MEAN_PAUSE)
        choice, hold, absence = dice.random(), dice.uniform(0.1, LONGEST_HOLD), dice.uniform(0, LONGEST_ABSENCE)
        late, ordered = dice.random() < LATE, dice.random() < ORDERED
        stumble = dice.uniform(0, LONGEST_STUMBLE) if dice.random() < STUMBLES else 0.0
        if kind is Kind.SUPERVISOR and blow is Blow.TERM and not ordered:
            blow = Blow.KILL
        if kind is Kind.SUPERVISOR:
            hold = min(hold, LONGEST_PAUSE)
        yield Fault(pause, kind, blow, choice, hold, absence, late, stumble)
