"""The SQLite file: made, checked and migrated such that a kill at any moment leaves a usable one.

What belongs here: everything that happens before the database is in use. Nothing here writes to a file that is not a
sound database of ours. A new database and a migrated one are made under another name and renamed: through pysqlite DDL
is not transactional, and a half-migrated file would be lost.
"""

import math
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from supervisor.errors import StoreCorruptError, StoreUnavailableError
from supervisor.store.condition import Condition
from supervisor.store.engine import connect_sqlite, sqlite_engine
from supervisor.store.migrate import Migrations
from supervisor.store.settings import StoreSettings
from supervisor.store.transaction import BEGIN, Access, translated

_STEPS = 10_000
"""Instructions of SQLite's machine between two looks at the clock: well below a millisecond."""
_MAGIC = b"SQLite format 3\0"
_KEEP = "nothing was changed; move it away to start with an empty database, or put a copy of yours in its place"


@dataclass(frozen=True)
class SqliteFile:
    """A path, and how long to wait for locks on it. ``path`` has no links in it."""

    path: Path
    settings: StoreSettings
    migrations: Migrations

    def prepare(self) -> None:
        """Leave a sound database of the newest schema at ``path``.

        Raises StoreCorruptError where what lies there is none of ours, StoreUnavailableError where it cannot be used.
        """
        with translated(f"open {self.path}"), self._reachable():
            if not os.path.lexists(self.path):
                self._create()
            elif self._pending():
                self._migrate()

    def look(self) -> Condition:
        """Say what ``prepare`` would find, and write nothing, not beside the file either.

        A look at all pages ends after ``settings.patience`` seconds. Raises as ``prepare``.
        """
        with translated(f"open {self.path}"), self._reachable():
            if not os.path.lexists(self.path):
                self._refuse_remains()
                return Condition.NEW
            self._check_file()
            self._check_header()
            if self._has("-journal"):
                return Condition.UNFINISHED
            connect = partial(self._connect, "ro", untouched=not self._beside("-wal").exists())
            with closing(connect()) as connection:
                self._check_pages(connection, self.settings.patience)
            return Condition.OLDER if self._schema_pending(connect) else Condition.CURRENT

    def _create(self) -> None:
        self._refuse_remains()
        if not self.path.parent.exists():
            self.path.parent.mkdir(mode=0o700, parents=True)
        draft = self._draft()
        self._upgrade(draft)
        self._publish(draft)

    def _pending(self) -> bool:
        self._check_file()
        self._check_header()
        # "ro" so that closing the connection does not check-point into a file that turns out damaged. A hot journal,
        # though, must be rolled back before anything can be read, and that is a write.
        connect = partial(self._connect, "rw" if self._has("-journal") else "ro")
        with closing(connect()) as connection:
            self._check_pages(connection)
        return self._schema_pending(connect)

    def _refuse_remains(self) -> None:
        for suffix in ("-wal", "-journal"):
            if self._has(suffix):  # SQLite would replay it into the new database
                raise self._corrupt(f"it is missing, but {self.path.name}{suffix} is there")

    def _check_file(self) -> None:
        status = self.path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise self._corrupt(f"it is {kind}")
        if status.st_size == 0:
            # SQLite would take it for a new database; an interrupted copy looks like this.
            raise self._corrupt("it is empty")
        # The mode counts for root as well: somebody meant it.
        if not status.st_mode & 0o222 or not os.access(self.path, os.W_OK):
            raise StoreUnavailableError(f"cannot open {self.path}: it is read-only", hint="make it writable")

    def _check_header(self) -> None:
        # Closing a descriptor drops the process's POSIX locks on the file: only before SQLite has it open.
        with self.path.open("rb") as file:
            header = file.read(100)
        if not header.startswith(_MAGIC) or len(header) < 100:  # noqa: PLR2004  the header's length
            raise self._corrupt("it is not an SQLite database")
        if self._has("-wal"):
            return  # the newest pages may still lie there; quick_check sees both
        page_size = int.from_bytes(header[16:18], "big")
        page_size = 65536 if page_size == 1 else page_size
        pages = int.from_bytes(header[28:32], "big")
        if self.path.stat().st_size < page_size * pages:
            raise self._corrupt("it is truncated")

    def _check_pages(self, connection: sqlite3.Connection, limit: float = math.inf) -> None:
        """``limit``: seconds after which the rest is believed to be sound."""
        deadline = time.monotonic() + limit
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
        try:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                return
            raise
        if verdict != "ok":
            raise self._corrupt(str(verdict).strip().splitlines()[-1])

    def _schema_pending(self, connect: Callable[[], sqlite3.Connection]) -> bool:
        engine = sqlite_engine(connect, self.settings)
        try:
            with engine.connect().execution_options(**{BEGIN: Access.READ.value}) as connection:
                return self.migrations.pending(connection, str(self.path))
        finally:
            engine.dispose()

    def _migrate(self) -> None:
        draft = self._draft()
        with closing(self._connect("rw")) as source:
            # Leaves WAL mode: all of the -wal file goes into the database and it is deleted, or the draft would inherit
            # it by its name. Fails while anybody else has the database open, who would keep writing to the old one.
            source.execute("PRAGMA journal_mode=DELETE")
            with closing(sqlite3.connect(draft)) as target:
                source.backup(target)
        self._upgrade(draft)
        self._publish(draft)

    def _draft(self) -> Path:
        """An empty file of mode 0600 beside ``path``; remains of an earlier attempt are removed."""
        draft = self._beside(".draft")
        for suffix in ("", "-journal", "-wal", "-shm"):
            Path(f"{draft}{suffix}").unlink(missing_ok=True)
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return draft

    def _upgrade(self, draft: Path) -> None:
        # Foreign keys are off, as in every fresh connection: Alembic changes a table by replacing it.
        connect = partial(connect_sqlite, draft, mode="rw", patience=self.settings.patience)
        engine = sqlite_engine(connect, self.settings)
        try:
            with engine.begin() as migrating:
                self.migrations.apply(migrating, str(self.path))
        finally:
            engine.dispose()
        # Here, where nobody is in the way: the switch does not wait for the locks of others. It leaves no -wal file.
        with closing(connect()) as connection:
            connection.execute("PRAGMA journal_mode=WAL")

    def _publish(self, draft: Path) -> None:
        """SQLite has synced the draft; the folder must be as well, or the rename may be lost."""
        draft.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _connect(self, mode: str, *, untouched: bool = False) -> sqlite3.Connection:
        return connect_sqlite(self.path, mode=mode, patience=self.settings.patience, untouched=untouched)

    def _beside(self, suffix: str) -> Path:
        return Path(f"{self.path}{suffix}")

    def _has(self, suffix: str) -> bool:
        """Whether there is content; a reader may leave an empty -wal file behind."""
        file = self._beside(suffix)
        return file.exists() and file.stat().st_size > 0

    def _corrupt(self, problem: str) -> StoreCorruptError:
        return StoreCorruptError(f"cannot open {self.path}: {problem}", hint=_KEEP)

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreUnavailableError(f"cannot open {self.path}: {error.strerror or error}") from error
