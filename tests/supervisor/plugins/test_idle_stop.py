"""A plugin that stops when nobody asks for it, and what wakes it: real processes, gateways that do as the test says."""

import asyncio

import pytest

from plugin_runtime.gateway_protocol import Wake
from tests.fakes.waiting import DEADLINE, settle, until

pytestmark = [pytest.mark.process, pytest.mark.slow]

QUIET = ("hello", "ready", "beats:0", "serve")
"""A worker that nobody asks for anything."""


def pids(at):
    return [child.pid for child in at.plugins.named("hello").instances]


def upstreams(at):
    return [upstream.incarnation for upstream in at.gateway.route("hello").upstreams]


async def withdrawn(at):
    """No gateway is to send it requests any more; none has said so yet, where it holds back its word."""
    await until(lambda: at.gateway.route("hello").state == "idle", "it is withdrawn")


async def asleep(at):
    await at.reaches("hello", "idle")
    await until(lambda: pids(at) == [None], "it has no process")


def test_a_plugin_that_nobody_asks_for_is_stopped_and_woken_by_a_request(run):
    """Gateways park for it meanwhile; the death is one of its own kind, and no restart."""

    async def scenario(at):
        at.add("hello", steps=QUIET, idle_stop=0.1)
        await at.discover()
        await at.reaches("hello", "running")
        await asleep(at)
        route = at.gateway.route("hello")
        assert (route.state, route.expected, route.upstreams) == ("idle", True, [])
        assert [record.cause for record in at.exits] == ["idle"]
        plugin = at.plugins.named("hello")
        assert (plugin.wanted, plugin.ready, plugin.error) == (1, 0, None)

        at.gateway.says(at.gateways, Wake("hello"))
        at.gateway.says(at.gateways, Wake("hello"))
        assert (at.state("hello"), plugin.route().expected) == ("starting", True)
        await at.reaches("hello", "running")
        assert plugin.serving.workers.restarts == 0
        await until(lambda: len(upstreams(at)) == 1)

    run(scenario)


def test_one_that_is_asked_for_before_it_is_stopped_goes_on_as_it_is(run):
    """The request that was parked goes to the same worker."""

    async def scenario(at):
        at.add("hello", steps=QUIET, idle_stop=0.1)
        at.gateway.hold = True
        await at.discover()
        await at.reaches("hello", "running")
        await until(lambda: upstreams(at))
        before = upstreams(at)
        await withdrawn(at)
        assert at.state("hello") == "running"
        at.gateway.says(at.gateways, Wake("hello"))
        await settle()
        assert upstreams(at) == before
        at.gateway.acknowledge()
        await settle()
        assert (at.state("hello"), upstreams(at), at.exits) == ("running", before, [])

    run(scenario)


def test_it_is_not_stopped_before_all_gateways_have_switched(run):
    """The one that has not may be sending it a request at this moment."""

    async def scenario(at):
        at.add("hello", steps=QUIET, idle_stop=0.1)
        at.gateway.hold = True
        await at.discover()
        await withdrawn(at)
        await asyncio.sleep(0)
        assert pids(at) != [None]
        at.gateway.acknowledge()
        at.gateway.hold = False
        await asleep(at)

    run(scenario)


def test_one_with_a_request_is_not_idle(run):
    """However long it takes; the worker's own word counts."""

    async def scenario(at):
        at.add("hello", steps=("hello", "ready", "requests:1", "serve"), idle_stop=0.1)
        at.add("other", steps=QUIET, idle_stop=0.1)
        await at.discover()
        await at.reaches("other", "idle")
        assert at.state("hello") == "running"
        assert at.gateway.route("hello").state == "running"

    run(scenario)


def test_without_idle_stop_it_stays(run):
    """Which is the default."""

    async def scenario(at):
        at.add("hello", steps=QUIET)
        at.add("other", steps=QUIET, idle_stop=0.1)
        await at.discover()
        await at.reaches("other", "idle")
        assert at.state("hello") == "running"

    run(scenario)


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_wake_does_not_wait_for_the_end_of_the_old_worker_unless_two_must_not_be(run, tmp_path, exclusive):
    """Its shutdown may take as long as stop_timeout, and requests wait."""

    async def scenario(at):
        steps = ("hello", "ready", "beats:0", f"once:{tmp_path / 'first'}", "deaf", "serve")
        at.add("hello", steps=steps, idle_stop=0.1, exclusive=exclusive, stop_timeout=1.0)
        await at.discover()
        (old,) = pids(at)
        await at.reaches("hello", "idle")
        at.gateway.says(at.gateways, Wake("hello"))
        await until(lambda: at.plugins.named("hello").ready == 1, "the next one is there")
        assert pids(at) != [old]
        assert [record.cause for record in at.exits] == (["idle"] if exclusive else [])
        await until(lambda: [record.cause for record in at.exits][:1] == ["idle"], "the old one has ended")

    run(scenario)


def test_a_restart_waits_for_what_still_leaves_after_a_wake(run, tmp_path):
    """Two of one name may be there at once, an old one and its successor; never three."""

    async def scenario(at):
        steps = ("hello", "ready", "beats:0", f"once:{tmp_path / 'first'}", "deaf", "serve")
        at.add("hello", steps=steps, idle_stop=0.1, stop_timeout=1.0)
        await at.discover()
        await at.reaches("hello", "idle")
        at.gateway.says(at.gateways, Wake("hello"))
        await until(lambda: at.plugins.named("hello").ready == 1, "the next one is there")
        woken = pids(at)
        await at.orders.restart("hello", "operator", wait=5.0)
        assert pids(at) != woken
        assert [record.cause for record in at.exits] == ["idle", "operator"]

    run(scenario)


@pytest.mark.parametrize("order", ["reload", "install", "enable"])
def test_an_order_that_is_to_have_it_served_wakes_an_idle_plugin(run, order):
    """Also where there is nothing else to be done: it would be told as one that does not run."""

    async def scenario(at):
        at.add("hello", steps=QUIET, idle_stop=0.1)
        await at.discover()
        await at.reaches("hello", "running")
        await asleep(at)
        view = await getattr(at.orders, order)("hello", "operator", wait=DEADLINE)
        assert (view.state, [instance.state for instance in view.instances]) == ("running", ["running"])

    run(scenario)


def test_a_restart_of_an_idle_plugin_brings_it_up(run):
    """From the beginning: what it is made from may have changed. Its callers wait meanwhile."""

    async def scenario(at):
        at.add("hello", steps=QUIET, idle_stop=0.1)
        await at.discover()
        await asleep(at)
        view = await at.orders.restart("hello", "operator")
        await settle()
        assert (view.state, at.gateway.route("hello").expected) != ("exited", False)
        await at.reaches("hello", "running")

    run(scenario)


def test_a_wake_for_nobody_is_passed_over(run):
    """Gateways may be behind: the plugin runs, is gone, or xcore stops."""

    async def scenario(at):
        at.add("hello", steps=QUIET)
        await at.discover()
        await at.reaches("hello", "running")
        before = pids(at)
        for name in ("hello", "gone"):
            at.gateway.says(at.gateways, Wake(name))
        assert (at.state("hello"), pids(at)) == ("running", before)

    run(scenario)
