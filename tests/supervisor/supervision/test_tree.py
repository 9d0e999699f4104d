"""The process table as a whole."""

import asyncio
import errno
import os

import pytest

from plugin_runtime.protocol import Cause, Kind, State
from supervisor.spec import Limits, LivenessPolicy
from supervisor.supervision.child import Child
from supervisor.supervision.child_events import StartRequested
from tests.fakes.process_table import guest_spec, with_timeouts
from tests.fakes.waiting import until

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.usefixtures("nothing_left_behind")]


async def all_running(*children):
    await until(lambda: all(child.state is State.RUNNING for child in children), "all are running")


def test_everything_is_stopped_kind_after_kind(run):
    """The door first: requests in flight need their workers to the end. Those of one kind go together."""

    async def scenario(table):
        order = (Kind.WORKER, Kind.TASK, Kind.GATEWAY, Kind.WORKER)
        children = [table.start("hello", "ready", "serve", id=f"c.{i}", kind=kind) for i, kind in enumerate(order)]
        await all_running(*children)
        await table.tree.stop_all(Cause.SHUTDOWN, "SIGTERM")
        kinds = [record.kind for record in table.owner.exits]
        assert kinds == ["gateway", "task", "worker", "worker"]
        assert {(record.cause, record.actor, record.exit_code) for record in table.owner.exits} == {
            ("shutdown", "SIGTERM", 0)
        }
        assert all(child.settled.is_set() for child in table.tree.children)

    run(scenario)


def test_hurry_holds_for_what_is_stopped_later_too(run):
    """The operator is tired of waiting for all of it, not for the first kind only."""

    async def scenario(table):
        timeouts = with_timeouts(stop=60.0, term=20.0)
        steps = ("deaf", "hello", "ready", "serve")
        gateway = table.start(*steps, id="g.1", kind=Kind.GATEWAY, timeouts=timeouts)
        worker = table.start(*steps, id="w.1", timeouts=timeouts)
        await all_running(gateway, worker)
        stopping = asyncio.create_task(table.tree.stop_all(Cause.SHUTDOWN, "SIGTERM"))
        await until(lambda: gateway.state is State.DRAINING, "the stop has begun")
        table.tree.hurry()
        table.tree.hurry()
        await until(lambda: worker.state is State.STOPPING, "the worker skips its first rung")
        table.tree.hurry()
        await stopping

    run(scenario)


def test_one_that_a_supervisor_before_left_keeps_no_id(run):
    """It may take long to end; two that are wanted are one too many all the same."""

    async def scenario(table):
        former = Child(guest_spec(table.folder), table.owner, table.around)
        table.tree.add_former(former)
        table.add()
        with pytest.raises(ValueError, match="in the process table already"):
            table.add()
        await table.tree.remove(former, Cause.FINISHED, "test")
        assert len(table.tree.children) == 1

    run(scenario)


def test_a_kind_that_begins_to_stop_is_not_started_again(run):
    """From this moment on, whatever happens: the door's descriptor is about to be another file's."""

    async def scenario(table):
        gateway = table.start("hello", "ready", "kill", id="g.1", kind=Kind.GATEWAY)
        worker = table.start("hello", "ready", "serve", id="w.1")
        table.tree.stop_nowait(Kind.GATEWAY, Cause.SHUTDOWN, "supervisor")
        await gateway.settled.wait()
        assert gateway.state is State.EXITED
        await all_running(worker)
        assert len(table.owner.exits) == 1

    run(scenario)


def test_two_of_the_same_are_never_in_the_table(run):
    """Nothing is doubled; a removed one makes room."""

    async def scenario(table):
        child = table.start("hello", "ready", "serve")
        with pytest.raises(ValueError, match=r"child 'guest\.1' is in the process table already"):
            table.add()
        await all_running(child)
        assert table.tree.pids == {"guest.1": child.pid}
        await table.tree.remove(child, Cause.SCALE_DOWN, "operator")
        assert (table.tree.pids, table.owner.exits[0].cause) == ({}, "scale_down")
        table.add()
        assert table.tree.pids == {"guest.1": None}

    run(scenario)


def test_a_successor_is_added_beside_the_one_that_it_replaces(run):
    """Both have one name, which shows the newest process; a third, or one beside a stranger, is refused."""

    async def scenario(table):
        former, stranger = table.start("hello", "ready", "serve"), table.add(id="guest.2")
        successor = Child(guest_spec(table.folder, "hello", "ready", "serve"), table.owner, table.around)
        with pytest.raises(ValueError, match=r"child 'guest\.1' is in the process table already"):
            table.tree.add(successor, beside=stranger)
        table.tree.add(successor, beside=former)
        await all_running(former)
        assert table.tree.pids["guest.1"] == former.pid
        successor.post(StartRequested("test"))
        await all_running(successor)
        assert table.tree.pids["guest.1"] == successor.pid != former.pid
        with pytest.raises(ValueError, match="is in the process table already"):
            table.tree.add(successor, beside=former)
        await table.tree.remove(former, Cause.OPERATOR, "operator")
        assert (table.tree.children, successor.state) == ([stranger, successor], State.RUNNING)

    run(scenario)


def test_a_child_that_was_never_started_is_stopped_at_once(run):
    """There is nothing to wait for."""

    async def scenario(table):
        child = table.add("hello")
        await table.tree.remove(child, Cause.SHUTDOWN, "supervisor")
        assert (child.state, table.owner.exits) == (State.EXITED, [])

    run(scenario)


def test_signs_of_life_and_limits_are_looked_at_regularly(run, monkeypatch):
    """One timer for all of them: it finds the hung one and the one that is too old."""
    monkeypatch.setattr("supervisor.supervision.tree.TICK", 0.03)

    async def scenario(table):
        hung = LivenessPolicy(stalled=1.0, hung=2.0)
        table.start("hello", "ready", "beats:60", "pause", id="hung.1", liveness=hung)
        table.start("hello", "ready", "serve", id="old.1", limits=Limits(max_age=0.001))
        table.tree.start()

        def causes():
            return {(record.instance, record.cause) for record in table.owner.exits}

        await until(lambda: {("hung.1", "hang"), ("old.1", "recycle")} <= causes(), "both are replaced")

    run(scenario)


def test_a_mistake_in_one_check_keeps_nobody_else_from_theirs(run, monkeypatch, caplog):
    """Whatever it is: it is logged, and the round goes on."""
    monkeypatch.setattr("supervisor.supervision.tree.TICK", 0.03)

    async def scenario(table):
        bad = table.start("hello", "ready", "serve", id="bad.1")
        table.start("hello", "ready", "serve", id="old.1", limits=Limits(max_age=0.001))
        await until(lambda: bad.state is State.RUNNING, "it serves")

        def mistaken():
            raise LookupError("no such limit")

        bad.check_limits = mistaken
        table.tree.start()
        await until(lambda: table.owner.exits, "the other one is found too old")
        assert {(record.instance, record.cause) for record in table.owner.exits} == {("old.1", "recycle")}
        assert f"Cannot check bad.1 (pid {bad.pid})" in caplog.text
        assert "no such limit" in caplog.text

    run(scenario)


def test_a_child_that_cannot_be_looked_at_keeps_nobody_else_from_it(run, monkeypatch, caplog):
    """Without a free descriptor /proc cannot be read: that says nothing of the child, and must not end the round."""
    monkeypatch.setattr("supervisor.supervision.tree.TICK", 0.03)

    async def scenario(table):
        unseen = table.start("hello", "ready", "serve", id="unseen.1")
        table.start("hello", "ready", "serve", id="old.1", limits=Limits(max_age=0.001))
        await until(lambda: unseen.state is State.RUNNING, "it serves")

        def out_of_descriptors(now):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        unseen.check_liveness = out_of_descriptors
        table.tree.start()
        await until(lambda: table.owner.exits, "the other one is found too old")
        assert {(record.instance, record.cause) for record in table.owner.exits} == {("old.1", "recycle")}
        assert f"Cannot check unseen.1 (pid {unseen.pid}): [Errno 24]" in caplog.text

    run(scenario)
