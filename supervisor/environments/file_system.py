"""Which file system is full. Reads what the kernel says of mounts; changes nothing."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""No block, no inode, or no more of them for this user."""


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
