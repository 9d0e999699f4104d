"""Where the database is, and how a connection to it must be set up."""

import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from supervisor.errors import ConfigurationError
from supervisor.store.models import storable_json
from supervisor.store.settings import StoreSettings
from supervisor.store.transaction import BEGIN, WAIT, Access

_SQLITE = "sqlite"
_POSTGRESQL = "postgresql+psycopg"
_DRIVERS = {
    "sqlite": _SQLITE,
    "sqlite+pysqlite": _SQLITE,
    "postgres": _POSTGRESQL,
    "postgresql": _POSTGRESQL,
    "postgresql+psycopg": _POSTGRESQL,
}
_ONE_CONNECTION = {"pool_size": 1, "max_overflow": 0}
"""There is one thread, so a second connection would be a leak."""


def database_url(text: str, *, relative_to: Path) -> URL:
    """Read ``DATA_URL``; a relative path of an SQLite file is resolved against ``relative_to``.

    Raises ConfigurationError for anything but ``sqlite:///<path>`` and ``postgresql://...``.
    """
    try:
        url = make_url(text)
    except ArgumentError:
        # Not quoted: what cannot be read may hold a password.
        raise _refused("not a database URL") from None
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise _refused(f"no support for {url.drivername}://")
    if driver == _POSTGRESQL:
        return url.set(drivername=driver)
    if url.query or url.database in {None, "", ":memory:"} or str(url.database).startswith("file:"):
        raise _refused("an SQLite database must be a plain file")
    return sqlite_url(relative_to / str(url.database))


def sqlite_url(path: Path) -> URL:
    """A link is followed here, since a migration replaces the file by renaming."""
    return URL.create(_SQLITE, database=str(path.resolve()))


def _refused(problem: str) -> ConfigurationError:
    hint = "write sqlite:///path/to/manager.db or postgresql://user@host/database"
    return ConfigurationError("DATA_URL", "", problem, hint=hint)


def is_sqlite(url: URL) -> bool:
    return url.drivername == _SQLITE


def open_engine(url: URL, settings: StoreSettings) -> Engine:
    """Connect to nothing yet. Raise ConfigurationError where the driver is not installed."""
    if is_sqlite(url):
        return sqlite_engine(partial(_connect_for_use, Path(str(url.database)), settings.patience), settings)
    return _postgresql_engine(url, settings)


def sqlite_engine(connect: Callable[[], sqlite3.Connection], settings: StoreSettings) -> Engine:
    """``connect`` makes connections by ``connect_sqlite``; transactions begin as their execution options say."""
    engine = create_engine(
        f"{_SQLITE}://", creator=connect, poolclass=QueuePool, json_serializer=storable_json, **_ONE_CONNECTION
    )
    event.listen(engine, "begin", partial(_begin_sqlite, patience=settings.patience))
    return engine


def connect_sqlite(path: Path, *, mode: str, patience: float, untouched: bool = False) -> sqlite3.Connection:
    """``mode``: "ro" or "rw", never to create: SQLite would make an empty database where somebody moved one away.

    ``untouched``: take no lock and make no -wal or -shm file, which "ro" does; for a file that nobody has open.
    """
    query = f"mode={mode}&immutable=1" if untouched else f"mode={mode}"
    # isolation_level=None: pysqlite opens transactions of its own otherwise, and none before DDL or a SELECT.
    return sqlite3.connect(f"{path.as_uri()}?{query}", uri=True, timeout=patience, isolation_level=None)


def _connect_for_use(path: Path, patience: float) -> sqlite3.Connection:
    connection = connect_sqlite(path, mode="rw", patience=patience)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA foreign_keys=ON")
        # WAL with the usual NORMAL may lose the last commits when the machine stops: FULL keeps what was acknowledged.
        connection.execute("PRAGMA synchronous=FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _begin_sqlite(connection: Connection, *, patience: float) -> None:
    options = connection.get_execution_options()
    wait = int(max(0.0, options.get(WAIT, patience)) * 1000)
    connection.exec_driver_sql(f"PRAGMA busy_timeout={wait}")
    connection.exec_driver_sql(f"BEGIN {options.get(BEGIN, Access.WRITE.value)}")


def _postgresql_engine(url: URL, settings: StoreSettings) -> Engine:
    seconds = max(1, round(settings.patience))
    defaults = {
        "application_name": "xcore",
        "connect_timeout": max(2, seconds),  # libpq takes less than 2 for 2
        # A network that swallows packets ends in an error, not in a wait for ever.
        "keepalives_idle": seconds,
        "keepalives_interval": 1,
        "keepalives_count": 3,
        "tcp_user_timeout": seconds * 1000,
        "options": f"-c statement_timeout={round(settings.patience * 1000)}",
    }
    arguments = {key: value for key, value in defaults.items() if key not in url.query}
    try:
        return create_engine(
            url,
            connect_args=arguments,
            json_serializer=storable_json,
            pool_pre_ping=True,  # a server that was restarted is noticed before the statement, not by it
            **_ONE_CONNECTION,
        )
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "DATA_URL", "", f"the driver {error.name} is missing", hint="install xcore-supervisor[postgresql]"
        ) from None
