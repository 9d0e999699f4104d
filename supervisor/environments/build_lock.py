"""Keeps two processes from building environments of one owner at once: a supervisor, and a check of the same plugin.

flock(2): the kernel releases it at any death. The file is never removed: who removes it could remove the one that a
third process has just locked.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

POLL_INTERVAL = 0.1
"""Seconds; a build takes some of them, and flock(2) would have to wait for it in a thread that cannot be cancelled."""


@asynccontextmanager
async def alone(owner: Path, waits: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
    """Be the only one to change the folder ``owner``; the lock lies beside it, under a name that no owner has.

    ``waits``: called before another process is waited for.

    Raises:
        OSError: it cannot be made or locked.
    """
    owner.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(owner.with_name(f".{owner.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _lock(fd):
            waits()
            while not _lock(fd):  # noqa: ASYNC110 - nobody here can tell that another process lets go
                await asyncio.sleep(POLL_INTERVAL)
        yield
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
