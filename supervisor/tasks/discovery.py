"""The task directory at one moment: which files in it are tasks, and what changed since the look before.

A task is a ``.py`` file, or a link to one, whose name starts neither with ``__`` nor with a dot; it is called like the
file without its suffix. What is there but cannot be read or run is a task too, one with a problem: nothing is passed
over in silence. Only what two looks in a row do not find is gone: editors replace files. Reads files and blocks: to be
called in a thread.
"""

import errno
import hashlib
import os
import re
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from supervisor.config.regular_file import UnreadableFileError, read_text
from supervisor.prefixes import MAX_NAME_BYTES, RESERVED_NAMES

SUFFIX = ".py"

_SETTLED = 2_000_000_000
"""Nanoseconds after a change from which on another one surely has another time: file systems count in up to 2 s."""

_Signature = tuple[int, ...]


@dataclass(frozen=True)
class TaskFile:
    """One task's module. Equal to another one of the same content."""

    name: str
    """Of the task."""
    path: Path
    digest: str = ""
    """SHA-256 of its text; "" where it cannot be read."""
    problem: str = ""
    """Why it cannot be read; follows the path in a sentence."""
    signature: _Signature | None = field(default=None, compare=False, repr=False)
    """What the kernel said of it when it was read; None: it may have been written to since without another time."""


@dataclass(frozen=True)
class Look:
    """All task files by the names of their tasks."""

    files: Mapping[str, TaskFile] = field(default_factory=lambda: MappingProxyType({}))
    missing: frozenset[str] = frozenset()
    """Those of ``files`` that were not found this time; they are as they were seen last."""
    device: int | None = None
    """The file system that the directory lies on; None: it was not seen yet."""


@dataclass(frozen=True)
class Difference:
    """Names of tasks, sorted."""

    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def diff(old: Look, new: Look) -> Difference:
    """What was done to the directory between two looks."""
    both = old.files.keys() & new.files.keys()
    # What was missing may have been asked for meanwhile, and be shown as not there.
    back = old.missing - new.missing
    return Difference(
        new=tuple(sorted(new.files.keys() - both)),
        changed=tuple(sorted(name for name in both if old.files[name] != new.files[name] or name in back)),
        removed=tuple(sorted(old.files.keys() - both)),
    )


def look(directory: Path, before: Look) -> Look:
    """Read ``directory`` now; what has not changed since ``before`` is not read again.

    Raises:
        FileNotFoundError: it is not there.
        OSError: it cannot be read. Neither says anything about the files.
    """
    files = {}
    device = directory.stat().st_dev
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX) and not entry.name.startswith((".", "__")):
                # A name may be any bytes; what is no UTF-8 is escaped, or no message could ever hold it.
                name = os.fsencode(entry.name.removesuffix(SUFFIX)).decode(errors="backslashreplace")
                file = _file(name, directory / entry.name, before.files.get(name))
                if file is not None:
                    files[name] = file
    if before.files and not files and device != before.device:
        # The folder below a mount point is there, and empty, while nothing is mounted.
        problem = "it is empty, and on another file system than before; mount the one that its files are on"
        raise OSError(errno.ENODEV, problem)
    missing = before.files.keys() - files.keys() - before.missing
    files.update((name, before.files[name]) for name in missing)
    return Look(MappingProxyType(files), frozenset(missing), device)


def name_problem(name: str) -> str:
    """Why no task can have this name, or nothing. It becomes part of paths, ids of jobs and names of modules."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name):
        return "its name must be of the letters A to Z, digits, '_' and '-', and start with a letter or '_'"
    if name in RESERVED_NAMES:
        return f"the name {name!r} is reserved for xcore's own"
    if len(name) > MAX_NAME_BYTES:
        return f"its name is longer than {MAX_NAME_BYTES} characters"
    return ""


def _file(name: str, path: Path, before: TaskFile | None) -> TaskFile | None:
    """None where it vanished since it was listed."""
    try:
        signature = _signature(path.stat())
    except FileNotFoundError:
        return TaskFile(name, path, problem=_dangling(path)) if path.is_symlink() else None
    except OSError as error:  # a link in a circle, a folder on the way that may not be entered
        return TaskFile(name, path, problem=f"cannot be read: {error.strerror}")
    if before is not None and before.signature == signature:
        return before
    # Before the file is read: what is written from here on has a later time, if only the clock has moved on.
    now = time.time_ns()
    try:
        text = read_text(path)
    except UnreadableFileError as error:
        return TaskFile(name, path, problem=error.problem)
    if text is None:
        return None
    is_settled = all(moment + _SETTLED < now for moment in signature[-2:])
    return TaskFile(name, path, digest_of(text), signature=signature if is_settled else None)


def digest_of(text: str) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def _signature(status: os.stat_result) -> _Signature:
    kind = stat.S_IFMT(status.st_mode)
    return (kind, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _dangling(path: Path) -> str:
    return f"is a link to {_target(path)}, which is not there"


def _target(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:  # replaced since
        return "something"
