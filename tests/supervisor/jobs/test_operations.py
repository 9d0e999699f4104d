"""The manager of jobs: what people ask and order."""

import asyncio
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from supervisor.errors import StoreUnavailableError, UnknownNameError
from supervisor.jobs import manager as module
from supervisor.jobs.manager import TaskManager
from supervisor.schedule.triggers import Interval
from tests.fakes.job_scene import CLEANUP, DUE, NOW, stored_row
from tests.fakes.jobs import Every, FakeStore, ScriptedHost, job, run_view
from tests.fakes.process_table import process_table
from tests.fakes.processes import state_folder
from tests.fakes.waiting import settle, until

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("nothing_left_behind")]


def test_a_pause_is_stored_before_it_is_answered(play):
    """And holds off the schedule, not the operator."""

    async def scenario(scene):
        scene.declares(job())
        shown = await scene.manager.pause(CLEANUP, "operator")
        assert (shown.state, shown.next_run) == ("paused", None)
        assert (scene.store.jobs.rows[CLEANUP].paused, scene.store.jobs.rows[CLEANUP].next_run) == (True, None)
        assert scene.scheduler.entries[CLEANUP].paused
        assert (await scene.end_of(await scene.begins())).outcome == "succeeded"

        shown = await scene.manager.resume(CLEANUP, "operator")
        assert (shown.state, shown.next_run) == ("scheduled", DUE)
        await until(lambda: scene.store.jobs.rows[CLEANUP] == stored_row(next_run=DUE), "its next moment is stored")

    play(scenario)


def test_a_pause_that_cannot_be_stored_is_none(play):
    """The one who asked learns it."""

    async def scenario(scene):
        scene.declares(job())
        scene.store.jobs.error = StoreUnavailableError("locked")
        with pytest.raises(StoreUnavailableError):
            await scene.manager.pause(CLEANUP, "operator")
        assert (await scene.manager.show_job(CLEANUP)).state == "scheduled"
        assert not scene.scheduler.entries[CLEANUP].paused

    play(scenario)


def test_a_pause_whose_commit_is_unclear_is_none_as_soon_as_the_database_is_back(play, monkeypatch):
    """It may have been stored, and the job be paused after the next start, though the one who asked was refused."""
    monkeypatch.setattr(module, "RETRY", 0.01)

    async def scenario(scene):
        scene.declares(job())
        await until(lambda: scene.store.jobs.rows, "it is stored")
        scene.store.jobs.lost_commit = StoreUnavailableError("connection lost")
        with pytest.raises(StoreUnavailableError):
            await scene.manager.pause(CLEANUP, "operator")
        assert scene.store.jobs.rows[CLEANUP].paused
        scene.store.jobs.lost_commit, scene.store.jobs.error = None, StoreUnavailableError("away")
        await until(lambda: scene.store.jobs.refused > 2, "it is tried in vain")
        scene.store.jobs.error = None
        await until(lambda: scene.store.jobs.rows[CLEANUP] == stored_row(next_run=DUE), "it is not paused there either")
        assert (await scene.manager.show_job(CLEANUP)).state == "scheduled"

    play(scenario)


def test_resuming_what_is_not_paused_changes_nothing(play):
    """Its next moment stays stored."""

    async def scenario(scene):
        scene.declares(job())
        await until(lambda: scene.store.jobs.rows, "it is stored")
        assert (await scene.manager.resume(CLEANUP, "operator")).state == "scheduled"
        await settle()
        assert scene.store.jobs.rows[CLEANUP].next_run == DUE

    play(scenario)


def test_a_pause_is_not_overwritten_by_what_is_stored_meanwhile(play):
    """Both write the same row; they take turns."""

    async def scenario(scene):
        scene.declares(job())
        await until(lambda: scene.store.jobs.rows, "it is stored")
        scene.store.jobs.gate = asyncio.Event()
        pausing = asyncio.create_task(scene.manager.pause(CLEANUP, "operator"))
        await settle()
        scene.scheduler.fires(CLEANUP)
        await settle()
        scene.store.jobs.gate.set()
        await pausing
        await scene.ended(1)
        await scene.manager.close()
        assert scene.store.jobs.rows[CLEANUP].paused

    play(scenario)


def test_a_job_that_is_withdrawn_while_it_is_paused_stays_paused(play):
    """The one who asked learns that it is gone; when it comes back, it is paused."""

    async def scenario(scene):
        scene.declares(job())
        scene.store.jobs.gate = asyncio.Event()
        pausing = asyncio.create_task(scene.manager.pause(CLEANUP, "operator"))
        await settle()
        scene.manager.withdraw("reports")
        scene.store.jobs.gate.set()
        with pytest.raises(UnknownNameError):
            await pausing
        scene.declares(job())
        assert (await scene.manager.show_job(CLEANUP)).state == "paused"

    play(scenario)


def test_jobs_are_listed_by_owner_and_activation(play):
    async def scenario(scene):
        scene.declares(job("b", activate=False), job("a"))
        scene.manager.declare(ScriptedHost(scene.table.folder, name="shop"), [job("sync", "shop")])
        listed = {
            filters: [view.id for view in await scene.manager.list_jobs(*filters)]
            for filters in [(None, None), ("reports", None), (None, True), ("reports", False), ("nobody", None)]
        }
        assert listed == {
            (None, None): ["reports.a", "reports.b", "shop.sync"],
            ("reports", None): ["reports.a", "reports.b"],
            (None, True): ["reports.a", "shop.sync"],
            ("reports", False): ["reports.b"],
            ("nobody", None): [],
        }

    play(scenario)


def test_a_reload_lists_the_jobs_afterwards(play):
    async def scenario(scene):
        async def begin_reload(actor):
            scene.declares(job("new"))

        scene.manager.begin_reload = begin_reload
        assert [view.id for view in await scene.manager.reload("operator")] == ["reports.new"]

    play(scenario)


def test_the_next_moments_of_a_job_can_be_asked_for(play):
    """From the one that is scheduled on, also of jobs that are paused or not activated."""

    async def scenario(scene):
        scene.declares(job(trigger=Every(60.0, end=NOW + 200)), job("asleep", activate=False))
        found = await scene.manager.next_moments(CLEANUP)
        assert [moment.time for moment in found] == [DUE, DUE + 60, DUE + 120]
        assert found[0].local == f"local {DUE:g}"
        assert len(await scene.manager.next_moments(CLEANUP, 2)) == 2
        assert len(await scene.manager.next_moments("reports.asleep", 5000)) == 1000
        assert await scene.manager.next_moments(CLEANUP, -1) == []
        await scene.manager.pause(CLEANUP, "operator")
        assert (await scene.manager.next_moments(CLEANUP))[0].time == DUE

    play(scenario)


def test_what_a_dead_supervisor_left_open_is_closed_when_the_database_is_back(tmp_path, monkeypatch, caplog):
    """It is tried until it is done, and said once that it was not."""
    monkeypatch.setattr(module, "RETRY", 0.01)

    async def main():
        async with process_table(state_folder(tmp_path)) as table:
            store = FakeStore()
            store.runs.put(run_view(1, outcome="failed"))
            store.runs.error = StoreUnavailableError("locked")
            at = TaskManager(store, table.around, table.tree, print)
            await at.start()
            at.declare(ScriptedHost(table.folder), [job()])
            await until(lambda: store.runs.refused > 2, "it is tried in vain")
            assert (await at.show_job(CLEANUP)).last_run is None
            store.runs.error = None
            await until(lambda: store.runs.abandoned, "they are closed")
            await until(lambda: at._records.last(CLEANUP), "the last run is known")
            await at.close()

    asyncio.run(main())
    assert caplog.text.count("Cannot read how the last runs of jobs ended, trying again: locked") == 1


def test_unknown_jobs_and_runs_are_named(play):
    async def scenario(scene):
        scene.declares(job())
        manager = scene.manager
        for ask in (manager.show_job, manager.next_moments, manager.show_run, manager.follow):
            with pytest.raises(UnknownNameError):
                await ask("nothing")
        for order in (manager.run_job, manager.pause, manager.resume):
            with pytest.raises(UnknownNameError, match="no job named 'nothing'"):
                await order("nothing", "operator")

    play(scenario)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("report.cleanup", "did you mean 'reports.cleanup'?"),
        ("cleanup", "did you mean 'reports.cleanup'?"),
        ("clenup", "did you mean 'reports.cleanup'?"),
        ("xyz", "known: reports.cleanup, reports.other"),
    ],
)
def test_an_unknown_job_is_told_which_one_may_be_meant(play, asked, said):
    """Also to those who left out the owner, as the command line lets them."""

    async def scenario(scene):
        scene.declares(job(), job("other"))
        with pytest.raises(UnknownNameError) as refused:
            await scene.manager.show_job(asked)
        assert str(refused.value) == f"no job named {asked!r}; {said}"

    play(scenario)


def test_all_operations_are_registered(play):
    """The names that the HTTP interface and the command line call."""

    async def scenario(scene):
        assert set(scene.manager.operations) == {
            *("jobs.list", "jobs.show", "jobs.run", "jobs.pause", "jobs.resume", "jobs.reload", "jobs.next"),
            *("runs.list", "runs.show", "runs.follow"),
        }

    play(scenario)


@pytest.mark.slow
def test_a_thousand_jobs_due_at_once_are_one_transaction_and_leave_the_event_loop_free(play):
    """Those that wait for their start cost no task, no timer, and no long turn."""

    async def scenario(scene):
        jobs = [job(f"job{number}") for number in range(1000)]
        scene.declares(*jobs)
        await until(lambda: len(scene.store.jobs.rows) == 1000, "they are stored")
        scene.store.jobs.saved.clear()
        tasks = len(asyncio.all_tasks())
        scene.scheduler.fires(*(spec.id for spec in jobs))
        await until(lambda: scene.host.started, "the first begins")
        assert [len(saved) for saved in scene.store.jobs.saved] == [1000]
        assert len(scene.host.started) <= 4
        assert len(asyncio.all_tasks()) <= tasks + 2

    play(scenario)


@pytest.mark.slow
def test_the_schedule_runs_jobs_again_and_again(tmp_path):
    """With the clocks of the machine: each moment once, each run a process of its own."""

    async def main():
        async with process_table(state_folder(tmp_path)) as table:
            store, exits = FakeStore(), []
            manager = TaskManager(store, table.around, table.tree, exits.append)
            await manager.start()
            host = ScriptedHost(table.folder, "hello", "ready", "finished:succeeded", "exit:0")
            assert manager.declare(host, [job(trigger=Interval(0.3, ZoneInfo("UTC")))]) == []
            await until(lambda: store.outcomes().count("succeeded") >= 3, "three runs have succeeded")
            await manager.close()
        # On a busy machine one may not have ended when the next is due, which is skipped then.
        assert set(store.outcomes()) <= {"succeeded", "skipped"}
        views = [view for view in store.put if view.outcome == "succeeded"]
        assert len({view.pid for view in views}) == len(views)
        moments = [view.scheduled for view in views]
        assert all(0.29 < later - earlier < 5.0 for earlier, later in pairwise(moments))
        assert all(view.started >= view.scheduled - 0.01 for view in views)
        assert store.jobs.rows[CLEANUP].next_run > moments[-1]

    asyncio.run(main())
