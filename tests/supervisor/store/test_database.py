"""The open database under locks, deadlines and cancellation."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from supervisor.errors import StoreCorruptError, StoreUnavailableError
from supervisor.store.engine import sqlite_url
from supervisor.store.repository import PluginFacts

HELLO = PluginFacts("hello", "1.0", "Ada", "/app/hello")
LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(url):
    """Another process holds SQLite's write lock."""
    command = [sys.executable, "-c", LOCK, url.database]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "locked\n"
        yield
        holder.stdin.close()


@pytest.mark.process
@pytest.mark.slow
def test_locked_by_another_process_writes_fail_in_time_and_reads_go_on(sqlite_database, scenario, quick):
    """Row 38: an admin write waits, then 503; looking still works; all is well when the lock is gone."""
    with scenario(sqlite_database, settings=quick) as (store, run):
        with locked(sqlite_database):
            begun = time.monotonic()
            with pytest.raises(StoreUnavailableError, match="cannot add the plugin: database is locked"):
                run(store.plugins.add(HELLO))
            assert quick.patience * 0.9 <= time.monotonic() - begun < quick.patience + 1.0
            assert run(store.plugins.get_all()) == []
        assert run(store.plugins.add(HELLO)).name == "hello"


@pytest.mark.process
@pytest.mark.slow
def test_writes_that_queue_behind_a_locked_one_fail_in_the_same_time(sqlite_database, scenario, quick):
    """Ten writes must not wait ten times as long as one; and none of them happens after its error."""
    with scenario(sqlite_database, settings=quick) as (store, run):

        async def many():
            facts = [PluginFacts(str(number), "1", "a", "/") for number in range(10)]
            return await asyncio.gather(*map(store.plugins.add, facts), return_exceptions=True)

        with locked(sqlite_database):
            begun = time.monotonic()
            answers = run(many())
            assert time.monotonic() - begun < quick.patience + 1.0
        assert {type(answer) for answer in answers} == {StoreUnavailableError}
        assert run(store.plugins.get_all()) == []


@pytest.mark.process
@pytest.mark.slow
def test_a_write_waits_for_a_short_lock(sqlite_database, scenario):
    """A backup that takes a moment is nobody's problem."""
    with scenario(sqlite_database) as (store, run), locked(sqlite_database):

        async def write_while_locked():
            writing = asyncio.create_task(store.plugins.add(HELLO))
            done, _ = await asyncio.wait({writing}, timeout=0.2)
            assert not done
            return writing

        writing = run(write_while_locked())
    # leaving the inner scope first frees the lock, then closes the store, which finishes what was asked for
    assert writing.done()


def test_the_event_loop_turns_while_the_database_works(sqlite_database, scenario):
    """The reason for the thread."""
    with scenario(sqlite_database) as (store, run):
        entered, leave = threading.Event(), threading.Event()

        def work(session):
            entered.set()
            assert leave.wait(10)
            return threading.current_thread().name

        async def both():
            working = asyncio.create_task(store._database.write("work", work))
            while not entered.is_set():
                await asyncio.sleep(0.001)
            leave.set()
            return await working

        assert run(both()) == "store"


def test_a_cancelled_write_that_had_not_begun_never_happens(sqlite_database, scenario):
    """The client went away while the write stood in the queue."""
    with scenario(sqlite_database) as (store, run):
        leave = threading.Event()

        async def cancel_second():
            first = asyncio.create_task(store._database.write("block", lambda _: leave.wait(10)))
            second = asyncio.create_task(store.plugins.add(HELLO))
            await asyncio.sleep(0)
            second.cancel()
            await asyncio.wait({second})
            leave.set()
            await first
            return await store.plugins.get_all()

        assert run(cancel_second()) == []


@pytest.mark.slow
def test_a_database_that_hangs_ends_in_an_error_that_admits_not_to_know(sqlite_database, scenario, quick):
    """A dead network file system; nobody may wait for ever."""
    with scenario(sqlite_database, settings=quick) as (store, run):
        leave = threading.Event()
        try:
            with pytest.raises(StoreUnavailableError, match="whether it was done is not known"):
                run(store._database.write("hang", lambda _: leave.wait(20)))
        finally:
            leave.set()


def test_an_error_of_the_work_itself_comes_through(sqlite_database, scenario):
    """Only the database's errors are translated, and only they are trouble."""
    with scenario(sqlite_database) as (store, run):

        def work(session):
            session.execute(text("DELETE FROM plugins"))
            raise KeyError("mine")

        run(store.plugins.add(HELLO))
        with pytest.raises(KeyError, match="mine"):
            run(store._database.write("work", work))
        assert len(run(store.plugins.get_all())) == 1
        assert store.observations.healthy


def test_closing_ends_the_thread_and_the_connection(sqlite_database, scenario):
    """SQLite's -wal file goes with the last connection."""
    with scenario(sqlite_database) as (store, run):
        run(store.plugins.add(HELLO))
    assert "store" not in {thread.name for thread in threading.enumerate()}
    with closing(sqlite3.connect(sqlite_database.database)) as connection:
        assert connection.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)


def test_a_store_that_cannot_be_opened_leaves_no_thread(tmp_path, scenario):
    """Otherwise the program that reports the error would never end."""
    (tmp_path / "manager.db").write_text("no database, but long enough to have a header" * 10)
    with pytest.raises(StoreCorruptError), scenario(sqlite_url(tmp_path / "manager.db")):
        pass
    deadline = time.monotonic() + 5
    while "store" in {thread.name for thread in threading.enumerate()}:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_database_file_that_vanished_is_never_replaced_by_an_empty_one(sqlite_database, scenario, quick):
    """SQLite makes an empty database of what is missing, unless it is told not to."""
    with scenario(sqlite_database, settings=quick) as (store, run):
        run(store._database.read("look", lambda _: None))
        store._database._engine.dispose()  # the next transaction connects anew, as after an error
        file = Path(sqlite_database.database)
        file.rename(f"{file}.moved")
        with pytest.raises(StoreUnavailableError, match="unable to open"):
            run(store.plugins.add(HELLO))
        assert not file.exists()
