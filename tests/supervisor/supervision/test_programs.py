"""Short programs: awaited, never supervised, and ended with all they have started."""

import asyncio
import sys

import pytest

from plugin_runtime.protocol import Kind
from supervisor.errors import SpawnError
from supervisor.processes.process_stat import read_process_stat
from supervisor.processes.reaper import Reaper
from supervisor.supervision.programs import Programs
from tests.fakes.processes import command, state_folder
from tests.fakes.waiting import DEADLINE, until

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("nothing_left_behind")]


class Scene:
    def __init__(self, folder):
        self.folder = folder
        self.lines = []
        self.exits = []
        self.reaper = Reaper(asyncio.get_running_loop())
        self.programs = Programs(self.reaper, folder, self.exits.append)

    async def run(self, *program, timeout=DEADLINE, **environment):
        return await self.programs.run(
            program,
            name="hello",
            cwd=self.folder.root,
            environment=environment,
            timeout=timeout,
            on_line=self.lines.append,
        )


@pytest.fixture
def run(tmp_path):
    def run(scenario):
        async def main():
            at = Scene(state_folder(tmp_path))
            at.reaper.start()
            try:
                await scenario(at)
            finally:
                at.reaper.close()
            assert list(at.folder.run.iterdir()) == []

        asyncio.run(main())

    return run


def test_its_output_and_its_end_are_told(run):
    """Both streams, line by line; the record bears the plugin's plain name."""

    async def scenario(at):
        completed = await at.run(sys.executable, "-I", "-S", "-c", "print('one'); print('two'); raise SystemExit(3)")
        assert (completed.exit_code, completed.signal, completed.timed_out) == (3, None, False)
        assert (completed.tail, at.lines) == (("one", "two"), ["one", "two"])
        (record,) = at.exits
        assert (record.name, record.instance, record.kind) == ("hello", "hello.installer", Kind.INSTALLER.value)
        assert (record.cause, record.exit_code, record.log_tail) == ("crash", 3, ["one", "two"])
        assert record.uptime > 0

    run(scenario)


def test_it_gets_nothing_of_our_environment(run, monkeypatch):
    """A setup.py is foreign code."""
    monkeypatch.setenv("SECRET_OF_OURS", "x")

    async def scenario(at):
        await at.run(sys.executable, "-I", "-S", "-c", "import os; print(sorted(os.environ))", ONLY="this")
        assert "SECRET_OF_OURS" not in at.lines[0]
        assert "ONLY" in at.lines[0]

    run(scenario)


def test_at_its_time_limit_the_whole_group_is_killed(run):
    """Row 47: an installer that hangs takes its children along."""

    async def scenario(at):
        work = asyncio.create_task(at.run(*command("forks_grandchild.py"), timeout=1.0))
        await until(lambda: at.lines, "the grandchild is there")
        completed = await work
        assert completed.timed_out
        assert at.exits[0].cause == "start_timeout"
        await until(lambda: read_process_stat(int(at.lines[0])) is None, "the grandchild is gone and reaped")

    run(scenario)


def test_cancelling_kills_the_group_and_leaves_a_record(run):
    """Every death of every process is recorded; the caller gets its cancellation when all are dead."""

    async def scenario(at):
        work = asyncio.create_task(at.run(*command("forks_grandchild.py")))
        await until(lambda: at.lines, "the grandchild is there")
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        (record,) = at.exits
        assert (record.cause, record.signal) == ("disabled", 9)
        await until(lambda: read_process_stat(int(at.lines[0])) is None, "the grandchild is gone and reaped")

    run(scenario)


def test_a_program_that_is_not_there_is_an_error(run):
    """Nothing was started, so there is nothing to record."""

    async def scenario(at):
        with pytest.raises(SpawnError, match="/does/not/exist"):
            await at.run("/does/not/exist")
        assert at.exits == []

    run(scenario)


def test_long_lines_are_cut(run):
    """A program may print megabytes without a newline."""

    async def scenario(at):
        await at.run(*command("floods_stdout.py", 2, 10_000))
        assert sorted(map(len, at.lines)) == [3, 4096, 4096]

    run(scenario)
