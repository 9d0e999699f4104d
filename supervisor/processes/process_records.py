"""What is known of each process that runs, in files that outlive the supervisor.

Whoever comes after a supervisor that died has to know which processes were its own: the next supervisor takes them
over, the guard ends them. Not in the database: that may be away, and written later. A file is written when its process
is known and removed when it is reaped. A process that a supervisor was killed too early to write down is no loss: it
never was ready, is refused when it says hello, and ends.
"""

import json
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from plugin_runtime.protocol import Kind
from supervisor.processes.process_stat import read_process_stat
from supervisor.state_folder import StateFolder

logger = logging.getLogger(__name__)

_BYTES = "$bytes"
"""Key of an object that stands for bytes, which JSON has not."""
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class ProcessRecord:
    """One process, as whoever comes next has to know it."""

    token: str
    """Of its incarnation: names its sockets and FIFOs, and this record."""
    nonce: str
    """What it proves itself with on the control channel."""
    id: str
    name: str
    kind: Kind
    generation: str
    command: tuple[str, ...]
    pid: int
    start_ticks: int
    boot_id: str
    restarts: int
    """Of its child, up to this process."""
    settings: Mapping[str, Any]
    """What it was told in its Welcome."""
    leaving: bool = False
    """It was asked to end, or is being ended."""

    @property
    def is_alive(self) -> bool:
        """Whether the process runs: known by its start and this boot, never by the pid alone."""
        if self.boot_id != boot_id():
            return False
        stat = read_process_stat(self.pid)
        return stat is not None and stat.start_ticks == self.start_ticks and not stat.is_zombie

    @property
    def age(self) -> float:
        """Seconds since it was started; for one that is alive."""
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - self.start_ticks / _TICKS_PER_SECOND)


class ProcessRecords:
    """The records in the state folder, one file per process."""

    def __init__(self, folder: StateFolder) -> None:
        self._folder = folder

    def write(self, record: ProcessRecord) -> None:
        """Put it on record, in place of what was known of the same incarnation. Failure costs an adoption, no more."""
        path = self._folder.process_record(record.token)
        draft = path.with_suffix(".draft")
        try:
            draft.write_text(json.dumps(asdict(record), default=_bytes_to_json), encoding="utf-8")
            draft.rename(path)
        except OSError as error:
            logger.warning("Cannot write down process %d of %s: %s", record.pid, record.id, error)
            with suppress(OSError):
                draft.unlink()

    def remove(self, token: str) -> None:
        """The process is gone."""
        with suppress(OSError):
            self._folder.process_record(token).unlink()

    def read_all(self) -> list[ProcessRecord]:
        """Everything on record, oldest process first; what cannot be read is logged, what makes no sense is removed."""
        found = (_read(path) for path in self._folder.run.glob(self._folder.process_record("*").name))
        return sorted((record for record in found if record), key=lambda record: record.start_ticks)


@cache
def boot_id() -> str:
    """Names this boot of the machine: pids and start ticks begin anew with the next one."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _read(path: Path) -> ProcessRecord | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_hook=_bytes_from_json)
        known = {field.name: content[field.name] for field in fields(ProcessRecord) if field.name in content}
        known["kind"] = Kind(known["kind"])
        known["command"] = tuple(known["command"])
        return ProcessRecord(**known)
    except OSError as error:
        logger.warning("Cannot read what is known of a process in %s: %r", path.name, error)
    except (ValueError, TypeError, KeyError) as error:
        logger.warning("Cannot make sense of %s, which tells of a process; removing it: %r", path.name, error)
        with suppress(OSError):
            path.unlink()
    return None


def _bytes_to_json(value: object) -> dict[str, str]:
    if isinstance(value, bytes):
        return {_BYTES: value.hex()}
    raise TypeError(f"cannot write down a {type(value).__name__}")


def _bytes_from_json(value: dict[str, Any]) -> Any:
    return bytes.fromhex(value[_BYTES]) if value.keys() == {_BYTES} else value
