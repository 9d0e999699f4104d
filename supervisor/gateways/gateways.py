"""What the gateways know, and what they do with it: routing, health, tokens and schemas are pushed to each of them.

Everything is told as a whole, never as a difference: a gateway that connects, or comes back, gets the latest of each
kind, and one that missed nine versions of the routing table needs only the tenth.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from plugin_runtime.call_protocol import TELL_CALLERS
from plugin_runtime.gateway_protocol import PluginTrouble, Traffic, Wake
from plugin_runtime.protocol import (
    Call,
    Caller,
    Cause,
    Error,
    Health,
    PluginSchema,
    Result,
    Route,
    RoutingAck,
    RoutingSnapshot,
    TokenTable,
    UpstreamDied,
    UpstreamLost,
)
from plugin_runtime.views import ExitView
from plugin_runtime.wire import Envelope
from supervisor.channels.operations import Operation, encode_answer
from supervisor.gateways.traffic import TrafficBook
from supervisor.state_folder import StateFolder
from supervisor.supervision.child import Child
from supervisor.supervision.incarnation import Incarnation
from supervisor.supervision.local_key import is_run
from supervisor.works import Works

logger = logging.getLogger(__name__)

ACK_TIMEOUT = 5.0
"""Seconds to wait for a gateway's acknowledgement; a gateway slower than that is ill, and draining must go on."""

Perform = Callable[[Call], Awaitable[Result | Error]]


@dataclass
class Published:
    """The latest of each kind of news."""

    routes: dict[str, Route] = field(default_factory=dict)
    callers: dict[str, Caller] = field(default_factory=dict)
    """By incarnation."""
    version: int = 0
    health: Health = field(default_factory=lambda: Health("down"))
    tokens: TokenTable = field(default_factory=lambda: TokenTable([]))
    schemas: dict[str, PluginSchema] = field(default_factory=dict)
    troubles: dict[str, PluginTrouble] = field(default_factory=dict)

    def snapshot(self, number: int, count: int, untold: Collection[str]) -> RoutingSnapshot:
        """For gateway ``number`` of ``count``. ``untold``: incarnations of callers that are left out."""
        routes = [_share(route, number, count) for route in self.routes.values()]
        callers = [caller for incarnation, caller in self.callers.items() if incarnation not in untold]
        return RoutingSnapshot(self.version, routes, callers)


def share_of(total: int, number: int, count: int) -> int:
    """What gateway ``number``, from 1, of ``count`` may have of a total: all of them together have no more.

    Unless the total is below their number: none is left without. 0 stands for any number, and stays 0.
    """
    each, rest = divmod(total, count)
    return max(1, each + (number <= rest)) if total else 0


class Gateways:
    """What the gateways are told and say; implements ChildOwner. Which there are is kept by GatewayProcesses."""

    def __init__(
        self,
        folder: StateFolder,
        perform: Perform,
        changed: Callable[[], None],
        recorded: Callable[[ExitView], None],
        ack_timeout: float = ACK_TIMEOUT,
        *,
        development: bool = False,
    ) -> None:
        """``changed``: called when a gateway's state is another one; ``recorded``: takes their exit records.

        ``development``: they may tell clients why a plugin cannot be served.
        """
        self.development = development
        self._folder = folder
        self._perform = perform
        self._changed = changed
        self._recorded = recorded
        self._ack_timeout = ack_timeout
        self.traffic = TrafficBook()
        self.wanted: Callable[[str], None] = lambda _plugin: None
        """Called with the name of an idle plugin for which a request waits."""
        self._published = Published()
        self._untold: set[str] = set()
        """Incarnations of callers that came after the last snapshot, and of runs that nobody has asked for."""
        self._count = 1
        self._acknowledged: dict[Child, int] = {}
        self._doors: dict[Child, Path] = {}
        """Where each hands the listening socket over."""
        self._waiting: list[tuple[int, Callable[[], None]]] = []
        self._flush: asyncio.Handle | None = None
        self._calls = Works()

    async def close(self) -> None:
        """Cancel the calls that are still under way."""
        await self._calls.close()

    # --- news ---

    def share_among(self, count: int) -> None:
        """There are ``count`` gateways from now on: each has its part of what is limited for all of them together."""
        if count != self._count:
            self._count = count
            self._schedule_snapshot()

    def set_route(self, route: Route) -> None:
        """Route a plugin's prefix as given from the next snapshot on; it leaves in this turn of the event loop."""
        if self._published.routes.get(route.plugin) == route:
            return
        self._published.routes[route.plugin] = route
        self._schedule_snapshot()

    def drop_route(self, plugin: str) -> None:
        if self._published.routes.pop(plugin, None) is not None:
            self._schedule_snapshot()

    def admit_caller(self, caller: Caller) -> None:
        """Let a process call plugins until it is dismissed; to be said before it begins.

        Told with the next snapshot, or when a gateway asks. A run of a job only then: most call nobody, and the end of
        one that was told is a snapshot, which would tell of the runs alive then, and so on for ever.
        """
        incarnation = caller.key.partition(":")[0]
        if self._published.callers.get(incarnation) != caller:
            self._published.callers[incarnation] = caller
            self._untold.add(incarnation)

    def dismiss_caller(self, incarnation: str) -> None:
        """There is no process any more that has the key of this incarnation."""
        if self._published.callers.pop(incarnation, None) is not None:
            if incarnation not in self._untold:
                self._schedule_snapshot()
            self._untold.discard(incarnation)

    def publish(self) -> None:
        """Send a snapshot even if there is nothing in it: gateways do not open before their first one."""
        self._schedule_snapshot()

    def when_switched(self, done: Callable[[], None]) -> None:
        """Call ``done`` once every gateway routes by what is published now, or when that takes too long."""
        self._send_snapshot()
        self._waiting.append((self._published.version, done))
        asyncio.get_running_loop().call_later(self._ack_timeout, self._give_up_on, self._published.version)
        self._check_waiting()

    def set_health(self, health: Health) -> None:
        if health != self._published.health:
            self._published.health = health
            self._broadcast(health)

    def set_tokens(self, tokens: TokenTable) -> None:
        self._published.tokens = tokens
        self._broadcast(tokens)

    def set_schema(self, schema: PluginSchema) -> None:
        """An empty document forgets the plugin's schema."""
        known = self._published.schemas.get(schema.plugin)
        if known == schema:
            return
        if schema.document:
            self._published.schemas[schema.plugin] = schema
        else:
            self._published.schemas.pop(schema.plugin, None)
        self._broadcast(schema)

    def set_trouble(self, trouble: PluginTrouble) -> None:
        """Tell it where that is allowed, in development mode: nowhere else does it leave this process."""
        nothing = PluginTrouble(trouble.plugin)
        if not self.development or self._published.troubles.get(trouble.plugin, nothing) == trouble:
            return
        if trouble == nothing:
            del self._published.troubles[trouble.plugin]
        else:
            self._published.troubles[trouble.plugin] = trouble
        self._broadcast(trouble)

    def tell_death(self, news: UpstreamDied) -> None:
        """It serves nobody any more."""
        self._broadcast(news)

    # --- operations ---

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {TELL_CALLERS: self.tell_callers}

    async def tell_callers(self) -> None:
        """Tell who may call; on the way to whoever asks that is before the answer."""
        if self._untold:
            self._untold.clear()
            self._schedule_snapshot()
            self._send_snapshot()

    # --- ChildOwner ---

    def settings_for(self, child: Child, token: str) -> Mapping[str, Any]:
        path = self._doors[child] = self._folder.door_socket(token)
        return {**child.spec.settings, "door_path": str(path)}

    def adopted(self, child: Child, token: str, settings: Mapping[str, Any]) -> None:
        self._doors[child] = self._folder.door_socket(token)

    def connected(self, child: Child) -> None:
        self._acknowledged[child] = 0
        child.send(self._published.tokens)
        child.send(self._published.health)
        for schema in self._published.schemas.values():
            child.send(schema)
        for trouble in self._published.troubles.values():
            child.send(trouble)
        if self._published.version:
            child.send(self._snapshot_for(child))

    def disconnected(self, child: Child) -> None:
        self._acknowledged.pop(child, None)
        self._check_waiting()

    def changed(self, child: Child) -> None:
        self._changed()

    def received(self, child: Child, envelope: Envelope) -> None:
        match envelope.message:
            case RoutingAck(version):
                self._acknowledged[child] = version
                self._check_waiting()
            case Traffic(plugins):
                self.traffic.told(child, plugins)
            case Wake(plugin):
                self.wanted(plugin)
            case UpstreamLost(instance, incarnation, reason):
                logger.info("%s lost its link to %s (%s): %s", child, instance, incarnation, reason)
            case Call():
                self._begin_call(child, envelope)
            case other:
                logger.warning("%s sent an unexpected %s", child, type(other).__name__)

    def withdraw(self, child: Child, done: Callable[[], None]) -> None:
        done()

    def used_up(self, child: Child, cause: Cause) -> bool:
        return False

    def exited(self, child: Child, record: ExitView) -> None:
        path = self._doors.pop(child, None)
        if path is not None:
            path.unlink(missing_ok=True)
        self.traffic.gone(child)
        self._recorded(record)

    # --- inside ---

    def _begin_call(self, child: Child, envelope: Envelope) -> None:
        work = self._answer(child, child.incarnation, envelope)
        self._calls.begin(work, f"call-{envelope.message.operation}")

    async def _answer(self, child: Child, asker: Incarnation | None, envelope: Envelope) -> None:
        answer = await self._perform(envelope.message)
        # The next gateway process counts its calls from 1 again: an answer must not be taken for that of another.
        if child.incarnation is asker:
            child.send_frame(encode_answer(answer, envelope.id))

    def _schedule_snapshot(self) -> None:
        if self._flush is None:
            self._flush = asyncio.get_running_loop().call_soon(self._send_snapshot)

    def _send_snapshot(self) -> None:
        if self._flush is None and self._published.version:
            return
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        self._published.version += 1
        self._untold = {incarnation for incarnation in self._untold if is_run(self._published.callers[incarnation])}
        for child in self._acknowledged:
            child.send(self._snapshot_for(child))

    def _snapshot_for(self, child: Child) -> RoutingSnapshot:
        number = int(child.spec.id.rpartition(".")[2])
        return self._published.snapshot(number, self._count, self._untold)

    def _broadcast(self, message: object) -> None:
        for child in self._acknowledged:
            child.send(message)

    def _check_waiting(self) -> None:
        reached = min(self._acknowledged.values(), default=self._published.version)
        self._release([entry for entry in self._waiting if entry[0] <= reached])

    def _give_up_on(self, version: int) -> None:
        late = [entry for entry in self._waiting if entry[0] <= version]
        if late:
            logger.warning("Gateways did not acknowledge routing table %d within %g s", version, self._ack_timeout)
            self._release(late)

    def _release(self, entries: list[tuple[int, Callable[[], None]]]) -> None:
        self._waiting = [entry for entry in self._waiting if entry not in entries]
        for _, done in entries:
            done()


def _share(route: Route, number: int, count: int) -> Route:
    return replace(route, max_in_flight=share_of(route.max_in_flight, number, count))
