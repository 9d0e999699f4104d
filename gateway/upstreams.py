"""Links to all workers, and which of them take the requests of which prefix.

A new snapshot is followed in three steps: link what is new; then, prefix by prefix, put the new workers in the place
of the old ones in one step; then acknowledge and let the old ones finish. So there is no moment at which a prefix has
lost its old workers and cannot reach its new ones, and one worker that cannot be linked delays nobody else's switch.
"""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, Protocol

from gateway import balance
from gateway.deaths import Deaths
from gateway.link import Link, LinkError
from gateway.parking import Parking
from gateway.routes import Core, RouteTable
from gateway.traffic import Tallies, Tally
from plugin_runtime import protocol
from plugin_runtime.gateway_protocol import Wake

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 2.0
"""Seconds to link a worker that said it listens; one that is stopped would hold up an acknowledgement for ever."""
RELINK_DELAY = 0.05
"""Seconds before a broken link is tried again, doubling to MAX_RELINK_DELAY while it cannot be made. Most broken links
belong to dead workers, of which the supervisor tells us sooner."""
MAX_RELINK_DELAY = 1.0


class Connect(Protocol):
    """Link.connect, or a fake of it."""

    def __call__(
        self, upstream: protocol.Upstream, gateway: str, *, closed: Callable[[Link, str], None]
    ) -> Awaitable[Link]:
        """Raises LinkError."""


class Member:
    """One worker incarnation and its link, which is made anew when it breaks, until the member retires.

    ``in_flight`` is counted by whoever sends requests over ``link``; everything else changes here.
    """

    def __init__(self, upstream: protocol.Upstream, *, changed: Callable[[], None]) -> None:
        self.upstream = upstream
        self.stalled = upstream.stalled
        self.in_flight = 0
        self.link: Link | None = None
        self.settled = asyncio.Event()
        """The first try to link is over, however it ended."""
        self._retired = False
        self._changed = changed
        self._task: asyncio.Task[None] | None = None
        self._broken: asyncio.Future[str]

    @property
    def gone(self) -> bool:
        """Nothing of it is left to close."""
        return self._task is None or self._task.done()

    @property
    def usable(self) -> bool:
        """Takes new requests."""
        return self.link is not None and not self._retired and not self.link.draining

    def start(self, connect: Connect, gateway: str, lost: Callable[[protocol.UpstreamLost], None]) -> None:
        """Begin to link; ``lost`` is told of every link that breaks under us."""
        self._task = asyncio.create_task(self._keep(connect, gateway, lost), name=f"link {self.upstream.instance}")

    def release(self) -> None:
        """One request less; the last one of a retired member closes its link."""
        self.in_flight -= 1
        self._close_if_done()

    def retire(self) -> None:
        """Take no new requests, and leave when those in flight are done."""
        self._retired = True
        self._close_if_done()

    async def close(self) -> None:
        """Leave now."""
        self._retired = True
        self._close_link("the gateway ends")
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _close_if_done(self) -> None:
        if self._retired and self.in_flight == 0:
            self._close_link("drained")
            if self._task is not None:
                self._task.cancel()

    def _close_link(self, reason: str) -> None:
        link, self.link = self.link, None
        if link is not None:
            link.close(reason)

    def _closed(self, broken: asyncio.Future[str], link: Link, reason: str) -> None:
        """Called by the link. At once, not in the task: the next request must not choose this member."""
        if not broken.done():
            broken.set_result(reason)
        if link is self.link:
            self.link = None
            self._changed()

    async def _keep(self, connect: Connect, gateway: str, lost: Callable[[protocol.UpstreamLost], None]) -> None:
        delay = RELINK_DELAY
        try:
            while not self._retired:
                if await self._try(connect, gateway):
                    delay = RELINK_DELAY
                    reason = await self._broken
                    lost(protocol.UpstreamLost(self.upstream.instance, self.upstream.incarnation, reason))
                await asyncio.sleep(delay)
                delay = min(delay * 2, MAX_RELINK_DELAY)
        finally:
            self.settled.set()
            self._close_link("retired")

    async def _try(self, connect: Connect, gateway: str) -> bool:
        """Link once; False where that failed."""
        self._broken = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                link = await connect(self.upstream, gateway, closed=functools.partial(self._closed, self._broken))
        except (LinkError, TimeoutError) as error:
            logger.info("Cannot link %s: %s", self.upstream.instance, str(error) or "timed out")
            self.settled.set()
            return False
        # It may have broken again before we were told that it was made.
        self.link = None if self._broken.done() else link
        self.settled.set()
        self._changed()
        return True


class Pool:
    """What lies under one prefix: its route and its workers. Changed by Upstreams; requests count themselves in."""

    def __init__(self, route: protocol.Route, tally: Tally, wake: Callable[[Wake], object]) -> None:
        """``wake``: tells the supervisor that a request waits for an idle plugin."""
        self.tally = tally
        self.listed: list[Member] = []
        self.members: list[Member] = []
        """Those of ``listed`` that take requests."""
        self._turn = 0
        self._wake = wake
        self.follow(route)

    def follow(self, route: protocol.Route) -> None:
        """Route by this from now on, with the workers there are."""
        self.route = route
        self.max_in_flight = route.max_in_flight
        """This gateway's part; 0 = any number."""
        self._woken = False

    def wake(self) -> None:
        """A request is about to wait: where the plugin is idle, let the supervisor know, once per snapshot."""
        if self.route.state == protocol.PluginState.IDLE.value and not self._woken:
            self._woken = True
            self._wake(Wake(self.route.plugin))

    @property
    def expected(self) -> bool:
        """A worker will take requests soon: announced, or known and not linked at the moment."""
        return self.route.expected or bool(self.route.upstreams)

    def choose(self) -> Member | None:
        """Return the worker for the next request."""
        self._turn += 1
        chosen = balance.choose(self.members, self._turn)
        if chosen is None or chosen.usable:
            return chosen
        # Its link began to drain since the last change.
        self.refresh()
        return balance.choose(self.members, self._turn)

    def avoid(self, member: Member) -> None:
        """Its link turned out closed; whether it comes back is told by the link."""
        self.members = [other for other in self.members if other is not member]

    def refresh(self) -> None:
        """See anew which of the listed ones take requests."""
        self.members = [member for member in self.listed if member.usable]

    def withdraw(self, state: str) -> None:
        """Nothing lies here any more; requests that wait for it learn so."""
        self.follow(replace(self.route, upstreams=[], expected=False, state=state))
        self.listed = []
        self.refresh()


@dataclass(frozen=True)
class _Switch:
    """New workers that are to take a prefix over as soon as all of them are linked, or were tried."""

    pool: Pool
    route: protocol.Route
    members: list[Member]

    @property
    def settled(self) -> bool:
        return all(member.settled.is_set() for member in self.members)


class Upstreams:
    """Owns pools, members and the routing table; follows the supervisor's snapshots.

    ``send`` carries RoutingAck, UpstreamLost and Wake to the supervisor.
    """

    def __init__(
        self,
        gateway: str,
        parking: Parking,
        deaths: Deaths,
        tallies: Tallies,
        *,
        send: Callable[[Any], object],
        connect: Connect = Link.connect,
    ) -> None:
        self._gateway = gateway
        self._parking = parking
        self._deaths = deaths
        self._tallies = tallies
        self._send = send
        self._connect = connect
        self._pools: dict[tuple[str, str], Pool] = {}
        self._members: dict[str, Member] = {}
        self._leaving: list[Member] = []
        self._snapshot: protocol.RoutingSnapshot | None = None
        self._table: RouteTable[Pool] = RouteTable({})
        self._named: dict[str, Pool] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.routed = asyncio.Event()
        """Set when the first snapshot is in use."""

    def find(self, raw_path: bytes) -> Pool | Core | None:
        """Return what the path belongs to; see RouteTable.find."""
        return self._table.find(raw_path)

    def named(self, plugin: str) -> Pool | None:
        """Return what lies under the plugin's prefix, whatever that is."""
        return self._named.get(plugin)

    @property
    def names(self) -> Collection[str]:
        """Of all plugins that have a prefix."""
        return self._named.keys()

    def follow(self, snapshot: protocol.RoutingSnapshot) -> None:
        """Begin to route by this snapshot; it is acknowledged when the switch is done."""
        self._snapshot = snapshot
        routes = {(route.plugin, route.prefix): route for route in snapshot.routes}
        for key in self._pools.keys() - routes.keys():
            self._withdraw(key)
        pending = [switch for key, route in routes.items() if (switch := self._begin_switch(key, route)) is not None]
        self._table = RouteTable({prefix: pool for (_, prefix), pool in self._pools.items()})
        self._named = {plugin: pool for (plugin, _), pool in self._pools.items()}
        task = asyncio.create_task(self._finish(snapshot, pending), name=f"routing snapshot {snapshot.version}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def died(self, word: protocol.UpstreamDied) -> None:
        """The supervisor knows of a death: no more links to it, and those who wait for its word go on."""
        self._deaths.note(word)
        member = self._members.get(word.incarnation)
        if member is not None:
            member.retire()
            self._refresh()

    async def close(self) -> None:
        """Close every link; requests still in flight fail."""
        for task in self._tasks:
            task.cancel()
        members = [*self._members.values(), *self._leaving]
        await asyncio.gather(*self._tasks, *(member.close() for member in members), return_exceptions=True)

    def _withdraw(self, key: tuple[str, str]) -> None:
        pool = self._pools.pop(key)
        pool.withdraw(protocol.PluginState.EXITED.value)
        self._parking.wake(pool.route.plugin)

    def _begin_switch(self, key: tuple[str, str], route: protocol.Route) -> _Switch | None:
        """Switch at once where every worker is linked already; return what has to wait."""
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool(route, self._tallies.of(route.plugin), self._send)
        pool.follow(route)
        if self._parking.is_waited_for(route.plugin):
            pool.wake()
        switch = _Switch(pool, route, [self._meet(upstream) for upstream in route.upstreams])
        if not switch.settled:
            return switch
        self._carry_out(switch)
        return None

    def _meet(self, upstream: protocol.Upstream) -> Member:
        member = self._members.get(upstream.incarnation)
        if member is None:
            member = self._members[upstream.incarnation] = Member(upstream, changed=self._refresh)
            member.start(self._connect, self._gateway, self._lost)
        member.stalled = upstream.stalled
        return member

    async def _finish(self, snapshot: protocol.RoutingSnapshot, pending: list[_Switch]) -> None:
        await asyncio.gather(*(self._switch_when_settled(switch) for switch in pending))
        if snapshot is not self._snapshot:
            # A newer one was followed meanwhile and acknowledges for both.
            return
        self._retire_unlisted()
        self.routed.set()
        self._send(protocol.RoutingAck(snapshot.version))

    async def _switch_when_settled(self, switch: _Switch) -> None:
        for member in switch.members:
            await member.settled.wait()
        self._carry_out(switch)

    def _carry_out(self, switch: _Switch) -> None:
        if switch.pool.route is switch.route:
            switch.pool.listed = switch.members
            self._refreshed(switch.pool)

    def _retire_unlisted(self) -> None:
        listed = {member.upstream.incarnation for pool in self._pools.values() for member in pool.listed}
        leaving = [self._members.pop(incarnation) for incarnation in self._members.keys() - listed]
        for member in leaving:
            member.retire()
        self._leaving = [member for member in (*self._leaving, *leaving) if not member.gone]

    def _refresh(self) -> None:
        for pool in self._pools.values():
            self._refreshed(pool)

    def _refreshed(self, pool: Pool) -> None:
        pool.refresh()
        if pool.members or not pool.expected:
            self._parking.wake(pool.route.plugin)

    def _lost(self, message: protocol.UpstreamLost) -> None:
        logger.warning("Link to %s is lost: %s", message.instance, message.reason)
        self._send(message)
