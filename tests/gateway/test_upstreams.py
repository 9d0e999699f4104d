"""Links to all workers, and switching between them."""

import asyncio
from contextlib import asynccontextmanager

from gateway.deaths import Deaths
from gateway.parking import Parking
from gateway.routes import CORE
from gateway.settings import ParkingLimits
from gateway.traffic import Tallies, Tally
from gateway.upstreams import Upstreams
from plugin_runtime.gateway_protocol import Wake
from plugin_runtime.protocol import RoutingAck, RoutingSnapshot, UpstreamDied, UpstreamLost
from tests.fakes.links import FakeConnector, route, upstream
from tests.fakes.waiting import settle, until


class Setting:
    """Upstreams with fake links, and what they told the supervisor."""

    def __init__(self):
        self.sent = []
        self.connector = FakeConnector()
        self.parking = Parking(ParkingLimits())
        self.deaths = Deaths()
        self.upstreams = Upstreams(
            "gateway.1", self.parking, self.deaths, Tallies(), send=self.sent.append, connect=self.connector
        )

    async def follow(self, version, *routes):
        self.upstreams.follow(RoutingSnapshot(version, list(routes)))
        await until(lambda: RoutingAck(version) in self.sent, "acknowledgement")

    def incarnations(self, path=b"/hello"):
        return [member.upstream.incarnation for member in self.upstreams.find(path).members]


@asynccontextmanager
async def setting():
    made = Setting()
    try:
        yield made
    finally:
        await made.upstreams.close()


def run(scenario):
    async def main():
        async with setting() as made:
            await scenario(made)

    asyncio.run(main())


def test_a_snapshot_is_acknowledged_when_its_workers_are_linked():
    """The supervisor drains the old ones after that: it must mean what it says."""

    async def scenario(made):
        made.connector.held["hello.1:1"] = held = asyncio.Event()
        made.upstreams.follow(RoutingSnapshot(1, [route(upstream())]))
        await settle()
        assert made.sent == []
        assert not made.upstreams.routed.is_set()
        held.set()
        await until(lambda: made.sent == [RoutingAck(1)])
        assert made.incarnations() == ["hello.1:1"]
        assert made.upstreams.routed.is_set()

    run(scenario)


def test_a_worker_that_cannot_be_linked_does_not_hold_up_the_acknowledgement():
    """It may be dead already."""

    async def scenario(made):
        made.connector.unreachable.add("hello.1:1")
        await made.follow(1, route(upstream()))
        assert made.incarnations() == []

    run(scenario)


def test_a_worker_is_linked_again_as_long_as_it_is_listed():
    """A link may break although the worker lives."""

    async def scenario(made):
        await made.follow(1, route(upstream()))
        made.connector.to("hello.1:1").die("broken link")
        assert made.incarnations() == []
        await until(lambda: made.incarnations() == ["hello.1:1"])
        assert UpstreamLost("hello.1", "hello.1:1", "broken link") in made.sent
        assert len(made.connector.links) == 2

    run(scenario)


def test_the_old_workers_serve_until_the_new_ones_are_linked():
    """There is no moment without workers in a reload."""

    async def scenario(made):
        await made.follow(1, route(upstream("hello.1:1")))
        made.connector.held["hello.1:2"] = held = asyncio.Event()
        made.upstreams.follow(RoutingSnapshot(2, [route(upstream("hello.1:2"))]))
        await settle()
        assert made.incarnations() == ["hello.1:1"]
        held.set()
        await until(lambda: RoutingAck(2) in made.sent)
        assert made.incarnations() == ["hello.1:2"]

    run(scenario)


def test_one_slow_worker_does_not_delay_the_switch_of_another_plugin():
    """Prefixes switch one by one."""

    async def scenario(made):
        made.connector.held["slow.1:1"] = asyncio.Event()
        routes = [route(upstream()), route(upstream("slow.1:1"), plugin="slow", prefix="/slow")]
        made.upstreams.follow(RoutingSnapshot(1, routes))
        await until(lambda: made.incarnations() == ["hello.1:1"])
        assert made.sent == []

    run(scenario)


def test_a_replaced_worker_is_closed_when_its_last_request_is_done():
    """Draining is the gateway's part of a reload without errors."""

    async def scenario(made):
        await made.follow(1, route(upstream("hello.1:1")))
        member = made.upstreams.find(b"/hello").choose()
        member.in_flight += 1
        await made.follow(2, route(upstream("hello.1:2")))
        old = made.connector.to("hello.1:1")
        assert old.closed is None
        member.release()
        assert old.closed == "drained"

    run(scenario)


def test_an_idle_replaced_worker_is_closed_at_once():
    """The supervisor waits for it."""

    async def scenario(made):
        await made.follow(1, route(upstream("hello.1:1")))
        await made.follow(2, route(upstream("hello.1:2")))
        assert made.connector.to("hello.1:1").closed == "drained"

    run(scenario)


def test_a_newer_snapshot_acknowledges_for_the_one_it_overtook():
    """Versions only grow, and an old one must not be switched to late."""

    async def scenario(made):
        made.connector.held["hello.1:1"] = held = asyncio.Event()
        made.upstreams.follow(RoutingSnapshot(1, [route(upstream("hello.1:1"))]))
        await made.follow(2, route(upstream("hello.1:2")))
        held.set()
        await settle()
        assert made.sent == [RoutingAck(2)]
        assert made.incarnations() == ["hello.1:2"]
        assert all(link.closed or link.upstream.incarnation == "hello.1:2" for link in made.connector.links)

    run(scenario)


def test_a_dead_incarnation_is_not_linked_again():
    """The supervisor knows better than the socket file."""

    async def scenario(made):
        await made.follow(1, route(upstream()))
        made.upstreams.died(UpstreamDied("hello.1", "hello.1:1", "signal", resend=True))
        made.connector.to("hello.1:1").die()
        assert made.incarnations() == []
        await asyncio.sleep(0.08)
        assert len(made.connector.links) == 1

    run(scenario)


def test_a_stalled_worker_stays_linked_and_is_marked():
    """Stalled or not is news about the same incarnation."""

    async def scenario(made):
        await made.follow(1, route(upstream()))
        await made.follow(2, route(upstream(stalled=True)))
        assert [member.stalled for member in made.upstreams.find(b"/hello").members] == [True]
        assert len(made.connector.links) == 1

    run(scenario)


def test_a_draining_worker_is_not_chosen():
    """It said that it wants no new requests."""

    async def scenario(made):
        await made.follow(1, route(upstream("hello.1:1"), upstream("hello.2:1")))
        made.connector.to("hello.1:1").draining = True
        pool = made.upstreams.find(b"/hello")
        assert {pool.choose().upstream.instance for _ in range(4)} == {"hello.2"}
        made.connector.to("hello.2:1").draining = True
        assert pool.choose() is None

    run(scenario)


def test_a_plugin_that_left_the_table_is_not_found_any_more():
    """Its prefix is free for others; requests that wait for it are let go."""

    async def scenario(made):
        await made.follow(1, route(upstream()), route(plugin="waiting", prefix="/waiting", expected=True))
        waiter = asyncio.create_task(made.parking.enter("waiting", 0, Tally()).wait(made.parking.deadline()))
        await until(lambda: made.parking.is_waited_for("waiting"))
        pool = made.upstreams.find(b"/waiting")
        await made.follow(2)
        await waiter
        assert not pool.expected
        assert made.upstreams.find(b"/hello") is None
        assert made.upstreams.find(b"/admin") is CORE
        assert made.connector.to("hello.1:1").closed == "drained"

    run(scenario)


def test_closing_closes_every_link_also_those_that_drain():
    """Nothing is left behind, whatever is in flight."""

    async def scenario(made):
        await made.follow(1, route(upstream("hello.1:1")))
        made.upstreams.find(b"/hello").choose().in_flight += 1
        await made.follow(2, route(upstream("hello.1:2")))
        await made.upstreams.close()
        assert all(link.closed for link in made.connector.links)
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

    run(scenario)


def test_a_request_that_waits_for_an_idle_plugin_wakes_it_once_per_snapshot():
    """However many wait. Said again for the next snapshot: the supervisor may have missed it, or be another one."""

    async def scenario(made):
        idle = route(expected=True, state="idle")
        await made.follow(1, idle)
        pool = made.upstreams.find(b"/hello")
        assert pool.expected
        assert Wake("hello") not in made.sent
        pool.wake()
        pool.wake()
        assert made.sent.count(Wake("hello")) == 1
        await made.follow(2, idle)
        assert made.sent.count(Wake("hello")) == 1
        waiter = asyncio.create_task(made.parking.enter("hello", 0, Tally()).wait(made.parking.deadline()))
        await until(lambda: made.parking.is_waited_for("hello"))
        await made.follow(3, idle)
        assert made.sent.count(Wake("hello")) == 2
        await made.follow(4, route(expected=True, state="starting"))
        pool.wake()
        assert made.sent.count(Wake("hello")) == 2
        await made.follow(5, route(upstream()))
        await waiter

    run(scenario)
