"""Following one log as it is written, by the files alone: whoever writes them may be replaced meanwhile."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

_BLOCK = 64 * 1024


class LogFollower:
    """Every whole line of a log once, in order, from the last few on; over rotations, and where it is begun anew.

    It holds the file that it has come to open: rotated out of sight, that can still be read to its end, and no other
    gets its inode. What is rotated away behind it, unread, is lost to it.
    """

    def __init__(self, paths: Sequence[Path], tail: int) -> None:
        """Begin with the last ``tail`` lines. ``paths``: its files, newest first; none of them need be there yet.

        Raises:
            OSError: a file is there, and cannot be read.
        """
        self._paths = paths
        self._rest = b""
        """Of a line whose end is not there yet."""
        self._file = self._open_last(tail)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def read(self) -> list[str]:
        """Return the next lines, some at a time; none where all that are whole have been read.

        Raises:
            OSError: a file is there, and cannot be read.
        """
        while True:
            if data := self._read_block():
                if lines := self._completed(data):
                    return lines
            elif (successor := self._open_successor()) is None:
                return []
            elif lines := self._finish_with(successor):
                return lines

    def _open_last(self, lines: int) -> FileIO | None:
        """The file in which the last lines begin, at that place."""
        with ExitStack() as opened:
            found = None
            for file in self._open_all(opened):
                found = file
                lines -= _seek_to_last(file, lines)
                if lines == 0:
                    break
            return _kept(found)

    def _open_successor(self) -> FileIO | None:
        """The file that was begun after the one that is held."""
        with ExitStack() as opened:
            newer = self._newer(list(self._open_all(opened)))
            return _kept(newer[-1] if newer else None)

    def _open_all(self, opened: ExitStack) -> Iterator[FileIO]:
        """All that there are, newest first; one that gets its next name in this moment comes once."""
        seen = set()
        for path in self._paths:
            with suppress(FileNotFoundError):
                file = opened.enter_context(FileIO(path))
                if (identity := _identity(file)) not in seen:
                    seen.add(identity)
                    yield file

    def _newer(self, files: list[FileIO]) -> list[FileIO]:
        """Those of ``files``, newest first, that were begun after the one that is held."""
        if self._file is None:
            return files
        identities = [_identity(file) for file in files]
        with suppress(ValueError):
            return files[: identities.index(_identity(self._file))]
        # It has no name any more: somebody deleted it, or it was rotated as often as there are files.
        held = os.fstat(self._file.fileno()).st_mtime_ns
        return [file for file in files if file.name == self._paths[0] or os.fstat(file.fileno()).st_mtime_ns > held]

    def _read_block(self) -> bytes:
        if self._file is None:
            return b""
        data = self._file.read(_BLOCK)
        if not data and self._file.tell() > (size := os.fstat(self._file.fileno()).st_size):
            # LogFiles takes back what does not fit on a full disk. From the start again all would be told twice.
            self._file.seek(size)
            self._rest = b""
        return data

    def _completed(self, data: bytes) -> list[str]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [_text(line) for line in lines]

    def _finish_with(self, successor: FileIO) -> list[str]:
        """Go on to ``successor``; return the last lines of the file before."""
        lines = []
        if self._file is not None:
            # Once it has a successor nobody writes to it; since the last look, though, somebody may have.
            lines = self._completed(self._file.readall())
            self._file.close()
        if self._rest:  # the supervisor was killed as it wrote
            lines.append(_text(self._rest))
            self._rest = b""
        self._file = successor
        return lines


def _seek_to_last(file: FileIO, lines: int) -> int:
    """Go to where the last whole lines begin; return how many there are."""
    found, position = 0, file.seek(0, os.SEEK_END)
    while position > 0:
        step = min(_BLOCK, position)
        position = file.seek(position - step)
        block = file.read(step)
        newlines = block.count(b"\n")
        if found + newlines > lines:
            end = len(block)
            for _ in range(lines - found + 1):
                end = block.rindex(b"\n", 0, end)
            file.seek(position + end + 1)
            return lines
        found += newlines
    file.seek(0)
    return found


def _kept(file: FileIO | None) -> FileIO | None:
    """``file`` once more, at its place, to be open for longer."""
    if file is None:
        return None
    return FileIO(os.dup(file.fileno()))  # shares its position


def _identity(file: FileIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")
