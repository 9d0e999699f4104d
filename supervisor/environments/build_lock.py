"""Lets one process at a time change the environments of one owner: a supervisor, or a check of the same plugin.

flock(2): the kernel releases it at any death. The file is never removed: who removes it could remove the one that a
third process has just locked.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
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
    with _lock_file(owner) as fd:
        if not _lock(fd):
            waits()
            while not _lock(fd):  # noqa: ASYNC110 - nobody here can tell that another process lets go
                await asyncio.sleep(POLL_INTERVAL)
        yield


@contextmanager
def alone_nowait(owner: Path) -> Iterator[bool]:
    """Whether this is the only one to change the folder ``owner`` until the block ends; False where somebody else is.

    Raises:
        OSError: it cannot be made or locked.
    """
    with _lock_file(owner) as fd:
        yield _lock(fd)


@contextmanager
def _lock_file(owner: Path) -> Iterator[int]:
    owner.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(owner.with_name(f".{owner.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
