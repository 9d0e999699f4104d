"""Keeps a second supervisor off a state folder.

flock(2) rather than a pid file: the kernel releases it at any death, so a file that a dead supervisor left behind means
nothing. The pid inside is for the message only. The file is never removed: who removes it could remove the one that a
third process has just locked.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from supervisor.errors import ConfigurationError, StateFolderLockedError


class FolderLock:
    """The lock file ``path`` of a state folder, which must exist."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock, without waiting for it.

        Raises:
            StateFolderLockedError: another process holds it.
            ConfigurationError: the file cannot be made or locked at all.
        """
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            self._lock(fd)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def release(self) -> None:
        """Let others have the folder. A second call does nothing."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None

    def _lock(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            raise StateFolderLockedError(self._path.parent, _pid_in(fd)) from error
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(
            str(self._path),
            "supervisor.state_dir",
            f"cannot lock the state folder: {error.strerror or error}",
            hint="name a folder on a local disk that this user may write to",
        )


def refuse_if_locked(path: Path) -> None:
    """Look at the lock file without taking it; for who wants to know before it does anything that takes long.

    Raises:
        StateFolderLockedError: another process holds the lock.
    """
    with suppress(OSError), path.open("rb") as file:  # missing, or unusable: taking it will say so
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateFolderLockedError(path.parent, _pid_in(file.fileno())) from error


def _pid_in(fd: int) -> int | None:
    """None while the holder has not written its pid yet."""
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() else None
