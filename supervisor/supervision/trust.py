"""Whether what is forked lives as what is executed does. Pure.

Some libraries do not survive a fork: what they hold, a GPU or a lock of the operating system, belongs to one process.
A process that comes to grief before it is ready, without a word of its own, may be such a case: the next one like it is
executed. If that one gets ready it was the fork, and nothing more is forked in this environment. If it comes to grief,
too, it was the code, and forks go on.
"""

import signal
from enum import Enum, auto

from plugin_runtime.protocol import Cause, Kind
from supervisor.spec import ChildSpec, ExitStatus
from supervisor.supervision.child_events import BecameReady, Event, Exited, StartTimeoutElapsed
from supervisor.supervision.child_record import ChildRecord

FAULTS = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGTRAP,
        signal.SIGSYS,
    }
)
"""Signals that a process brings upon itself. Others come from outside, such as SIGKILL where memory is short."""

_Program = tuple[Kind, str]


class BirthOutcome(Enum):
    """What became of a process that was to get ready."""

    READY = auto()
    FAULT = auto()
    """It died or hung, and neither said why nor was told to."""
    OTHER = auto()
    """It said why it cannot start, was ended on purpose, or there never was one."""


def outcome_of(before: ChildRecord, event: Event) -> BirthOutcome:
    """What ``event`` makes of a child that was starting ``before``."""
    if before.ending is not None or before.failure is not None:
        return BirthOutcome.OTHER
    match event:
        case BecameReady():
            return BirthOutcome.READY
        case Exited(status, cause=None) if _is_fault(status):
            return BirthOutcome.FAULT
        case StartTimeoutElapsed():  # who waits for a database says so in time: this one was not able to
            return BirthOutcome.FAULT
        case _:
            return BirthOutcome.OTHER


def _is_fault(status: ExitStatus) -> bool:
    return status.signal in FAULTS or status.natural_cause is Cause.CRASH


class Trust:
    """In the templates that one owner has in one environment."""

    def __init__(self) -> None:
        self.lost = False
        """Nothing is to be forked any more."""
        self._doubted: set[_Program] = set()

    def allows(self, spec: ChildSpec) -> bool:
        """Whether the next process of ``spec`` may be forked."""
        return not self.lost and _program(spec) not in self._doubted

    def judge(self, spec: ChildSpec, outcome: BirthOutcome, *, forked: bool) -> None:
        """Learn from what became of a process of ``spec``."""
        program = _program(spec)
        if forked and outcome is BirthOutcome.FAULT:
            self._doubted.add(program)
        elif not forked and program in self._doubted:
            self.lost = self.lost or outcome is BirthOutcome.READY
            if outcome is BirthOutcome.FAULT:
                self._doubted.discard(program)


def _program(spec: ChildSpec) -> _Program:
    """Instances of a plugin are alike, and so are the runs of a task's jobs."""
    return spec.kind, spec.name
