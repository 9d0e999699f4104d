"""One line of /proc: what the kernel says about a process that may vanish at any moment."""

import os
from dataclasses import dataclass
from pathlib import Path

_ZOMBIE = "Z"
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class ProcessStat:
    """Fields of /proc/<pid>/stat, proc(5)."""

    name: str
    """The program's, at most 15 bytes; the process may call itself anything."""
    state: str
    parent: int
    group: int
    session: int
    start_ticks: int
    """Clock ticks from boot to its start: with the pid it names a process for as long as the machine runs."""
    cpu_seconds: float
    """User and system time of all of its threads."""
    wait_status: int
    """Of a zombie of our user: how it ended, as wait4(2) tells its parent."""

    @property
    def is_zombie(self) -> bool:
        """Dead, but not reaped by its parent."""
        return self.state == _ZOMBIE


def read_process_stat(pid: int) -> ProcessStat | None:
    """None: there is no such process, not even a zombie."""
    try:
        line = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may itself hold spaces and parentheses: only the last one ends it.
    head, _, tail = line.rpartition(b")")
    fields = tail.split()
    return ProcessStat(
        name=head.partition(b"(")[2].decode(errors="backslashreplace"),
        state=fields[0].decode(),
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        start_ticks=int(fields[19]),
        cpu_seconds=(int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND,
        wait_status=int(fields[49]),
    )
