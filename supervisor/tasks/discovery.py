"""The task directory at one moment: which files in it are tasks, and what changed since the look before.

A task is a ``.py`` file, or a link to one, whose name starts neither with ``__`` nor with a dot; it is called like the
file without its suffix. What is there but cannot be read or run is a task too, one with a problem: nothing is passed
over in silence. Reads files and blocks: to be called in a thread.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from supervisor.config.regular_file import UnreadableFileError, read_text
from supervisor.preparation.prefixes import MAX_NAME_BYTES, RESERVED_NAMES
from supervisor.watching.directory_look import Look, look_at, printable
from supervisor.watching.file_signature import Signature, settled, signature_of

SUFFIX = ".py"


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
    signature: Signature | None = field(default=None, compare=False, repr=False)
    """What the kernel said of it when it was read; None: it may have been written to since without another time."""


def look(directory: Path, before: Look[TaskFile]) -> Look[TaskFile]:
    """Read ``directory`` now; what has not changed since ``before`` is not read again.

    Raises:
        FileNotFoundError: it is not there.
        OSError: it cannot be read. Neither says anything about the files.
    """
    return look_at(directory, before, partial(_read, directory))


def is_no_task(name: str) -> bool:
    """Whether nothing of this name in the task directory can be a task."""
    return not name.endswith(SUFFIX) or name.startswith((".", "__"))


def name_problem(name: str) -> str:
    """Why no task can have this name, or nothing. It becomes part of paths, ids of jobs and names of modules."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name):
        return "its name must be of the letters A to Z, digits, '_' and '-', and start with a letter or '_'"
    if name in RESERVED_NAMES:
        return f"the name {name!r} is reserved for xcore's own"
    if len(name) > MAX_NAME_BYTES:
        return f"its name is longer than {MAX_NAME_BYTES} characters"
    return ""


def _read(directory: Path, entry: "os.DirEntry[str]", before: Mapping[str, TaskFile]) -> TaskFile | None:
    if is_no_task(entry.name):
        return None
    name = printable(entry.name.removesuffix(SUFFIX))
    return _file(name, directory / entry.name, before.get(name))


def _file(name: str, path: Path, before: TaskFile | None) -> TaskFile | None:
    """None where it vanished since it was listed."""
    try:
        signature = signature_of(path.stat())
    except FileNotFoundError:
        return TaskFile(name, path, problem=_dangling(path)) if path.is_symlink() else None
    except OSError as error:  # a link in a circle, a folder on the way that may not be entered
        return TaskFile(name, path, problem=f"cannot be read: {error.strerror}")
    if before is not None and before.signature == signature:
        return before
    remembered = settled(signature)
    try:
        text = read_text(path)
    except UnreadableFileError as error:
        return TaskFile(name, path, problem=error.problem)
    return None if text is None else TaskFile(name, path, digest_of(text), signature=remembered)


def digest_of(text: str) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def _dangling(path: Path) -> str:
    return f"is a link to {_target(path)}, which is not there"


def _target(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:  # replaced since
        return "something"
