"""The guard's process from the supervisor's side."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from plugin_runtime.protocol import Kind, State
from supervisor.guard.duty import Duty
from supervisor.guard.process_table import identify
from supervisor.processes.process_records import ProcessRecord, ProcessRecords, boot_id
from supervisor.takeover.guarding import Guarding
from tests.fakes.process_table import guest_spec, process_table
from tests.fakes.processes import state_folder
from tests.fakes.waiting import until

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("nothing_left_behind")]


@pytest.fixture
def predecessor():
    """The guard of a supervisor before."""
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(3600)"]) as process:
        yield process
        process.kill()


def record_of(process, **fields):
    identity = identify(process.pid)
    known = {"pid": identity.pid, "start_ticks": identity.start_ticks, "boot_id": boot_id(), **fields}
    return ProcessRecord("a1", "n", "guard", "guard", Kind.GUARD, "", ("guard",), **known, restarts=0, settings={})


def guarding(folder, predecessors, body):
    async def main():
        async with process_table(folder) as table:
            exits = []
            made = Guarding(predecessors, exits.append)
            made.start(
                guest_spec(folder, "hello", "ready", "serve", id="guard", kind=Kind.GUARD), table.tree, table.around
            )
            (child,) = table.tree.children
            await until(lambda: child.state is State.RUNNING, "the guard is ready")
            await body(child)
            await made.stop()
            assert table.tree.children == []
            assert exits[-1].cause == "shutdown"

    asyncio.run(main())


def test_the_guard_before_is_told_to_leave_when_ours_is_ready(tmp_path, predecessor):
    """Not sooner: at no moment is there nobody."""
    told_at = []

    async def body(child):
        await until(lambda: predecessor.poll() is not None, "the guard before has left")
        told_at.append(child.state)

    guarding(state_folder(tmp_path), [record_of(predecessor)], body)
    assert predecessor.returncode == -signal.SIGTERM
    assert told_at == [State.RUNNING]


@pytest.mark.parametrize("fields", [{"start_ticks": 1}, {"boot_id": "another"}], ids=["process", "boot"])
def test_a_stranger_with_the_pid_of_a_guard_is_left_alone(tmp_path, predecessor, fields):
    """The record may be older than the process."""

    async def body(child):
        assert predecessor.poll() is None

    guarding(state_folder(tmp_path), [record_of(predecessor, **fields)], body)
    assert predecessor.poll() is None


def test_it_is_on_record_while_it_runs(tmp_path):
    """So that the next supervisor knows whom to tell to leave."""
    folder = state_folder(tmp_path)

    async def body(child):
        (record,) = ProcessRecords(folder).read_all()
        assert (record.id, record.kind, record.pid) == ("guard", Kind.GUARD, child.pid)

    guarding(folder, [], body)
    assert ProcessRecords(folder).read_all() == []


def test_its_command_line_says_all_that_it_must_know(tmp_path):
    """There is no moment in which it runs and does not know its duty."""
    duty = Duty(tmp_path, identify(os.getpid()), 2.5)
    assert Duty.parse(duty.arguments) == duty
    with pytest.raises(ValueError, match="not enough values"):
        Duty.parse(("x", "1"))
