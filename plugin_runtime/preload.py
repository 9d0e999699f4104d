"""Imports of a template, and what of them would not survive a fork."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from time import monotonic, sleep
from typing import Optional

from plugin_runtime.protocol import Failed, Phase
from plugin_runtime.template_protocol import UNSAFE

_UNSHARED = ("socket:", "anon_inode:", "pipe:")
"""Kinds of file descriptors, as /proc names them, that belong to one process: forked, two would read from one queue."""
_THREAD_END = 1.0
"""Seconds for the kernel to forget a thread that has ended: whoever joined it does not wait for that."""


def preload(modules: Iterable[str]) -> Optional[Failed]:
    """Import what can be imported; tell the first import that leaves something behind that cannot be forked.

    An import that fails is passed over: it may want what only the plugin's own code prepares, and will be done again
    there.
    """
    before = _descriptors()
    for name in modules:
        if name in sys.modules:
            continue
        with suppress(Exception, SystemExit):  # boundary: anything may be raised by an import
            importlib.import_module(name)
        left = _threads_left() or _descriptors_left(before)
        if left:
            return _unsafe(name, left)
    return None


def _threads_left() -> str:
    deadline = monotonic() + _THREAD_END
    while (threads := _threads()) > 1 and monotonic() < deadline:
        sleep(0.001)
    return "" if threads == 1 else f"{threads - 1} thread{'s' if threads > 2 else ''}"  # noqa: PLR2004


def _threads() -> int:
    # Threads that libraries start in C are not known to Python. The directory has two links and one per thread.
    return os.stat("/proc/self/task").st_nlink - 2  # noqa: PTH116 - called once per module


def _descriptors_left(before: frozenset[str]) -> str:
    new = _descriptors() - before
    return f"an open descriptor ({min(new)})" if new else ""


def _descriptors() -> frozenset[str]:
    """Those that cannot be shared."""
    found = set()
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208 - called once per module
        try:
            target = os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115 - as above
        except OSError:  # the one that the directory was read with
            continue
        if target.startswith(_UNSHARED):
            found.add(target)
    return frozenset(found)


def _unsafe(module: str, left: str) -> Failed:
    return Failed(
        Phase.IMPORT.value,
        UNSAFE,
        f"cannot fork from this template: the import of {module!r} leaves {left} behind",
        hint="nothing, if starting without a template is fast enough: template = false says so for good",
        location=module,
        permanent=True,
    )
