"""What is left behind by processes that are not our children, and so does not come to us as an orphan.

After the death of a supervisor its processes are init's children, whoever takes them over, and so is what they leave.
It is found by the mark in its environment: whatever bears it and belongs to no process of ours is ended. To look at
all processes of the machine takes longer than is good for the event loop, so a thread does it, and only when one of
those has died.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable

from supervisor.channels.peer import descends_from_us
from supervisor.guard.process_table import mark_of, read_table, send
from supervisor.guard.selection import Seen, left_behind
from supervisor.processes.reaper import ticks_now
from supervisor.works import Works

logger = logging.getLogger(__name__)

LOOKS = (0.0, 0.3)
"""Seconds after a death: what its children leave behind in turn is seen the second time."""


class Strays:
    """Owns the looks that are under way."""

    def __init__(self, mark: str, living: Callable[[], set[int]]) -> None:
        """``mark``: of the tree; "" where there is none. ``living``: pids of all that is ours and runs."""
        self._mark = mark
        self._living = living
        self._looks = Works()

    def is_ours(self, pid: int) -> bool:
        """Whether it is one of ours, or was started by one, whoever is its parent by now."""
        return descends_from_us(pid, self._living()) or (bool(self._mark) and mark_of(pid) == self._mark)

    def look_soon(self) -> None:
        """One that was taken over has died, or the supervisor before."""
        if self._mark:
            self._looks.begin(self._look(), "look-for-strays")

    async def close(self) -> None:
        """Give up what is under way."""
        await self._looks.close()

    async def _look(self) -> None:
        for pause in LOOKS:
            await asyncio.sleep(pause)
            before = ticks_now()
            try:
                table = await asyncio.to_thread(read_table)
            except OSError as error:  # no descriptor left, most likely
                logger.warning("Cannot look for what was left behind: %s", error)
                continue
            # Asked after the table was read: what has begun since is too young to be taken for a stray.
            for stray in left_behind(table, self._living() | {os.getpid()}, self._mark, before):
                self._end(stray)

    def _end(self, stray: Seen) -> None:
        logger.info("Killed %r (pid %d): it was left behind by its parents", stray.name, stray.identity.pid)
        send(stray.identity, [signal.SIGKILL])
