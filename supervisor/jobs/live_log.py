"""The lines that a run writes, for those who watch it: bounded, and forgotten soon after its end."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from supervisor.changes import Changes
from supervisor.supervision.surroundings import LogSink

SIZE_LIMIT = 128 * 1024
"""Characters kept of one run, about 1,000 lines: who watches is behind by less, and runs may be many."""

_LINE_COST = 64
"""Characters that a line counts for beside its own: an empty one takes memory, too."""


class LiveLog:
    """The last lines of one run, numbered from 0."""

    def __init__(self, size_limit: float = SIZE_LIMIT, first: int = 0) -> None:
        """``first``: the number of the first line that comes; those before are not kept any more."""
        self._lines: deque[str] = deque()
        self._first = first
        self._size = 0
        self._size_limit = size_limit
        self._closed = False
        self._changes = Changes()

    @property
    def size(self) -> int:
        """What it takes of memory, in characters."""
        return self._size

    @property
    def next(self) -> int:
        """The number of the line that comes next."""
        return self._first + len(self._lines)

    def append(self, lines: Sequence[str]) -> None:
        """Take lines, at the cost of the oldest."""
        for line in lines:
            self._lines.append(line)
            self._size += len(line) + _LINE_COST
        while self._size > self._size_limit and len(self._lines) > 1:
            self._size -= len(self._lines.popleft()) + _LINE_COST
            self._first += 1
        self._changes.notify()

    def close(self) -> None:
        """Nothing more comes."""
        self._closed = True
        self._changes.notify()

    def read(self, after: int) -> tuple[list[str], int]:
        """Return what there is from line ``after`` on, and the number to go on with.

        Where lines are not kept any more, one says how many.
        """
        after = max(0, after)
        lines = list(self._lines)[max(0, after - self._first) :]
        lost = self._first - after
        return ([f"[{lost} lines left out]", *lines] if lost > 0 else lines), max(after, self.next)

    async def wait(self, after: int, seconds: float) -> None:
        """Wait until there is something from line ``after`` on, or nothing more comes, or ``seconds`` are over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changes.until(lambda: self._closed or self.next > after)


class Tee:
    """A LogSink that lets a run's lines be watched on their way to where they are kept."""

    def __init__(self, log: LiveLog, sink: LogSink) -> None:
        self._log = log
        self._sink = sink

    def write(self, name: str, instance: str, stream: str, lines: Sequence[str]) -> None:
        self._log.append(lines)
        self._sink.write(name, instance, stream, lines)
