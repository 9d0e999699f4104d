"""The processes of this machine, as the guard reads them from /proc; and how it sends a signal to one of them."""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from plugin_runtime.protocol import ENV_TREE
from supervisor.guard.selection import Identity, Seen
from supervisor.processes.process_stat import read_process_stat

_MARK = f"{ENV_TREE}=".encode()


def read_table() -> dict[int, Seen]:
    """Every process by its pid; those that come and go meanwhile may be missing."""
    seen = (_read(int(name)) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - a Path each is dear
    return {process.identity.pid: process for process in seen if process is not None}


def children_of(pid: int) -> set[int]:
    """Pids of the children of a process, by the lists that the kernel keeps per thread; none where it is gone."""
    pids: set[int] = set()
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                pids.update(map(int, (thread / "children").read_bytes().split()))
    return pids


def identify(pid: int) -> Identity | None:
    """None: there is no such process."""
    stat = read_process_stat(pid)
    return Identity(pid, stat.start_ticks) if stat else None


def send(identity: Identity, numbers: Iterable[signal.Signals]) -> None:
    """Send signals to this process; nothing happens where it is gone, or is another user's by now.

    The pidfd first: what is found of the pid after that is found of the process that gets the signal.
    """
    with suppress(ProcessLookupError, PermissionError):
        descriptor = os.pidfd_open(identity.pid)
        try:
            if identify(identity.pid) == identity:
                for number in numbers:
                    signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def _read(pid: int) -> Seen | None:
    with suppress(OSError):
        stat = read_process_stat(pid)
        if stat is not None:
            identity = Identity(pid, stat.start_ticks)
            return Seen(identity, stat.name, stat.parent, stat.session, mark_of(pid), stat.is_zombie)
    return None


def mark_of(pid: int) -> str | None:
    """The environment is the one that its program was started with; of another user's process it cannot be read."""
    with suppress(OSError):
        for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if variable.startswith(_MARK):
                return variable.removeprefix(_MARK).decode(errors="backslashreplace")
    return None
