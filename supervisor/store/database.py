"""The open database: transactions for coroutines, run on its one thread."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy import URL, Engine
from sqlalchemy.orm import Session, sessionmaker

from supervisor.errors import StoreCorruptError, StoreError, StoreUnavailableError
from supervisor.store.engine import is_sqlite, open_engine
from supervisor.store.migrate import Migrations, migrate_server
from supervisor.store.settings import StoreSettings
from supervisor.store.sqlite_file import SqliteFile
from supervisor.store.thread import StoreThread
from supervisor.store.transaction import Access, transaction

T = TypeVar("T")
Work = Callable[[Session], T]
"""What is done in one transaction. It runs on the store's thread, so it must not touch what the event loop owns."""


class Database:
    """Owns the engine and its thread; made by ``open``, ended by ``close``."""

    def __init__(self, thread: StoreThread, engine: Engine, settings: StoreSettings) -> None:
        self._thread = thread
        self._engine = engine
        self._sessions = sessionmaker(engine, expire_on_commit=False)
        self._settings = settings
        self.on_trouble: Callable[[StoreError], None] = lambda _: None
        """Told, in the event loop, of every transaction that the database failed."""

    @classmethod
    async def open(cls, url: URL, settings: StoreSettings, migrations: Migrations) -> "Database":
        """Check and migrate what ``url`` names, then connect.

        Raises StoreUnavailableError, StoreCorruptError, ConfigurationError (no driver).
        """
        thread = StoreThread()
        thread.start()
        try:
            prepare = partial(_prepare, url, settings, migrations)
            engine = await asyncio.wrap_future(thread.submit(prepare))
        except BaseException:
            thread.finish()
            raise
        return cls(thread, engine, settings)

    async def read(self, name: str, work: Work[T]) -> T:
        """Run ``work`` in a transaction that does not wait for writers; ``name`` is for log and errors."""
        return await self._run(name, work, Access.READ, self._settings.patience)

    async def write(self, name: str, work: Work[T], *, patience: float | None = None) -> T:
        """Return what ``work`` returned, after its commit.

        Raises StoreUnavailableError when the database was not to be had within ``patience`` seconds; what
        ``transaction`` raises; and whatever ``work`` raises, after the roll-back.
        """
        return await self._run(name, work, Access.WRITE, self._settings.patience if patience is None else patience)

    async def close(self) -> None:
        """Finish what was asked for, disconnect, end the thread."""
        self._thread.submit(self._engine.dispose)
        await asyncio.wrap_future(self._thread.finish())
        self._thread.join()

    async def _run(self, name: str, work: Work[T], access: Access, patience: float) -> T:
        deadline = time.monotonic() + patience
        future = self._thread.submit(partial(self._transact, name, work, access, deadline))
        try:
            return await _result(future, name, patience)
        except (StoreUnavailableError, StoreCorruptError) as error:
            self.on_trouble(error)
            raise

    def _transact(self, name: str, work: Work[T], access: Access, deadline: float) -> T:
        wait = deadline - time.monotonic()
        slow = self._settings.slow_transaction
        with transaction(self._sessions, name=name, access=access, wait=wait, slow=slow) as session:
            return work(session)


def _prepare(url: URL, settings: StoreSettings, migrations: Migrations) -> Engine:
    if is_sqlite(url):
        SqliteFile(Path(str(url.database)), settings, migrations).prepare()
        return open_engine(url, settings)
    engine = open_engine(url, settings)
    try:
        migrate_server(engine, migrations, url.render_as_string(hide_password=True))
    finally:
        engine.dispose()  # connects anew when used, so that nothing is left open when nobody waits for it any more
    return engine


async def _result(future: Future[T], name: str, patience: float) -> T:
    """Wait for ``patience`` seconds for its turn to come, and as long again for its end, which locks may delay."""
    waiter = asyncio.wrap_future(future)
    try:
        await asyncio.wait({waiter}, timeout=patience)
        if not waiter.done() and future.cancel():
            raise StoreUnavailableError(f"cannot {name}: the database was busy for {patience:g} s")
        await asyncio.wait({waiter}, timeout=patience + 1.0)
        if not waiter.done():
            raise StoreUnavailableError(
                f"cannot {name}: the database does not answer; whether it was done is not known"
            )
        return waiter.result()
    finally:
        waiter.cancel()
