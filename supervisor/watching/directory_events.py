"""The kernel's events of many directories: one inotify instance, one thread, one watch per directory.

watchdog's own observers watch folders recursively, environments and all, and take a thread for each; what they are
built on does neither. Methods may wait for a slow disk: call them in a thread.
"""

import errno
import itertools
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial

from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchDescriptor,
)

logger = logging.getLogger(__name__)

# Not opening and reading: a look does that itself, and would lead to the next one. Nor every write: databases and logs
# that are kept open are written to all the time, and whoever saves a file closes it.
_MASK = Mask(
    InotifyConstants.IN_CREATE
    | InotifyConstants.IN_ATTRIB
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MOVE
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_MOVE_SELF
    | InotifyConstants.IN_ONLYDIR
)
_HINTS = {
    errno.ENOSPC: "raise fs.inotify.max_user_watches with sysctl",
    errno.EMFILE: "raise fs.inotify.max_user_instances with sysctl, or the limit of open files",
}

Ignored = Callable[[str], bool]
"""Whether what is done to a file or folder of this name is no reason to tell anybody. Called in the events' thread."""
Directories = Mapping[str, Ignored]
"""By path."""

_Identity = tuple[int, int]
"""Device and inode: a path may lead to another directory at any time, and several paths to one."""


class DirectoryEvents:
    """Calls ``notify``, in a thread of its own, when something may have changed in one of the directories."""

    def __init__(self, notify: Callable[[], object], make_inotify: Callable[[], InotifyFD] = InotifyFD) -> None:
        self._notify = notify
        self._make_inotify = make_inotify
        self._inotify: InotifyFD | None = None
        self._watches: dict[_Identity, _Watch] = {}
        self._lost: deque[WatchDescriptor] = deque()
        self._lock = threading.Lock()  # a thread that follows may be left behind by a task that was cancelled
        self._given_up = False
        self._has_warned = False
        self.is_complete = False
        """Whether all directories that were asked for last have events."""

    def follow(self, directories: Directories) -> bool:
        """Have events of these, and of no others.

        Returns whether some may have changed unseen: there were no events of them before, or they have vanished.
        """
        with self._lock:
            if self._given_up:
                return False
            self._forget_lost()
            wanted = _by_identity(directories)
            removed = self._remove([identity for identity in self._watches if identity not in wanted])
            before = len(self._watches)
            try:
                self._add(wanted)
            except (OSError, RuntimeError) as error:  # RuntimeError: no thread to be had
                self._warn(error, [place.path for identity, place in wanted.items() if identity not in self._watches])
            reached = sum(len(place.ignored) for place in wanted.values())
            self.is_complete = len(self._watches) == len(wanted) and reached == len(directories)
            return len(self._watches) > before or any(watch.path in directories for watch in removed)

    def close(self) -> None:
        """Have none any more."""
        with self._lock:
            self._given_up = True
            inotify, self._inotify = self._inotify, None
            if inotify is not None:
                inotify.stop()
                inotify.join()

    def _add(self, wanted: "Mapping[_Identity, _Place]") -> None:
        for identity, place in wanted.items():
            watch = self._watches.get(identity)
            if watch is not None:
                watch.ignore(place.ignored)
                continue
            watch = _Watch(place, self._notify, self._lost)
            with suppress(FileNotFoundError, NotADirectoryError):  # gone since; the next look finds out
                if watch.add_to(self._running()):
                    self._watches[identity] = watch

    def _remove(self, identities: list[_Identity]) -> "list[_Watch]":
        removed = [self._watches.pop(identity) for identity in identities]
        if self._inotify is not None:
            self._inotify.remove_callbacks([watch.key for watch in removed])
        return removed

    def _forget_lost(self) -> None:
        """A directory that was made again may have the identity of the one before."""
        lost = {self._lost.popleft() for _ in range(len(self._lost))}
        for identity in [identity for identity, watch in self._watches.items() if watch.key[0] in lost]:
            del self._watches[identity]

    def _running(self) -> InotifyFD:
        if self._inotify is None:
            try:
                self._inotify = _started(self._make_inotify)
            except (OSError, RuntimeError):
                # Once and for all: what the machine lacks is not there again two seconds later.
                self._given_up = True
                raise
        return self._inotify

    def _warn(self, error: Exception, paths: list[str]) -> None:
        """Once: what lacks now may be there for a moment and lack again."""
        if self._has_warned:
            return
        self._has_warned = True
        logger.warning(
            "The kernel gives no events of %s%s: %s; changes are noticed by looking regularly%s",
            paths[0],
            f" and {len(paths) - 1} more" if len(paths) > 1 else "",
            getattr(error, "strerror", None) or error,
            f"; {_HINTS[error.errno]}" if isinstance(error, OSError) and error.errno in _HINTS else "",
        )


class _Watch:
    """One directory's events, as watchdog's thread calls it."""

    _ids = itertools.count()

    def __init__(self, place: "_Place", notify: Callable[[], object], lost: "deque[WatchDescriptor]") -> None:
        self._notify = notify
        self._lost = lost
        self.path = place.path
        self.ignore(place.ignored)
        # Of its own: a path that is given another directory just now may lead to one that has a callback already.
        self.key = (WatchDescriptor(-1), CallbackId(next(self._ids)))

    def add_to(self, inotify: InotifyFD) -> bool:
        """Return whether there will be events: not of a directory that may not be read."""
        descriptor = inotify.add_callback(os.fsencode(self.path), _MASK, self, self.key[1])
        self.key = (descriptor, self.key[1])
        if descriptor == -1:
            # watchdog says nothing of EACCES, and keeps the callback.
            inotify.remove_callbacks([self.key])
        return descriptor != -1

    def ignore(self, ignored: list[Ignored]) -> None:
        """``ignored``: one rule for each path on which the directory is reached."""
        # The same few names come again and again, where a plugin has a database.
        self._is_ignored = lru_cache(maxsize=64)(partial(_is_ignored_by_all, ignored))

    def on_event(self, event: InotifyEvent) -> None:
        # Without a name: the directory itself.
        if not event.name or not self._is_ignored(event.name):
            self._notify()

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        self._lost.append(wd)
        self._notify()

    def on_queue_overflow(self) -> None:
        self._notify()


def _is_ignored_by_all(ignored: list[Ignored], name: bytes) -> bool:
    return all(is_ignored(os.fsdecode(name)) for is_ignored in ignored)


@dataclass
class _Place:
    path: str
    ignored: list[Ignored] = field(default_factory=list)


def _by_identity(directories: Directories) -> dict[_Identity, _Place]:
    """Those that are there."""
    places: dict[_Identity, _Place] = {}
    for path, ignored in directories.items():
        with suppress(OSError):
            status = os.stat(path)  # noqa: PTH116 - Path.stat is the same with a detour
            places.setdefault((status.st_dev, status.st_ino), _Place(path)).ignored.append(ignored)
    return places


def _started(make_inotify: Callable[[], InotifyFD]) -> InotifyFD:
    inotify = make_inotify()
    inotify.name = "directory-events"
    try:
        inotify.start()
    except RuntimeError:
        inotify.stop()
        inotify._close_resources()  # noqa: SLF001 - its thread would do it, and never began
        raise
    return inotify
