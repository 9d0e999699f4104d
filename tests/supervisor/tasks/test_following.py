"""What becomes of tasks as their files change."""

import asyncio

import pytest

from supervisor.errors import ConflictError, UnknownNameError
from supervisor.schedule.job_spec import JobKind
from supervisor.supervision.child import Child
from supervisor.watching import folder_watch
from tests.fakes.task_scene import FAILS, JOB, RETURNS, WAITS, WITH_JOB
from tests.fakes.waiting import DEADLINE, settle, until

pytestmark = [pytest.mark.process, pytest.mark.slow]


def test_a_new_file_is_noticed(run):
    """And one in a directory that is made only then."""

    async def scenario(at):
        at.directory.rmdir()
        await at.discover()
        assert at.manager.states == {}
        at.directory.mkdir()
        at.write("late")
        await at.reaches("late", "running")

    run(scenario)


def test_a_changed_file_is_described_first_and_then_takes_over(run, caplog):
    """A broken save leaves process and jobs alone and is shown; the next good one replaces them."""

    async def scenario(at):
        at.write("edited", WAITS + WITH_JOB, JOB, version="1")
        await at.discover()
        task = await at.reaches("edited", "running")
        first = at.pid("edited")
        at.write("edited", "import nothing_like_this\n", version="2")
        await until(lambda: task.error, "the error is shown", DEADLINE)
        view = await at.view("edited")
        assert (view.pid, view.version, view.state) == (first, "1", "running")
        assert "nothing_like_this" in view.error.message
        assert f"{view.error.message} ({view.error.location}); {view.error.hint}" in caplog.text
        assert view.jobs == ["edited.work"]
        at.write("edited", WAITS + WITH_JOB, "[{'func': 'work', 'name': 'other'}]", version="3")
        await until(lambda: at.pid("edited") not in {first, None} and at.state("edited") == "running", "it is replaced")
        view = await at.view("edited")
        assert (view.version, view.error, view.jobs) == ("3", None, ["edited.other"])
        assert at.causes("edited") == ["reload"]
        assert at.repository.rows["edited"].version == "3"

    run(scenario)
    assert "Task edited cannot be run (import): " in caplog.text


def test_the_exit_record_names_the_version_that_ended(run):
    """Not the one that took over."""

    async def scenario(at):
        at.write("edited")
        await at.discover()
        task = await at.reaches("edited", "running")
        first = task.prepared.build.copy.hash
        at.write("edited", version="2")
        await until(lambda: at.causes("edited"), "it is replaced", DEADLINE)
        record = next(record for record in at.exits if record.instance == "edited")
        assert record.generation == first
        assert task.prepared.build.copy.hash != first

    run(scenario)


def test_a_broken_file_that_is_put_back_leaves_the_process_alone(run):
    """It runs what the file says: there is nothing to replace."""

    async def scenario(at):
        at.write("edited")
        await at.discover()
        task = await at.reaches("edited", "running")
        first = at.pid("edited")
        at.write("edited", "import nothing_like_this\n")
        await until(lambda: task.error, "the error is shown", DEADLINE)
        at.write("edited")
        await until(lambda: task.error is None, "and gone", DEADLINE)
        assert (at.pid("edited"), at.causes("edited")) == (first, [])

    run(scenario)


def test_a_change_starts_what_had_failed_or_finished(run):
    """New code is a new chance, with a full budget."""

    async def scenario(at):
        at.write("raises", FAILS)
        at.write("brief", RETURNS)
        await at.discover()
        await at.reaches("raises", "failed")
        await at.reaches("brief", "exited")
        assert at.causes("raises") == ["crash"] * 4  # the first start and three retries
        assert (await at.view("raises")).retrying == 4
        at.write("raises")
        at.write("brief")
        await at.reaches("raises", "running")
        await at.reaches("brief", "running")
        assert (await at.view("raises")).retrying == 0

    run(scenario)


def test_a_service_comes_and_goes_with_its_function(run):
    """A module may keep its jobs and lose its service_main, and get it back."""

    async def scenario(at):
        at.write("changing", WITH_JOB + WAITS, JOB)
        await at.discover()
        await at.reaches("changing", "running")
        at.write("changing", WITH_JOB, JOB)
        await at.reaches("changing", "idle")
        assert at.causes("changing") == ["reload"]
        assert at.table.tree.children == []
        at.write("changing", WITH_JOB + WAITS, JOB)
        await at.reaches("changing", "running")

    run(scenario)


def test_a_removed_file_ends_the_task_and_its_jobs(run):
    """Gone from the list; the database keeps the record."""

    async def scenario(at):
        path = at.write("passing", WAITS + WITH_JOB, JOB)
        await at.discover()
        await at.reaches("passing", "running")
        await until(lambda: "passing" in at.repository.rows, "it is registered")
        path.unlink()
        await until(lambda: at.causes("passing"), "it has ended", DEADLINE)
        assert at.causes("passing") == ["disabled"]
        assert at.jobs.withdrawn == [("passing", JobKind.TASK)]
        assert at.manager.states == {}
        await until(lambda: at.table.tree.children == [], "it is out of the table")
        assert at.repository.rows["passing"].status
        with pytest.raises(UnknownNameError, match="no task named 'passing'"):
            await at.manager.show("passing")

    run(scenario)


def test_a_file_that_comes_back_waits_for_the_end_of_the_former_process(run):
    """Two of one name never run at once; what was stopped stays stopped."""

    async def scenario(at):
        slow = "import time\ndef service_main(service):\n    service.wait(60)\n    time.sleep(0.3)\n"
        at.write("back", slow).unlink()
        path = at.write("back", slow)
        at.write("stopped")
        await at.discover()
        await at.reaches("back", "running")
        await at.reaches("stopped", "running")
        await at.manager.stop("stopped", "operator")
        first = at.pid("back")
        path.unlink()
        (at.directory / "stopped.py").unlink()
        for _ in range(2):
            await at.manager.look()
        assert "back" not in at.manager.states
        at.write("back")
        at.write("stopped")
        await at.manager.look()
        await at.reaches("back", "running")
        assert at.pid("back") != first
        assert at.causes("back") == ["disabled"]
        assert at.state("stopped") == "disabled"

    run(scenario)


def test_a_file_that_is_removed_while_its_environment_is_built_is_given_up(run):
    """And who waits for its restart is told that it is gone."""

    async def scenario(at):
        at.installer.gates["slow"] = asyncio.Event()
        path = at.write("slow")
        await at.discover()
        await settle()
        waiting = asyncio.create_task(at.manager.restart("slow", "operator", wait=DEADLINE))
        await settle()
        path.unlink()
        with pytest.raises(UnknownNameError, match="no task named 'slow'"):
            await waiting
        at.installer.gates.clear()
        at.write("slow")
        await at.reaches("slow", "running")

    run(scenario)


def test_a_directory_that_cannot_be_read_ends_no_task(run, caplog):
    """A disk that is away says nothing about the files; it is logged once."""

    async def scenario(at):
        at.write("steady")
        await at.discover()
        await at.reaches("steady", "running")
        at.directory.rename(at.root / "aside")
        at.directory.write_text("a file in its place")
        for _ in range(3):
            await at.manager.look()
        assert (at.state("steady"), at.causes("steady")) == ("running", [])
        at.directory.unlink()
        (at.root / "aside").rename(at.directory)
        at.write("steady", version="2")
        await until(lambda: at.causes("steady") == ["reload"], "it is followed again", DEADLINE)

    run(scenario)
    assert caplog.text.count("Cannot read the task directory") == 1


def test_a_directory_that_is_swapped_ends_no_task(run, caplog):
    """A deployment moves it away and another one into its place; what is in that one is followed."""

    async def scenario(at):
        at.write("steady")
        at.write("edited")
        at.write("dropped")
        await at.discover()
        for name in ("steady", "edited", "dropped"):
            await at.reaches(name, "running")
        first = at.pid("steady")
        at.directory.rename(at.root / "former")
        for _ in range(3):
            await at.manager.look()
        with pytest.raises(ConflictError, match="cannot read the tasks again: the task directory"):
            await at.manager.reload_all("operator")
        assert {at.state(name) for name in at.manager.states} == {"running"}
        (at.root / "former").rename(at.directory)
        at.write("edited", version="2")
        (at.directory / "dropped.py").unlink()
        await until(lambda: at.causes("edited") == ["reload"], "the change is followed", DEADLINE)
        await until(lambda: at.causes("dropped") == ["disabled"], "what is really gone has ended", DEADLINE)
        assert (at.pid("steady"), at.causes("steady")) == (first, [])

    run(scenario)
    assert caplog.text.count("its tasks go on as they are until it is back") == 1


def test_a_file_that_is_missing_for_a_moment_ends_no_task(run, monkeypatch):
    """It is replaced; meanwhile it is not read anew either."""
    for delay in ("QUIET", "LONGEST_WAIT"):  # no look but those of the test
        monkeypatch.setattr(folder_watch, delay, 600.0)

    async def scenario(at):
        at.write("edited")
        await at.discover()
        task = await at.reaches("edited", "running")
        first = at.pid("edited")
        (at.directory / "edited.py").rename(at.root / "aside")
        await at.manager.reload_all("operator")
        assert (at.state("edited"), task.error) == ("running", None)
        (at.root / "aside").rename(at.directory / "edited.py")
        await at.manager.look()
        await settle()
        assert (at.pid("edited"), at.causes("edited")) == (first, [])

    run(scenario, manager={"tasks": {"interval": 600}})


def test_without_autoreload_a_change_waits_for_an_order(run):
    """restart, or a reload of all; until then the old code is started again if it dies."""

    async def scenario(at):
        for name in ("one", "two"):
            at.write(name)
        await at.discover()
        for name in ("one", "two"):
            await at.reaches(name, "running")
            at.write(name, version="2")
        await at.manager.look()
        await settle()
        assert at.exits == [record for record in at.exits if record.kind == "validator"]
        assert (await at.view("one")).version == "1"
        view = await at.manager.restart("one", "operator", wait=DEADLINE)
        assert (view.version, at.causes("one")) == ("2", ["operator"])
        assert (await at.view("two")).version == "1"
        await at.manager.reload_all("operator")
        assert (await at.view("two")).version == "2"
        await until(lambda: at.causes("two") == ["reload"], "it is replaced", DEADLINE)

    run(scenario, tasks={"one": {"autoreload": False}, "two": {"autoreload": False}})


def test_the_copy_that_a_process_was_started_from_is_kept_while_it_runs(run):
    """However many versions came after it; a run may take days."""

    async def scenario(at):
        def copies():
            return {path.name for path in (at.table.folder.task_copies / "edited").iterdir()}

        at.write("edited", WITH_JOB, JOB)
        await at.discover()
        task = await at.reaches("edited", "idle")
        (job,) = at.jobs.declared["edited"]
        child = Child(task.run_process(job, "r1").spec, None, at.table.around)
        at.table.tree.add(child)
        first = task.prepared.build.copy.hash
        for version in "234":
            at.write("edited", WITH_JOB, JOB, version=version)
            await at.manager.reload_all("operator")
        assert copies() == {first, task.prepared.build.copy.hash}
        at.table.tree._children.remove(child)
        at.write("edited", WITH_JOB, JOB, version="5")
        await at.manager.reload_all("operator")
        assert copies() == {task.prepared.build.copy.hash}

    run(scenario)


def test_an_order_ends_the_service_of_a_module_that_has_none_any_more(run):
    """The order comes before the change is followed by itself: the old code must not go on under a new name."""

    async def scenario(at):
        at.write("one")
        await at.discover()
        await at.reaches("one", "running")
        con = '[{"func": "work", "name": "work", "days": 1}]'
        at.write("one", "def work(): ...", version="2", con=con)
        view = await at.manager.restart("one", "operator", wait=DEADLINE)
        assert (view.version, view.pid, view.state) == ("2", None, "idle")
        assert at.causes("one") == ["operator"]

    run(scenario, tasks={"one": {"autoreload": False}})


def test_reload_reads_all_modules_again_and_replaces_what_is_another(run):
    """Metadata may be computed: jobs are declared anew even where the file is the same, its process goes on."""

    async def scenario(at):
        colour = at.root / "colour"
        colour.write_text("blue")
        at.write("computed", f"{WAITS}\nfrom pathlib import Path\ncolour = Path({str(colour)!r}).read_text()\n")
        with (at.directory / "computed.py").open("a") as file:
            file.write("metadata['colour'] = colour\n")
        await at.discover()
        await at.reaches("computed", "running")
        first = at.pid("computed")
        colour.write_text("green")
        at.write("new")
        await at.manager.reload_all("operator")
        assert (await at.view("computed")).meta_file == {"colour": "green"}
        assert at.pid("computed") == first
        assert "new" in at.jobs.declared  # it is awaited, too

    run(scenario)
