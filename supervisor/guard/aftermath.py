"""The guard when its supervisor is dead: it waits for another one, and where none comes it ends what is left."""

import os
import time
from collections.abc import Callable, Collection
from contextlib import suppress

from supervisor.errors import ConfigurationError, StateFolderLockedError
from supervisor.folder_lock import FolderLock, is_locked
from supervisor.guard.duty import Duty
from supervisor.guard.ending import end_all
from supervisor.guard.patience import Patience, look
from supervisor.guard.process_table import children_of, identify, read_table
from supervisor.guard.records import read_records
from supervisor.guard.selection import Exempt, Identity, ours
from supervisor.run_folder import clear_run_folder
from supervisor.state_folder import StateFolder

LOOK_INTERVAL = 0.25
"""Seconds between two looks at the lock; a supervisor that comes and dies within that is none."""
SCAN_INTERVAL = 1.0
"""Seconds between two looks at all processes: what leaves its parents, session and environment in less is not seen."""
_INIT = 1


class Aftermath:
    """Owns what is known of the processes that are ours."""

    def __init__(self, duty: Duty, mark: str, lock: FolderLock, say: Callable[[str], None]) -> None:
        self._duty = duty
        self._mark = mark
        self._lock = lock
        self._say = say
        self._folder = StateFolder(duty.state_folder)
        self._known: set[Identity] = set()
        self._names: dict[Identity, str] = {}
        self._session = _session_of(duty.supervisor.pid)

    def note_children(self) -> None:
        """Remember the children of the living supervisor: they are its own, or orphans of its own.

        Nothing else may tell so later: an orphan that has left its session and cleaned its environment becomes a child
        of init when the supervisor dies. Cheap: only newcomers are looked at.
        """
        children = children_of(self._duty.supervisor.pid)
        if os.getpid() not in children:  # it has just died: what was seen before is all that can be known
            return
        before = {identity.pid: identity for identity in self._known}
        seen = {
            before[pid] if pid in before else identify(pid) for pid in children if _session_of(pid) != self._session
        }
        self._known = {identity for identity in seen if identity is not None}

    def carry_out(self) -> None:
        """Wait, and end everything unless a supervisor comes: then wait for its end."""
        self._say(
            f"The supervisor (pid {self._duty.supervisor.pid}) is dead; waiting {self._duty.grace:g} s for another"
        )
        is_ours = False
        while not is_ours:
            self._wait()
            is_ours = self._take_lock()
        try:
            left = end_all(self._find, self._say, self._describe)
            with suppress(OSError):
                clear_run_folder(self._folder, keep=(), keep_records=True)  # their ends are not on record yet
            self._say("Not everything could be ended" if left else "Everything is ended")
        finally:
            self._lock.release()

    def _wait(self) -> None:
        patience, is_over = Patience(self._duty.grace), False
        next_scan = 0.0
        while not is_over:
            is_held = is_locked(self._folder.lock_file)
            patience, is_over = look(patience, is_held=is_held, now=time.monotonic())
            if not is_held and time.monotonic() >= next_scan:
                next_scan = time.monotonic() + SCAN_INTERVAL
                self._find()
            if not is_over:
                time.sleep(LOOK_INTERVAL)

    def _take_lock(self) -> bool:
        try:
            self._lock.acquire()
        except StateFolderLockedError:
            return False
        except ConfigurationError as error:  # somebody has removed the state folder: no supervisor can use it either
            self._say(f"Going on without the lock: {error}")
        return True

    def _find(self) -> set[Identity]:
        """Everything that is ours and lives."""
        table = read_table()
        self._names.update(read_records(self._folder.run))
        self._known = ours(table, self._known | self._names.keys(), self._mark, self._exempt())
        living = {identity for identity in self._known if not table[identity.pid].is_zombie}
        for identity in living:
            self._names.setdefault(identity, table[identity.pid].name)
        return living

    def _exempt(self) -> Exempt:
        return Exempt(
            pids={_INIT, os.getpid(), os.getppid()},
            sessions={os.getsid(0)},
            shared_sessions=set() if self._session is None else {self._session},
        )

    def _describe(self, processes: Collection[Identity]) -> str:
        return ", ".join(f"{self._names.get(identity, '?')} (pid {identity.pid})" for identity in sorted(processes))


def _session_of(pid: int) -> int | None:
    with suppress(ProcessLookupError, PermissionError):
        return os.getsid(pid)
    return None
