"""Who may call plugins on the gateways' local side, and by which key: docs/reference/plugin-calls.md."""

import secrets
from collections.abc import Mapping
from typing import Any, Protocol

from plugin_runtime.protocol import Caller, Kind
from supervisor.processes.process_records import ProcessRecord
from supervisor.spec import ChildSpec
from supervisor.state_folder import StateFolder

_RUN = "job:"
_CALLING = frozenset({Kind.WORKER, Kind.TASK, Kind.JOB})
_SECRET_BYTES = 16


class Callers(Protocol):
    """Knows all of them: Gateways."""

    def admit_caller(self, caller: Caller) -> None:
        """Said before its process begins."""

    def dismiss_caller(self, incarnation: str) -> None:
        """There is no process of this incarnation, if it was ever told."""


def with_key(settings: Mapping[str, Any], kind: Kind, token: str, folder: StateFolder) -> Mapping[str, Any]:
    """Return what a process is told: its settings, and a key of its own where it may call."""
    if kind not in _CALLING:
        return settings
    key = f"{token}:{secrets.token_hex(_SECRET_BYTES)}"
    return {**settings, "local_path": str(folder.local_socket), "local_key": key}


def caller_of(process: ChildSpec | ProcessRecord, settings: Mapping[str, Any]) -> Caller | None:
    """Return who a process is that was told these settings; None where it has no key."""
    key = settings.get("local_key")
    return Caller(_name_of(process), key) if process.kind in _CALLING and key else None


def is_run(caller: Caller) -> bool:
    """Whether it is a run of a job, in a process of its own: there may be thousands in a minute."""
    return caller.plugin.startswith(_RUN)


def _name_of(process: ChildSpec | ProcessRecord) -> str:
    match process.kind:
        case Kind.TASK:
            return f"task:{process.name}"
        case Kind.JOB:
            return f"{_RUN}{process.id.rpartition('.')[0]}"  # what follows is the run's
        case _:
            return process.name
