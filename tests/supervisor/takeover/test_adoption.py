"""Processes that outlive their supervisor: known again by their records, and taken over by whoever comes next."""

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from plugin_runtime.protocol import Cause, State
from supervisor.spec import RestartPolicy
from supervisor.supervision.child_events import StartRequested, StopRequested
from tests.fakes.process_table import process_table
from tests.fakes.processes import exists, state_folder
from tests.fakes.waiting import until

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.usefixtures("nothing_left_behind")]

SERVICE = ("hello", "ready", "stay")


@pytest.fixture
def folder(tmp_path):
    return state_folder(tmp_path)


@pytest.fixture
def run(folder):
    """Run a scenario with a process table, and then another with the next one, which finds what the first has left."""

    def run(before, after):
        async def main():
            async with process_table(folder) as table:
                found = await before(table)
                table.is_abandoned = True
            async with process_table(folder) as table:
                await after(table, found)

        asyncio.run(main())

    return run


async def running(child):
    await until(lambda: child.state is State.RUNNING, f"{child.spec.id} is running, not {child.state}")
    return child


async def started(table):
    """One that runs: its pid and its token."""
    child = await running(table.start(*SERVICE))
    return child.pid, child.incarnation.token


def test_the_same_process_goes_on(run):
    """Same pid, known to its owner by the token and settings it has; its age goes on counting."""

    async def after(table, found):
        pid, token = found
        child = await running(table.start(*SERVICE))
        assert child.pid == pid
        ((known, settings),) = table.owner.adoptions
        assert (known, settings["number"]) == (token, 1)
        assert table.owner.tokens == []
        assert child.uptime > 0.0
        assert not table.around.survivors

    run(started, after)


def test_it_goes_on_with_the_key_that_it_has(run):
    """It is not told another one; the end of the process is that of the key."""

    async def before(table):
        await running(table.start(*SERVICE))
        return table.around.callers.ever

    async def after(table, found):
        callers = table.around.callers
        child = await running(table.start(*SERVICE))
        assert callers.ever == found
        assert list(callers.known) == [child.incarnation.token]
        child.post(StopRequested(Cause.OPERATOR, "test"))
        await child.settled.wait()
        assert callers.known == {}

    run(before, after)


def test_its_restarts_go_on_counting(run):
    """What /health shows is not set back by a new supervisor."""

    async def before(table):
        child = table.start("hello", "ready", "stay", restart=RestartPolicy(delay=0.01, jitter=0.0))
        await running(child)
        os.kill(child.pid, signal.SIGKILL)
        await until(lambda: child.record.restarts == 1 and child.state is State.RUNNING, "it is back")
        return child.pid

    async def after(table, pid):
        child = await running(table.start(*SERVICE))
        assert (child.pid, child.record.restarts) == (pid, 1)

    run(before, after)


def test_what_it_prints_meanwhile_and_later_is_read(run, tmp_path):
    """Logs without a gap: the FIFO keeps what is written while nobody reads."""
    go = tmp_path / "go"
    steps = ("hello", "ready", f"wait:{go}", "print:written while nobody was there", "stay")

    async def before(table):
        return (await running(table.start(*steps))).pid

    async def after(table, pid):
        go.touch()
        child = table.start(*steps)
        await until(lambda: child.incarnation.output.tail == ["written while nobody was there"], "its line is read")
        assert child.pid == pid
        await running(child)

    run(before, after)


def test_its_death_is_recorded_with_its_exit_code(run):
    """Like that of any other child, by whoever is its parent."""

    async def after(table, found):
        child = await running(table.start(*SERVICE, restart=RestartPolicy("never")))
        os.kill(child.pid, signal.SIGKILL)
        await child.settled.wait()
        record = await table.exit_number(1)
        assert (record.cause, record.signal, record.pid) == ("signal", signal.SIGKILL, found[0])

    run(started, after)


def test_it_can_be_stopped(run, folder):
    """The whole ladder works; nothing of it stays in the run folder."""

    async def after(table, found):
        child = await running(table.start(*SERVICE))
        child.post(StopRequested(Cause.OPERATOR, "token:ci"))
        await child.settled.wait()
        assert (await table.exit_number(1)).exit_code == 0
        assert not exists(found[0])
        assert list(folder.run.glob(f"{found[1]}.*")) == []

    run(started, after)


@pytest.mark.parametrize(
    "different",
    [{"generation": "b"}, {"command": ("/bin/false",)}, {"id": "guest.2"}],
    ids=lambda fields: next(iter(fields)),
)
def test_one_that_is_something_else_is_not_taken_over(run, different):
    """Another program or generation is not what is wanted; it stays for whoever ends it."""

    async def after(table, found):
        wanted = table.add(*SERVICE)
        assert table.around.survivors.claim(replace(wanted.spec, **different)) is None
        assert table.around.survivors.pids == {found[0]}
        wanted.post(StartRequested("test"))
        assert wanted.pid == found[0]

    run(started, after)
