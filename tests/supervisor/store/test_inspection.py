"""A look at a database from beside, which leaves every byte of it as it is."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from sqlalchemy import create_engine, text

from plugin_runtime.views import ExitView
from supervisor.errors import StoreCorruptError, StoreUnavailableError
from supervisor.store.condition import Condition
from supervisor.store.inspection import condition, sqlite_version
from supervisor.store.migrate import Migrations
from supervisor.store.models import VERSION_TABLE
from supervisor.store.settings import StoreSettings
from supervisor.store.sqlite_file import SqliteFile

EXIT = ExitView("e1", "x", "x.1", "worker", "crash", 1, None, "", 1.0, 1.0, ["line"])
QUICK = StoreSettings(patience=0.3)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def path(folder):
    """A sound database, closed."""
    file = folder / "manager.db"
    SqliteFile(file, QUICK, Migrations()).prepare()
    return file


def look(url):
    return condition(url, QUICK)


def contents(folder):
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}


def change(path, statement):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def test_where_there_is_none_none_is_made(sqlite_database, tmp_path):
    """Not even its folder."""
    assert look(sqlite_database) is Condition.NEW
    assert list(tmp_path.iterdir()) == []


def test_one_of_this_version_is_current_and_nothing_is_left_beside_it(path, folder, sqlite_database):
    """A reader usually makes a -wal and a -shm file."""
    before = contents(folder)
    assert look(sqlite_database) is Condition.CURRENT
    assert contents(folder) == before


def test_one_of_an_older_version_is_not_migrated(path, folder, sqlite_database):
    """That is for the next start."""
    change(path, f"UPDATE {VERSION_TABLE} SET version_num = '0001'")
    before = contents(folder)
    assert look(sqlite_database) is Condition.OLDER
    assert contents(folder) == before


def test_one_in_use_is_read_beside_its_writer(sqlite_database, scenario, folder):
    """What it has written is in the -wal file still; nothing of it is checkpointed or removed."""
    with scenario(sqlite_database) as (store, run):
        run(store.exits.add_exits([EXIT]))
        names = {file.name for file in folder.iterdir()}
        log = (folder / "manager.db-wal").read_bytes()
        assert look(sqlite_database) is Condition.CURRENT
        assert {file.name for file in folder.iterdir()} == names
        assert (folder / "manager.db-wal").read_bytes() == log
        run(store.exits.add_exits([EXIT]))
        assert [view.id for view in run(store.exits.exits())] == ["e1"]


def test_one_with_a_transaction_that_died_half_way_is_not_rolled_back(path, folder, sqlite_database):
    """That is a write, and for the next start as well."""
    (folder / "manager.db-journal").write_bytes(b"x" * 512)
    before = contents(folder)
    assert look(sqlite_database) is Condition.UNFINISHED
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda path: path.write_bytes(b""), "it is empty"),
        (lambda path: path.write_bytes(b"x" * 500), "it is not an SQLite database"),
        (lambda path: os.truncate(path, 8192), "it is truncated"),
        (lambda path: path.rename(path.with_name("x")) and path.mkdir(), "it is a directory"),
        (lambda path: change(path, f"UPDATE {VERSION_TABLE} SET version_num = 'next'"), "schema next is unknown"),
    ],
    ids=["empty", "foreign", "truncated", "directory", "newer"],
)
def test_one_that_could_not_be_opened_is_the_same_error(path, sqlite_database, harm, message):
    """As the start would say it."""
    harm(path)
    with pytest.raises(StoreCorruptError, match=message):
        look(sqlite_database)


def test_remains_without_their_database_are_the_same_error(folder, sqlite_database):
    folder.mkdir()
    (folder / "manager.db-wal").write_bytes(b"x")
    with pytest.raises(StoreCorruptError, match=r"manager\.db-wal is there"):
        look(sqlite_database)


def test_a_large_one_is_not_read_for_longer_than_there_is_patience_for(path, sqlite_database):
    """The start reads all of it; here the rest is believed to be sound."""
    change(
        path,
        "CREATE TABLE large AS "
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) SELECT i FROM n",
    )
    assert condition(sqlite_database, StoreSettings(patience=0.0)) is Condition.CURRENT


@pytest.mark.slow
def test_one_that_another_program_holds_is_unavailable(path, sqlite_database):
    """Not in WAL mode: there readers wait for nobody."""
    change(path, "PRAGMA user_version = 1")
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode=DELETE")
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        (path.with_name("manager.db-wal")).write_bytes(b"")  # so that it is opened with locks
        with pytest.raises(StoreUnavailableError):
            look(sqlite_database)


def test_the_version_is_that_of_the_library():
    done = subprocess.run(
        [sys.executable, "-c", "import sqlite3; print(sqlite3.sqlite_version)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ".".join(map(str, sqlite_version())) == done.stdout.strip()


@pytest.mark.process
@pytest.mark.slow
def test_a_server_is_asked_and_not_migrated(postgresql_database, scenario):
    """Row 42's check, without its migration."""
    engine = create_engine(postgresql_database)
    try:
        assert look(postgresql_database) is Condition.OLDER
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")) == 0
        with scenario(postgresql_database):
            assert look(postgresql_database) is Condition.CURRENT
    finally:
        engine.dispose()


@pytest.mark.process
@pytest.mark.slow
def test_a_server_that_is_away_is_unavailable(postgresql_database):
    nowhere = postgresql_database.update_query_dict({"host": "/nonexistent"})
    with pytest.raises(StoreUnavailableError, match="cannot open"):
        look(nowhere)
