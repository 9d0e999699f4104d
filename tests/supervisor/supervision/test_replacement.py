"""One process after another of the same id: side by side until the successors serve, or taken away again."""

import asyncio

import pytest

from plugin_runtime.protocol import Cause, State
from supervisor.changes import Changes
from supervisor.supervision.child import Child
from supervisor.supervision.replacement import Replacement
from tests.fakes.process_table import RecordingOwner, guest_spec, process_table
from tests.fakes.processes import exists, state_folder
from tests.fakes.waiting import until

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.usefixtures("nothing_left_behind")]

GOOD = ("hello", "ready", "serve")


class Owner(RecordingOwner):
    def __init__(self, changes):
        super().__init__()
        self._changes = changes

    def changed(self, child):
        super().changed(child)
        self._changes.notify()


class Scene:
    def __init__(self, table):
        self.table = table
        changes = Changes()
        self.owner = Owner(changes)
        self.replacement = Replacement(table.tree, changes, table.tree.remove)

    def make(self, number, *steps):
        return Child(
            guest_spec(self.table.folder, *(steps or GOOD), id=f"guest.{number}"), self.owner, self.table.around
        )

    async def serving(self, count):
        children = [self.make(number) for number in range(1, count + 1)]
        for child in children:
            self.replacement.begin(child, None, "test")
        await until(lambda: all(child.state is State.RUNNING for child in children), "all serve")
        return children

    async def overlap(self, successors):
        return await self.replacement.overlap(successors, Cause.RELOAD, "operator")


@pytest.fixture
def run(tmp_path):
    def run(scenario):
        async def main():
            async with process_table(state_folder(tmp_path)) as table:
                await scenario(Scene(table))

        asyncio.run(main())

    return run


def test_successors_serve_beside_those_whose_ids_they_have(run):
    """The old ones are not asked to leave: whoever sends requests has to be told first. More than before may come."""

    async def scenario(at):
        first, second = await at.serving(2)
        successors = {at.make(1): first, at.make(2): second, at.make(3): None}
        assert await at.overlap(successors)
        assert at.table.tree.children == [first, second, *successors]
        assert {child.state for child in at.table.tree.children} == {State.RUNNING}
        assert (at.replacement.successors, at.owner.exits) == ([], [])

    run(scenario)


@pytest.mark.parametrize("steps", [("hello", "fail:no database", "exit:70"), ("exit:1",)], ids=["says why", "crashes"])
def test_one_that_does_not_become_ready_takes_all_of_them_along(run, tmp_path, steps):
    """Also those that serve already, and those that never would: the old ones are what is there afterwards."""

    async def scenario(at):
        first, second = await at.serving(2)
        late = at.make(3, "hello", f"wait:{tmp_path}/never", "ready")
        assert not await at.overlap({at.make(1): first, at.make(2, *steps): second, late: None})
        assert at.table.tree.children == [first, second]
        assert (first.state, second.state, at.replacement.successors) == (State.RUNNING, State.RUNNING, [])
        assert all(exists(child.pid) for child in (first, second))

    run(scenario)


def test_successors_that_are_stopped_by_others_are_taken_away(run, tmp_path):
    """Whoever retires the old ones finds those that are about to follow, and nobody waits for them any more."""

    async def scenario(at):
        (old,) = await at.serving(1)
        successor = at.make(1, "hello", f"wait:{tmp_path}/never", "ready")
        overlap = asyncio.create_task(at.overlap({successor: old}))
        await until(lambda: successor.pid, "the successor starts")
        assert at.replacement.successors == [successor]
        await at.table.tree.remove(successor, Cause.DISABLED, "operator")
        assert not await overlap
        assert at.table.tree.children == [old]

    run(scenario)


@pytest.mark.parametrize(
    ("steps", "state"), [(GOOD, State.RUNNING), (("hello", "fail:no database", "leave:78"), State.FAILED)]
)
def test_one_that_must_be_alone_ends_before_the_next_process_begins(run, steps, state):
    """It is over when the next process is ready or has failed."""

    async def scenario(at):
        (child,) = await at.serving(1)
        before = child.pid
        child.respecify(at.make(1, *steps).spec)
        await at.replacement.in_place(child, Cause.OPERATOR, "operator")
        assert (child.state, exists(before)) == (state, False)
        assert at.table.tree.children == [child]

    run(scenario)
