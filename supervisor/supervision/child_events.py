"""What can happen to a child of the process table, and what its shell is told to do about it.

Events go into lifecycle.advance, instructions come out of it. What belongs here: their names and fields. What must not:
who may do what when, which is the table in lifecycle.py. Durations are in seconds. A new event needs cells there and in
docs/reference/states.md; tests fail without them.
"""

import signal
from dataclasses import dataclass

from plugin_runtime.protocol import Cause, Failed
from supervisor.spec import ExitStatus

SUPERVISOR = "supervisor"
"""Actor of what we do unasked."""
WATCHER = "watcher"
"""Actor of what follows a change of files."""
CONFIGURATION = "configuration"
"""Actor of what follows a change of it."""

# --- events: what others ask for; legal in every state ------------------------------------------------------


@dataclass(frozen=True)
class StartRequested:
    """Somebody wants the child to run. ``actor``: "operator", "token:ci"."""

    actor: str


@dataclass(frozen=True)
class StopRequested:
    """Somebody wants it not to run."""

    cause: Cause
    actor: str


@dataclass(frozen=True)
class RestartRequested:
    """Somebody wants another process of it; spends no restart budget."""

    cause: Cause
    actor: str


@dataclass(frozen=True)
class HurryRequested:
    """Somebody tired of waiting: a stop under way takes its next rung now."""


# --- events: what became of the process ---------------------------------------------------------------------


@dataclass(frozen=True)
class Spawned:
    """The operating system started the process: the first event after Spawn that is about it."""


@dataclass(frozen=True)
class Adopted:
    """In place of Spawned: the process has been running since before this supervisor was there.

    ``age``: for how long; ``restarts``: how often it followed another one, as for ChildRecord.
    """

    age: float
    restarts: int


@dataclass(frozen=True)
class SpawnFailed:
    """The operating system refused. ``jitter``: random number in [0, 1)."""

    message: str
    jitter: float


@dataclass(frozen=True)
class SpawnCancelled:
    """It was not started yet, and nobody will be."""


@dataclass(frozen=True)
class BecameReady:
    """The child says that it serves."""


@dataclass(frozen=True)
class StartFailed:
    """The child says that it cannot start and exits next."""

    failure: Failed


@dataclass(frozen=True)
class Stalled:
    """Its event loop has been silent for a while."""


@dataclass(frozen=True)
class Recovered:
    """Its event loop turns again."""


@dataclass(frozen=True)
class Hung:
    """Its event loop has been silent for too long."""


@dataclass(frozen=True)
class LimitExceeded:
    """It used more than it may. ``graceful``: replaced in order (soft limits), otherwise killed."""

    cause: Cause
    graceful: bool


@dataclass(frozen=True)
class Drained:
    """Asking is over before its time: nobody is there to be asked, or no request is left."""


@dataclass(frozen=True)
class Exited:
    """The process is reaped. ``jitter``: random number in [0, 1).

    ``cause``: where it is known better than ``status`` tells, such as out_of_memory.
    """

    status: ExitStatus
    jitter: float
    cause: Cause | None = None


# --- events: the armed timer elapsed; illegal unless it is the one that was armed ---------------------------


@dataclass(frozen=True)
class StartTimeoutElapsed:
    """It did not become ready in time, or did not exit after saying that it cannot start."""


@dataclass(frozen=True)
class StableElapsed:
    """It has been ready for so long without a stall that what was before is forgotten."""


@dataclass(frozen=True)
class DrainTimeoutElapsed:
    """It was asked to end and did not."""


@dataclass(frozen=True)
class TermTimeoutElapsed:
    """SIGTERM did not end it, or it had its time to dump its stacks."""


@dataclass(frozen=True)
class KillTimeoutElapsed:
    """Not even SIGKILL ended it."""


@dataclass(frozen=True)
class BackoffElapsed:
    """Time for its next start."""


@dataclass(frozen=True)
class ProbeElapsed:
    """Time to see whether what made it fail has healed."""


TimerEvent = (
    StartTimeoutElapsed
    | StableElapsed
    | DrainTimeoutElapsed
    | TermTimeoutElapsed
    | KillTimeoutElapsed
    | BackoffElapsed
    | ProbeElapsed
)
ProcessEvent = BecameReady | StartFailed | Stalled | Recovered | Hung | LimitExceeded | Drained | Exited
"""What can only be said of a process that exists."""
Command = StartRequested | StopRequested | RestartRequested | HurryRequested
Event = Command | Spawned | Adopted | SpawnFailed | SpawnCancelled | ProcessEvent | TimerEvent


# --- instructions -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spawn:
    """Start a process, or take over the one there is; report Spawned, Adopted or SpawnFailed, now or after a while."""


@dataclass(frozen=True)
class CancelSpawn:
    """Report SpawnCancelled if the process can still be prevented; otherwise the report of Spawn follows."""


@dataclass(frozen=True)
class AskToStop:
    """Send protocol.Stop over the control channel; report Drained where none is connected."""

    cause: Cause
    drain: float


@dataclass(frozen=True)
class SignalGroup:
    """Send ``signal`` to the process group."""

    signal: signal.Signals


@dataclass(frozen=True)
class KillGroup:
    """Send SIGKILL to the process group and to what left it."""


@dataclass(frozen=True)
class DumpStacks:
    """Have faulthandler write the stacks of all threads to stderr."""


@dataclass(frozen=True)
class Arm:
    """Report ``event`` in ``seconds``; replaces whatever is armed."""

    event: TimerEvent
    seconds: float


@dataclass(frozen=True)
class Disarm:
    """Forget the armed timer."""


@dataclass(frozen=True)
class RecordExit:
    """Write the exit record; once per process, and once per attempt to start one that failed (empty ``status``)."""

    cause: Cause
    actor: str
    status: ExitStatus
    uptime: float
    message: str = ""


@dataclass(frozen=True)
class ReportUnkillable:
    """Say once that the process outlives SIGKILL: it sleeps in the kernel, on a dead disk or network share."""


Instruction = (
    Spawn
    | CancelSpawn
    | AskToStop
    | SignalGroup
    | KillGroup
    | DumpStacks
    | Arm
    | Disarm
    | RecordExit
    | ReportUnkillable
)
