"""DATA_URL: what it may say, and how a connection is set up."""

import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from supervisor.errors import ConfigurationError
from supervisor.store.engine import database_url, is_sqlite, open_engine
from supervisor.store.migrate import Migrations
from supervisor.store.settings import StoreSettings
from supervisor.store.sqlite_file import SqliteFile

HERE = Path("/project")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("sqlite:///./manager.db", "sqlite:////project/manager.db"),
        ("sqlite+pysqlite:////var/x.db", "sqlite:////var/x.db"),
        ("postgresql://u:p@h/db", "postgresql+psycopg://u:p@h/db"),
        ("postgres://h/db?sslmode=require", "postgresql+psycopg://h/db?sslmode=require"),
        ("postgresql+psycopg://h/db", "postgresql+psycopg://h/db"),
    ],
)
def test_urls_are_brought_to_one_driver_and_an_absolute_path(given, expected):
    """Old configurations say postgresql://, which other libraries read as another driver."""
    url = database_url(given, relative_to=HERE)
    assert url.render_as_string(hide_password=False) == expected
    assert is_sqlite(url) == expected.startswith("sqlite")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("manager.db", "not a database URL"),
        ("", "not a database URL"),
        ("mysql://h/db", "no support for mysql"),
        ("sqlite+aiosqlite:///x.db", "no support for"),
        ("sqlite://", "plain file"),
        ("sqlite:///:memory:", "plain file"),
        ("sqlite:///file:x.db?mode=memory&uri=true", "plain file"),
    ],
)
def test_other_urls_are_refused_with_an_example(given, problem):
    """Memory would forget everything with the connection."""
    with pytest.raises(ConfigurationError, match=f"DATA_URL: .*{problem}.*; write sqlite:///"):
        database_url(given, relative_to=HERE)


def test_a_url_that_cannot_be_read_is_not_shown():
    """It may hold a password."""
    with pytest.raises(ConfigurationError) as raised:
        database_url("postgresql//me:secret@host/db", relative_to=HERE)
    assert "secret" not in str(raised.value)


def test_a_missing_driver_says_what_to_install(monkeypatch):
    """psycopg is an extra."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"install xcore-supervisor\[postgresql\]"):
        open_engine(database_url("postgresql://h/db", relative_to=HERE), StoreSettings())


def test_sqlite_syncs_every_commit_and_checks_foreign_keys(sqlite_database):
    """Acknowledged means on disk."""
    SqliteFile(Path(sqlite_database.database), StoreSettings(), Migrations()).prepare()
    engine = open_engine(sqlite_database, StoreSettings(patience=1.5))
    try:
        with engine.connect() as connection:
            names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            assert [connection.scalar(text(f"PRAGMA {name}")) for name in names] == ["wal", 2, 1, 1500]
    finally:
        engine.dispose()
