"""A directory of plugins or tasks that is looked at again and again: what was seen last, and what is new since."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Generic

from supervisor.watching.directory_look import Difference, E, Look, diff
from supervisor.watching.folder_watch import FolderWatch

logger = logging.getLogger(__name__)

SECOND_LOOK = 1.0
"""Seconds after which what was missing is looked for again, unless something else is reason to look sooner."""


class FollowedDirectory(Generic[E]):
    """Owns the last look. One caller at a time."""

    def __init__(
        self, watch: FolderWatch, look: Callable[[Path, Look[E]], Look[E]], kind: str, *, absent: int = logging.INFO
    ) -> None:
        """``look``: reads the directory, in a thread; ``kind``: what lies in it, "task" or "plugin".

        ``absent``: the log level of the message that there is no such directory.
        """
        self._watch = watch
        self._look = look
        self._kind = kind
        self._absent = absent
        self.seen: Look[E] = Look()
        self.trouble = ""
        """Why the directory could not be read; nothing where it could."""

    @property
    def entries(self) -> Mapping[str, E]:
        """By name; those that are missing for the first time, too."""
        return self.seen.entries

    async def read_first(self, expected: Iterable[E]) -> None:
        """Take the first look. What it does not find of ``expected`` is missing from the next one on.

        That one comes at once, and would else find gone what is away for a moment.

        Raises:
            OSError: as ``read``; all of ``expected`` are among the entries then.
        """
        self.seen = Look({entry.name: entry for entry in expected})
        await self.read()
        self.seen = replace(self.seen, missing=frozenset())

    async def read(self) -> Difference:
        """Look, and remember what was seen.

        Raises:
            OSError: the directory is not there or cannot be read.
        """
        seen = await asyncio.to_thread(self._look, self._watch.folder, self.seen)
        self.trouble = ""
        before, self.seen = self.seen, seen
        if seen.missing:
            self._watch.look_again(SECOND_LOOK)
        return diff(before, seen)

    async def difference(self) -> Difference:
        """Look, and remember what was seen.

        A directory that cannot be read, or is away while it is replaced, says nothing about the entries: none is gone.
        """
        try:
            return await self.read()
        except OSError as error:
            self.note(error)
            self.seen = replace(self.seen, missing=frozenset())
            return Difference()

    def note(self, error: OSError) -> None:
        """Say what the trouble is: once, not every two seconds."""
        trouble = f"the {self._kind} directory {self._watch.folder}: {error.strerror or error}"
        if trouble == self.trouble:
            return
        self.trouble = trouble
        if isinstance(error, FileNotFoundError) and not self.entries:
            logger.log(self._absent, "There is no %s directory %s", self._kind, self._watch.folder)
        else:
            logger.error("Cannot read %s; its %ss go on as they are until it is back", trouble, self._kind)
