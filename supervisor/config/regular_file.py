"""Reading a small text file that somebody else made: it may be a FIFO, a device, huge, or no text at all."""

import codecs
import os
import stat
from pathlib import Path

MAX_BYTES = 1024 * 1024
"""More is no file that a person wrote; refused before it is read."""

_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


class UnreadableFileError(Exception):
    """It is there, but not to be had as text; ``problem`` follows the file's name in a sentence."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


def read_text(path: Path) -> str | None:
    """Return the text of a regular file without its BOM, None if there is no such file. Never blocks.

    Raises:
        UnreadableFileError: not permitted, not a regular file, larger than MAX_BYTES, not UTF-8.
    """
    try:
        # Without O_NONBLOCK opening a FIFO would wait for its writer, for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UnreadableFileError(f"cannot be read: {error.strerror}") from error
    try:
        return _decoded(_read(fd))
    except OSError as error:
        raise UnreadableFileError(f"cannot be read: {error.strerror}") from error
    finally:
        os.close(fd)


def _read(fd: int) -> bytes:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableFileError(f"is {_KINDS.get(stat.S_IFMT(status.st_mode), 'something else')}, not a regular file")
    too_large = status.st_size > MAX_BYTES
    if not too_large:
        with os.fdopen(fd, "rb", closefd=False) as file:
            data = file.read(MAX_BYTES + 1)  # it may have grown, and files of /proc have no size at all
        too_large = len(data) > MAX_BYTES
    if too_large:
        raise UnreadableFileError(f"is larger than {MAX_BYTES} bytes")
    return data


def _decoded(data: bytes) -> str:
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UnreadableFileError(f"is not UTF-8 (line {line})") from error
