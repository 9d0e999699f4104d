"""What a child prints: read from its FIFOs without ever waiting, split into lines that can do no harm.

A plugin may print anything at any speed. So everything here is bounded: the bytes of one read, the length of a line,
the tail that is kept; and whatever a terminal, a log viewer or a later reader could take for a command or for a line
of somebody else's is escaped. Where the lines go is the sink's affair; it must neither wait nor keep without limit.
"""

import asyncio
import codecs
import fcntl
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from supervisor.printable import harmless

LINE_LIMIT = 64 * 1024
"""Characters of one line; what is longer goes on in the next one. Bounds what a child without newlines costs us."""
TAIL_LINES = 50
"""Lines kept for the exit record."""
TAIL_LINE_LIMIT = 4096
"""Characters of each of them: an exit record goes to the database and to every dashboard."""
CUT_MARK = " [cut]"
"""Ends a line that was too long."""

_READ_SIZE = 16 * 1024
"""Bytes read per descriptor and turn of the event loop: 0.1 ms of work for a log of usual lines, 8 ms for bytes at
random, each of which must be escaped. More would be hardly faster."""

Sink = Callable[[str, str, Sequence[str]], None]
"""Takes (instance, "out" or "err", lines); called in the event loop."""


@dataclass(frozen=True)
class Pipe:
    """The reading end of one FIFO of a child, with the file it was opened by."""

    stream: str
    path: Path
    fd: int

    @classmethod
    def open(cls, stream: str, path: Path) -> Self:
        return cls(stream, path, os.open(path, os.O_RDONLY | os.O_NONBLOCK))

    def close(self) -> None:
        os.close(self.fd)
        self.path.unlink(missing_ok=True)


class LineSplitter:
    """Turns bytes as they come into finished lines; the result does not depend on how the bytes were cut."""

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self._limit = limit
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._rest = ""

    def feed(self, data: bytes) -> list[str]:
        *lines, rest = (self._rest + self._decoder.decode(data)).split("\n")
        if max(map(len, lines), default=0) > self._limit:
            lines = [piece for line in lines for piece in self._pieces(line)]
        *pieces, self._rest = self._pieces(rest)
        return harmless(lines + pieces)

    def close(self) -> list[str]:
        """Return the last line, if it lacks its newline."""
        rest = self._rest + self._decoder.decode(b"", final=True)
        self._rest = ""
        return harmless(self._pieces(rest)) if rest else []

    def _pieces(self, line: str) -> list[str]:
        """Cut ``line``; every piece but the last has the full length and the mark."""
        starts = range(0, max(len(line), 1), self._limit)
        pieces = [line[start : start + self._limit] for start in starts]
        return [piece + CUT_MARK for piece in pieces[:-1]] + pieces[-1:]


class Output:
    """Reads the FIFOs of one child and owns them from now on."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pipes: Sequence[Pipe], instance: str, sink: Sink) -> None:
        self._loop = loop
        self._instance = instance
        self._sink = sink
        self._splitters = {pipe: LineSplitter() for pipe in pipes}
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)

    def start(self) -> None:
        for pipe in self._splitters:
            self._loop.add_reader(pipe.fd, self._readable, pipe)

    @property
    def tail(self) -> list[str]:
        """The last lines of both streams, oldest first."""
        return list(self._tail)

    def finish(self) -> None:
        """Read what the dead child left, close and remove its FIFOs. A second call does nothing."""
        for pipe, splitter in self._splitters.items():
            self._loop.remove_reader(pipe.fd)
            self._pass_on(pipe, splitter.feed(_read_rest(pipe.fd)) + splitter.close())
            pipe.close()
        self._splitters.clear()

    def let_go(self) -> None:
        """Read no more, and leave the FIFOs and what is in them to the next reader. Nothing that was read is lost."""
        for pipe, splitter in self._splitters.items():
            self._loop.remove_reader(pipe.fd)
            self._pass_on(pipe, splitter.close())
            os.close(pipe.fd)
        self._splitters.clear()

    def _readable(self, pipe: Pipe) -> None:
        data = _read(pipe.fd)
        if data == b"":
            # Everybody closed it, and a FIFO without writers is readable for ever: watching on would be a busy loop.
            self._loop.remove_reader(pipe.fd)
        elif data is not None:
            self._pass_on(pipe, self._splitters[pipe].feed(data))

    def _pass_on(self, pipe: Pipe, lines: list[str]) -> None:
        if not lines:
            return
        for line in lines[-TAIL_LINES:]:
            self._tail.append(line if len(line) <= TAIL_LINE_LIMIT else line[:TAIL_LINE_LIMIT] + CUT_MARK)
        self._sink(self._instance, pipe.stream, lines)


def _read(fd: int) -> bytes | None:
    """b"": no writer is left; None: nothing there now."""
    try:
        return os.read(fd, _READ_SIZE)
    except BlockingIOError:
        return None


def _read_rest(fd: int) -> bytes:
    """Read what is in the pipe, and no more than it can hold: a process that outlived the child may go on writing."""
    capacity = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
    parts = []
    while capacity > 0 and (data := _read(fd)):
        parts.append(data)
        capacity -= len(data)
    return b"".join(parts)
