"""The queue of observations, against a writer that fails on demand; and once against a real lock."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from sqlalchemy import text

from plugin_runtime.task_views import RunView
from plugin_runtime.views import ExitView, ResourceView
from supervisor.errors import ConflictError, StoreCorruptError, StoreUnavailableError
from supervisor.store.audit import AuditEntry
from supervisor.store.observations import Observations
from supervisor.store.settings import StoreSettings

EXIT = ExitView("0", "x", "x.1", "worker", "crash", 1, None, "", 1.0, 1.0, [])
BEGUN = RunView("r1", "x.job", 1.0, None, None)
ENTRY = AuditEntry(1.0, "ada", "tasks.stop", "x", "succeeded")
QUICK = StoreSettings(queue_limit=10, batch=4, retry_delay=0.001, retry_max_delay=0.002, close_timeout=0.1)


class Database:
    """Keeps what is written; ``failures`` are raised first, one per call, None = success."""

    def __init__(self, *failures, refused=()):
        self.failures = list(failures)
        self.refused = refused
        self.batches = []

    async def write(self, batch):
        await asyncio.sleep(0)
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        if any(view.id in self.refused for view in batch):
            raise ConflictError("refused")
        self.batches.append([view.id for view in batch])

    @property
    def written(self):
        return [one for batch in self.batches for one in batch]


def play(database, act, settings=QUICK):
    """Run ``act`` with started observations; returns them, closed, and what was said about health."""
    told = []

    async def main():
        observations = Observations(database.write, settings, told.append)
        observations.start()
        try:
            await act(observations)
        finally:
            await observations.close()
        return observations

    return asyncio.run(main()), told


def put(count, start=0):
    async def act(observations):
        for number in range(start, start + count):
            observations.put(replace(EXIT, id=str(number)))

    return act


def test_observations_are_written_in_order_and_in_batches():
    """One fsync for many."""
    database = Database()
    observations, told = play(database, put(10), replace(QUICK, close_timeout=60.0))
    assert database.batches == [["0", "1", "2", "3"], ["4", "5", "6", "7"], ["8", "9"]]
    assert (observations.dropped, observations.waiting, told) == (0, 0, [])


def test_the_oldest_is_dropped_and_counted_when_the_queue_is_full():
    """Memory is bounded, and the newest exits explain the present."""
    database = Database()
    observations, _ = play(database, put(13))
    assert database.written == [str(number) for number in range(3, 13)]
    assert observations.dropped == 3


def test_what_is_dropped_during_a_write_is_not_taken_for_written():
    """The queue overflows while its front is on the way to the database."""

    class Slow(Database):
        async def write(self, batch):
            if not self.batches:
                await put(10, start=10)(self.observations)
            await super().write(batch)

    database = Slow()

    async def act(observations):
        database.observations = observations
        await put(4)(observations)

    observations, _ = play(database, act)
    assert database.written == [str(number) for number in (0, 1, 2, 3, *range(10, 20))]
    assert observations.waiting == 0


def test_a_database_that_was_away_gets_everything_and_health_is_told_once_each_way(eventually):
    """Retried with back-off; nothing lost, nothing doubled by us."""
    database = Database(*[StoreUnavailableError("away")] * 100_000)

    async def act(observations):
        await put(3)(observations)
        await eventually(lambda: not observations.healthy, "never unhealthy")
        assert str(observations.trouble) == "away"
        database.failures.clear()
        await eventually(lambda: observations.healthy, "never healthy again")

    observations, told = play(database, act)
    assert database.written == ["0", "1", "2"]
    assert [str(trouble) for trouble in told] == ["away", "None"]
    assert observations.dropped == 0


def test_health_returns_by_itself_after_somebody_elses_trouble(eventually):
    """Nothing waits to be written; an empty write is the probe."""
    database = Database(StoreUnavailableError("still away"))

    async def act(observations):
        observations.doubt(StoreUnavailableError("away"))
        assert not observations.healthy
        await eventually(lambda: observations.healthy, "never probed")

    _, told = play(database, act)
    assert [str(trouble) for trouble in told] == ["away", "None"]
    assert database.batches == [[]]


def test_damage_stays_until_the_next_start(eventually):
    """A write may succeed in one table while another is damaged."""
    database = Database()

    async def act(observations):
        observations.doubt(StoreCorruptError("damaged"))
        await put(1)(observations)
        await eventually(lambda: observations.waiting == 0, "never written")

    observations, told = play(database, act)
    assert database.written == ["0"]
    assert not observations.healthy
    assert [str(trouble) for trouble in told] == ["damaged"]


def test_one_bad_row_does_not_hold_up_the_others(caplog):
    """It is dropped, counted and logged; the database is well."""
    database = Database(refused={"1"})
    observations, told = play(database, put(4))
    assert database.written == ["0", "2", "3"]
    assert (observations.dropped, told) == (1, [])
    assert "id='1'" in caplog.text


def test_closing_gives_up_in_time_and_counts_what_is_lost(caplog):
    """The end of the supervisor does not depend on the database."""
    database = Database(*[StoreUnavailableError("away")] * 1000)
    observations, _ = play(database, put(3))
    assert observations.dropped == 3
    assert "Cannot write 3 observations" in caplog.text


def test_a_row_that_the_driver_cannot_take_does_not_end_the_writer(sqlite_database, scenario, eventually):
    """An error that nobody thought of must not end the recording of exits."""
    with scenario(sqlite_database) as (store, run):
        for view in (EXIT, replace(EXIT, id="1", exit_code=2**70), replace(EXIT, id="2")):
            store.observations.put(view)
        run(eventually(lambda: store.observations.waiting == 0, "never written"))
        assert [view.id for view in run(store.exits.exits())] == ["2", "0"]
        assert (store.observations.dropped, store.observations.healthy) == (1, True)


def test_a_full_disk_is_trouble_that_heals(sqlite_database, scenario, quick, eventually):
    """Row 32: SQLite's own error for it, caused by its own limit; nothing is lost."""

    def limit(pages):
        return lambda session: session.execute(text(f"PRAGMA max_page_count={pages}"))

    long = replace(EXIT, id="1", log_tail=["x" * 100_000])
    with scenario(sqlite_database, settings=quick) as (store, run):
        run(store._database.write("limit", limit(1)))  # no less than it has
        with pytest.raises(StoreUnavailableError, match="full"):
            run(store.exits.add_exits([long]))
        store.observations.put(long)
        run(eventually(lambda: not store.observations.healthy, "never unhealthy"))
        run(store._database.write("limit", limit(100_000)))
        run(eventually(lambda: store.observations.waiting == 0, "never written"))
        assert store.observations.healthy
        assert run(store.exits.exits()) == [long]


@pytest.mark.slow
def test_observations_of_a_locked_time_are_in_the_database_afterwards(sqlite_database, scenario, quick, eventually):
    """Row 38, for exits: nothing is lost, and commands that fail meanwhile count as trouble too."""
    told = []
    with scenario(sqlite_database, settings=quick, on_health=told.append) as (store, run):
        with closing(sqlite3.connect(sqlite_database.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            store.observations.put(EXIT)
            run(eventually(lambda: not store.observations.healthy, "never unhealthy"))
        run(eventually(lambda: store.observations.healthy, "never healthy again"))
        assert run(store.exits.exits()) == [EXIT]
    assert [type(trouble) for trouble in told] == [StoreUnavailableError, type(None)]


def test_observations_of_every_kind_are_written_in_one_batch(url, scenario, eventually):
    """Each to its table, in the order of their arrival; the start and the end of a run are one row."""
    sample = ResourceView("worker", "x", "x.1", 4711, 12.5, 1.0, 30.0, None, 4, 20, 1000.0)
    ended = replace(BEGUN, finished=2.0, outcome="succeeded", duration=1.0)
    skipped = replace(BEGUN, id="r2", started=None, outcome="skipped")
    with scenario(url) as (store, run):

        async def observe():
            for seen in (EXIT, BEGUN, sample, ENTRY, skipped, ended):
                store.observations.put(seen)

        run(observe())
        run(eventually(lambda: store.observations.waiting == 0, "never written"))
        assert run(store.exits.exits()) == [EXIT]
        assert run(store.samples.history("x.1", since=0.0, until=2000.0)) == [sample]
        assert run(store.audit.entries()) == [ENTRY]
        assert run(store.runs.runs()) == [skipped, ended]
        assert (store.observations.dropped, store.observations.healthy) == (0, True)


def test_a_bad_run_or_entry_does_not_hold_up_the_others(url, scenario, eventually):
    """Written row by row, a run still ends as it ended."""
    bad = (replace(BEGUN, id="bad", job=None), replace(ENTRY, id="bad", detail={"value": float("nan")}))
    ended = replace(BEGUN, finished=2.0, outcome="succeeded")
    with scenario(url) as (store, run):

        async def observe():
            for seen in (BEGUN, bad[0], ENTRY, bad[1], ended):
                store.observations.put(seen)

        run(observe())
        run(eventually(lambda: store.observations.waiting == 0, "never written"))
        assert run(store.runs.runs()) == [ended]
        assert run(store.audit.entries()) == [ENTRY]
        assert (store.observations.dropped, store.observations.healthy) == (2, True)


@pytest.mark.slow
def test_runs_of_a_locked_time_are_in_the_database_afterwards(sqlite_database, scenario, quick, eventually):
    """Row 38, for runs: jobs go on while the database does not."""
    ended = replace(BEGUN, finished=2.0, outcome="succeeded")
    with scenario(sqlite_database, settings=quick) as (store, run):
        with closing(sqlite3.connect(sqlite_database.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            store.observations.put(BEGUN)
            run(eventually(lambda: not store.observations.healthy, "never unhealthy"))
            store.observations.put(ended)
        run(eventually(lambda: store.observations.healthy, "never healthy again"))
        run(eventually(lambda: store.observations.waiting == 0, "never written"))
        assert run(store.runs.runs()) == [ended]
