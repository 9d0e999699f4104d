"""What is known of one child of the process table, and the settings that its life follows. Frozen."""

from dataclasses import dataclass, field

from plugin_runtime.protocol import Cause, Failed, State
from supervisor.spec import RestartPolicy, Timeouts
from supervisor.supervision.child_events import TimerEvent
from supervisor.supervision.restart import Budget

SERVING = frozenset({State.RUNNING, State.STALLED})
"""Ready, and not on its way out. One that is stalled gets requests where no other can take them."""


@dataclass(frozen=True)
class Policy:
    """Settings of one child; may be other ones at the next event."""

    restart: RestartPolicy = field(default_factory=RestartPolicy)
    timeouts: Timeouts = field(default_factory=Timeouts)


@dataclass(frozen=True)
class Ending:
    """Why and since when (monotonic) a process is being ended."""

    cause: Cause
    actor: str
    since: float


@dataclass(frozen=True)
class ChildRecord:
    """All that is known of one child; only lifecycle.advance makes the next one. Times are monotonic."""

    state: State = State.PENDING
    wanted: bool = False
    """Whether it shall run. A child that ended in order and is not started again by its policy is no longer wanted."""
    restart_requested: bool = False
    """Another process is to follow the present one at once, whatever the budget says."""
    spawned_at: float | None = None
    """None while there is no process, also between Spawn and Spawned."""
    restarts: int = 0
    """How often a process followed another without a stop between."""
    budget: Budget = field(default_factory=Budget)
    ending: Ending | None = None
    """Set before a signal is sent, so that the exit record is right."""
    failure: Failed | None = None
    """Why the last process could not start, in its own words."""
    armed: TimerEvent | None = None
    """What happens when the one timer elapses."""

    @property
    def is_being_born(self) -> bool:
        """It has a process that is not ready yet."""
        return self.state is State.STARTING and self.spawned_at is not None
