"""The workers of a plugin: replaced by overlap, used up, and as many as an operator asks for."""

import asyncio
import os
import signal
from contextlib import contextmanager
from itertools import pairwise

import pytest

from plugin_runtime.protocol import Beat, Cause, Notes, RoutingSnapshot, State, Stop
from plugin_runtime.views import PluginError
from plugin_runtime.wire import Envelope
from supervisor.errors import ConflictError, InvalidValueError, ReplacementError, StoreUnavailableError
from supervisor.preparation.preparation import PreparationError
from supervisor.supervision.child_events import Stalled, StopRequested
from tests.fakes.plugin_scene import pids, serving
from tests.fakes.processes import exists
from tests.fakes.waiting import DEADLINE, settle, until

pytestmark = [pytest.mark.process, pytest.mark.slow]

GOOD = ("hello", "ready", "serve")
PATIENCE = 60.0
"""Seconds for twenty orders, each with processes to start and to stop."""


def upstreams(at, since=0):
    """What each routing snapshot says: incarnations by instance."""
    snapshots = at.gateway.of(RoutingSnapshot)[since:]
    return [
        {upstream.instance: upstream.incarnation for upstream in route.upstreams}
        for snapshot in snapshots
        for route in snapshot.routes
        if route.plugin == "hello"
    ]


def snapshots(at):
    return len(at.gateway.of(RoutingSnapshot))


def assert_consistent(at, plugin, count):
    """As many as wanted, by number, each once in the process table, all of them routed, and nothing else."""
    names = [f"hello.{number}" for number in range(1, count + 1)]
    assert [child.spec.id for child in plugin.instances] == names
    assert len(at.table.tree.children) == count
    assert set(at.table.tree.children) == set(plugin.instances)
    assert (plugin.ready, plugin.wanted, plugin.state.value) == (count, count, "running")
    assert list(upstreams(at)[-1]) == names
    assert all(exists(pid) for pid in pids(plugin))


def test_a_restart_never_leaves_fewer_ready_than_before(run):
    """Rolling, one at a time; one routing snapshot has the new one in and the old one out."""

    async def scenario(at):
        hello = await serving(at, instances=3)
        before, told = pids(hello), snapshots(at)
        former = upstreams(at)[-1]
        await at.orders.restart("hello", "token:ci", wait=DEADLINE)
        await settle()
        seen = [former, *upstreams(at, told)]
        assert all(set(routed) == {"hello.1", "hello.2", "hello.3"} for routed in seen)
        changes = [[name for name in old if old[name] != new[name]] for old, new in pairwise(seen) if old != new]
        assert changes == [["hello.1"], ["hello.2"], ["hello.3"]]
        assert not set(before) & set(pids(hello))
        assert [record.pid for record in at.exits] == before
        assert [child.record.restarts for child in hello.instances] == [1, 1, 1]
        assert_consistent(at, hello, 3)

    run(scenario)


def test_the_old_one_is_told_to_stop_when_nobody_sends_it_requests_any_more(run):
    """First every gateway acknowledges, then it drains."""

    async def scenario(at):
        hello = await serving(at)
        (old,) = hello.instances
        told, at.gateway.hold = snapshots(at), True
        sent = keep_what_is_sent(old)
        restart = asyncio.create_task(at.orders.restart("hello", "operator", wait=DEADLINE))
        await until(lambda: old.state is State.DRAINING, "the old one is withdrawn")
        await settle()
        assert (len(upstreams(at, told)), sent) == (1, [])
        at.gateway.hold = False
        at.gateway.acknowledge()
        await restart
        assert sent == [Stop("operator", old.spec.timeouts.drain)]
        await settle()
        assert_consistent(at, hello, 1)

    run(scenario)


def keep_what_is_sent(child):
    """A list of what is sent to it from now on."""
    sent, send = [], child.send

    def keep(message, request_id=0):
        sent.append(message)
        send(message, request_id)

    child.send = keep
    return sent


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        (("fail:no database", "exit:70"), "no database"),
        (("exit:3",), "crash, exit code 3"),
        (("pause",), "start_timeout by supervisor"),
    ],
    ids=["says why", "crashes", "is never ready"],
)
def test_a_successor_that_does_not_become_ready_is_taken_away(run, steps, why):
    """The old one serves on; the plugin says why while it runs, and the next good restart clears that."""

    async def scenario(at):
        hello = await serving(at, steps=GOOD, start_timeout=2.0, restart="never")
        before, told = pids(hello), snapshots(at)
        routed = upstreams(at)[-1]
        at.restep("hello", "hello", *steps)
        with pytest.raises(ReplacementError, match=f"cannot replace a worker of plugin 'hello': .*{why}") as raised:
            await at.orders.restart("hello", "operator", wait=DEADLINE)
        assert pids(hello) == before
        assert "goes on serving" in raised.value.hint
        view = await at.orders.show("hello")
        assert (view.state, why in view.error.message) == ("running", True)
        await settle()
        assert all(seen == routed for seen in upstreams(at, told))
        assert why in at.gateway.route("hello").error
        at.restep("hello", *GOOD)
        view = await at.orders.restart("hello", "operator", wait=DEADLINE)
        await settle()
        assert view.error is None
        assert_consistent(at, hello, 1)

    run(scenario)


def test_the_rest_is_not_replaced_once_a_successor_failed(run):
    """Each of them would fail too, and cost its start timeout."""

    async def scenario(at):
        hello = await serving(at, instances=3)
        before = pids(hello)
        at.restep("hello", "hello", "fail:no database", "exit:70")
        with pytest.raises(ReplacementError):
            await at.orders.restart("hello", "operator", wait=DEADLINE)
        await settle()
        assert pids(hello) == before
        assert {record.instance for record in at.exits} == {"hello.1"}
        assert_consistent(at, hello, 3)

    run(scenario)


async def restarted(at, _worker):
    await at.orders.restart("hello", "operator", wait=DEADLINE)


async def used_up(_at, worker, memory_mb=None):
    """It has had its number of requests."""
    worker.received(Envelope(Beat(0.0, requests=100)))
    worker.check_limits(memory_mb)


@pytest.mark.parametrize(("replaced", "cause"), [(restarted, "operator"), (used_up, "recycle")])
def test_an_exclusive_one_ends_before_the_next_begins(run, replaced, cause):
    """Never two at once, whatever has it replaced."""

    async def scenario(at):
        hello = await serving(at, exclusive=True, max_requests=100)
        (worker,) = hello.instances
        before, living = worker.pid, []
        with looking(lambda: living.append(len(living_workers(at)))):
            await replaced(at, worker)
            await until(lambda: at.exits and worker.state is State.RUNNING, "it is replaced")
        assert max(living) == 1
        assert worker.pid != before
        assert [record.cause for record in at.exits] == [cause]
        assert hello.instances == [worker]

    run(scenario)


@contextmanager
def looking(look):
    """Look in every turn of the event loop."""

    async def go_on():
        while True:
            look()
            await asyncio.sleep(0)

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()


def living_workers(at):
    return [child for child in at.table.tree.children if child.pid is not None]


def test_the_old_one_may_die_while_its_successor_starts(run, tmp_path):
    """Its requests wait for whichever is there first; in the end there is one."""

    async def scenario(at):
        hello = await serving(at)
        (old,) = hello.instances
        gate = tmp_path / "gate"
        at.restep("hello", "hello", f"wait:{gate}", "ready", "serve")
        restart = asyncio.create_task(at.orders.restart("hello", "operator", wait=DEADLINE))
        await until(lambda: len(living_workers(at)) == 2, "the successor starts")
        os.kill(old.pid, signal.SIGKILL)
        await until(lambda: at.exits and hello.ready == 0, "the old one is dead")
        assert (hello.serving.workers.is_expected, hello.instances) == (True, [old])
        await until(lambda: hello.ready, "the old one is back")
        gate.touch()
        await restart
        await settle()
        assert old not in hello.instances
        assert_consistent(at, hello, 1)

    run(scenario)


@pytest.mark.parametrize("memory_mb", [None, 200.0], ids=["requests", "memory"])
def test_one_that_is_used_up_is_replaced_by_overlap(run, memory_mb):
    """max_requests and memory_soft_mb: nobody waits for it, and the record says recycle."""

    async def scenario(at):
        limit = {"max_requests": 100} if memory_mb is None else {"memory_soft_mb": 100.0}
        hello = await serving(at, instances=2, **limit)
        first, second = hello.instances
        told = snapshots(at)
        await used_up(at, second, memory_mb)
        await used_up(at, second, memory_mb)
        await until(lambda: at.exits, "it is gone")
        await until(lambda: at.table.tree.children == hello.instances, "it is forgotten")
        await settle()
        assert [(record.instance, record.cause) for record in at.exits] == [("hello.2", "recycle")]
        assert (hello.instances[0], hello.instances[1] is second) == (first, False)
        assert all(set(routed) == {"hello.1", "hello.2"} for routed in upstreams(at, told))
        assert_consistent(at, hello, 2)

    run(scenario)


def test_one_that_is_used_up_and_cannot_be_replaced_serves_on_for_a_while(run, caplog, monkeypatch):
    """Starts are not for free: the next try comes after a pause, not with the next look at its limits."""

    async def scenario(at):
        hello = await serving(at, max_requests=100, restart="never")
        (worker,) = hello.instances
        at.restep("hello", "hello", "fail:no database", "exit:70")
        await used_up(at, worker)
        await until(lambda: "cannot replace a worker" in caplog.text, "it is given up")
        await used_up(at, worker)
        await settle()
        assert (at.table.tree.children, worker.state) == ([worker], State.RUNNING)
        assert hello.error.message == "no database"
        monkeypatch.setattr(hello.serving.workers._recycling, "resumes_at", 0.0)
        at.restep("hello", *GOOD)
        await used_up(at, worker)
        await until(lambda: worker not in at.table.tree.children, "it is replaced at last")
        assert hello.error is None
        await settle()
        assert_consistent(at, hello, 1)

    run(scenario)


def test_a_restart_from_the_beginning_takes_a_successor_along(run, tmp_path):
    """Nobody serves, so all is made anew: what was about to take the place of the dead one must not get in the way."""

    async def scenario(at):
        hello = await serving(at, max_requests=100, restart="never")
        (worker,) = hello.instances
        at.restep("hello", "hello", f"wait:{tmp_path}/gate", "ready", "serve")
        await used_up(at, worker)
        await until(lambda: len(living_workers(at)) == 2, "the successor starts")
        os.kill(worker.pid, signal.SIGKILL)
        await until(lambda: worker.state is State.FAILED, "the old one is dead")
        at.restep("hello", *GOOD)
        view = await at.orders.restart("hello", "operator", wait=DEADLINE)
        await settle()
        assert (view.state, view.error) == ("running", None)
        assert_consistent(at, hello, 1)

    run(scenario)


def test_a_restart_from_the_beginning_waits_for_one_that_still_drains(run):
    """It has its successor's name, which crashed meanwhile: two of one name must not be in the process table."""

    async def scenario(at):
        hello = await serving(at, max_requests=100, restart="never")
        (worker,) = hello.instances
        at.gateway.hold = True
        await used_up(at, worker)
        await until(lambda: worker.state is State.DRAINING, "the old one drains")
        (successor,) = hello.instances
        os.kill(successor.pid, signal.SIGKILL)
        await until(lambda: successor.state is State.FAILED, "the successor is dead")
        restart = asyncio.create_task(at.orders.restart("hello", "operator", wait=DEADLINE))
        await settle()
        at.gateway.hold = False
        at.gateway.acknowledge()
        view = await restart
        await settle()
        assert (view.state, view.error) == ("running", None)
        assert_consistent(at, hello, 1)

    run(scenario)


def test_the_route_has_the_successor_of_one_that_is_gone_already(run, tmp_path):
    """The old one has nothing more to say, so nothing that it says leads to the new routing table."""

    async def scenario(at):
        hello = await serving(at)
        (old,) = hello.instances
        at.restep("hello", "hello", f"wait:{tmp_path}/gate", "ready", "serve")
        restart = asyncio.create_task(at.orders.restart("hello", "operator", wait=DEADLINE))
        await until(lambda: len(living_workers(at)) == 2, "the successor starts")
        old.post(StopRequested(Cause.OPERATOR, "operator"))
        await until(lambda: old.state is State.EXITED, "the old one is gone")
        (tmp_path / "gate").touch()
        await restart
        await settle()
        assert_consistent(at, hello, 1)

    run(scenario)


def recycles():
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("recycle-")]


def test_two_that_are_used_up_together_pause_together(run, caplog):
    """Where the first cannot be replaced, the second is not tried before the pause is over; nor the first twice."""

    async def scenario(at):
        hello = await serving(at, instances=2, max_requests=100, restart="never")
        at.restep("hello", "hello", "fail:no database", "exit:70")
        for worker in [*hello.instances, *hello.instances]:
            await used_up(at, worker)
        assert len(recycles()) == 2
        await until(lambda: "cannot replace a worker" in caplog.text, "it is given up")
        await settle()
        assert recycles() == []
        assert [record.instance for record in at.exits] == ["hello.1"]
        assert_consistent(at, hello, 2)

    run(scenario)


def test_no_replacement_goes_on_after_the_close(run, tmp_path):
    """Nor does one begin: what it would start, nobody would stop."""

    async def scenario(at):
        hello = await serving(at, max_requests=100)
        (worker,) = hello.instances
        at.restep("hello", "hello", f"wait:{tmp_path}/gate", "ready", "serve")
        await used_up(at, worker)
        await until(lambda: len(living_workers(at)) == 2, "the successor starts")
        await at.plugins.close()
        assert recycles() == []
        await used_up(at, worker)
        assert recycles() == []

    run(scenario)


def test_a_stop_of_everything_ends_a_replacement_quietly(run, tmp_path, caplog):
    """What does not become ready then is nobody's failure."""

    async def scenario(at):
        hello = await serving(at, max_requests=100)
        at.restep("hello", "hello", f"wait:{tmp_path}/gate", "ready", "serve")
        await used_up(at, hello.instances[0])
        await until(lambda: len(living_workers(at)) == 2, "the successor starts")
        await at.plugins.close()
        await at.table.tree.stop_all(Cause.SHUTDOWN, "SIGTERM")
        await settle()
        assert (living_workers(at), [record.cause for record in at.exits]) == ([], ["shutdown", "shutdown"])

    run(scenario)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


def test_scaling_up_and_down(run):
    """The highest numbers go, drained; the others are left alone; the number survives a restart of xcore."""

    async def scenario(at):
        hello = await serving(at)
        view = await at.orders.scale("hello", 3, "token:ci", wait=DEADLINE)
        await settle()
        assert (view.wanted, [instance.id for instance in view.instances]) == (3, ["hello.1", "hello.2", "hello.3"])
        assert at.repository.scaled == {"hello": 3}
        assert_consistent(at, hello, 3)
        before, going = pids(hello), hello.instances[1:]
        sent = [keep_what_is_sent(child) for child in going]
        await at.orders.scale("hello", 1, "token:ci", wait=DEADLINE)
        await settle()
        assert sent == [[Stop("scale_down", child.spec.timeouts.drain)] for child in going]
        assert {(record.pid, record.cause, record.actor) for record in at.exits} == {
            (pid, "scale_down", "token:ci") for pid in before[1:]
        }
        assert pids(hello) == before[:1]
        assert at.repository.scaled == {"hello": None}
        assert_consistent(at, hello, 1)

    run(scenario)


def test_a_number_of_an_earlier_life_is_kept(run):
    """As an operator asked for it, whatever the manifest says; but an exclusive plugin has one."""

    async def scenario(at):
        at.repository.knows("hello", instances=3)
        at.repository.knows("alone", instances=3)
        at.add("hello", instances=2)
        at.add("alone", exclusive=True)
        await at.discover()
        hello, alone = await at.reaches("hello", "running"), await at.reaches("alone", "running")
        await until(lambda: hello.ready == 3, "there are three")
        assert (hello.wanted, alone.wanted, len(alone.instances)) == (3, 1, 1)
        await at.orders.scale("hello", 2, "operator", wait=DEADLINE)
        assert at.repository.scaled == {"hello": None}
        await at.orders.scale("alone", 1, "operator", wait=DEADLINE)
        assert at.repository.scaled == {"hello": None, "alone": None}

    run(scenario)


@pytest.mark.parametrize("wait", [0, DEADLINE], ids=["at once", "waiting"])
def test_a_number_that_must_not_be_is_a_conflict(run, wait):
    """Whether the caller waits or not: nothing is begun of which it would never learn that it failed."""

    async def scenario(at):
        at.add("alone", exclusive=True)
        at.add_broken("broken", PreparationError(PluginError("import", "ImportError", "no module named flask")))
        await at.discover()
        alone = await at.reaches("alone", "running")
        with pytest.raises(ConflictError, match="cannot run 2 instances of plugin 'alone': it is exclusive"):
            await at.orders.scale("alone", 2, "operator", wait)
        with pytest.raises(ConflictError, match="cannot scale plugin 'broken': it is failed"):
            await at.orders.scale("broken", 2, "operator", wait)
        for count in (0, 257, -1):
            with pytest.raises(InvalidValueError, match=f"must be from 1 to 256, not {count}"):
                await at.orders.scale("alone", count, "operator", wait)
        assert (at.repository.scaled, len(alone.instances)) == ({}, 1)

    run(scenario)


@pytest.mark.parametrize("wait", [0.0, DEADLINE])
def test_a_number_that_cannot_be_written_down_is_not_followed(run, wait):
    """Otherwise the next start of xcore would undo it unasked. Nor is it acknowledged, even to who does not wait."""

    async def scenario(at):
        hello = await serving(at)
        at.repository.error = StoreUnavailableError("locked")
        with pytest.raises(StoreUnavailableError):
            await at.orders.scale("hello", 3, "operator", wait)
        await settle()
        assert_consistent(at, hello, 1)

    run(scenario)


def test_scaling_does_not_wait_for_one_that_stalls(run):
    """A blocked instance is why an operator wants more of them."""

    async def scenario(at):
        hello = await serving(at)
        hello.instances[0].post(Stalled())
        view = await at.orders.scale("hello", 2, "operator", wait=DEADLINE)
        assert [instance.state for instance in view.instances] == ["stalled", "running"]

    run(scenario)


def test_many_orders_at_once_end_in_the_last_one(run):
    """They are carried out one after the other, in the order in which they came."""

    async def scenario(at):
        hello = await serving(at, instances=2)
        orders = []
        for number in range(20):
            order = restart if number % 3 == 0 else scale
            orders.append(asyncio.create_task(order(at, 1 + number % 4)))
        await asyncio.gather(*orders)
        await settle()
        assert_consistent(at, hello, 4)
        assert at.repository.scaled == {"hello": 4}

    async def restart(at, _count):
        await at.orders.restart("hello", "operator", wait=PATIENCE)

    async def scale(at, count):
        await at.orders.scale("hello", count, "operator", wait=PATIENCE)

    run(scenario)


def test_what_a_process_says_does_not_work_is_noted_as_long_as_it_lives(run, caplog):
    """Logged when it is new: said again by each connection, and by each of many workers."""

    async def scenario(at):
        hello = await serving(at, instances=2)
        first, second = hello.instances
        for child in (first, first, second):
            hello.serving.workers.received(child, Envelope(Notes(["its queue is gone"])))
        assert hello.notes == ["its queue is gone"]
        logged = [
            record.getMessage() for record in caplog.records if record.name == "supervisor.supervision.child_notes"
        ]
        assert logged == [f"{child}: its queue is gone" for child in (first, second)]
        hello.serving.workers.received(second, Envelope(Notes([])))
        os.kill(first.pid, signal.SIGKILL)
        await until(lambda: hello.notes == [], "the note has gone with its process")
        await until(lambda: hello.ready == 2, "both serve")

    run(scenario)


def test_only_the_first_instance_runs_the_own_job(run):
    """Whichever generation or incarnation it is, it goes by the same file."""

    async def scenario(at):
        hello = await serving(at, instances=3)
        locks = [
            hello.serving.workers.settings_for(child, f"token{number}")["concured_lock"]
            for number, child in enumerate(hello.instances)
        ]
        assert locks == [str(at.table.folder.concured_lock("hello")), "", ""]

    run(scenario)
