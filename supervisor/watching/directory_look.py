"""A directory whose entries are plugins or tasks, at one moment, and what was done to it between two.

Which entries count and what is remembered of each is said by a function that reads one. Only what two looks in a row do
not find is gone: editors and deployments replace files and folders. Reads files and blocks: call it in a thread.
"""

import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar


class Entry(Protocol):
    """What is remembered of one entry. Equal to another one of the same content."""

    @property
    def name(self) -> str: ...


E = TypeVar("E", bound=Entry)


@dataclass(frozen=True)
class Look(Generic[E]):
    """All entries by name."""

    entries: Mapping[str, E] = field(default_factory=lambda: MappingProxyType({}))
    missing: frozenset[str] = frozenset()
    """Those of ``entries`` that were not found this time; they are as they were seen last."""
    device: int | None = None
    """The file system that the directory lies on; None: it was not seen yet, and the entries are those expected."""


@dataclass(frozen=True)
class Difference:
    """Names of entries, sorted. False when nothing was done."""

    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.removed)


def diff(old: Look[E], new: Look[E]) -> Difference:
    """What was done to the directory between two looks."""
    both = old.entries.keys() & new.entries.keys()
    # What was missing may have been asked for meanwhile, and be shown as not there.
    back = old.missing - new.missing
    return Difference(
        new=tuple(sorted(new.entries.keys() - both)),
        changed=tuple(sorted(name for name in both if old.entries[name] != new.entries[name] or name in back)),
        removed=tuple(sorted(old.entries.keys() - both)),
    )


Read = Callable[["os.DirEntry[str]", Mapping[str, E]], E | None]
"""Reads one entry; what has not changed since the look before, whose entries it is given, need not be read again. None:
it does not count, or vanished since it was listed."""


def look_at(directory: Path, before: Look[E], read: Read[E]) -> Look[E]:
    """Read ``directory`` now.

    Raises:
        FileNotFoundError: it is not there.
        OSError: it cannot be read. Neither says anything about the entries.
    """
    device = directory.stat().st_dev
    with os.scandir(directory) as listed:
        found = (read(entry, before.entries) for entry in listed)
        entries = {entry.name: entry for entry in found if entry is not None}
    if before.entries and not entries and device != before.device:
        # The folder below a mount point is there, and empty, while nothing is mounted.
        problem = "it is empty, and may be on another file system than before; mount the one that its files are on"
        raise OSError(errno.ENODEV, problem)
    missing = before.entries.keys() - entries.keys() - before.missing
    entries.update((name, before.entries[name]) for name in missing)
    return Look(MappingProxyType(entries), frozenset(missing), device)


def printable(name: str) -> str:
    """A name may be any bytes; what is no UTF-8 is escaped, or no message could ever hold it."""
    return os.fsencode(name).decode(errors="backslashreplace")
