"""A look at the manager database from beside: nothing is migrated, nothing is written."""

import sqlite3
from pathlib import Path

from sqlalchemy import URL, Engine

from supervisor.store.condition import Condition
from supervisor.store.engine import is_sqlite, open_engine
from supervisor.store.migrate import Migrations
from supervisor.store.settings import StoreSettings
from supervisor.store.sqlite_file import SqliteFile
from supervisor.store.transaction import translated


def condition(url: URL, settings: StoreSettings) -> Condition:
    """How the database at ``url`` is.

    Raises StoreUnavailableError, StoreCorruptError, ConfigurationError (no driver).
    """
    migrations = Migrations()
    if is_sqlite(url):
        return SqliteFile(Path(str(url.database)), settings, migrations).look()
    engine = open_engine(url, settings)
    try:
        return _condition_of_server(engine, migrations, url.render_as_string(hide_password=True))
    finally:
        engine.dispose()


def sqlite_version() -> tuple[int, ...]:
    """Of the library that this Python is linked to."""
    return sqlite3.sqlite_version_info


def _condition_of_server(engine: Engine, migrations: Migrations, database: str) -> Condition:
    with translated(f"open {database}"), engine.connect() as connection:
        return Condition.OLDER if migrations.pending(connection, database) else Condition.CURRENT
