"""The manager of jobs: what is declared, and what is stored before what begins."""

import asyncio

import pytest

from plugin_runtime.protocol import State
from plugin_runtime.task_protocol import Overlap, RunFinished, RunJob
from plugin_runtime.views import ExitView
from supervisor.errors import ConflictError, StoreUnavailableError, UnknownNameError
from supervisor.jobs import manager as module
from supervisor.schedule.job_spec import JobKind
from tests.fakes.job_scene import CLEANUP, DUE, NOW, stored_row
from tests.fakes.jobs import Every, FakeService, OtherHost, ScriptedHost, job, run_view
from tests.fakes.waiting import settle, until

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("nothing_left_behind")]

DEATH = ExitView("1", "reports", "reports", "task", "operator", 0, None, "token:ci", 0.0, 1.0, [])


# --- declarations ---


def test_a_new_job_is_scheduled_and_stored(play):
    async def scenario(scene):
        scene.declares(job())
        assert scene.scheduler.declared_with == {CLEANUP: (False, None)}
        await until(lambda: CLEANUP in scene.store.jobs.rows, "it is stored")
        assert scene.store.jobs.rows[CLEANUP] == stored_row(next_run=DUE)

    play(scenario)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (stored_row(), (False, DUE - 20)),
        (stored_row(paused=True, next_run=None), (True, None)),
        (stored_row(trigger={"type": "interval", "seconds": 90.0}), (False, None)),
        (stored_row(trigger={"type": "interval", "seconds": 90.0}, paused=True), (True, None)),
    ],
    ids=["as before", "paused", "another trigger", "another trigger, paused"],
)
def test_what_is_stored_of_a_job_counts_again(play, stored, expected):
    """Its pause in any case, its next moment only while it has the same trigger."""

    async def scenario(scene):
        scene.declares(job())
        assert scene.scheduler.declared_with[CLEANUP] == expected

    play(scenario, rows=[stored])


def test_a_job_that_vanishes_and_comes_back_keeps_its_pause(play):
    """A task that is being edited is without its jobs for a moment."""

    async def scenario(scene):
        scene.declares(job(), job("other"))
        await scene.manager.pause(CLEANUP, "operator")
        scene.declares(job("other"))
        assert list(scene.scheduler.entries) == ["reports.other"]
        with pytest.raises(UnknownNameError):
            await scene.manager.show_job(CLEANUP)
        scene.declares(job(), job("other"))
        assert scene.scheduler.declared_with[CLEANUP] == (True, None)
        assert scene.store.jobs.rows[CLEANUP].paused

    play(scenario)


def test_the_same_declaration_again_changes_nothing_but_the_host(play):
    """A reload of an unchanged task is no reason to draw another jitter, and the newest code runs."""

    async def scenario(scene):
        scene.declares(job())
        scene.scheduler.declared_with.clear()
        newer = ScriptedHost(scene.table.folder, "hello", "ready", "exit:3")
        assert scene.manager.declare(newer, [job()]) == []
        assert scene.scheduler.declared_with == {}
        view = await scene.end_of(await scene.begins())
        assert (view.outcome, newer.started) == ("crashed", [view.id])

    play(scenario)


def test_a_changed_trigger_is_scheduled_anew(play):
    async def scenario(scene):
        scene.declares(job())
        scene.declares(job(trigger=Every(3600.0)))
        assert scene.scheduler.declared_with[CLEANUP] == (False, None)
        await scene.manager.close()
        assert scene.store.jobs.rows[CLEANUP].trigger == {"type": "interval", "seconds": 3600.0}

    play(scenario)


def test_a_job_id_belongs_to_who_declared_it_first(play, caplog):
    """A task and a plugin may have one name; each has its own jobs, and none takes the other's away."""

    async def scenario(scene):
        plugin = OtherHost(scene.table.folder, "hello")
        spec = job(kind=JobKind.PLUGIN)
        scene.declares(job())
        (problem,) = scene.manager.declare(plugin, [spec, job("nightly", kind=JobKind.PLUGIN)])
        assert problem == (
            "cannot declare job 'reports.cleanup' of plugin 'reports': it is task 'reports''s; rename one"
        )
        assert problem in caplog.text
        assert set(scene.scheduler.entries) == {CLEANUP, "reports.nightly"}
        scene.declares()
        assert set(scene.scheduler.entries) == {"reports.nightly"}
        assert scene.manager.declare(plugin, [spec]) == []
        assert set(scene.scheduler.entries) == {CLEANUP}

    play(scenario)


def test_two_jobs_of_one_name_are_one_job_and_a_problem(play):
    async def scenario(scene):
        (problem,) = scene.manager.declare(scene.host, [job(), job(timeout=5.0)])
        assert "two of this name" in problem
        assert (await scene.manager.show_job(CLEANUP)).timeout == 0.0

    play(scenario)


def test_withdrawing_an_owner_withdraws_its_jobs(play):
    """Of one kind, where only the task or only the plugin of a name goes."""

    async def scenario(scene):
        plugin = OtherHost(scene.table.folder, "hello")
        scene.declares(job())
        scene.manager.declare(plugin, [job("nightly", kind=JobKind.PLUGIN)])
        scene.manager.declare(ScriptedHost(scene.table.folder, name="shop"), [job("sync", "shop")])
        scene.manager.withdraw("reports", JobKind.PLUGIN)
        assert set(scene.scheduler.entries) == {CLEANUP, "shop.sync"}
        scene.manager.withdraw("reports")
        assert set(scene.scheduler.entries) == {"shop.sync"}
        scene.manager.withdraw("nobody")

    play(scenario)


def test_a_job_that_is_not_activated_is_not_scheduled(play):
    """And one that is not any more is so no longer."""

    async def scenario(scene):
        for _ in range(2):
            scene.declares(job(activate=False))
            shown = await scene.manager.show_job(CLEANUP)
            assert (shown.state, shown.next_run) == ("inactive", None)
            scene.declares(job())
            assert (await scene.manager.show_job(CLEANUP)).state == "scheduled"

    play(scenario)


def test_a_run_of_a_job_that_was_withdrawn_while_it_waited_never_begins(play):
    async def scenario(scene):
        scene.declares(job())
        scene.scheduler.fires(CLEANUP)
        scene.manager.withdraw("reports")
        (view,) = await scene.ended(1)
        assert (view.outcome, view.message) == ("skipped", "its job is not declared any more")

    play(scenario)


# --- what is due ---


def test_the_next_moment_is_committed_before_the_run_begins(play):
    """A supervisor that is killed between loses a run rather than doubling it."""

    async def scenario(scene):
        scene.declares(job(), job("other"))
        await until(lambda: len(scene.store.jobs.rows) == 2, "they are stored")
        scene.store.jobs.gate = asyncio.Event()
        scene.scheduler.fires(CLEANUP, "reports.other")
        await settle(50)
        assert (scene.host.started, scene.store.put) == ([], [])
        assert scene.store.jobs.rows[CLEANUP].next_run == DUE

        scene.store.jobs.gate.set()
        views = await scene.ended(2)
        assert [stored.next_run for stored in scene.store.jobs.saved[-1]] == [DUE + 60, DUE + 60]
        assert {(view.outcome, view.scheduled, view.actor) for view in views} == {("succeeded", DUE, "scheduler")}

    play(scenario)


def test_what_fires_while_something_is_stored_has_its_own_moment_stored_first(play):
    """The transaction under way does not know of it."""

    async def scenario(scene):
        scene.declares(job(), job("other"))
        await until(lambda: len(scene.store.jobs.rows) == 2, "they are stored")
        scene.store.jobs.gate = gate = asyncio.Event()
        scene.scheduler.fires(CLEANUP)
        await settle()
        scene.scheduler.fires("reports.other")
        scene.store.jobs.gate = asyncio.Event()
        gate.set()
        await scene.ended(1)
        assert len(scene.host.started) == 1
        scene.store.jobs.gate.set()
        await scene.ended(2)
        assert [[stored.id for stored in saved] for saved in scene.store.jobs.saved[-2:]] == [
            [CLEANUP],
            ["reports.other"],
        ]

    play(scenario)


def test_what_could_not_be_stored_is_stored_at_the_end(play):
    """Nothing is forgotten because a transaction failed."""

    async def scenario(scene):
        scene.store.jobs.error = StoreUnavailableError("locked")
        scene.declares(job())
        await settle()
        assert scene.store.jobs.rows == {}
        scene.store.jobs.error = None
        await scene.manager.close()
        assert scene.store.jobs.rows[CLEANUP] == stored_row(next_run=DUE)

    play(scenario)


@pytest.mark.slow
def test_a_run_that_waited_goes_by_the_newest_declaration(play):
    """It may have waited for hours."""

    async def scenario(scene):
        scene.declares(job(overlap=Overlap.QUEUE))
        first, second = await scene.begins(), await scene.begins()
        await until(lambda: scene.host.started, "the first begins")
        scene.declares(job(overlap=Overlap.QUEUE, timeout=0.2))
        scene.host.plans["cleanup"] = ("hello", "ready", "serve")
        assert (await scene.end_of(first)).outcome == "succeeded"
        assert (await scene.end_of(second)).outcome == "timed_out"

    play(scenario)


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["slow", "away"])
def test_a_database_in_trouble_does_not_stop_the_schedule(play, caplog, monkeypatch, trouble):
    """After its patience it goes on, says so once, and stores everything as soon as that is possible."""
    monkeypatch.setattr(module, "PATIENCE", 0.05)

    async def scenario(scene):
        scene.declares(job())
        await until(lambda: scene.store.jobs.rows, "it is stored")
        if trouble == "slow":
            scene.store.jobs.gate = asyncio.Event()
        else:
            scene.store.jobs.error = StoreUnavailableError("the database is locked")
        for number in (1, 2):
            scene.scheduler.fires(CLEANUP)
            assert (await scene.ended(number))[-1].outcome == "succeeded"
        assert caplog.text.count("Cannot store when jobs are due next") == 1

        scene.store.jobs.gate = scene.store.jobs.error = None
        scene.scheduler.fires(CLEANUP)
        await scene.ended(3)
        assert scene.store.jobs.rows[CLEANUP].next_run == DUE + 180

    play(scenario)


def test_one_row_that_cannot_be_stored_does_not_stop_the_schedule(play, caplog):
    """Whatever is wrong with it: a mistake of ours, and every job goes on."""

    async def scenario(scene):
        scene.declares(job())
        scene.store.jobs.error = ValueError("NaN")
        scene.scheduler.fires(CLEANUP)
        assert (await scene.ended(1))[0].outcome == "succeeded"
        assert "NaN" in caplog.text

    play(scenario)


def test_a_mistake_of_ours_does_not_stop_the_schedule(play, caplog, monkeypatch):
    """It costs one run."""

    async def scenario(scene):
        scene.declares(job())
        with monkeypatch.context() as patched:
            patched.setattr(scene.manager._runner, "request", None)
            scene.scheduler.fires(CLEANUP)
            await until(lambda: "Cannot act on job reports.cleanup" in caplog.text, "it is logged")
        scene.scheduler.fires(CLEANUP)
        assert (await scene.ended(1))[0].outcome == "succeeded"

    play(scenario)


def test_a_miss_is_on_record_with_its_reason(play):
    """Never run."""

    async def scenario(scene):
        scene.declares(job())
        scene.scheduler.misses(CLEANUP, late=45.0)
        (view,) = await scene.ended(1)
        assert (view.outcome, view.scheduled) == ("missed", DUE)
        assert view.message == "due at local 1.7e+09, noticed 45.0 s late"
        assert scene.host.started == []
        assert (await scene.manager.show_job(CLEANUP)).last_run.outcome == "missed"

    play(scenario)


def test_a_run_that_cannot_begin_now_is_skipped_with_the_hosts_reason(play):
    """Its environment is being built, say."""

    async def scenario(scene):
        scene.declares(job())
        scene.host.error = ConflictError("its environment is being built")
        scene.scheduler.fires(CLEANUP)
        (view,) = await scene.ended(1)
        assert (view.outcome, view.message) == ("skipped", "its environment is being built")

    play(scenario)


def test_closing_records_what_was_due_and_fires_no_more(play):
    """As skipped: it will not begin."""

    async def scenario(scene):
        scene.declares(job())
        scene.scheduler.fires(CLEANUP)
        await scene.manager.close()
        (view,) = await scene.ended(1)
        assert (view.outcome, view.message, view.scheduled) == ("skipped", "xcore is stopping", DUE)
        assert scene.scheduler.running is False
        assert scene.store.jobs.rows[CLEANUP].next_run == DUE + 60
        assert (await scene.manager.run_job(CLEANUP, "operator")).outcome == "skipped"

    play(scenario)


# --- shared runs ---


def test_a_shared_run_is_the_services(play):
    """It says how each ended; those that it does not, end with it."""

    async def scenario(scene):
        scene.host.service = FakeService(State.RUNNING)
        scene.declares(job(shared=True), job("other", shared=True))
        first, second = await scene.begins(), await scene.begins("other")
        assert scene.host.service.sent == [RunJob(first.id, "cleanup", 0.0), RunJob(second.id, "other", 0.0)]
        assert (first.pid, first.started) == (4711, NOW)

        scene.manager.finished(RunFinished(first.id, "succeeded"))
        assert (await scene.manager.show_run(first.id)).outcome == "succeeded"
        scene.manager.service_ended("somebody", DEATH)
        assert (await scene.manager.show_run(second.id)).outcome is None
        scene.manager.service_ended("reports", DEATH)
        assert (await scene.manager.show_run(second.id)).outcome == "killed"
        scene.manager.finished(RunFinished(second.id, "succeeded"))
        assert (await scene.manager.show_run(second.id)).outcome == "killed"

    play(scenario)


def test_shared_runs_are_asked_for_again_when_their_service_is_back(play):
    """The order, or its answer, may have been lost with the connection; those that have ended are nobody's question."""

    async def scenario(scene):
        scene.host.service = FakeService(State.RUNNING)
        scene.declares(job(shared=True), job("other", shared=True, timeout=10.0), job("own"))
        first, second = await scene.begins(), await scene.begins("other")
        await scene.begins("own")
        scene.manager.finished(RunFinished(first.id, "succeeded"))
        scene.host.service.sent.clear()
        scene.table.around.clock.advance(4.0)

        scene.manager.service_connected("somebody")
        assert scene.host.service.sent == []
        scene.manager.service_connected("reports")
        assert scene.host.service.sent == [RunJob(second.id, "other", 6.0)]

    play(scenario)


def test_a_shared_run_that_waited_begins_after_the_one_that_goes_on_in_the_service(play):
    """A service is found later than its jobs are declared: begun at once, it would be the second of its job there."""

    async def scenario(scene):
        scene.host.service = FakeService(State.RUNNING)
        former = scene.manager._former
        for view in (run_view(1), run_view(2, started=None), run_view(3, "reports.own", started=None)):
            former._rows[view.id] = view
        scene.declares(job(shared=True, overlap=Overlap.QUEUE), job("own"))
        former.service_survived("reports")
        assert former.waiting == {"00000002"}
        scene.manager.service_connected("reports")
        scene.manager.finished(RunFinished("00000001", "succeeded"))
        assert [message.run for message in scene.host.service.sent] == ["00000001", "00000002"]
        await until(lambda: scene.host.started == ["00000003"], "the other one has a process of its own")

    play(scenario)


def test_a_shared_run_without_a_service_is_skipped(play):
    """At each of its moments, with the reason."""

    async def scenario(scene):
        scene.declares(job(shared=True))
        view = await scene.begins()
        assert (view.outcome, view.message) == ("skipped", "there is no service that it could run in")
        scene.host.service = FakeService(State.BACKOFF)
        assert (await scene.begins()).message == "the service that it would run in is backoff"

    play(scenario)
