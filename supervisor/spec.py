"""What a child shall be: frozen settings, made once per spawn and never changed.

Pure: no I/O, no clock. Everything that supervises (lifecycle, child, spawn, tree) reads these; nobody writes them.
"""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from plugin_runtime.protocol import Cause, ExitCode, Kind


class RestartWhen(StrEnum):
    """Manifest key ``restart``."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


@dataclass(frozen=True)
class RestartPolicy:
    """When and how soon a dead child is started again. Seconds."""

    when: RestartWhen = RestartWhen.ALWAYS
    delay: float = 0.5
    """First back-off; the first crash since the start or since a stable run restarts at once."""
    max_delay: float = 30.0
    jitter: float = 0.1
    """Share of the delay that is drawn at random, so that children that died together do not start together."""
    stable: float = 30.0
    """Up for so long: the counters start anew."""
    limit: int = 8
    """Crashes within ``window`` that make the child failed."""
    window: float = 300.0
    probe: float | None = 300.0
    """A failed child is tried again so often, since causes heal. None: never."""


@dataclass(frozen=True)
class Timeouts:
    """Rungs of the ladder, in seconds."""

    start: float = 60.0
    """From spawn to Ready; then the whole group is killed."""
    stop: float = 30.0
    """From the request to stop to SIGKILL, whatever the child does."""
    term: float = 5.0
    """The last part of ``stop``, between SIGTERM to the process group and SIGKILL; at most half of it."""

    @property
    def drain(self) -> float:
        """The first part of ``stop``: requests in flight end, the lifespan shuts down, the child exits by itself."""
        return self.stop - min(self.term, self.stop / 2)


@dataclass(frozen=True)
class LivenessPolicy:
    """How long an event loop may be silent. Seconds."""

    stalled: float = 10.0
    hung: float = 30.0
    hang_cpu_limit: float = 120.0


@dataclass(frozen=True)
class Limits:
    """0 = none."""

    memory_soft_mb: float = 0.0
    memory_hard_mb: float = 0.0
    open_files: int = 0
    max_requests: int = 0
    max_age: float = 0.0


@dataclass(frozen=True)
class ChildSpec:
    """One child of the process table: how to start it and how to supervise it."""

    id: str
    """``hello.1``; the key in the process table."""
    name: str
    """Plugin or task it belongs to; for our own processes their kind."""
    kind: Kind
    command: tuple[str, ...]
    working_directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    """The whole environment: nothing is inherited."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Sent in Welcome: the wire form of WorkerSettings or GatewaySettings."""
    pass_fds: tuple[int, ...] = ()
    generation: str = ""
    alone: bool = False
    """Its processes may not overlap: not even one that a supervisor before has left may run beside the next one."""
    template: str = ""
    """Owner of the template that its processes are forked from, where it runs on the same interpreter."""
    restart: RestartPolicy = field(default_factory=RestartPolicy)
    timeouts: Timeouts = field(default_factory=Timeouts)
    liveness: LivenessPolicy | None = field(default_factory=LivenessPolicy)
    """None: the child sends no beats (installers)."""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class ExitStatus:
    """How a process ended, from wait4(2). Exactly one of the two is set, both None where the kernel did not tell."""

    exit_code: int | None = None
    signal: int | None = None
    cpu_seconds: float | None = None

    def __str__(self) -> str:
        if self.signal is not None:
            try:
                return signal.Signals(self.signal).name
            except ValueError:
                return f"signal {self.signal}"
        return "unknown" if self.exit_code is None else f"exit code {self.exit_code}"

    @property
    def natural_cause(self) -> Cause:
        """The cause of an exit that nobody asked for."""
        if self.signal is not None:
            return Cause.SIGNAL
        match self.exit_code:
            case None:
                return Cause.UNKNOWN
            case ExitCode.OK:
                return Cause.FINISHED
            case ExitCode.PARENT_LOST:
                return Cause.PARENT_LOST
            case ExitCode.START_FAILED | ExitCode.INVALID | ExitCode.REFUSED | ExitCode.UNSUPPORTED_PYTHON:
                return Cause.START_FAILED
            case _:
                return Cause.CRASH
