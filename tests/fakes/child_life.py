"""A child that lives through a list of events, on a clock that a test moves."""

from plugin_runtime.protocol import Cause, Failed, Phase, State
from supervisor.spec import ExitStatus
from supervisor.supervision.child_events import (
    Arm,
    BecameReady,
    Event,
    Exited,
    Instruction,
    RecordExit,
    RestartRequested,
    Spawned,
    SpawnFailed,
    Stalled,
    StartRequested,
    StopRequested,
    TimerEvent,
)
from supervisor.supervision.child_record import ChildRecord, Policy
from supervisor.supervision.lifecycle import advance

START = StartRequested("operator")
STOP = StopRequested(Cause.OPERATOR, "operator")
RESTART = RestartRequested(Cause.RELOAD, "watcher")
CRASH = Exited(ExitStatus(exit_code=1), jitter=0.0)
FINISH = Exited(ExitStatus(exit_code=0), jitter=0.0)
KILLED = Exited(ExitStatus(signal=9), jitter=0.0)
NO_SPAWN = SpawnFailed("cannot start 'hello.1': no more processes", jitter=0.0)

WAY_TO: dict[State, tuple[Event, ...]] = {
    State.PENDING: (),
    State.STARTING: (START, Spawned()),
    State.RUNNING: (START, Spawned(), BecameReady()),
    State.STALLED: (START, Spawned(), BecameReady(), Stalled()),
    State.DRAINING: (START, Spawned(), BecameReady(), RESTART),
    State.STOPPING: (START, Spawned(), RESTART),
    State.BACKOFF: (START, NO_SPAWN),
    State.EXITED: (START, Spawned(), BecameReady(), STOP, FINISH),
    State.FAILED: (START, Spawned(), Exited(ExitStatus(exit_code=78), jitter=0.0)),
}
"""The shortest life that ends in each state."""


def failure(*, permanent: bool = False) -> Failed:
    return Failed(Phase.IMPORT.value, "ModuleNotFoundError", "no module named 'flask'", permanent=permanent)


class Life:
    """One child's life so far."""

    def __init__(self, *events: Event, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self.now = 1000.0
        self.record = ChildRecord()
        self.instructions: list[Instruction] = []
        """What the last event led to."""
        self.sees(*events)

    @property
    def state(self) -> State:
        return self.record.state

    def sees(self, *events: Event, after: float = 0.0) -> list[Instruction]:
        """Let events happen, ``after`` seconds later; returns what the last one led to."""
        self.now += after
        for event in events:
            self.record, self.instructions = advance(self.record, event, self.now, self.policy)
        return self.instructions

    def waits(self) -> list[Instruction]:
        """Let the armed timer elapse. Only right after the event that armed it."""
        arm = self.armed()
        return self.sees(arm.event, after=arm.seconds)

    def armed(self) -> Arm:
        """The timer that the last event armed."""
        (arm,) = [instruction for instruction in self.instructions if isinstance(instruction, Arm)]
        return arm

    def delay_of(self, timer: type[TimerEvent]) -> float:
        """Seconds for which the last event armed ``timer``."""
        arm = self.armed()
        assert isinstance(arm.event, timer)
        return arm.seconds

    def exit_record(self) -> RecordExit:
        """What the last event recorded."""
        (record,) = [instruction for instruction in self.instructions if isinstance(instruction, RecordExit)]
        return record
