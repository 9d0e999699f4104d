"""What the kernel knows about this process."""

from __future__ import annotations

from pathlib import Path

_START_TICKS = 19
"""Index of starttime (field 22 of proc(5)) among the fields that follow the command's name, the first being field 3."""


def start_ticks() -> int:
    """Moment of birth in clock ticks since boot; with the pid it names a process for ever."""
    stat = Path("/proc/self/stat").read_bytes()
    # The command's name stands in parentheses and may itself hold spaces and parentheses.
    return int(stat.rpartition(b")")[2].split()[_START_TICKS])


def peak_memory_kb() -> int:
    """Highest resident set so far; 0 where the kernel does not tell.

    Not ru_maxrss: that one starts at the parent's peak, since it survives fork and exec.
    """
    try:
        status = Path("/proc/self/status").read_bytes()
    except OSError:  # out of file descriptors: the plugin's trouble, and no reason to stop beating
        return 0
    _, _, rest = status.partition(b"VmHWM:")
    return int(rest.split()[0]) if rest else 0
