"""Who may start when: a few at a time, the longest waiting first, and what none of that may hold up."""

import asyncio
import sys

import pytest

from plugin_runtime.protocol import Cause, Kind, State
from supervisor.spec import RestartPolicy, RestartWhen
from supervisor.state_folder import StateFolder
from supervisor.supervision.child_events import StopRequested
from supervisor.templates import births
from supervisor.templates.births import Births
from supervisor.templates.member import Member
from supervisor.templates.template import CannotForkError
from tests.fakes.process_table import guest_spec, process_table
from tests.fakes.processes import state_folder
from tests.fakes.waiting import until

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.usefixtures("nothing_left_behind")]

STOP = StopRequested(Cause.OPERATOR, "operator")


@pytest.fixture
def run(tmp_path):
    """Run a scenario with a process table in which one may start at a time."""

    def run(scenario, limit=1):
        async def main():
            async with process_table(state_folder(tmp_path), places=limit) as table:
                await scenario(table)

        asyncio.run(main())

    return run


def started(table, name, *steps, **fields):
    return table.start(*steps, id=name, **fields)


async def running(child):
    await until(lambda: child.state is State.RUNNING, f"{child.spec.id} is running")


def test_one_after_the_other_starts_the_longest_waiting_first(run, tmp_path):
    """Each when the one before is ready, in the order in which they were wanted."""

    async def scenario(table):
        first = started(table, "a.1", "hello", f"wait:{tmp_path}/a", "ready", "serve")
        second = started(table, "b.1", "hello", f"wait:{tmp_path}/b", "ready", "serve")
        third = started(table, "c.1", "hello", "ready", "serve")
        assert [child.pid is None for child in (first, second, third)] == [False, True, True]
        (tmp_path / "a").touch()
        await until(lambda: second.pid, "the second has a process")
        assert (first.state, third.pid) == (State.RUNNING, None)
        (tmp_path / "b").touch()
        await running(third)

    run(scenario)


def test_a_death_gives_the_place_back(run, tmp_path):
    """One that dies before it is ready has started as much as it ever will."""

    async def scenario(table):
        dying = started(table, "a.1", "hello", "exit:3", restart=RestartPolicy(RestartWhen.NEVER))
        waiting = started(table, "b.1", "hello", "ready", "serve")
        assert waiting.pid is None
        await running(waiting)
        assert dying.state is State.FAILED

    run(scenario)


def test_a_spawn_that_fails_gives_the_place_back(run):
    """There is no process that could ever be ready."""

    async def scenario(table):
        broken = started(table, "a.1", command=("/nowhere/to/be/found",), restart=RestartPolicy(delay=30.0))
        waiting = started(table, "b.1", "hello", "ready", "serve")
        await running(waiting)
        assert broken.state is State.BACKOFF
        broken.post(STOP)

    run(scenario)


def test_one_that_waits_for_something_else_than_the_cpu_holds_up_nobody_for_long(run, monkeypatch, tmp_path):
    """A lifespan that waits for a database for a minute is no reason for the others to wait as long."""
    monkeypatch.setattr(births, "LONGEST_PLACE", 0.1)

    async def scenario(table):
        slow = started(table, "a.1", "hello", f"wait:{tmp_path}/a", "ready", "serve")
        other = started(table, "b.1", "hello", "ready", "serve")
        await running(other)
        assert slow.state is State.STARTING
        (tmp_path / "a").touch()
        await running(slow)

    run(scenario)


def test_one_that_waits_for_its_turn_can_be_stopped_without_a_trace(run, tmp_path):
    """No process, no exit record, no turn."""

    async def scenario(table):
        first = started(table, "a.1", "hello", f"wait:{tmp_path}/a", "ready", "serve")
        second = started(table, "b.1", "hello", "ready", "serve")
        second.post(STOP)
        assert (second.state, second.settled.is_set(), table.owner.exits) == (State.EXITED, True, [])
        (tmp_path / "a").touch()
        await running(first)
        assert second.pid is None

    run(scenario)


def test_one_that_is_stopped_during_its_fork_gives_the_place_back(run, monkeypatch):
    """It has a process when it ends and is never ready in between: those that wait must not wait for it."""
    monkeypatch.setattr("supervisor.templates.births.LONGEST_PLACE", 60.0)

    async def scenario(table):
        forking, forked = asyncio.Event(), asyncio.Event()

        class SlowTemplate:
            interpreter, child = sys.executable, "slow.template"
            is_coming, is_ready = False, True

            def suits(self, spec):
                return True

            async def fork(self, birth, folder):
                forking.set()
                await forked.wait()
                raise CannotForkError("no more processes")

        table.around.origin.enter(Member("slow", SlowTemplate(), (), list))
        first = started(table, "a.1", "hello", "ready", "serve", template="slow")
        second = started(table, "b.1", "hello", "ready", "serve")
        await forking.wait()
        first.post(STOP)
        forked.set()
        await first.settled.wait()
        await running(second)
        assert [record.instance for record in table.owner.exits] == ["a.1"]

    run(scenario)


@pytest.mark.parametrize("kind", [Kind.GATEWAY, Kind.VALIDATOR, Kind.JOB])
def test_some_need_no_place(run, tmp_path, kind):
    """The door is not to wait for plugins; validators and runs have places of their own."""

    async def scenario(table):
        started(table, "a.1", "hello", f"wait:{tmp_path}/a", "ready", "serve")
        other = started(table, "b.1", "hello", "ready", "serve", kind=kind)
        await running(other)
        (tmp_path / "a").touch()

    run(scenario)


def test_as_many_as_there_is_room_for_start_at_once(run, tmp_path):
    """Never more, however many are wanted; and all get there."""

    async def scenario(table):
        children = [started(table, f"a.{n}", "hello", "ready", "serve") for n in range(1, 7)]
        most = 0
        while not all(child.state is State.RUNNING for child in children):
            most = max(most, sum(child.record.is_being_born for child in children))
            await asyncio.sleep(0)
        assert most == 2

    run(scenario, limit=2)


def test_what_a_process_imported_is_told_to_its_own_template_only(tmp_path):
    """By owner and interpreter: another environment has other modules."""

    class FakeTemplate:
        def suits(self, spec):
            return spec.command[0] == "/env/bin/python"

    async def scenario():
        learned, folder = [], StateFolder(tmp_path)
        at = Births(folder, None, None, limit=1)
        at.enter(Member("guest", FakeTemplate(), (), learned.extend))
        spec = guest_spec(folder, command=("/env/bin/python", "x"), template="guest")
        at.learn(spec, ["a"])
        at.learn(guest_spec(folder, command=("/other/bin/python", "x"), template="guest"), ["b"])
        at.learn(guest_spec(folder, command=("/env/bin/python", "x")), ["c"])
        at.leave("guest")
        at.learn(spec, ["d"])
        assert learned == ["a"]

    asyncio.run(scenario())
