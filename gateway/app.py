"""The gateway: wires its parts. Only this module constructs adapters.

Order: join the supervisor, follow its first routing snapshot, then accept; clients that come earlier wait in the
backlog of the socket, which the supervisor has bound. A supervisor that takes long over its first snapshot is not
waited for: until it comes, /health says down and everything else 503.
"""

import asyncio
import contextlib
import functools
import logging
import signal
import socket
from dataclasses import replace
from typing import Any

from gateway.admin import Backend, create_admin
from gateway.callers import Callers
from gateway.catalogue import Catalogue
from gateway.control import ControlAddress, ControlChannel, Load
from gateway.deaths import Deaths
from gateway.development import Development
from gateway.dispatch import Dispatcher
from gateway.door import Door
from gateway.errors import HandshakeRefusedError, OperationFailedError
from gateway.handover import Handover
from gateway.headers import Sifter
from gateway.identity import Tokens
from gateway.local_door import LocalDoor
from gateway.parking import Parking
from gateway.server import Server, create_server
from gateway.settings import GatewayOptions, options_from
from gateway.traffic import Tallies
from gateway.upstreams import Upstreams
from plugin_runtime import protocol
from plugin_runtime.call_protocol import TELL_CALLERS
from plugin_runtime.gateway_protocol import PluginTrouble
from plugin_runtime.protocol import ExitCode

logger = logging.getLogger(__name__)

FIRST_SNAPSHOT_WAIT = 1.0
"""Seconds. A supervisor that is up sends it with its welcome; one that is still discovering plugins may take long."""
DEFAULT_DRAIN = 25.0
"""Seconds for requests in flight where nobody said: after SIGTERM, or without a supervisor."""
REFUSED_DRAIN = 5.0
"""Seconds where a new supervisor does not know us: it does not know our workers either, and they end as soon."""
LINGER = 5.0
"""Seconds that idle connections stay open where other gateways accept: a client that uses its own more rarely has to
expect at any time that a server closes them."""
LAST_CALLS = 1.0
"""Seconds for calls from plugin to plugin in flight when everything stops and the last request from outside is done."""
DOWN = "down"
DEGRADED = "degraded"


class Gateway:
    """One gateway process. Owns its parts and the order in which they start and end."""

    def __init__(self, address: ControlAddress) -> None:
        self._address = address
        self._tallies = Tallies()
        self._channel = ControlChannel(
            address, received=self._received, joined=self._joined, load=self._load, traffic=self._tallies.news
        )
        self._tokens = Tokens()
        self._callers = Callers(self._ask_for_callers)
        self._catalogue = Catalogue()
        self._health = protocol.Health(DOWN)
        self._deaths = Deaths()
        self._development: Development | None = None
        self._listening = asyncio.Event()
        self._ready = False
        self._draining = False
        self._replaced = False
        self._exit_code = ExitCode.OK
        self._handover: asyncio.Task[None] | None = None
        self._upstreams: Upstreams
        self._dispatcher: Dispatcher
        self._server: Server
        self._local: Server
        self._local_door: LocalDoor

    async def run(self) -> ExitCode:
        """Serve until told to stop, or until there is no supervisor any more; return the code to exit with.

        Raises:
            HandshakeRefusedError: the supervisor does not want this process.
            OSError, TimeoutError, wire.WireError: there is no supervisor, or none that makes sense.
        """
        settings = await self._channel.open()
        self._development = Development() if settings.development else None
        try:
            self._build(settings, options_from(settings.options))
        except OSError as error:  # ssl.SSLError is one
            return await self._fail(settings, error)
        self._install_signals()
        tasks = [
            asyncio.create_task(self._follow_supervisor(settings.adopt_grace), name="control channel"),
            asyncio.create_task(self._announce(), name="ready"),
        ]
        try:
            await self._serve(settings)
        finally:
            await self._upstreams.close()
            if self._handover is not None:
                tasks.append(self._handover)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return self._exit_code

    def _build(self, settings: protocol.GatewaySettings, options: GatewayOptions) -> None:
        parking = Parking(options.parking)
        name = self._address.child
        self._upstreams = Upstreams(name, parking, self._deaths, self._tallies, send=self._channel.send)
        self._dispatcher = Dispatcher(parking, self._deaths, max_body=options.max_body)
        backend = Backend(
            self._channel.call,
            self._seen_health,
            self._tokens,
            self._catalogue,
            tuple(options.cors_origins),
            settings.version,
        )
        sifter = Sifter(options.trusted_networks)
        door = Door(create_admin(backend), self._upstreams, self._dispatcher, sifter, self._tokens, self._development)
        self._server = create_server(door, options, listening=self._listening.set)
        self._local_door = LocalDoor(self._upstreams, self._dispatcher, sifter, self._callers)
        self._local = create_server(self._local_door, replace(options, ssl_certfile="", ssl_keyfile=""))

    async def _fail(self, settings: protocol.GatewaySettings, error: OSError) -> ExitCode:
        """Tell the supervisor why there will be no gateway before the options change."""
        logger.error("Cannot open %s: %s", settings.url, error)
        failed = protocol.Failed(
            protocol.Phase.READY.value,
            type(error).__name__,
            f"cannot open {settings.url}: {error}",
            hint="see gateway.ssl_certfile and gateway.ssl_keyfile in config.json",
            permanent=True,
        )
        self._channel.send(failed)
        await self._channel.close()
        return ExitCode.INVALID

    async def _serve(self, settings: protocol.GatewaySettings) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_SNAPSHOT_WAIT):
                await self._upstreams.routed.wait()
        with contextlib.ExitStack() as stack:
            descriptors = [number for number in (settings.listen_fd, settings.local_fd) if number is not None]
            listeners = [stack.enter_context(socket.socket(fileno=number)) for number in descriptors]
            for listener in listeners:
                listener.set_inheritable(False)
            if settings.door_path and not self._draining:
                handover = Handover(settings.door_path, self._address.nonce, listeners)
                self._handover = asyncio.create_task(handover.serve(), name="handover")
            local = asyncio.create_task(self._local.serve(sockets=listeners[1:]), name="local side")
            await self._server.serve(sockets=listeners[:1])
            if not self._replaced:
                await self._local_door.close(LAST_CALLS)
                self._local.drain(LAST_CALLS)
            await local

    # --- starting and ending --------------------------------------------------------------------------------

    async def _announce(self) -> None:
        await self._listening.wait()
        await self._upstreams.routed.wait()
        self._ready = True
        self._channel.send(protocol.Ready())

    def _install_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            # Nobody has said that everything stops: another gateway is there, or will be.
            loop.add_signal_handler(number, functools.partial(self._stop, DEFAULT_DRAIN, replaced=True))
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)

    def _stop(self, drain: float, *, replaced: bool = False) -> None:
        """End within ``drain`` seconds. ``replaced``: others accept in our place, and no client is to notice."""
        if self._draining:
            logger.info("Ending at once: asked again to stop")
        else:
            logger.info("Stopping: requests in flight have %g s", drain)
        self._draining = True
        self._replaced = replaced
        if self._handover is not None:
            self._handover.cancel()
        linger = min(LINGER, drain / 2) if replaced else 0.0
        self._server.drain(drain, linger=linger)
        if replaced:  # else requests from outside may still lead to calls
            self._local.drain(drain, linger=linger)

    async def _follow_supervisor(self, adopt_grace: float) -> None:
        drain = DEFAULT_DRAIN
        try:
            reason = await self._channel.run(adopt_grace)
            self._exit_code = ExitCode.PARENT_LOST
        except HandshakeRefusedError as error:
            reason = str(error)
            self._exit_code = ExitCode.REFUSED
            drain = REFUSED_DRAIN
        logger.error("Ending: %s", reason)
        if not self._draining:
            self._stop(drain)

    # --- the supervisor's side ------------------------------------------------------------------------------

    def _joined(self) -> None:
        # A supervisor that took over does not know what we said to the one before.
        self._tallies.forget_told()
        if self._ready:
            self._channel.send(protocol.Ready())

    def _received(self, message: Any) -> None:
        match message:
            case protocol.RoutingSnapshot():
                self._callers.replace(message.callers)
                self._upstreams.follow(message)
            case protocol.UpstreamDied():
                self._upstreams.died(message)
            case protocol.Health():
                self._health = message
            case protocol.TokenTable(tokens=tokens):
                self._tokens.replace(tokens)
            case protocol.PluginSchema():
                self._catalogue.update(message)
            case PluginTrouble() if self._development is not None:
                self._development.update(message)
            case protocol.Stop(cause=cause, drain=drain):
                self._stop(drain, replaced=cause != protocol.Cause.SHUTDOWN.value)
            case _:
                logger.warning("The supervisor sent an unexpected %s", type(message).__name__)

    async def _ask_for_callers(self) -> None:
        with contextlib.suppress(OperationFailedError):  # it has no more to tell
            await self._channel.call(TELL_CALLERS, actor=self._address.child)

    def _load(self) -> Load:
        return Load(self._tallies.in_flight, self._tallies.requests)

    def _seen_health(self) -> protocol.Health:
        """The supervisor's view of the plugins, and our own of this gateway and of the supervisor."""
        is_ending = self._draining and not self._replaced  # else others serve, and its last answers are theirs
        if is_ending or not self._upstreams.routed.is_set():
            return replace(self._health, status=DOWN)
        if not self._channel.connected and self._health.status != DOWN:
            return replace(self._health, status=DEGRADED)
        return self._health
