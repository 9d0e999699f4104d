"""Background tasks: found, described, and run each in a process of its own."""

import asyncio
import logging
import os
import signal

import pytest

from supervisor.errors import (
    BuildInterruptedError,
    ConflictError,
    EnvironmentBuildError,
    StoreUnavailableError,
)
from tests.fakes.task_scene import JOB, RETURNS, WAITS, WITH_JOB
from tests.fakes.waiting import DEADLINE, until

pytestmark = [pytest.mark.process, pytest.mark.slow]


def test_every_file_is_described_registered_and_run(run):
    """Each in a process of its own, with the jobs that it declares."""

    async def scenario(at):
        at.write("steady", WAITS + WITH_JOB, JOB, title="Steady hand", colour="blue")
        at.write("brief", RETURNS)
        await at.discover()
        await at.reaches("steady", "running")
        await at.reaches("brief", "exited")
        await until(lambda: set(at.repository.rows) == {"steady", "brief"}, "they are registered")
        view = await at.view("steady")
        assert (view.title, view.version, view.meta_file, view.id) == (
            "Steady hand",
            "1",
            {"colour": "blue"},
            "id-steady",
        )
        assert (view.enabled, view.pid, view.jobs, view.error) == (True, at.pid("steady"), ["steady.work"], None)
        assert [job.id for job in at.jobs.declared["steady"]] == ["steady.work"]
        assert at.causes("brief") == ["finished"]
        assert [task.name for task in await at.manager.list_tasks()] == ["brief", "steady"]
        assert at.manager.is_settled

    run(scenario)


def test_a_module_with_jobs_alone_needs_no_process(run):
    """It is idle: its runs have processes of their own."""

    async def scenario(at):
        at.write("nightly", WITH_JOB, JOB)
        await at.discover()
        task = await at.reaches("nightly", "idle")
        assert (task.service, at.pid("nightly")) == (None, None)
        process = task.run_process(at.jobs.declared["nightly"][0], "0a1b2c3d")
        assert (process.spec.id, process.settings["job"]) == ("nightly.work.0a1b2c3d", "work")
        view = await at.manager.restart("nightly", "operator", wait=DEADLINE)
        assert view.state == "idle"

    run(scenario)


def test_what_is_wrong_with_one_is_shown_and_nobody_else_notices(run, caplog):
    """An import error, missing metadata, a mistake of ours: each has its error; the neighbour runs."""

    async def scenario(at):
        at.write("good")
        at.write("faulty", "import nothing_like_this\n")
        (at.directory / "nameless.py").write_text("metadata = {'type': 'service'}\ndef service_main(service): ...\n")
        (at.directory / "gone.py").symlink_to("/nowhere/at/all.py")
        (at.directory / "folder.py").mkdir()
        at.write("mistaken")
        at.installer.gates["mistaken"] = None  # which cannot be waited for
        await at.discover()
        await at.reaches("good", "running")
        errors = {}
        for name in ("faulty", "nameless", "gone", "folder", "mistaken"):
            errors[name] = (await at.reaches(name, "failed")).error
        assert "nothing_like_this" in errors["faulty"].message
        assert all(key in errors["nameless"].message for key in ("moduleDir", "description", "version", "author"))
        assert "is a link to a file that is not there" in errors["gone"].message
        assert "is a folder, not a regular file" in errors["folder"].message
        assert (errors["mistaken"].phase, errors["mistaken"].type) == ("internal", "AttributeError")
        assert set(at.repository.rows) == {"good"}

    run(scenario)
    assert "Task faulty cannot be run (import)" in caplog.text
    assert "Task mistaken cannot be prepared" in caplog.text


def test_a_name_that_is_not_to_be_had_is_refused_and_shown(run, caplog):
    """Row 45: a name becomes part of paths, log files and ids."""

    async def scenario(at):
        at.write("gateway")
        at.write("two words")
        await at.discover()
        for name in ("gateway", "two words"):
            view = await at.view(name)
            assert (view.state, view.pid, view.error.hint) == ("refused", None, "rename the file")
            for order in (at.manager.start, at.manager.stop, at.manager.restart):
                with pytest.raises(ConflictError, match="rename the file"):
                    await order(name, "operator")
        assert at.manager.is_settled
        assert at.repository.rows == {}
        at.write("gateway", version="2")
        await at.manager.look()
        await at.manager.reload_all("operator")
        assert at.configure(tasks={"gateway": {"stop_timeout": 3}}) == []
        assert at.table.tree.children == []

    run(scenario)
    assert "Task gateway refused: the name 'gateway' is reserved" in caplog.text


def test_a_stopped_task_is_listed_described_and_not_started_at_boot(run):
    """Its jobs are another matter: they stay scheduled."""

    async def scenario(at):
        at.write("steady", WAITS + WITH_JOB, JOB, title="Steady hand")
        at.repository.knows("steady", enabled=False)
        await at.discover()
        await until(lambda: at.jobs.declared, "its jobs are declared", DEADLINE)
        view = await at.view("steady")
        assert (view.state, view.enabled, view.title, view.pid) == ("disabled", False, "Steady hand", None)
        assert [child.spec.id for child in at.table.tree.children] == []
        with pytest.raises(ConflictError, match="cannot restart task 'steady': it is stopped; start it"):
            await at.manager.restart("steady", "operator")
        await at.manager.start("steady", "operator")
        await at.reaches("steady", "running")

    run(scenario)


def test_the_last_exit_of_its_service_is_known_from_the_database(run, caplog):
    """Not that of a job's run, whose name is the same; a database that is away is no reason not to run."""

    async def scenario(at):
        at.write("steady")
        await at.discover()
        await at.reaches("steady", "running")
        os.kill(at.pid("steady"), signal.SIGKILL)
        await until(lambda: at.causes("steady") == ["signal"], "its death is recorded")
        at.history.records = list(at.exits)
        at.write("other")
        at.history.error = StoreUnavailableError("locked")
        await at.reaches("other", "running")
        assert at.manager.named("other").last_exit is None
        assert at.manager.named("steady").last_exit.cause == "signal"

    run(scenario)
    assert "Cannot read the last exit of task other: locked" in caplog.text


def test_the_environment_is_built_without_holding_up_the_others(run):
    """Each is brought up by itself; what the installer says is in the task's log."""

    async def scenario(at):
        gate = at.installer.gates["slow"] = asyncio.Event()
        at.installer.lines = ["installing numpy"]
        at.write("slow")
        at.write("quick")
        await at.discover()
        await at.reaches("quick", "running")
        assert at.state("slow") == "installing"
        progress = (await at.view("slow")).progress
        assert (progress.step, progress.line) == ("installing", "installing numpy")
        assert not at.manager.is_settled
        gate.set()
        await at.reaches("slow", "running")
        assert (await at.view("slow")).progress is None
        await until(lambda: "installing numpy" in str(at.logs.read_tail("slow", 10)), "its log has the line")
        assert "installing numpy" in (await at.manager.read_logs("slow"))[0]

    run(scenario)


def test_an_installer_that_fails_is_the_tasks_error(run):
    """Row 47, with the last lines."""

    async def scenario(at):
        at.installer.error = EnvironmentBuildError("steady", "no such package", log_tail=["a", "b"], hint="check it")
        at.write("steady")
        await at.discover()
        error = (await at.reaches("steady", "failed")).error
        assert (error.phase, error.hint, error.log_tail) == ("environment", "check it", ["a", "b"])
        at.installer.error = None
        await at.manager.start("steady", "operator")
        await at.reaches("steady", "running")
        assert (await at.view("steady")).error is None

    run(scenario)


def test_a_build_that_somebody_else_is_to_blame_for_is_tried_again_by_itself(run):
    """An installer was killed, a network was away: as with plugins, nobody has to come for that."""

    async def scenario(at):
        at.installer.error = BuildInterruptedError("steady", "signal 9")
        at.write("steady")
        await at.discover()
        assert (await at.reaches("steady", "failed")).error.type == "BuildInterrupted"
        at.installer.error = None
        await at.reaches("steady", "running")
        assert (await at.view("steady")).error is None

    run(scenario)


def test_a_newer_module_whose_build_was_killed_takes_over_by_itself(run):
    """What ran before it runs on meanwhile."""

    async def scenario(at):
        at.write("steady")
        await at.discover()
        await at.reaches("steady", "running")
        before = at.pid("steady")
        at.installer.error = BuildInterruptedError("steady", "signal 9")
        at.write("steady", version="2")
        await until(lambda: at.manager.named("steady").error, "the build has failed", DEADLINE)
        assert (at.state("steady"), at.pid("steady")) == ("running", before)
        at.installer.error = None
        await until(lambda: at.pid("steady") not in {before, None}, "another process", DEADLINE)
        assert (await at.view("steady")).version == "2"

    run(scenario)


def test_what_only_a_change_can_heal_is_not_tried_again(run):
    """The next save is the next try."""

    async def scenario(at):
        at.installer.error = EnvironmentBuildError("steady", "no such package")
        at.write("steady")
        await at.discover()
        assert not (await at.reaches("steady", "failed")).is_due

    run(scenario)


def test_the_log_says_who_is_found_gone_and_missing(run, caplog):
    """A missing directory is no error: a project may have no tasks."""
    caplog.set_level(logging.INFO)

    async def scenario(at):
        at.directory.rmdir()
        await at.discover()
        await at.manager.look()

    run(scenario)
    assert caplog.text.count("There is no task directory") == 1


def test_a_plugins_task_runs_on_the_plugins_ground(run, tmp_path):
    """Its package is importable, its variables and data are the plugin's; the task's own ``env`` goes before them."""
    code = f"""
import json, os
from pathlib import Path
import plugins.shop.stock
found = [plugins.shop.stock.N, os.environ["XCORE_DATA_DIR"], os.environ["MODE"]]
Path({str(tmp_path)!r}, "seen").write_text(json.dumps(found))
{WAITS}"""

    async def scenario(at):
        shop = at.root / "plugins" / "shop"
        source = at.root / "generations" / "shop" / "source"
        for folder in (shop, source):
            folder.mkdir(parents=True)
            (folder / "stock.py").write_text("N = 7\n")
        at.write("digest", code, moduleDir="./plugins/shop")
        await at.discover()
        await at.reaches("digest", "running")
        assert (tmp_path / "seen").read_text() == '[7, "data/shop", "fast"]'
        assert set(at.plugins.built) == {"shop"}

    run(scenario, tasks={"digest": {"env": {"MODE": "fast"}}})
