"""What a plugin's code is at one moment: every file that counts, by the SHA-256 of its content.

What counts: all but what the settings ignore, what the plugin's own .gitignore names, and what is never code
(environments, caches, databases, logs). pyproject.toml, poetry.lock and .env at the top always do, and so does the
env_file of the manifest. Reads files and blocks: call it in a thread.
"""

import hashlib
import io
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Self

from pathspec import GitIgnoreSpec

from plugin_runtime.excerpt import excerpt
from supervisor.config.problems import shown_value
from supervisor.environments.file_system import is_want_of_machine, want_of_machine
from supervisor.errors import PluginInvalidError, XcoreError
from supervisor.watching.file_signature import Signature, settled, signature_of

ALWAYS = frozenset({"pyproject.toml", "poetry.lock", ".env"})
"""Count at the top of a plugin, whatever else is said."""
DOTENV = ".env"
"""Where a manifest names no other."""
MOST_FILES = 50_000
"""A folder with more is data, and reading it at every change would take longer than a restart."""
MOST_TOLD = 5
"""Paths of one kind in a line of the log; a checkout changes thousands."""
MOST_LEVELS = 100
"""Of folders below each other. Some functions of Python's that walk, copy and remove them call themselves for each."""

_NEVER = GitIgnoreSpec.from_lines(
    [".venv/", ".git/", "__pycache__/", "node_modules/", "*.db", "*.db-*", "*.db.*", "*.sqlite*", "*.log"]
)
_GITIGNORE = ".gitignore"
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

    def __str__(self) -> str:
        """For the log: "modified run.py; added a.py, b.py", MOST_TOLD of each."""
        kinds = {"modified": self.modified, "added": self.added, "removed": self.removed}
        return "; ".join(f"{kind} {_told(paths)}" for kind, paths in kinds.items() if paths)


def _told(paths: Sequence[str]) -> str:
    more = len(paths) - MOST_TOLD
    return ", ".join(paths[:MOST_TOLD]) + (f" and {more} more" if more > 0 else "")


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
    folders: tuple[str, ...] = field(default=(), compare=False)
    """Where files that count lie or may come to lie: relative paths, "" for the plugin's own."""
    signatures: Mapping[str, Signature] = field(default_factory=dict, compare=False, repr=False)
    """Of those of ``files`` that had settled when they were read."""
    rules: "Rules | None" = field(default=None, compare=False, repr=False)
    env_file: str = field(default=DOTENV, compare=False)
    """Key of the manifest: a file that counts whatever else is said, if it lies in the folder."""

    @classmethod
    def take(
        cls,
        folder: Path,
        ignores: Callable[[str], bool],
        before: "Snapshot | None" = None,
        env_file: str = DOTENV,
    ) -> Self:
        """Read ``folder`` now. A file that vanishes meanwhile does not count; what is no plain file neither.

        ``before``: an earlier one; files that have not changed since are not read again. ``env_file``: as in the
        manifest.

        Raises:
            PluginInvalidError: a file cannot be read, the .gitignore is none, or there are more than MOST_FILES or
                MOST_LEVELS.
            OutOfResourcesError: the machine cannot read it at the moment.
        """
        rules = Rules.read(folder, ignores, env_file, before.rules if before else None)
        walk = _Walk(folder, rules)
        found = list(islice(walk.files(), MOST_FILES + 1))
        if len(found) > MOST_FILES:
            raise PluginInvalidError(
                folder.name,
                str(folder),
                f"has more than {MOST_FILES} files",
                hint="name the folders that hold data in its .gitignore",
            )
        files: dict[str, str] = {}
        signatures: dict[str, Signature] = {}
        for path, signature in found:
            if before is not None and before.signatures.get(path) == signature:
                files[path], signatures[path] = before.files[path], signature
                continue
            remembered = settled(signature)
            if (digest := _digest(folder, path)) is not None:
                files[path] = digest
                if remembered is not None:
                    signatures[path] = remembered
        return cls(folder, ignores, files, tuple(walk.folders), signatures, rules, env_file)

    def again(self) -> Self:
        """The same folder under the same rules, as it is now."""
        return self.take(self.folder, self.ignores, self, self.env_file)

    def ignored_in(self, folder: str) -> Callable[[str], bool]:
        """A rule for one of ``folders``: whether a file or folder of a name in it cannot change this snapshot."""
        return partial(self._is_ignored, f"{folder}/" if folder else "")

    @cached_property
    def hash(self) -> str:
        """One SHA-256 for all names and contents."""
        lines = (os.fsencode(path) + b"\0" + digest.encode() + b"\0" for path, digest in sorted(self.files.items()))
        return hashlib.sha256(b"".join(lines)).hexdigest()

    def _is_ignored(self, prefix: str, name: str) -> bool:
        path = prefix + name
        if path == _GITIGNORE or (self.rules is not None and path in self.rules.always):
            return False
        if self.ignores(name) or _NEVER.match_file(f"{name}/"):
            return True
        # It may be either; a pattern may be meant for folders only.
        return self.rules is not None and all(self.rules.gitignore.match_file(each) for each in (path, f"{path}/"))


@dataclass(frozen=True)
class Rules:
    """Which paths count in one plugin, and what was decided so far: matching costs more than all else of a look."""

    ignores: Callable[[str], bool]
    always: frozenset[str]
    """Paths that count, whatever else is said."""
    gitignore: GitIgnoreSpec
    signature: Signature | None
    """Of the .gitignore; None where it has not settled."""
    former: Mapping[str, bool]
    """Decisions under the same rules. What is not asked for again is forgotten: files come and go."""
    decided: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, ignores: Callable[[str], bool], env_file: str, before: "Rules | None") -> Self:
        signature, always = _gitignore_signature(folder), ALWAYS | _below_top(env_file)
        if before is None or signature is None or (before.ignores, before.signature) != (ignores, signature):
            return cls(ignores, always, _gitignore(folder), signature, {})
        return cls(ignores, always, before.gitignore, signature, before.decided)

    def ignore(self, path: str, name: str, *, is_folder: bool) -> bool:
        if path in self.always and not is_folder:
            return False
        # A pattern that ends in a slash matches folders only, and pathspec knows them by theirs.
        matched = f"{path}/" if is_folder else path
        decision = self.former.get(matched)
        if decision is None:
            decision = self.ignores(name) or _NEVER.match_file(matched) or self.gitignore.match_file(matched)
        self.decided[matched] = decision
        return decision


class _Walk:
    """One pass over a plugin's folder."""

    def __init__(self, folder: Path, rules: Rules) -> None:
        self.folders: list[str] = []
        """Those that were entered."""
        self._folder = folder
        self._rules = rules
        self._top = str(folder)
        self._root = os.path.realpath(folder)

    def files(self) -> Iterator[tuple[str, Signature]]:
        """Relative paths of the plain files that count, in no order."""
        left = set(self._rules.always)
        for path, signature in self._below("", (self._root,)):
            left.discard(path)
            yield path, signature
        yield from self._in_ignored_folders(left)

    def _in_ignored_folders(self, paths: Iterable[str]) -> Iterator[tuple[str, Signature]]:
        """Those of ``paths`` that are there; nothing else in their folders counts."""
        for path in sorted(paths):
            with suppress(OSError):
                status = os.stat(f"{self._top}/{path}")  # noqa: PTH116 - a Path each is dear
                if stat.S_ISREG(status.st_mode):
                    self.folders.append(path.rpartition("/")[0])
                    yield path, signature_of(status)

    def _below(self, prefix: str, above: tuple[str, ...]) -> Iterator[tuple[str, Signature]]:
        """``above``: the real paths of the folders that led here, by which a link in a circle is known."""
        if len(above) > MOST_LEVELS:
            hint = "name it in the plugin's .gitignore"
            problem = f"has folders more than {MOST_LEVELS} levels deep"
            raise PluginInvalidError(self._folder.name, prefix.partition("/")[0], problem, hint=hint)
        self.folders.append(prefix.removesuffix("/"))
        for entry in self._entries(prefix):
            path = prefix + entry.name
            status = self._status(entry, path)
            if status is None:
                continue
            is_folder = stat.S_ISDIR(status.st_mode)
            if self._rules.ignore(path, entry.name, is_folder=is_folder):
                continue
            if stat.S_ISREG(status.st_mode):
                yield path, signature_of(status)
            elif is_folder and (real := self._real_folder(entry, above)) is not None:
                yield from self._below(f"{path}/", (*above, real))

    def _entries(self, prefix: str) -> list["os.DirEntry[str]"]:
        try:
            with os.scandir(f"{self._top}/{prefix}") as entries:
                return list(entries)
        except GONE:
            return []
        except OSError as error:
            raise _unreadable(self._folder, prefix or ".", error) from error

    def _status(self, entry: "os.DirEntry[str]", path: str) -> os.stat_result | None:
        """Of what ``entry`` leads to; None where it leads nowhere."""
        try:
            return entry.stat()
        except OSError as error:
            if is_want_of_machine(error):  # it may lead to a file, and the plugin must not be taken without it
                raise _unreadable(self._folder, path, error) from error
            return None

    def _real_folder(self, entry: "os.DirEntry[str]", above: tuple[str, ...]) -> str | None:
        """Where a folder really is; None for a link that leads out of the plugin or in a circle."""
        if not entry.is_symlink():
            return f"{above[-1]}/{entry.name}"
        real = os.path.realpath(entry.path)
        return real if real.startswith(f"{self._root}/") and real not in above else None


def _below_top(env_file: str) -> set[str]:
    """Its relative path as a set; empty where it leads out of the folder."""
    path = os.path.normpath(env_file)
    return set() if path.startswith(("/", "..")) else {path}


def _gitignore_signature(folder: Path) -> Signature | None:
    """None where it may change without another one; empty where there is none to be had."""
    try:
        return settled(signature_of((folder / _GITIGNORE).stat()))
    except OSError:
        return ()


def _gitignore(folder: Path) -> GitIgnoreSpec:
    try:
        with open_plain(folder / _GITIGNORE) as file:
            lines = file.read().decode(errors="replace").splitlines()
    except GONE:
        return GitIgnoreSpec.from_lines([])
    except OSError as error:
        raise _unreadable(folder, _GITIGNORE, error) from error
    try:
        return GitIgnoreSpec.from_lines(lines)
    except (ValueError, re.error) as error:
        raise _wrong_gitignore(folder, lines) from error


def _wrong_gitignore(folder: Path, lines: Sequence[str]) -> PluginInvalidError:
    number = next((number for number, line in enumerate(lines, start=1) if not _is_pattern(line)), 0)
    return PluginInvalidError(
        folder.name,
        _GITIGNORE,
        f"line {number} is no pattern: {shown_value(lines[number - 1])}",
        hint="mend or remove that line",
        location=f"{_GITIGNORE}:{number}",
        excerpt=excerpt(lines, number),
    )


def _is_pattern(line: str) -> bool:
    try:
        GitIgnoreSpec.from_lines([line])
    except (ValueError, re.error):
        return False
    return True


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


def _unreadable(folder: Path, path: str, error: OSError) -> XcoreError:
    if want := want_of_machine(f"cannot read {path} of plugin {folder.name!r}", error):
        return want
    hint = "make it readable, or name it in the plugin's .gitignore"
    return PluginInvalidError(folder.name, path, f"cannot be read: {error.strerror or error}", hint=hint)
