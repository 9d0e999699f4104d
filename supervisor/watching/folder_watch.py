"""Watching a folder: somebody is called when its files may have changed.

What changed is for whoever looks to find out. Events of the kernel only say when to look: they tell of no change behind
a symbolic link and of none on another machine's side of a network file system. So there is a look every few seconds in
any case, and where the kernel has no events to give, that is all there is.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from watchdog.observers.inotify_c import InotifyFD

from supervisor.watching.directory_events import Directories, DirectoryEvents, Ignored

logger = logging.getLogger(__name__)

QUIET = 0.05
"""Seconds without an event before a look: whoever saves writes, closes and renames in far less."""
LONGEST_WAIT = 1.0
"""Seconds from the first event to the look, however long the folder is not quiet."""

RARER = 5
"""Times as long between two looks that nothing prompts, where the kernel tells of changes: it does not tell of all, and
a look at 50 plugins takes 5 ms."""

Look = Callable[[], Awaitable[None]]


class FolderWatch:
    """Calls ``look`` from a task of its own, one look at a time. The folder may be missing, and come and go."""

    def __init__(
        self,
        folder: Path,
        interval: float,
        ignored: Ignored = lambda _: False,
        make_inotify: Callable[[], InotifyFD] = InotifyFD,
    ) -> None:
        """``interval``: seconds between two looks where there are no events, RARER times that where there are.

        ``ignored``: names in it that never matter.
        """
        self.folder = folder
        self.directories: Directories = {str(folder): ignored}
        """Of which there are to be events; for whoever looks to set."""
        self._interval = interval
        self._again = math.inf
        self._woken = asyncio.Event()
        self._make_inotify = make_inotify
        self._events: DirectoryEvents
        self._task: asyncio.Task[None] | None = None

    @property
    def interval(self) -> float:
        return self._interval

    @interval.setter
    def interval(self, seconds: float) -> None:
        """From now on; the wait that has begun ends with a look."""
        if seconds != self._interval:
            self._interval = seconds
            self._woken.set()

    def look_again(self, seconds: float) -> None:
        """Let the next look come after so long at most; for whoever looks."""
        self._again = seconds

    def start(self, look: Look) -> None:
        """Look at once, and then whenever there is reason to."""
        loop = asyncio.get_running_loop()
        self._events = DirectoryEvents(lambda: loop.call_soon_threadsafe(self._woken.set), self._make_inotify)
        self._task = asyncio.create_task(self._run(look), name=f"watch-{self.folder.name}")

    async def close(self) -> None:
        """Look no more; a look under way is given up."""
        if self._task is None:
            return
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await asyncio.to_thread(self._events.close)

    async def _run(self, look: Look) -> None:
        await asyncio.to_thread(self._events.follow, self.directories)
        while True:
            self._again = math.inf
            try:
                await look()
                if await asyncio.to_thread(self._events.follow, self.directories):
                    self._woken.set()  # between the look and the first event something may have happened unseen
            except Exception:
                # The boundary to whoever looks: what was wrong with one look must not be the end of all.
                logger.exception("Cannot look at %s; trying again", self.folder)
            await self._wait()

    async def _wait(self) -> None:
        """Return some quiet after an event, or when the interval is over."""
        unprompted = self._interval * (RARER if self._events.is_complete else 1)
        await self._is_woken_within(min(unprompted, self._again))
        loop = asyncio.get_running_loop()
        latest = loop.time() + LONGEST_WAIT
        while self._woken.is_set() and (left := latest - loop.time()) > 0:
            self._woken.clear()
            await self._is_woken_within(min(QUIET, left))
        self._woken.clear()

    async def _is_woken_within(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
