"""Copies of the tasks' modules, from which their processes import.

So what runs is what was described: a process that is started again, and a run of a job, never meets a file that is just
being written or that was found broken. A copy is made in a temporary folder and appears under its name by a rename,
whole or not at all. Writes files and blocks: call it in a thread.
"""

import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from supervisor.environments.file_system import unwritable
from supervisor.tasks.discovery import SUFFIX, digest_of

_HASH_LENGTH = 16


@dataclass(frozen=True)
class ModuleCopy:
    """One version of a task's module on disk; nobody writes to it any more."""

    task: str
    hash: str
    path: Path


class ModuleCopies:
    """Owns ``<state_dir>/generations/_tasks``. One caller per task at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self, task: str, text: str) -> ModuleCopy:
        """Return the copy of this text, written where it is new.

        Raises:
            DiskFullError: there is no room for it.
            XcoreError: it cannot be written.
        """
        name = digest_of(text)[:_HASH_LENGTH]
        folder = self._folder / task / name
        copy = ModuleCopy(task, name, folder / f"{task}{SUFFIX}")
        try:
            if not copy.path.is_file():
                self._write(copy, text)
        except OSError as error:
            what = f"cannot copy the module of task {task!r} to {self._folder}"
            raise unwritable(what, error, self._folder, "the version before goes on") from error
        return copy

    def prune(self, task: str, keep: set[str]) -> None:
        """Remove the copies of ``task`` whose hashes are not in ``keep``, and what a kill left half made."""
        with suppress(FileNotFoundError):
            for folder in list((self._folder / task).iterdir()):
                if folder.name not in keep:
                    shutil.rmtree(folder, ignore_errors=True)

    def _write(self, copy: ModuleCopy, text: str) -> None:
        folder = copy.path.parent
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{copy.hash}.", suffix=".tmp", dir=folder.parent))
        try:
            (draft / copy.path.name).write_bytes(text.encode())
            # A kill in the middle of a removal may have left the folder without its file.
            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
