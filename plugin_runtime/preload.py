"""Imports of a template, and what of them would not survive a fork."""

from __future__ import annotations

import fcntl
import importlib
import os
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Optional

from plugin_runtime.protocol import Failed, Phase
from plugin_runtime.template_protocol import UNSAFE

_UNSHARED = ("socket:", "anon_inode:", "pipe:")
"""Kinds of file descriptors, as /proc names them, that belong to one process: forked, two would read from one queue."""
_MEMORY = ("/dev/shm/", "/memfd:")  # noqa: S108 - compared, not opened
"""Files without a disk, which are there to be shared."""
_THREAD_END = 1.0
"""Seconds for the kernel to forget a thread that has ended: whoever joined it does not wait for that."""


_LONGEST_REASON = 500
"""Characters of why an import failed."""


@dataclass
class Preloaded:
    """What came of it. ``missing``: by name, why it cannot be imported."""

    unsafe: Optional[Failed] = None
    missing: dict[str, str] = field(default_factory=dict)


def preload(modules: Iterable[str]) -> Preloaded:
    """Import what can be imported, up to the first import that leaves something behind that cannot be forked.

    An import that fails is passed over: it may want what only the plugin's own code prepares, and will be done again
    there.
    """
    done = Preloaded()
    before = _unshared()
    for name in modules:
        if name in sys.modules:
            continue
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - boundary: anything may be raised by an import
            done.missing[name] = _reason(error)
        left = _threads_left() or _descriptors_left(before)
        if left:
            done.unsafe = _unsafe(name, left)
            break
    return done


def _reason(error: BaseException) -> str:
    try:
        reason = f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - boundary: its words are foreign code, too
        reason = type(error).__name__
    return reason[:_LONGEST_REASON].encode("utf-8", "backslashreplace").decode()


def _threads_left() -> str:
    deadline = monotonic() + _THREAD_END
    while (threads := _threads()) > 1 and monotonic() < deadline:
        sleep(0.001)
    return "" if threads == 1 else f"{threads - 1} thread{'s' if threads > 2 else ''}"  # noqa: PLR2004


def _threads() -> int:
    # Threads that libraries start in C are not known to Python. The directory has two links and one per thread.
    return os.stat("/proc/self/task").st_nlink - 2  # noqa: PTH116 - called once per module


def _descriptors_left(before: frozenset[str]) -> str:
    return min(_unshared() - before, default="")


def _unshared() -> frozenset[str]:
    """Descriptors that two processes cannot both use, in words."""
    found = set()
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208 - called once per module
        with suppress(OSError):  # the one that the directory was read with
            target = os.fsencode(os.readlink(f"/proc/self/fd/{number}")).decode(errors="backslashreplace")  # noqa: PTH115
            if target.startswith(_UNSHARED):
                found.add(f"an open descriptor ({target})")
            elif _is_written_file(int(number), target):
                found.add(f"an open file ({target})")
    return frozenset(found)


def _is_written_file(descriptor: int, target: str) -> bool:
    """Whether two processes would write at one offset, and hold locks that are one's alone: databases, logs."""
    if target.startswith(_MEMORY) or not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return False
    return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY


def _unsafe(module: str, left: str) -> Failed:
    return Failed(
        Phase.IMPORT.value,
        UNSAFE,
        f"cannot fork from this template: the import of {module!r} leaves {left} behind",
        hint="nothing: what is forked imports it itself; template = false does without a template",
        location=module,
        permanent=True,
    )
