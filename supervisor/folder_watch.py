"""Watching a folder: somebody is called when its files may have changed.

What changed is for whoever looks to find out. Events of the kernel only say when to look: they tell of no change behind
a symbolic link and of none on another machine's side of a network file system. So there is a look every few seconds in
any case, and where the kernel has no events to give, that is all there is.
"""

import asyncio
import logging
import math
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from watchdog.events import (
    DirDeletedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.observers.inotify import InotifyObserver

logger = logging.getLogger(__name__)

QUIET = 0.05
"""Seconds without an event before a look: whoever saves writes, closes and renames in far less."""
LONGEST_WAIT = 1.0
"""Seconds from the first event to the look, however long the folder is not quiet."""

# Not opening and reading: a look does that itself, and would lead to the next one.
_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    FileClosedEvent,
    DirDeletedEvent,  # of the folder itself, too
]

Look = Callable[[], Awaitable[None]]
MakeObserver = Callable[[], BaseObserver]


class FolderWatch:
    """Calls ``look`` from a task of its own, one look at a time. The folder may be missing, and come and go."""

    def __init__(self, folder: Path, interval: float, make_observer: MakeObserver = InotifyObserver) -> None:
        """``interval``: seconds between two looks where no event comes."""
        self.folder = folder
        self._interval = interval
        self._again = math.inf
        self._woken = asyncio.Event()
        self._make_observer = make_observer
        self._events: _Events
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
        self._events = _Events(self.folder, lambda: loop.call_soon_threadsafe(self._woken.set), self._make_observer)
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
        while True:
            self._again = math.inf
            try:
                # Before the look, so that nothing can happen between the two unseen.
                await asyncio.to_thread(self._events.attach)
                await look()
            except Exception:
                # The boundary to whoever looks: what was wrong with one look must not be the end of all.
                logger.exception("Cannot look at %s; trying again", self.folder)
            await self._wait()

    async def _wait(self) -> None:
        """Return some quiet after an event, or when the interval is over."""
        await self._is_woken_within(min(self._interval, self._again))
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


class _Events:
    """The kernel's events of one folder. Its methods may wait for a slow disk: call them in a thread."""

    def __init__(self, folder: Path, notify: Callable[[], object], make_observer: MakeObserver) -> None:
        """``notify``: called in a thread of the observer's."""
        self._folder = folder
        self._handler = _Handler(notify)
        self._make_observer = make_observer
        self._lock = threading.Lock()  # a thread that attaches may be left behind by a task that was cancelled
        self._observer: BaseObserver | None = None
        self._watch: ObservedWatch | None = None
        self._identity: tuple[int, int] | None = None
        self._given_up = False

    def attach(self) -> None:
        """Have events of the folder as it is now: it may have been made again, or be another one."""
        with self._lock:
            if self._given_up:
                return
            identity = _identity(self._folder)
            if identity is not None and identity == self._identity and self._is_alive():
                return
            self._detach()
            if identity is None:
                return
            try:
                self._observe()
            except FileNotFoundError:
                return  # gone since; the next look finds out
            except (OSError, RuntimeError) as error:  # RuntimeError: no thread to be had
                self._give_up(error)
            else:
                self._identity = identity

    def close(self) -> None:
        with self._lock:
            self._given_up = True
            self._stop()

    def _is_alive(self) -> bool:
        """Its thread ends with the folder. A folder that was made again may have the same inode number."""
        return self._observer is not None and any(emitter.is_alive() for emitter in self._observer.emitters)

    def _observe(self) -> None:
        if self._observer is None:
            self._observer = self._make_observer()
            self._observer.start()
        # The folder itself may be a link.
        self._watch = self._observer.schedule(
            self._handler, str(self._folder), event_filter=_EVENTS, follow_symlink=True
        )

    def _detach(self) -> None:
        self._identity = None
        if self._observer is not None and self._watch is not None:
            watch, self._watch = self._watch, None
            self._observer.unschedule(watch)

    def _give_up(self, error: Exception) -> None:
        """Once and for all: what the machine lacks (fs.inotify.max_user_*) is not there again two seconds later."""
        self._given_up = True
        self._stop()
        logger.warning(
            "The kernel gives no events of %s: %s; changes are noticed by looking at it regularly",
            self._folder,
            getattr(error, "strerror", None) or error,
        )

    def _stop(self) -> None:
        observer, self._observer, self._watch = self._observer, None, None
        if observer is not None:
            observer.stop()
            with suppress(RuntimeError):  # it was never started
                observer.join()


class _Handler(FileSystemEventHandler):
    def __init__(self, notify: Callable[[], object]) -> None:
        self._notify = notify

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._notify()


def _identity(folder: Path) -> tuple[int, int] | None:
    """None where there is no such folder, or none that can be reached."""
    try:
        status = os.stat(folder)  # noqa: PTH116 - links are followed; Path.stat is the same with a detour
        return (status.st_dev, status.st_ino) if folder.is_dir() else None
    except OSError:
        return None
