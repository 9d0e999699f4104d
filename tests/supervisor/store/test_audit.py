"""The audit log, on both databases."""

import asyncio
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import replace

import pytest

from supervisor.errors import StoreUnavailableError
from supervisor.store.audit import AuditEntry
from supervisor.store.settings import StoreSettings

ENTRY = AuditEntry(1.0, "ada", "tasks.stop", "reports", "succeeded", {"wait": 1.5})


def test_entries_come_back_newest_first_and_the_oldest_go(url, scenario):
    """Failed logins can be many; the newest are what counts."""
    with scenario(url, settings=StoreSettings(kept_audit=3)) as (store, run):
        written = [AuditEntry(float(n), "ada", "disable", "hello", "done", {"n": n, "why": ["ü"]}) for n in range(5)]
        for entry in written:
            run(store.audit.audit(entry))
        assert run(store.audit.entries()) == [written[4], written[3], written[2]]
        assert run(store.audit.entries(limit=1)) == [written[4]]


def test_an_entry_written_twice_is_stored_once(url, scenario):
    """Whether a commit happened may not be known; what is written again is not done again."""
    with scenario(url) as (store, run):
        run(store.audit.audit(ENTRY))
        run(store._record([ENTRY, replace(ENTRY, id="other")]))
        run(store.record_audit(ENTRY))
        assert run(store.audit.entries()) == [replace(ENTRY, id="other"), ENTRY]


def test_what_is_done_is_on_record_before_it_is_answered(url, scenario):
    """An operator who has the answer finds the entry."""
    with scenario(url) as (store, run):
        run(store.record_audit(ENTRY))
        assert store.observations.waiting == 0
        assert run(store.audit.entries()) == [ENTRY]


@pytest.mark.slow
def test_an_entry_of_a_locked_time_is_written_afterwards(sqlite_database, scenario, quick, eventually):
    """What was done does not fail for its record; while the trouble lasts nobody waits for it again."""
    second = replace(ENTRY, id="second")
    settings = replace(quick, patience=60.0)
    with scenario(sqlite_database, settings=settings) as (store, run):
        with closing(sqlite3.connect(sqlite_database.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            run(asyncio.wait_for(store.record_audit(ENTRY), 10))
            assert not store.observations.healthy
            begun = time.monotonic()
            run(store.record_audit(second))
            assert time.monotonic() - begun < settings.observation_patience
        run(eventually(lambda: store.observations.waiting == 0, "never written"))
        assert run(store.audit.entries()) == [second, ENTRY]


def test_an_entry_that_nobody_waited_for_is_written_once(sqlite_database, scenario, eventually):
    """Whoever is cancelled while it is written does not know whether it was."""
    with scenario(sqlite_database) as (store, run):

        async def give_up():
            task = asyncio.ensure_future(store.record_audit(ENTRY))
            await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert task.cancelled()

        run(give_up())
        run(eventually(lambda: store.observations.waiting == 0, "never written"))
        assert run(store.audit.entries()) == [ENTRY]


def test_a_database_in_trouble_is_told_to_whoever_wants_the_entry_itself(sqlite_database, scenario):
    """The direct way fails in the time given: the making of a token does not count without its entry."""
    with scenario(sqlite_database) as (store, run):
        with closing(sqlite3.connect(sqlite_database.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError, match="locked"):
                run(store.audit.audit(ENTRY, patience=0.05))
        assert run(store.audit.entries()) == []
