"""One process of a child, and what is known of it from its spawn to its reaping."""

import random
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from plugin_runtime.protocol import STACKS_SIGNAL, Beat, Ready
from plugin_runtime.views import ExitView
from supervisor.channels.control import Connection
from supervisor.processes.output import Output
from supervisor.processes.process_records import ProcessRecord, boot_id
from supervisor.processes.process_stat import read_process_stat
from supervisor.processes.spawn import Process
from supervisor.spec import ChildSpec, ExitStatus, LivenessPolicy
from supervisor.supervision.child_events import RecordExit
from supervisor.supervision.child_record import ChildRecord
from supervisor.supervision.exits import exit_record
from supervisor.supervision.liveness import LivenessState, Verdict, check, observe_beat

STACK_LINES = 1000
"""Kept of what a hung process writes of its stacks; a hundred threads need less."""


@dataclass
class Incarnation:
    """Owned and changed by its Child only."""

    token: str
    """Unique and short: names its sockets and FIFOs, and the incarnation itself."""
    nonce: str
    process: Process
    output: Output
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What it is told in its Welcome."""
    connection: Connection | None = None
    beat: Beat | None = None
    ready: Ready | None = None
    liveness: LivenessState = field(default_factory=LivenessState)
    status: ExitStatus | None = None
    """Set between its death and the report of it."""
    stacks: list[str] | None = None
    """What it wrote to stderr since it was asked for its stacks."""
    jitter: float = field(default_factory=random.random)
    """Drawn once at birth, for its limits."""

    @property
    def is_alive(self) -> bool:
        """Not reaped: its pid is its own."""
        return self.process.is_alive

    def take_beat(self, beat: Beat, now: float) -> None:
        """It gave a sign of life."""
        self.beat = beat
        self.liveness = observe_beat(self.liveness, beat.loop_age, now)

    def judge(self, policy: LivenessPolicy, now: float) -> Verdict:
        """Whether it lives, by its beats and the CPU it uses.

        Raises:
            OSError: /proc cannot be read.
        """
        stat = read_process_stat(self.process.pid)
        self.liveness, verdict = check(self.liveness, policy, now, stat.cpu_seconds if stat else None)
        return verdict

    def dump_stacks(self) -> None:
        """Ask for its stacks. By faulthandler in the process: works even while C code holds the GIL."""
        if self.is_alive and self.ready is not None:
            self.stacks = []
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.process.pidfd, STACKS_SIGNAL)

    def on_record(self, spec: ChildSpec, child: ChildRecord) -> ProcessRecord:
        """What the next supervisor has to know of it."""
        return record_of_process(
            spec,
            self.token,
            self.nonce,
            self.process,
            restarts=child.restarts,
            settings=self.settings,
            leaving=child.ending is not None,
        )

    def keep_stacks(self, lines: Sequence[str]) -> None:
        """Take lines of its stderr, if it was asked for its stacks."""
        if self.stacks is not None:
            self.stacks.extend(lines[: STACK_LINES - len(self.stacks)])


def record_of_process(
    spec: ChildSpec,
    token: str,
    nonce: str,
    process: Process,
    *,
    restarts: int = 0,
    settings: Mapping[str, Any] | None = None,
    leaving: bool = False,
) -> ProcessRecord:
    """What whoever comes after this supervisor has to know of a process."""
    return ProcessRecord(
        token=token,
        nonce=nonce,
        id=spec.id,
        name=spec.name,
        kind=spec.kind,
        generation=spec.generation,
        command=spec.command,
        pid=process.pid,
        start_ticks=process.start_ticks,
        boot_id=boot_id(),
        restarts=restarts,
        settings=settings or {},
        leaving=leaving,
    )


def record_of_exit(spec: ChildSpec, incarnation: Incarnation | None, instruction: RecordExit) -> ExitView:
    """The exit record of a process, or of an attempt to start one, which left no incarnation."""
    return exit_record(
        spec,
        incarnation.process.pid if incarnation else None,
        instruction.cause,
        instruction.status,
        uptime=instruction.uptime,
        log_tail=incarnation.output.tail if incarnation else [],
        stacks=incarnation.stacks if incarnation else None,
        actor=instruction.actor,
        beat=incarnation.beat if incarnation else None,
        message=instruction.message,
    )
