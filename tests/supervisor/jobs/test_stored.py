"""Jobs and runs with the real database, over the end of one supervisor and the start of the next."""

import asyncio
from contextlib import asynccontextmanager
from zoneinfo import ZoneInfo

import pytest

from supervisor.jobs.manager import TaskManager
from supervisor.schedule.triggers import Interval
from supervisor.store.engine import sqlite_url
from supervisor.store.store import Store
from tests.fakes.jobs import ScriptedHost, job
from tests.fakes.process_table import process_table
from tests.fakes.processes import state_folder
from tests.fakes.waiting import until

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.usefixtures("nothing_left_behind")]

CLEANUP = "reports.cleanup"
HOURLY = job(trigger=Interval(3600.0, ZoneInfo("UTC")))


@pytest.fixture
def folder(tmp_path):
    return state_folder(tmp_path)


@asynccontextmanager
async def supervisor(folder, *steps, forgets=False):
    """One life of a manager whose runs do ``steps``; ``forgets``: what happens to runs at its end is not recorded."""
    store = await Store.open(sqlite_url(folder.database))
    try:
        async with process_table(folder) as table:
            manager = TaskManager(store, table.around, table.tree, store.observations.put)
            await manager.start()
            manager.declare(ScriptedHost(folder, *(steps or ("hello", "ready", "finished:failed", "exit:1"))), [HOURLY])
            yield manager, table
            await manager.close()
            if forgets:
                await until(lambda: not store.observations.waiting, "all so far is written")
                manager._records._put = lambda _row: None
    finally:
        await store.close()


async def ended(manager, view):
    async with asyncio.timeout(10):
        while (now := await manager.show_run(view.id)).outcome is None:
            await asyncio.sleep(0.002)
    return now


def test_a_run_is_the_same_in_memory_and_on_record(folder):
    """All that is known of it; and its job knows how it ended."""

    async def main():
        async with supervisor(folder, "print:one", "hello", "ready", "finished:failed", "exit:1") as (manager, _):
            before = await ended(manager, await manager.run_job(CLEANUP, "token:ci"))
        async with supervisor(folder) as (manager, _):
            assert await manager.show_run(before.id) == before
            assert await manager.list_runs() == [before]
            assert await manager.list_runs("reports.other") == []
            last = (await manager.show_job(CLEANUP)).last_run
            assert (last.id, last.exception, last.log_tail) == (before.id, "ValueError: no such report", [])
            assert (await manager.follow(before.id)).lines == ["one"]

    asyncio.run(main())


def test_next_moments_and_pauses_survive_a_restart(folder):
    async def main():
        async with supervisor(folder) as (manager, _):
            due = (await manager.show_job(CLEANUP)).next_run
        async with supervisor(folder) as (manager, _):
            assert (await manager.show_job(CLEANUP)).next_run == pytest.approx(due, abs=0.01)
            await manager.pause(CLEANUP, "operator")
        async with supervisor(folder) as (manager, _):
            assert (await manager.show_job(CLEANUP)).state == "paused"
            assert (await manager.resume(CLEANUP, "operator")).state == "scheduled"
        async with supervisor(folder) as (manager, _):
            assert (await manager.show_job(CLEANUP)).state == "scheduled"

    asyncio.run(main())


def test_a_run_whose_supervisor_was_killed_counts_as_crashed(folder):
    """It was on record from its first moment."""

    async def main():
        async with supervisor(folder, "hello", "ready", "serve", forgets=True) as (manager, table):
            view = await manager.run_job(CLEANUP, "operator")
            await until(lambda: any(child.pid for child in table.tree.children), "it runs")
        async with supervisor(folder) as (manager, _):
            left = await manager.show_run(view.id)
            assert (left.outcome, left.message) == ("crashed", "the supervisor ended before it did")
            assert left.pid is not None

    asyncio.run(main())
