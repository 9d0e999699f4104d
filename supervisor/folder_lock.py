"""Keeps a second supervisor off a state folder, and the guard of a dead one while the next one starts.

flock(2) rather than a pid file: the kernel releases it at any death, so a file that a dead supervisor left behind means
nothing. What is inside, "<pid>" or "guard <pid>", is for the message, and for who has to wait. The file is never
removed: who removes it could remove the one that a third process has just locked.
"""

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from supervisor.errors import ConfigurationError, StateFolderLockedError

GUARD_TIME = 10.0
"""Seconds for the guard of a dead supervisor to end what that one left; it takes seven at most."""
LOOK_TIME = 0.2
"""Seconds for somebody who only looks whether it is locked to be gone again; that takes microseconds."""

_POLL_INTERVAL = 0.02
"""Seconds; flock(2) can wait, but not for a limited time."""
_GUARD = "guard"


class FolderLock:
    """The lock file ``path`` of a state folder, which must exist."""

    def __init__(self, path: Path, *, is_guard: bool = False) -> None:
        """``is_guard``: it is taken for a guard, which gives way to every supervisor and is waited for by them."""
        self._path = path
        self._is_guard = is_guard
        self._fd: int | None = None

    def acquire(self, waits: Callable[[int | None], None] = lambda _holder: None) -> None:
        """Take the lock. A supervisor is not waited for; a guard is, as it lets go as soon as all is ended.

        ``waits``: called with the guard's pid before it is waited for.

        Raises:
            StateFolderLockedError: another process holds it.
            ConfigurationError: the file cannot be made or locked at all.
        """
        began = time.monotonic()
        patience = LOOK_TIME
        while True:
            try:
                return self._try_to_acquire()
            except StateFolderLockedError as error:
                if error.by_guard and not self._is_guard and patience < GUARD_TIME:
                    patience = GUARD_TIME
                    waits(error.holder)
                if time.monotonic() - began > patience:
                    raise
            time.sleep(_POLL_INTERVAL)

    def _try_to_acquire(self) -> None:
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
            os.pwrite(fd, f"{_GUARD} {os.getpid()}\n".encode() if self._is_guard else f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            raise _held(self._path, fd) from error
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
        StateFolderLockedError: another supervisor holds the lock.
    """
    with suppress(OSError), path.open("rb") as file:  # missing, or unusable: taking it will say so
        if _is_locked(file.fileno()) and not (error := _held(path, file.fileno())).by_guard:
            raise error


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock, supervisor or guard."""
    with suppress(OSError), path.open("rb") as file:
        return _is_locked(file.fileno())
    return False


def _is_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _held(path: Path, fd: int) -> StateFolderLockedError:
    text = os.pread(fd, 32, 0).decode(errors="replace").strip()
    by_guard = text.startswith(_GUARD)
    pid = text.removeprefix(_GUARD).strip()
    return StateFolderLockedError(
        path.parent, int(pid) if pid.isdecimal() and pid.isascii() else None, by_guard=by_guard
    )
