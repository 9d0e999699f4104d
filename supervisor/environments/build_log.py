"""What builds have printed, the last few of each owner: ``<owner>/<number>-<build>.log``, bounded in size."""

import logging
import time
from contextlib import suppress
from io import BufferedWriter
from pathlib import Path
from types import TracebackType
from typing import Self

logger = logging.getLogger(__name__)

KEPT = 5
"""Logs per owner: what went well before is still there when a build has failed and was tried again."""
SIZE = 5 * 1024 * 1024
"""Bytes of one log; a compiler that goes on and on says nothing new after that."""


class BuildLog:
    """One of them. A disk that takes nothing more costs the log, never the build."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._room = SIZE
        self._file: BufferedWriter | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("xb")
        except OSError as error:
            logger.warning("Cannot keep what a build says in %s: %s", path, error.strerror)

    @property
    def path(self) -> Path | None:
        """None where nothing of it could be kept."""
        return self._path if self._file is not None else None

    def step(self, text: str) -> None:
        """Write when a step began, and have all that was said before on disk."""
        self._write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        self._flush()

    def line(self, text: str) -> None:
        """Write a line of an installer; what comes after SIZE bytes is left out."""
        data = len(text) + 1
        if self._room < data:
            if self._room > 0:
                self._write("--- the rest is left out\n")
            self._room = 0
            return
        self._room -= data
        self._write(f"{text}\n")

    def _write(self, text: str) -> None:
        if self._file is not None and not self._file.closed:
            with suppress(OSError):
                self._file.write(text.encode("utf-8", "backslashreplace"))

    def _flush(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._write(
            f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {'built' if kind is None else str(error) or 'given up'}\n"
        )
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


class BuildLogs:
    """Owns the folder of them. One build per owner at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, owner: str, build: str) -> BuildLog:
        """Begin the log of a build, and remove the oldest ones."""
        former = self._listed(owner)
        for old in former[: max(len(former) - KEPT + 1, 0)]:
            with suppress(OSError):
                old.unlink()
        number = _number(former[-1]) + 1 if former else 1
        return BuildLog(self._folder / owner / f"{number:06}-{build}.log")

    def latest(self, owner: str) -> Path | None:
        """The log of the newest build of ``owner``, be it under way."""
        return next(reversed(self._listed(owner)), None)

    def _listed(self, owner: str) -> list[Path]:
        """Oldest first."""
        try:
            found = [path for path in (self._folder / owner).iterdir() if _number(path) > 0]
        except OSError:
            return []
        return sorted(found, key=_number)


def _number(path: Path) -> int:
    """0 where it is no log of ours."""
    number = path.name.partition("-")[0]
    return int(number) if number.isdecimal() and path.suffix == ".log" else 0
