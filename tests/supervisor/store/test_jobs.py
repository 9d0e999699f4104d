"""The records of jobs, on both databases."""

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from sqlalchemy import select

from supervisor.errors import ConflictError, StoreUnavailableError
from supervisor.store.jobs import JobRow
from supervisor.store.models import Job

CLEANUP = JobRow(
    id="reports.cleanup",
    name="cleanup",
    owner="reports",
    entry="clean_up",
    trigger={"type": "cron", "cron_params": {"hour": 3, "minute": "*/5"}, "timezone": "Europe/Berlin"},
    paused=False,
    next_run=1_800_000_000.125,
)


@pytest.fixture
def opened(url, scenario, clock):
    with scenario(url, clock=clock) as (store, run):
        yield store, run


def test_a_saved_job_comes_back_with_every_field(opened):
    """The trigger decides whether the stored moment still counts: it must come back equal."""
    store, run = opened
    rows = [CLEANUP, replace(CLEANUP, id="reports.ABC", paused=True, next_run=None)]
    run(store.jobs.save(rows))
    assert run(store.jobs.get_all()) == [rows[1], rows[0]]


def test_saving_replaces_what_is_there(opened, clock):
    """The schedule moves on: one row for each job, and the time it was written."""
    store, run = opened
    run(store.jobs.save([CLEANUP, replace(CLEANUP, id="other")]))
    clock.now += 60
    moved = replace(CLEANUP, next_run=None, paused=True, entry="another", trigger={"type": "interval", "seconds": 60})
    run(store.jobs.save([moved]))
    assert run(store.jobs.get_all()) == [replace(CLEANUP, id="other"), moved]

    def times(session):
        return dict(session.execute(select(Job.id, Job.update_time)).all())

    assert run(store._database.read("times", times)) == {"other": clock.now - 60, CLEANUP.id: clock.now}


def test_of_two_rows_of_one_job_the_later_counts(opened):
    """PostgreSQL would refuse to write one row twice."""
    store, run = opened
    run(store.jobs.save([CLEANUP, replace(CLEANUP, next_run=7.0)]))
    assert run(store.jobs.get_all()) == [replace(CLEANUP, next_run=7.0)]


def test_all_rows_are_saved_or_none(opened):
    """One transaction: a moment that is stored while another is lost would be a run doubled after a kill."""
    store, run = opened
    with pytest.raises(ConflictError):
        run(store.jobs.save([CLEANUP, replace(CLEANUP, id="bad", name=None)]))
    assert run(store.jobs.get_all()) == []
    run(store.jobs.save([]))
    assert run(store.jobs.get_all()) == []


def test_a_thousand_jobs_are_saved_at_once(opened):
    """More than one statement may take parameters for."""
    store, run = opened
    rows = [replace(CLEANUP, id=f"job{number:04}") for number in range(1200)]
    run(store.jobs.save(rows))
    moved = [replace(row, next_run=1.0) for row in rows]
    run(store.jobs.save(moved))
    assert run(store.jobs.get_all()) == moved


def test_a_locked_database_is_waited_for_as_long_as_the_caller_says(sqlite_database, scenario):
    """The schedule goes on without it; nobody behind it waits for the longer time of commands."""
    with scenario(sqlite_database) as (store, run):
        with closing(sqlite3.connect(sqlite_database.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError, match="locked"):
                run(store.jobs.save([CLEANUP], patience=0.05))
        assert run(store.jobs.get_all()) == []
