"""Start, stop and restart of tasks, and what is asked about them."""

import asyncio

import pytest

from plugin_runtime.protocol import Cause
from supervisor.errors import (
    ConflictError,
    StoreUnavailableError,
    TookTooLongError,
    UnknownNameError,
)
from supervisor.tasks.service import PROOF
from tests.fakes.task_scene import FAILS, JOB, RETURNS, WAITS, WITH_JOB
from tests.fakes.waiting import DEADLINE, settle, until

pytestmark = [pytest.mark.process, pytest.mark.slow]


def test_stop_is_stored_first_and_answers_when_the_process_is_gone(run, tmp_path):
    """``service.running`` turns false, ``finally`` runs."""
    code = f"""
from pathlib import Path
def service_main(service):
    try:
        Path({str(tmp_path / "begun")!r}).touch()
        service.wait(60)
    finally:
        Path({str(tmp_path / "end")!r}).write_text(str(service.running))
"""

    async def scenario(at):
        at.write("steady", code)
        await at.discover()
        await until((tmp_path / "begun").exists, "its function has begun", DEADLINE)
        await at.reaches("steady", "running")
        at.repository.error = StoreUnavailableError("locked")
        with pytest.raises(StoreUnavailableError, match="locked"):
            await at.manager.stop("steady", "token:ci")
        assert (at.state("steady"), at.causes("steady")) == ("running", [])
        at.repository.error = None
        view = await at.manager.stop("steady", "token:ci")
        assert (view.state, view.enabled, view.pid) == ("disabled", False, None)
        assert (tmp_path / "end").read_text() == "False"
        assert not at.repository.rows["steady"].status
        assert [(record.cause, record.actor) for record in at.exits if record.kind == "task"] == [
            ("operator", "token:ci")
        ]
        assert (await at.manager.stop("steady", "token:ci")).state == "disabled"
        await at.manager.start("steady", "token:ci")
        await at.reaches("steady", "running")
        assert at.repository.rows["steady"].status

    run(scenario)


def test_a_start_that_comes_while_it_is_being_stopped_is_heard(run):
    """Who asked for the stop is answered when that process is gone; another one follows."""

    async def scenario(at):
        at.write("steady", "import time\ndef service_main(service):\n    service.wait(60)\n    time.sleep(0.2)\n")
        await at.discover()
        await at.reaches("steady", "running")
        first = at.pid("steady")
        stopping = asyncio.create_task(at.manager.stop("steady", "operator"))
        await at.reaches("steady", "draining")
        await at.manager.start("steady", "operator")
        await stopping
        await at.reaches("steady", "running")
        assert at.pid("steady") != first
        assert at.causes("steady") == ["operator"]

    run(scenario)


def test_stop_does_not_wait_for_an_installer(run):
    """Nor is it started when that is done."""

    async def scenario(at):
        gate = at.installer.gates["slow"] = asyncio.Event()
        at.write("slow")
        await at.discover()
        await settle()
        view = await at.manager.stop("slow", "operator")
        assert view.state == "disabled"
        gate.set()
        await at.settled()
        assert (at.state("slow"), at.table.tree.children) == ("disabled", [])

    run(scenario)


def test_start_gives_a_full_budget(run):
    """To one that failed, one that finished, and one that could never be described."""

    async def scenario(at):
        at.write("raises", FAILS)
        at.write("brief", RETURNS)
        at.write("orphan", moduleDir="plugins/shop")
        await at.discover()
        await at.reaches("raises", "failed")
        await at.reaches("brief", "exited")
        error = (await at.reaches("orphan", "failed")).error
        assert "belongs to plugin 'shop' by its moduleDir: there is no such folder" in error.message
        (at.root / "plugins" / "shop").mkdir()
        for name in ("raises", "brief", "orphan"):
            await at.manager.start(name, "operator")
        await at.reaches("orphan", "running")
        await until(lambda: len(at.causes("raises")) == 8, "it was tried four times more", DEADLINE)
        await until(lambda: len(at.causes("brief")) == 2, "it ran once more", DEADLINE)

    run(scenario)


def test_start_leaves_a_running_one_alone(run):
    """Nothing to be done."""

    async def scenario(at):
        at.write("steady")
        await at.discover()
        await at.reaches("steady", "running")
        first = at.pid("steady")
        await at.manager.start("steady", "operator")
        await at.settled()
        assert (at.pid("steady"), at.causes("steady")) == (first, [])

    run(scenario)


def test_restart_replaces_the_process(run):
    """The answer comes when the new one runs; without ``wait`` at once."""

    async def scenario(at):
        at.write("steady")
        await at.discover()
        await at.reaches("steady", "running")
        first = at.pid("steady")
        view = await at.manager.restart("steady", "token:ci", wait=DEADLINE)
        assert view.state == "running"
        assert view.pid not in {first, None}
        assert [record.actor for record in at.exits if record.kind == "task"] == ["token:ci"]
        view = await at.manager.restart("steady", "token:ci")
        assert view.state == "running"
        await until(lambda: len(at.causes("steady")) == 2, "it is replaced once more", DEADLINE)

    run(scenario)


def test_restart_with_a_broken_file_runs_what_was_good(run):
    """The operator wants another process; the error is shown beside it."""

    async def scenario(at):
        at.write("steady")
        await at.discover()
        await at.reaches("steady", "running")
        at.write("steady", "import nothing_like_this\n")
        view = await at.manager.restart("steady", "operator", wait=DEADLINE)
        assert view.state == "running"
        assert "nothing_like_this" in view.error.message
        assert "operator" in at.causes("steady")

    run(scenario)


def test_restart_gives_up_waiting_not_restarting(run):
    """504, and it goes on."""

    async def scenario(at):
        at.write("steady", "import time\ndef service_main(service):\n    service.wait(60)\n    time.sleep(0.2)\n")
        await at.discover()
        await at.reaches("steady", "running")
        with pytest.raises(TookTooLongError, match="the restart of task 'steady' is not done after"):
            await at.manager.restart("steady", "operator", wait=0.01)
        await until(lambda: at.causes("steady") == ["operator"], "it is replaced all the same", DEADLINE)
        await at.reaches("steady", "running")

    run(scenario)


def test_nothing_new_is_begun_while_xcore_stops(run):
    """A gateway may still hand in orders while it drains: what is started then would never be stopped."""

    async def scenario(at):
        at.write("steady")
        await at.discover()
        await at.reaches("steady", "running")
        waiting = asyncio.create_task(at.manager.restart("steady", "operator", wait=DEADLINE))
        await settle(1)
        await at.manager.close()
        with pytest.raises(ConflictError, match="was given up: another order came, or xcore is stopping"):
            await waiting
        for order in (at.manager.start, at.manager.stop, at.manager.restart):
            with pytest.raises(ConflictError, match="task 'steady': xcore is stopping"):
                await order("steady", "operator")
        with pytest.raises(ConflictError, match="xcore is stopping"):
            await at.manager.reload_all("operator")
        at.write("late")
        await at.manager.look()
        assert set(at.manager.states) == {"steady"}
        await at.table.tree.stop_all(Cause.SHUTDOWN, "test")
        assert at.causes("steady") == ["shutdown"]

    run(scenario)


def test_unknown_names_say_what_there_is(run):
    """404 with the known ones."""

    async def scenario(at):
        at.write("steady")
        await at.discover()
        manager = at.manager
        for question in (manager.show, manager.meta, manager.read_logs):
            with pytest.raises(UnknownNameError, match="no task named 'stedy'; known: steady"):
                await question("stedy")
        for order in (manager.start, manager.stop, manager.restart):
            with pytest.raises(UnknownNameError, match="no task named 'stedy'"):
                await order("stedy", "operator")
        assert set(manager.operations) == {
            f"tasks.{name}" for name in ("list", "show", "start", "stop", "restart", "meta", "logs")
        }

    run(scenario)


@pytest.mark.parametrize("order", ["start", "restart"])
def test_who_waits_for_a_start_learns_that_it_crashed_at_once(run, order):
    """It was ready for a moment, which is not enough; what it said last is told."""

    async def scenario(at):
        at.write("raises", FAILS)
        await at.discover()
        await at.reaches("raises", "failed")
        view = await getattr(at.manager, order)("raises", "operator", wait=DEADLINE)
        assert view.state in {"backoff", "failed"}
        assert "ValueError: no luck" in view.error.message

    run(scenario)


def test_who_waits_for_a_start_learns_that_it_runs(run):
    """After the moment in which most of what is wrong shows; one of jobs alone has nothing to wait for."""

    async def scenario(at):
        at.write("steady")
        at.write("plan", WITH_JOB, JOB)
        await at.discover()
        await at.reaches("steady", "running")
        for name in ("steady", "plan"):
            await at.manager.stop(name, "operator")
        view = await at.manager.start("steady", "operator", wait=DEADLINE)
        assert (view.state, view.error) == ("running", None)
        assert view.uptime >= PROOF
        assert (await at.manager.start("plan", "operator", wait=DEADLINE)).state == "idle"

    run(scenario)


def test_a_restart_with_a_broken_file_shows_the_error_beside_what_runs(run):
    """The process is replaced all the same, by one of what the file said before."""

    async def scenario(at):
        at.write("steady")
        await at.discover()
        await at.reaches("steady", "running")
        first = at.pid("steady")
        at.write("steady", "import nothing_like_this\n")
        view = await at.manager.restart("steady", "operator", wait=DEADLINE)
        assert (view.state, view.pid != first) == ("running", True)
        assert "nothing_like_this" in view.error.message

    run(scenario)


def test_a_service_in_back_off_shows_why(run):
    """Not only when it is given up."""

    async def scenario(at):
        at.write("raises", FAILS)
        await at.discover()
        await at.reaches("raises", "backoff")
        error = (await at.view("raises")).error
        assert "without a stable run: ValueError: no luck" in error.message
        assert error.hint == "see xcore task logs raises"

    run(scenario, supervisor={"restart": {"delay": 60, "max_delay": 60}})


def test_the_database_may_be_away(run, caplog):
    """What runs never depends on it."""

    async def scenario(at):
        at.repository.error = StoreUnavailableError("locked")
        at.write("steady")
        await at.discover()
        await at.reaches("steady", "running")
        await at.settled()
        assert (await at.view("steady")).id == ""

    run(scenario)
    assert "Cannot register task steady: locked" in caplog.text


def test_metadata_is_told_as_it_is_written(run):
    """Functions by their names; of the last good version."""

    async def scenario(at):
        at.write("steady", WAITS + WITH_JOB, JOB, colour="blue")
        at.write("broken", "import nothing_like_this\n")
        await at.discover()
        await at.reaches("steady", "running")
        meta = await at.manager.meta("steady")
        assert (meta["moduleDir"], meta["colour"], meta["title"]) == ("core", "blue", "steady")
        (job,) = meta["con"]
        assert (job["func"], job["name"], job["interval"], job["seconds"]) == ("work", "work", "interval", 300)
        await at.reaches("broken", "failed")
        with pytest.raises(ConflictError, match=r"the metadata of task 'broken' is not known: .*nothing_like_this"):
            await at.manager.meta("broken")

    run(scenario)


def test_a_job_that_is_refused_is_shown_and_the_service_runs(run):
    """Its id may be a plugin's job's."""

    async def scenario(at):
        at.jobs.problems["steady"] = ["cannot declare job 'steady.work': it is another's"]
        at.write("steady", WAITS + WITH_JOB, JOB)
        await at.discover()
        task = await at.reaches("steady", "running")
        assert (task.error.type, task.error.message) == (
            "JobRefused",
            "cannot declare job 'steady.work': it is another's",
        )
        await until(lambda: "steady" in at.repository.rows, "it is registered all the same")

    run(scenario)
