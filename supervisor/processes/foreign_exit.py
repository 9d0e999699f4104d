"""How a process ended that is not our child: wait4(2) is for its parent only.

Two sources, one for before its parent has reaped it and one for after: the exit code of a zombie in /proc (proc(5),
field 52 of stat), and PIDFD_GET_INFO (Linux 6.15, pidfd.h), which answers as long as somebody holds a pidfd.
"""

import fcntl
import os
import struct
from contextlib import suppress
from pathlib import Path

from supervisor.processes.process_stat import read_process_stat
from supervisor.spec import ExitStatus

_INFO_SIZE = 64
"""Bytes of struct pidfd_info in its first version (PIDFD_INFO_SIZE_VER0)."""
_GET_INFO = 3 << 30 | _INFO_SIZE << 16 | 0xFF << 8 | 11
"""_IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info)."""
_INFO_EXIT = 1 << 3
_EXIT_CODE_OFFSET = 60


def foreign_exit(pid: int, start_ticks: int, pidfd: int) -> ExitStatus:
    """Tell how a dead process ended, as far as the kernel says; ``pidfd``: opened while it lived."""
    status, cpu_seconds = _status_of_zombie(pid, start_ticks)
    if status is None:
        status = _status_of_reaped(pidfd)
    if status is None:
        return ExitStatus(cpu_seconds=cpu_seconds)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return ExitStatus(signal=-code, cpu_seconds=cpu_seconds)
    return ExitStatus(exit_code=code, cpu_seconds=cpu_seconds)


def _status_of_zombie(pid: int, start_ticks: int) -> tuple[int | None, float | None]:
    stat = read_process_stat(pid)
    if stat is None or stat.start_ticks != start_ticks or not stat.is_zombie:
        return None, None
    with suppress(OSError):
        # Of a process of another user the kernel shows a 0 instead, which would look like success.
        if Path(f"/proc/{pid}").stat().st_uid == os.geteuid():
            return stat.wait_status, stat.cpu_seconds
    return None, stat.cpu_seconds


def _status_of_reaped(pidfd: int) -> int | None:
    info = bytearray(_INFO_SIZE)
    struct.pack_into("=Q", info, 0, _INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _GET_INFO, info)
    except OSError:  # an older kernel
        return None
    (told,) = struct.unpack_from("=Q", info, 0)
    (status,) = struct.unpack_from("=i", info, _EXIT_CODE_OFFSET)
    return int(status) if told & _INFO_EXIT else None
