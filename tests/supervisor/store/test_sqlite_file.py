"""Opening the SQLite file: made, refused or migrated, never harmed."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from plugin_runtime.views import ExitView
from supervisor.errors import StoreCorruptError, StoreError, StoreUnavailableError
from supervisor.store.engine import sqlite_url
from supervisor.store.migrate import OURS, Migrations
from supervisor.store.models import VERSION_TABLE
from supervisor.store.settings import StoreSettings
from supervisor.store.sqlite_file import SqliteFile

EXIT = ExitView("e1", "x", "x.1", "worker", "crash", 1, None, "", 1.0, 1.0, ["line"])
HEAD = Migrations().head
NEXT = '''
"""A later schema."""
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "later", "{head}", None, None
def upgrade():
    op.add_column("plugins", sa.Column("colour", sa.Text(), nullable=False, server_default="red"))
    {then}
'''


def prepare(path, migrations=None):
    SqliteFile(path, StoreSettings(patience=0.3), migrations or Migrations()).prepare()


def schema(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()[0]


def later_migrations(tmp_path, then="pass"):
    folder = tmp_path / "migrations 100%"
    shutil.copytree(OURS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "later_colour.py").write_text(NEXT.format(head=HEAD, then=then))
    return Migrations(folder)


def contents(folder):
    """Bytes of every file that counts; SQLite's shared memory and an empty log say nothing."""
    files = (file for file in folder.iterdir() if file.is_file() and not file.name.endswith("-shm"))
    return {file.name: data for file in files if (data := file.read_bytes()) or not file.name.endswith("-wal")}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "manager.db"


@pytest.fixture
def database(path):
    """A sound one with content, closed."""
    prepare(path)
    return path


@pytest.fixture
def crashed(path, scenario, tmp_path):
    """A database as a killed supervisor leaves it: its newest record is only in the -wal file."""
    original = tmp_path / "original" / "manager.db"
    with scenario(sqlite_url(original)) as (store, run):
        run(store.exits.add_exits([EXIT]))
        shutil.copytree(original.parent, path.parent)
    assert Path(f"{path}-wal").stat().st_size > 0
    return path


def stored_exits(path):
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM exits")]


# --- a new one ------------------------------------------------------------------------------------------------


def test_a_new_database_is_for_its_owner_only(path):
    """It holds hashes of passwords and tokens."""
    prepare(path)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600
    assert schema(path) == HEAD
    assert [file.name for file in path.parent.iterdir()] == ["manager.db"]


def test_the_log_beside_it_is_for_its_owner_only(path, scenario):
    """SQLite gives -wal and -shm the mode of the database."""
    with scenario(sqlite_url(path)) as (store, run):
        run(store.exits.add_exits([EXIT]))
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == {"manager.db": 0o600, "manager.db-wal": 0o600, "manager.db-shm": 0o600}


def test_the_mode_of_an_existing_folder_is_left_alone(tmp_path):
    """It may be shared on purpose."""
    tmp_path.chmod(0o755)
    prepare(tmp_path / "manager.db")
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_remains_of_an_interrupted_creation_are_replaced(path):
    """A kill while the database is made leaves only a draft."""
    path.parent.mkdir()
    for suffix in (".draft", ".draft-journal"):
        Path(f"{path}{suffix}").write_bytes(b"half" * 1000)
    prepare(path)
    assert [file.name for file in path.parent.iterdir()] == ["manager.db"]


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_a_log_without_its_database_is_never_replayed_into_a_new_one(path, suffix):
    """SQLite would; the operator may still find the database."""
    path.parent.mkdir()
    Path(f"{path}{suffix}").write_bytes(b"x" * 5000)
    before = contents(path.parent)
    with pytest.raises(StoreCorruptError, match="missing"):
        prepare(path)
    assert contents(path.parent) == before


def test_a_path_with_characters_that_mean_something_in_a_uri(tmp_path):
    """SQLite is asked by URI, Alembic by an INI value; both have their own escapes."""
    path = tmp_path / "a b?mode=memory#100%" / "manager;1.db"
    prepare(path)
    assert schema(path) == HEAD


# --- refused, untouched ---------------------------------------------------------------------------------------


def not_a_database(path):
    path.write_bytes(b"hello, this is text\n" * 1000)


def shorter_than_a_header(path):
    path.write_bytes(path.read_bytes()[:50])


def truncated(path):
    os.truncate(path, path.stat().st_size - 4096)


def truncated_within_a_page(path):
    os.truncate(path, path.stat().st_size - 100)


def empty(path):
    os.truncate(path, 0)


def damaged(path):
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096 * 3)


def read_only(path):
    path.chmod(0o400)


def a_fifo(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("harm", "error", "message"),
    [
        (not_a_database, StoreCorruptError, "not an SQLite database"),
        (shorter_than_a_header, StoreCorruptError, "not an SQLite database"),
        (truncated, StoreCorruptError, "truncated"),
        (truncated_within_a_page, StoreCorruptError, "truncated"),
        (empty, StoreCorruptError, "empty"),
        (damaged, StoreCorruptError, "manager.db"),
        (read_only, StoreUnavailableError, "read-only"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_file_that_cannot_be_used_is_named_and_left_as_it_is(database, harm, error, message):
    """Row 39: the operator may still save something from it."""
    harm(database)
    before = contents(database.parent)
    with pytest.raises(error, match=message) as raised:
        prepare(database)
    assert str(database) in str(raised.value)
    assert contents(database.parent) == before


def test_a_damaged_database_with_a_log_is_left_as_it_is(crashed):
    """Closing an ordinary connection would check-point the log into it."""
    shutil.copy(Path(f"{crashed}-wal"), crashed.parent / "copy")
    damaged(crashed)
    with crashed.open("r+b") as file:
        file.write(b"\0" * 100)
    before = contents(crashed.parent)
    with pytest.raises(StoreCorruptError):
        prepare(crashed)
    assert contents(crashed.parent) == before


def test_a_directory_in_its_place_is_refused(path):
    """Row 39."""
    path.mkdir(parents=True)
    (path / "precious").write_text("x")
    with pytest.raises(StoreCorruptError, match="a directory"):
        prepare(path)
    assert (path / "precious").read_text() == "x"


def test_a_fifo_in_its_place_is_refused_without_waiting(database):
    """Opening a FIFO waits for a writer."""
    a_fifo(database)
    with pytest.raises(StoreCorruptError, match="regular file"):
        prepare(database)


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    """An error of the operating system is told like any other."""
    (tmp_path / "state").write_text("")
    with pytest.raises(StoreError, match="Not a directory"):
        prepare(tmp_path / "state" / "manager.db")


def test_a_newer_schema_is_refused_with_a_message(database):
    """An older program must not write to what it does not know."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    before = contents(database.parent)
    with pytest.raises(StoreCorruptError, match=rf"schema 9999 .* knows up to {HEAD}; .*newer"):
        prepare(database)
    assert contents(database.parent) == before


def test_another_programs_database_is_refused(path):
    """Its table of plugins is not ours."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE plugins (x)")
    before = contents(path.parent)
    with pytest.raises(StoreCorruptError, match="another program's tables are in the way: plugins"):
        prepare(path)
    assert contents(path.parent) == before


def test_a_locked_database_is_unavailable_not_corrupt(database):
    """Somebody copies it just now; it heals by itself."""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=DELETE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailableError, match="locked"):
            prepare(database)


# --- migrated -------------------------------------------------------------------------------------------------


def test_an_older_schema_is_migrated_with_its_content(crashed, tmp_path):
    """Row 42; what lay only in the -wal file comes along."""
    later = later_migrations(tmp_path)
    prepare(crashed, later)
    assert schema(crashed) == "later"
    assert stored_exits(crashed) == ["e1"]
    assert crashed.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in crashed.parent.iterdir()] == ["manager.db"]


def test_a_migration_that_fails_leaves_the_old_database(crashed, tmp_path):
    """The old program can go on with it."""
    with pytest.raises(StoreCorruptError, match="no such table: nonsense"):
        prepare(crashed, later_migrations(tmp_path, then='op.execute("DELETE FROM nonsense")'))
    assert schema(crashed) == HEAD
    assert stored_exits(crashed) == ["e1"]
    prepare(crashed)


def test_a_database_that_others_have_open_is_not_replaced(database, tmp_path):
    """They would go on writing to a file that nobody reads any more."""
    later = later_migrations(tmp_path)
    with closing(sqlite3.connect(database)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("SELECT * FROM plugins").fetchall()
        with pytest.raises(StoreUnavailableError, match="locked"):
            prepare(database, later)
    assert schema(database) == HEAD
    prepare(database, later)
    assert schema(database) == "later"


def test_a_transaction_that_a_kill_cut_off_is_rolled_back(database, tmp_path):
    """A database in rollback mode, as a migration leaves it for a moment, may have a hot journal."""
    left = tmp_path / "left" / "manager.db"
    left.parent.mkdir()
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode=DELETE")
        writer.execute("PRAGMA cache_size=1")  # so that pages reach the file before the commit
        writer.execute("BEGIN")
        writer.execute("CREATE TABLE scratch (x)")
        writer.executemany("INSERT INTO scratch VALUES (?)", [("x" * 1000,)] * 100)
        for suffix in ("", "-journal"):
            shutil.copy(f"{database}{suffix}", f"{left}{suffix}")
    assert Path(f"{left}-journal").stat().st_size > 0
    prepare(left)
    with closing(sqlite3.connect(left)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'scratch'").fetchall() == []


def test_a_link_stays_a_link(database, tmp_path):
    """The state folder may hold a link to another disk; the rename must hit what it names."""
    link = tmp_path / "manager.db"
    link.symlink_to(database)
    prepare(Path(sqlite_url(link).database), later_migrations(tmp_path))
    assert link.is_symlink()
    assert schema(database) == "later"


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("moment", ["within the migration", "before the rename"])
def test_killed_while_migrating_the_old_database_stays_usable(crashed, tmp_path, moment):
    """Row 42: until the rename nothing is lost, and the next start migrates."""
    die = "__import__('os').kill(__import__('os').getpid(), 9)"
    later = later_migrations(tmp_path, then=die if moment == "within the migration" else "pass")
    program = f"""
from pathlib import Path
from supervisor.store.migrate import Migrations
from supervisor.store.settings import StoreSettings
from supervisor.store.sqlite_file import SqliteFile
if {moment == "before the rename"}:
    Path.replace = lambda *_: {die}
SqliteFile(Path({str(crashed)!r}), StoreSettings(), Migrations(Path({str(later.folder)!r}))).prepare()
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    killed = subprocess.run([sys.executable, "-c", program], env=environment, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert schema(crashed) == HEAD
    assert stored_exits(crashed) == ["e1"]
    prepare(crashed, later_migrations(tmp_path / "again"))
    assert schema(crashed) == "later"
    assert stored_exits(crashed) == ["e1"]
    assert [file.name for file in crashed.parent.iterdir()] == ["manager.db"]


def test_an_unchanged_database_is_not_rewritten(database):
    """A start of an unchanged system costs nothing."""
    before = database.stat()
    prepare(database)
    after = database.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
