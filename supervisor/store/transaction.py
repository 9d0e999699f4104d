"""Transactions: whole or not at all, timed; and the one place where database errors become ours."""

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError, StatementError
from sqlalchemy.orm import Session, sessionmaker

from supervisor.errors import ConflictError, StoreCorruptError, StoreError, StoreUnavailableError, XcoreError
from supervisor.store.settings import StoreSettings

logger = logging.getLogger(__name__)

BEGIN = "xcore_begin"
WAIT = "xcore_wait"
"""Execution options that the SQLite engine reads when a transaction begins: kind of lock, seconds to wait for locks."""


class Access(StrEnum):
    """Which lock SQLite takes at BEGIN."""

    READ = "DEFERRED"
    WRITE = "IMMEDIATE"
    """At once: a reader that becomes a writer half-way fails without waiting when another wrote in between."""


@contextmanager
def transaction(
    sessions: sessionmaker[Session],
    *,
    name: str,
    access: Access = Access.WRITE,
    wait: float = StoreSettings.patience,
    slow: float = StoreSettings.slow_transaction,
) -> Iterator[Session]:
    """Commit what the body did, or nothing of it when anything fails.

    ``wait``: seconds to wait for locks of others; ``slow``: seconds after which it is warned about. Raises
    StoreUnavailableError, StoreCorruptError, StoreError, and ConflictError where a row breaks a rule of the schema.
    """
    begun = time.monotonic()
    outcome = "rolled back"
    try:
        with translated(name), sessions() as session, session.begin():
            session.connection(execution_options={BEGIN: access.value, WAIT: wait})
            yield session
        outcome = "committed"
    finally:
        took = time.monotonic() - begun
        level = logging.WARNING if took > slow else logging.DEBUG
        logger.log(level, "Transaction %s took %.3f s (%s)", name, took, outcome)


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Raise our own errors for those of SQLAlchemy and the drivers; ``name`` says what was tried."""
    try:
        yield
    except StatementError as error:
        raise _error_for(error)(f"cannot {name}: {_cause(error.orig or error)}") from error
    except sqlite3.Error as error:
        raise _sqlite_error(error)(f"cannot {name}: {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    """The first line: PostgreSQL adds the statement, which may hold what is nobody's business."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _error_for(error: StatementError) -> type[XcoreError]:
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite_error(error.orig)
    if not isinstance(error, DBAPIError):
        return StoreError  # a value that the driver never saw, because it cannot be stored
    if error.connection_invalidated:
        return StoreUnavailableError
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return _postgresql_error(state)
    lost = isinstance(error, OperationalError | InterfaceError) and not isinstance(error, DataError)
    return StoreUnavailableError if lost else StoreError


_SQLITE_ERRORS: dict[int, type[XcoreError]] = {
    sqlite3.SQLITE_CONSTRAINT: ConflictError,
    sqlite3.SQLITE_CORRUPT: StoreCorruptError,
    sqlite3.SQLITE_NOTADB: StoreCorruptError,
    sqlite3.SQLITE_FORMAT: StoreCorruptError,
    sqlite3.SQLITE_ERROR: StoreCorruptError,  # a table or column is missing
    sqlite3.SQLITE_BUSY: StoreUnavailableError,
    sqlite3.SQLITE_LOCKED: StoreUnavailableError,
    sqlite3.SQLITE_FULL: StoreUnavailableError,
    sqlite3.SQLITE_IOERR: StoreUnavailableError,
    sqlite3.SQLITE_CANTOPEN: StoreUnavailableError,
    sqlite3.SQLITE_READONLY: StoreUnavailableError,
    sqlite3.SQLITE_PERM: StoreUnavailableError,
    sqlite3.SQLITE_PROTOCOL: StoreUnavailableError,
    sqlite3.SQLITE_NOMEM: StoreUnavailableError,
    sqlite3.SQLITE_INTERRUPT: StoreUnavailableError,
}


def _sqlite_error(error: sqlite3.Error) -> type[XcoreError]:
    code = getattr(error, "sqlite_errorcode", None)  # missing where Python's module itself refused
    return StoreError if code is None else _SQLITE_ERRORS.get(code & 0xFF, StoreError)


_POSTGRESQL_ERRORS: dict[str, type[XcoreError]] = {
    "XX001": StoreCorruptError,  # data corrupted
    "XX002": StoreCorruptError,  # index corrupted
    "42P01": StoreCorruptError,  # undefined table
    "42703": StoreCorruptError,  # undefined column
    "22": StoreError,  # a value it cannot hold
    "23": ConflictError,
    "42": StoreError,
}
"""By SQLSTATE, or by its class. All others (connection, resources, shutdown, deadlocks) may heal by themselves."""


def _postgresql_error(state: str) -> type[XcoreError]:
    return _POSTGRESQL_ERRORS.get(state) or _POSTGRESQL_ERRORS.get(state[:2], StoreUnavailableError)
