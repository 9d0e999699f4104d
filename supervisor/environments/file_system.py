"""What is done with files and folders wherever they are: tell whether the machine is to blame, remove whole folders."""

import asyncio
import errno
import os
import secrets
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from supervisor.errors import DiskFullError, OutOfResourcesError, XcoreError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""No block, no inode, or no more of them for this user."""


SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EIO, errno.ESTALE})
"""No more descriptors, memory or processes, or a disk or file server that does not answer: that may pass."""


def is_full(error: BaseException | None) -> bool:
    """Whether ``error`` says that a file system has no room left."""
    return isinstance(error, OSError) and error.errno in FULL


def is_want_of_machine(error: BaseException | None) -> bool:
    """Whether ``error`` is worth another try: the machine is to blame, by want of room or of something else."""
    return isinstance(error, OSError) and error.errno in FULL | SHORT


def want_of_machine(what: str, error: OSError, *places: Path) -> XcoreError | None:
    """``error`` as one that is worth another try; None where something else than the machine is to blame.

    ``what``: begins the message; ``places``: where it was written.
    """
    problem = f"{what}: {error.strerror or error}"
    if is_full(error):
        return DiskFullError(problem, hint=f"free some space in the file system {fullest(places)}")
    return OutOfResourcesError(problem, hint="it may pass by itself") if is_want_of_machine(error) else None


def unwritable(what: str, error: OSError, place: Path, hint: str = "") -> XcoreError:
    """``error`` of writing to ``place``, as people read it. ``hint``: where the machine is not to blame."""
    return want_of_machine(what, error, place) or XcoreError(f"{what}: {error.strerror or error}", hint=hint)


async def remove(folders: Iterable[Path]) -> None:
    """Take ``folders`` out of the way before anybody else has a turn; they are gone when this returns."""
    await erase(set_aside(folders))


def set_aside(folders: Iterable[Path]) -> list[Path]:
    """Rename ``folders`` to what is nobody's, and return their new paths: what is left of them goes with ``erase``.

    Nothing that looks whole is left then, by a kill in the middle or by a thread that runs on when its caller is
    cancelled; and no thread sees the paths at which somebody makes the next ones.
    """
    aside = []
    for folder in folders:
        with suppress(FileNotFoundError, NotADirectoryError):
            aside.append(folder.rename(folder.with_name(f".{secrets.token_hex(8)}.removed")))
    return aside


async def erase(aside: Iterable[Path]) -> None:
    """Remove what was set aside; it may be a lot."""
    for folder in aside:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


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
