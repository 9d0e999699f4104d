"""Which gateways there are: replaced by overlap, as many as are wanted, each started with what holds now."""

import asyncio
from types import SimpleNamespace

import pytest

from plugin_runtime.protocol import Cause, Kind, State
from supervisor.changes import Changes
from supervisor.gateways.gateway_processes import GatewayProcesses
from supervisor.gateways.gateways import Gateways
from supervisor.supervision.child_events import StopRequested
from tests.fakes.process_table import guest_spec, process_table
from tests.fakes.processes import DEADLINE, exists, state_folder
from tests.fakes.waiting import settle, until

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.usefixtures("nothing_left_behind")]

GOOD = ("hello", "ready", "serve")


class Scene:
    """Gateways that are guests. ``steps`` and ``generation``: of those made from now on."""

    def __init__(self, table):
        self.table = table
        self.steps = GOOD
        self.generation = "one"
        self.exits = []
        self.seen = []
        """At each change, who is in the process table and serves."""
        self.changes = Changes()
        self.gateways = Gateways(table.folder, None, self._changed, self.exits.append)
        self.processes = GatewayProcesses(self.gateways, self._make_spec, table.tree, table.around, self.changes)

    def _make_spec(self, number):
        return guest_spec(
            self.table.folder,
            *self.steps,
            id=f"gateway.{number}",
            name="gateway",
            kind=Kind.GATEWAY,
            generation=self.generation,
        )

    def _changed(self):
        self.seen.append([child.spec.id for child in self.table.tree.children if child.state is State.RUNNING])
        self.changes.notify()

    @property
    def children(self):
        return self.processes.children

    @property
    def pids(self):
        return [child.pid for child in self.children]

    async def serving(self, count):
        self.processes.start(count)
        await self.all_serve()
        return self.pids

    async def all_serve(self):
        await until(lambda: all(child.state is State.RUNNING for child in self.children), "all serve", DEADLINE)

    def configure(self, count, generation):
        """What a change of the configuration does."""
        before = SimpleNamespace(gateway=SimpleNamespace(processes=len(self.children), keys=self.generation))
        self.generation = generation
        after = SimpleNamespace(gateway=SimpleNamespace(processes=count, keys=generation))
        assert self.processes.configured(before, after) == ()

    async def follows(self, count, generation):
        """A change of the configuration, and all that follows from it."""
        self.configure(count, generation)
        await self.processes._works.wait_done()

    def assert_consistent(self, count, generation=None):
        """As many as wanted, by number, of what is wanted, each once in the process table, and all of them serve."""
        names = [f"gateway.{number}" for number in range(1, count + 1)]
        assert [child.spec.id for child in self.children] == names
        assert {child.spec.generation for child in self.children} == {generation or self.generation}
        assert sorted(child.spec.id for child in self.table.tree.children) == names
        assert all(exists(pid) for pid in self.pids)
        assert len(list(self.table.folder.run.glob("*.out"))) == count


@pytest.fixture
def run(tmp_path):
    def run(scenario):
        async def main():
            async with process_table(state_folder(tmp_path)) as table:
                at = Scene(table)
                try:
                    await scenario(at)
                finally:
                    await at.processes.close()
                    await at.gateways.close()

        asyncio.run(main())

    return run


def test_a_replacement_never_leaves_fewer_ready_than_before(run):
    """The new one is ready before the old one is told to stop, one number after the other."""

    async def scenario(at):
        before = await at.serving(2)
        at.seen.clear()
        await at.follows(2, "two")
        at.assert_consistent(2)
        assert all({"gateway.1", "gateway.2"} <= set(ready) for ready in at.seen)
        assert at.seen[0] == ["gateway.1", "gateway.2"]
        assert not set(before) & set(at.pids)
        assert [child.record.restarts for child in at.children] == [1, 1]
        assert [(record.pid, record.cause, record.actor, record.exit_code) for record in at.exits] == [
            (pid, "reload", "supervisor", 0) for pid in before
        ]

    run(scenario)


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        (("hello", "fail:no certificate", "leave:78"), "no certificate"),
        (("hello", "exit:1"), "its successor did not become ready"),
    ],
    ids=["says why", "crashes"],
)
def test_a_successor_that_does_not_become_ready_is_taken_away_and_the_old_one_stays(run, caplog, steps, why):
    """And so do those whose turn had not come; why is said to the operator."""

    async def scenario(at):
        before = await at.serving(2)
        at.steps = steps
        await at.follows(2, "two")
        assert f"cannot replace gateway.1: {why}" in caplog.text
        assert at.pids == before
        at.assert_consistent(2, generation="one")

    run(scenario)


def test_one_that_does_not_serve_is_started_anew_with_what_holds_now(run):
    """There is nothing to overlap, and what kept it down may be what was changed."""

    async def scenario(at):
        at.steps = ("hello", "fail:no certificate", "leave:78")
        at.processes.start(1)
        await until(lambda: at.children[0].state is State.FAILED, "it has failed", DEADLINE)
        at.steps = GOOD
        at.configure(1, "two")
        await until(lambda: at.children[0].state is State.RUNNING, "it serves", DEADLINE)
        at.assert_consistent(1)

    run(scenario)


def test_only_what_is_not_as_configured_is_replaced(run):
    """A change that no gateway has to know of costs none."""

    async def scenario(at):
        before = await at.serving(2)
        at.configure(2, "one")
        at.configure(2, "two")
        await at.follows(2, "two")
        assert [record.pid for record in at.exits] == before
        at.assert_consistent(2)

    run(scenario)


def test_a_change_that_no_gateway_can_start_with_leaves_the_old_ones_and_is_said(run, caplog):
    """Also after a crash: what they were started with worked."""

    async def scenario(at):
        await at.serving(1)
        at.steps = ("hello", "fail:no certificate", "leave:78")
        at.configure(1, "two")
        await until(lambda: "cannot replace gateway.1: no certificate" in caplog.text, "it is said", DEADLINE)
        (child,) = at.children
        assert child.spec.generation == "one"
        child.incarnation.process.signal_group(9)
        former = child.incarnation
        await until(lambda: child.incarnation is not former and child.state is State.RUNNING, "it is back", DEADLINE)
        assert child.spec.generation == "one"

    run(scenario)


def test_there_are_as_many_as_configured(run):
    """Those that are too many finish and go; each has its share of the totals."""

    async def scenario(at):
        (first,) = await at.serving(1)
        at.configure(3, "one")
        await until(lambda: len(at.children) == 3, "three are there", DEADLINE)
        await at.all_serve()
        at.assert_consistent(3)
        assert (at.pids[0], at.gateways._count) == (first, 3)
        at.configure(1, "one")
        await until(lambda: len(at.exits) == 2, "two are gone", DEADLINE)
        await settle()
        at.assert_consistent(1)
        assert (at.pids, at.gateways._count) == ([first], 1)
        assert {record.cause for record in at.exits} == {"scale_down"}

    run(scenario)


def test_a_gateway_that_dies_while_its_successor_starts_is_no_hindrance(run, tmp_path):
    """It comes back with its old settings, and is replaced all the same."""

    async def scenario(at):
        await at.serving(1)
        (old,) = at.children
        go_on = tmp_path / "go-on"
        at.steps = ("hello", f"wait:{go_on}", "ready", "serve")
        replacing = asyncio.create_task(at.follows(1, "two"))
        await until(lambda: len(at.table.tree.children) == 2, "the successor starts", DEADLINE)
        old.incarnation.process.signal_group(9)
        await until(lambda: at.exits, "the old one is dead", DEADLINE)
        go_on.touch()
        await replacing
        assert at.children != [old]
        at.assert_consistent(1)

    run(scenario)


def test_at_the_end_no_gateway_is_made_any_more(run, tmp_path):
    """The door's descriptor may soon be that of another file."""

    async def scenario(at):
        await at.serving(1)
        at.steps = ("hello", f"wait:{tmp_path / 'never'}", "ready", "serve")
        at.configure(1, "two")
        await until(lambda: len(at.table.tree.children) == 2, "the successor starts", DEADLINE)
        at.processes.seal()
        for child in at.table.tree.children:
            child.post(StopRequested(Cause.SHUTDOWN, "supervisor"))
        await at.processes.close()
        await at.follows(2, "three")
        await settle()
        assert len(at.table.tree.children) == 2

    run(scenario)
