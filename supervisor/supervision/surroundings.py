"""The adapters that every child works with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from supervisor.channels.control import ControlServer
from supervisor.clock import Clock
from supervisor.processes.process_records import ProcessRecord, ProcessRecords
from supervisor.processes.reaper import Reaper
from supervisor.processes.survivors import Survivors
from supervisor.state_folder import StateFolder
from supervisor.supervision.local_key import Callers
from supervisor.supervision.origin import Origin


class LogSink(Protocol):
    """Takes what children print: LogWriter."""

    def write(self, name: str, instance: str, stream: str, lines: Sequence[str]) -> None:
        """Never waits."""


@dataclass(frozen=True)
class Surroundings:
    """Made once, by the app."""

    clock: Clock
    folder: StateFolder
    control: ControlServer
    reaper: Reaper
    logs: LogSink
    origin: Origin
    """Where processes come from."""
    records: ProcessRecords
    survivors: Survivors
    callers: Callers

    def forget(self, token: str) -> None:
        """There is no process of this incarnation any more: neither a successor nor a gateway shall know it."""
        self.records.remove(token)
        self.callers.dismiss_caller(token)

    def only(self, record: ProcessRecord) -> "Surroundings":
        """The same for a child that takes over this process, whatever its own spec is."""
        return replace(self, survivors=Survivors([record], suits=lambda _record, _spec: True))
