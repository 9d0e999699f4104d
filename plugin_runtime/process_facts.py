"""What the kernel and the interpreter know about this process."""

from __future__ import annotations

import os
from pathlib import Path
from threading import enumerate as living_threads
from threading import main_thread

from plugin_runtime.task_protocol import ThreadFacts

_START_TICKS = 19
"""Index of starttime (field 22 of proc(5)) among the fields that follow the command's name, the first being field 3."""
_NAME_LIMIT = 200
"""Characters of a thread's name."""


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


def threads() -> list[ThreadFacts]:
    """All Python threads, those that others started in C and Python has seen included."""
    return [
        ThreadFacts(
            id=thread.ident or 0,
            name=_readable(thread.name),
            alive=thread.is_alive(),
            daemon=thread.daemon,
            # In a forked process Python still holds the id of the thread that has forked it.
            native=os.getpid() if thread is main_thread() else thread.native_id,
        )
        for thread in living_threads()
    ]


def _readable(name: str) -> str:
    """What a message can carry, whatever somebody called a thread."""
    return name[:_NAME_LIMIT].encode("utf-8", "backslashreplace").decode()
