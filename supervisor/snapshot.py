"""What a plugin's code is at one moment: every file that counts, by the SHA-256 of its content.

What counts: all but what the settings ignore, what the plugin's own .gitignore names, and what is never code
(environments, caches, databases, logs). pyproject.toml and poetry.lock at the top always do. Reads files and blocks:
call it in a thread.
"""

import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

from pathspec import GitIgnoreSpec

from supervisor.errors import PluginInvalidError

ALWAYS = frozenset({"pyproject.toml", "poetry.lock"})
"""Count at the top of a plugin, whatever else is said."""
MOST_FILES = 50_000
"""A folder with more is data, and reading it at every change would take longer than a restart."""

_NEVER = GitIgnoreSpec.from_lines(
    [".venv/", ".git/", "__pycache__/", "node_modules/", "*.db", "*.db-*", "*.db.*", "*.sqlite*", "*.log"]
)
_CHUNK = 1024 * 1024
GONE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What opening a file says that vanished, or became a folder, since it was listed."""


@dataclass(frozen=True)
class Difference:
    """What changed between two snapshots: paths, sorted. False when nothing did."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    modified: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.modified)


def diff(old: "Snapshot", new: "Snapshot") -> Difference:
    """What was done to ``old`` to become ``new``."""
    both = old.files.keys() & new.files.keys()
    return Difference(
        added=tuple(sorted(new.files.keys() - both)),
        removed=tuple(sorted(old.files.keys() - both)),
        modified=tuple(sorted(path for path in both if old.files[path] != new.files[path])),
    )


@dataclass(frozen=True)
class Snapshot:
    """The files of ``folder``: relative path with slashes to SHA-256 in hex."""

    folder: Path
    ignores: Callable[[str], bool] = field(compare=False)
    """Whether the settings ignore a file or folder of this name."""
    files: Mapping[str, str]

    @classmethod
    def take(cls, folder: Path, ignores: Callable[[str], bool]) -> Self:
        """Read ``folder`` now. A file that vanishes meanwhile does not count; what is no plain file neither.

        Raises:
            PluginInvalidError: a file cannot be read, or there are more than MOST_FILES.
        """
        files: dict[str, str] = {}
        for path in _Walk(folder, ignores).paths():
            if len(files) == MOST_FILES:
                raise PluginInvalidError(
                    folder.name,
                    str(folder),
                    f"has more than {MOST_FILES} files",
                    hint="name the folders that hold data in its .gitignore",
                )
            if (digest := _digest(folder, path)) is not None:
                files[path] = digest
        return cls(folder, ignores, files)

    def again(self) -> Self:
        """The same folder under the same rules, as it is now."""
        return self.take(self.folder, self.ignores)

    @cached_property
    def hash(self) -> str:
        """One SHA-256 for all names and contents."""
        lines = (os.fsencode(path) + b"\0" + digest.encode() + b"\0" for path, digest in sorted(self.files.items()))
        return hashlib.sha256(b"".join(lines)).hexdigest()


class _Walk:
    """One pass over a plugin's folder."""

    def __init__(self, folder: Path, ignores: Callable[[str], bool]) -> None:
        self._folder = folder
        self._ignores = ignores
        self._root = os.path.realpath(folder)
        self._gitignore = _gitignore(folder)

    def paths(self) -> Iterator[str]:
        """Relative paths of the plain files that count, in no order."""
        yield from self._below("", (self._root,))

    def _below(self, prefix: str, above: tuple[str, ...]) -> Iterator[str]:
        """``above``: the real paths of the folders that led here, by which a link in a circle is known."""
        for entry in self._entries(prefix):
            path = prefix + entry.name
            kind = _kind(entry)
            if kind is None or self._is_ignored(path, entry.name, is_folder=stat.S_ISDIR(kind)):
                continue
            if stat.S_ISREG(kind):
                yield path
            elif stat.S_ISDIR(kind) and (real := self._real_folder(entry, above)) is not None:
                yield from self._below(f"{path}/", (*above, real))

    def _entries(self, prefix: str) -> list["os.DirEntry[str]"]:
        try:
            with os.scandir(self._folder / prefix) as entries:
                return list(entries)
        except GONE:
            return []
        except OSError as error:
            raise _unreadable(self._folder, prefix or ".", error) from error

    def _is_ignored(self, path: str, name: str, *, is_folder: bool) -> bool:
        if path in ALWAYS and not is_folder:
            return False
        # A pattern that ends in a slash matches folders only, and pathspec knows them by theirs.
        matched = f"{path}/" if is_folder else path
        return self._ignores(name) or _NEVER.match_file(matched) or self._gitignore.match_file(matched)

    def _real_folder(self, entry: "os.DirEntry[str]", above: tuple[str, ...]) -> str | None:
        """Where a folder really is; None for a link that leads out of the plugin or in a circle."""
        if not entry.is_symlink():
            return f"{above[-1]}/{entry.name}"
        real = os.path.realpath(entry.path)
        return real if real.startswith(f"{self._root}/") and real not in above else None


def _gitignore(folder: Path) -> GitIgnoreSpec:
    try:
        with open_plain(folder / ".gitignore") as file:
            return GitIgnoreSpec.from_lines(file.read().decode(errors="replace").splitlines())
    except OSError:
        return GitIgnoreSpec.from_lines([])
    except ValueError as error:
        raise PluginInvalidError(folder.name, ".gitignore", str(error)) from error


def _kind(entry: "os.DirEntry[str]") -> int | None:
    """The file type of what ``entry`` leads to; None where it leads nowhere."""
    try:
        return entry.stat().st_mode
    except OSError:
        return None


def _digest(folder: Path, path: str) -> str | None:
    digest = hashlib.sha256()
    try:
        with open_plain(folder / path) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except GONE:
        return None
    except OSError as error:
        raise _unreadable(folder, path, error) from error
    return digest.hexdigest()


def open_plain(path: Path) -> io.FileIO:
    """Open a file for reading without ever waiting: since it was looked at it may have become a FIFO."""
    return io.FileIO(path, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def _unreadable(folder: Path, path: str, error: OSError) -> PluginInvalidError:
    hint = "make it readable, or name it in the plugin's .gitignore"
    return PluginInvalidError(folder.name, path, f"cannot be read: {error.strerror or error}", hint=hint)
