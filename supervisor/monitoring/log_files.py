"""Log files of plugins and tasks: ``logs/<name>.log``, rotated, written by one thread, read from the end.

The event loop only puts lines into a queue of limited size. What a slow or full disk cannot take is dropped and
counted, and the count is written as soon as writing works again: neither the disk nor a flooding plugin ever holds the
loop.
"""

import logging
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import FileIO
from itertools import pairwise
from pathlib import Path

from supervisor.clock import Clock

logger = logging.getLogger(__name__)

RETRY_INTERVAL = 1.0
"""Seconds between attempts while a log cannot be written (disk full)."""
MOST_LINES = 10_000
"""Of a log in one answer."""

_MIB = 1024 * 1024
_TAIL_BYTES = 8 * _MIB
"""Read for one tail at most, however long the lines are."""
_BLOCK = 64 * 1024


@dataclass(frozen=True)
class Rotation:
    """What one log may take on disk."""

    size: int = 10 * _MIB
    """Bytes of one file. Only a single line longer than that exceeds it."""
    files: int = 5
    """The one being written and the older ones, ``<name>.log.1`` the youngest of them."""

    def paths(self, folder: Path, name: str) -> list[Path]:
        """Where the files of a log are, as far as they are there; newest first."""
        older = (f"{name}.log.{number}" for number in range(1, self.files))
        return [folder / file for file in (f"{name}.log", *older)]


class LogFiles:
    """The files below ``folder``. Holds none open: a log that somebody deletes or moves away is simply begun anew.

    Names must be safe as file names; those of plugins and tasks are.
    """

    def __init__(self, folder: Path, rotation: Rotation | None = None) -> None:
        self._folder = folder
        self._rotation = rotation or Rotation()

    def append(self, name: str, data: bytes) -> None:
        """Append whole lines, rotating as often as their size asks for. One thread at a time.

        Raises:
            OSError: the rest could not be written; no torn line is left.
        """
        start = 0
        while start < len(data):
            end = self._fill(name, data, start)
            if end == start:
                self._rotate(name)
            start = end

    def read_tail(self, name: str, lines: int) -> list[str]:
        """Return the last lines, oldest first; none if there is no such log."""
        tail = _Tail(lines)
        seen = set()
        for path in self._paths(name):
            if tail.is_complete:
                break
            with suppress(FileNotFoundError), path.open("rb", buffering=0) as file:
                identity = os.fstat(file.fileno()).st_ino
                if identity not in seen:  # rotated in this moment: the same file under its next name
                    seen.add(identity)
                    tail.prepend_end_of(file)
        return tail.lines()

    def _paths(self, name: str) -> list[Path]:
        return self._rotation.paths(self._folder, name)

    def _fill(self, name: str, data: bytes, start: int) -> int:
        """Write the lines that the newest file has room for; return where the next one starts."""
        with _open_for_append(self._paths(name)[0]) as file:
            size = file.tell()
            room = max(self._rotation.size - size, 0)
            end = data.rfind(b"\n", start, start + room) + 1
            if end == 0 and size == 0:
                end = data.index(b"\n", start) + 1
            if end == 0:
                return start
            _write_whole(file, memoryview(data)[start:end], size)
            return end

    def _rotate(self, name: str) -> None:
        paths = self._paths(name)
        paths[-1].unlink(missing_ok=True)
        for older, newer in pairwise(reversed(paths)):
            with suppress(FileNotFoundError):
                newer.replace(older)


def _open_for_append(path: Path) -> FileIO:
    return FileIO(path, "a", opener=lambda name, flags: os.open(name, flags, 0o600))


def _write_whole(file: FileIO, data: memoryview, size: int) -> None:
    try:
        while data:
            data = data[file.write(data) :]
    except OSError:
        with suppress(OSError):
            file.truncate(size)  # half a line would be joined with the next one
        raise


class _Tail:
    """The last lines of several files, collected from the end backwards in blocks."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._blocks: list[bytes] = []
        self._newlines = 0
        self._size = 0
        self._starts_whole = True

    @property
    def is_complete(self) -> bool:
        """One newline more than lines wanted: the first line then surely is whole."""
        return self._newlines > self._wanted or self._size >= _TAIL_BYTES

    def prepend_end_of(self, file: FileIO) -> None:
        position = file.seek(0, os.SEEK_END)
        while position > 0 and not self.is_complete:
            step = min(_BLOCK, position)
            position = file.seek(position - step)
            block = file.read(step)
            self._blocks.append(block)
            self._newlines += block.count(b"\n")
            self._size += len(block)
        self._starts_whole = position == 0

    def lines(self) -> list[str]:
        text = b"".join(reversed(self._blocks)).decode("utf-8", "replace")
        lines = text.removesuffix("\n").split("\n") if text else []
        whole = lines if self._starts_whole else lines[1:]
        return whole[max(len(whole) - self._wanted, 0) :]


@dataclass(frozen=True)
class QueueLimits:
    """Bytes that may wait to be written."""

    log: int = 4 * _MIB
    """Of one log, so that a plugin that floods loses lines of its own before anybody else does."""
    total: int = 16 * _MIB


@dataclass
class _Pending:
    """What waits for one log."""

    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    lines: int = 0
    """In ``parts``; a note on dropped lines stands for all of them."""
    dropped: int = 0
    """Since the last part."""

    def add(self, data: bytes, lines: int) -> None:
        self.parts.append(data)
        self.size += len(data)
        self.lines += lines


class LogWriter:
    """Owns the writing thread and its queue."""

    def __init__(self, files: LogFiles, clock: Clock, limits: QueueLimits | None = None) -> None:
        self._files = files
        self._clock = clock
        self._limits = limits or QueueLimits()
        self._changed = threading.Condition()
        self._pending: dict[str, _Pending] = {}
        self._size = 0  # of all that waits and of what is being written
        self._writing: tuple[str, int] = ("", 0)
        self._closing = False
        self._failing: set[str] = set()  # used by the thread only
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits; give up after ``timeout`` seconds, since a disk may hang for ever."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)

    def write(self, name: str, instance: str, stream: str, lines: Sequence[str]) -> None:
        """Queue lines for the log ``name``, or count them as dropped. Never waits."""
        prefix = f"{self._now()} {instance} {stream} "
        data = (prefix + f"\n{prefix}".join(lines) + "\n").encode()
        with self._changed:
            pending = self._pending.setdefault(name, _Pending())
            if self._has_room(name, pending, len(data)):
                self._note_dropped(pending)
                self._add(pending, data, len(lines))
            else:
                pending.dropped += len(lines)
            self._changed.notify()

    def _has_room(self, name: str, pending: _Pending, size: int) -> bool:
        writing = self._writing[1] if self._writing[0] == name else 0
        return pending.size + writing + size <= self._limits.log and self._size + size <= self._limits.total

    def _add(self, pending: _Pending, data: bytes, lines: int) -> None:
        pending.add(data, lines)
        self._size += len(data)

    def _note_dropped(self, pending: _Pending) -> None:
        if pending.dropped:
            self._add(pending, f"{self._now()} ... {pending.dropped} lines dropped\n".encode(), pending.dropped)
            pending.dropped = 0

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock.time(), UTC).isoformat(timespec="milliseconds")[:-6] + "Z"

    # --- in the thread ---

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            name, pending = taken
            try:
                self._files.append(name, b"".join(pending.parts))
            except OSError as error:
                self._failed(name, pending, error)
            else:
                self._succeeded(name)
            with self._changed:
                self._size -= pending.size
                self._writing = ("", 0)

    def _take(self) -> tuple[str, _Pending] | None:
        """Wait for work and take what waits for one log; None: closed, and nothing is left."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._pending) or self._closing)
            if not self._pending:
                return None
            name = next(iter(self._pending))
            pending = self._pending.pop(name)
            self._note_dropped(pending)
            self._writing = (name, pending.size)
            return name, pending

    def _failed(self, name: str, pending: _Pending, error: OSError) -> None:
        if name not in self._failing:
            logger.error("Cannot write the log of %s: %s; lines are dropped until it can be written", name, error)
        self._failing.add(name)
        with self._changed:
            if not self._closing:
                self._pending.setdefault(name, _Pending()).dropped += pending.lines
                self._changed.wait_for(lambda: self._closing, RETRY_INTERVAL)

    def _succeeded(self, name: str) -> None:
        if name in self._failing:
            logger.info("The log of %s can be written again", name)
            self._failing.remove(name)
