"""Whether the machine is to blame for an error, and which file system is full. Changes nothing."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from supervisor.errors import DiskFullError, OutOfResourcesError, XcoreError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""No block, no inode, or no more of them for this user."""


SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EIO, errno.ESTALE})
"""No more descriptors, memory or processes, or a disk or file server that does not answer: that may pass."""


def want_of_machine(what: str, error: OSError, *places: Path) -> XcoreError | None:
    """``error`` as one that is worth another try; None where something else than the machine is to blame.

    ``what``: begins the message; ``places``: where it was written.
    """
    problem = f"{what}: {error.strerror or error}"
    if error.errno in FULL:
        return DiskFullError(problem, hint=f"free some space in the file system {fullest(places)}")
    return OutOfResourcesError(problem, hint="it is tried again by itself") if error.errno in SHORT else None


def fullest(paths: Iterable[Path]) -> Path:
    """Mount point of that file system below ``paths`` which has the least left, in bytes or in files.

    Which of several was full nobody tells who gets the error: an installer writes in more than one place, and what it
    had begun may be gone by now.
    """
    return _mount_point(min(map(_existing, paths), key=_share_left))


def _existing(path: Path) -> Path:
    """The path, or its nearest parent that is there."""
    return next(candidate for candidate in (path, *path.parents) if candidate.exists())


def _share_left(path: Path) -> float:
    status = os.statvfs(path)
    shares = [(status.f_bavail, status.f_blocks), (status.f_favail, status.f_files)]
    # Some file systems count no files, and some no blocks.
    return min((left / total for left, total in shares if total), default=1.0)


def _mount_point(path: Path) -> Path:
    resolved = path.resolve()
    return next(candidate for candidate in (resolved, *resolved.parents) if candidate.is_mount())
