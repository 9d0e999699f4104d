"""Worker's end of the link: a Unix socket on which gateways hand us requests for the app.

An app is called in a task of its own, owned by the server; a connection that is lost tells its apps so, but ends none.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

from plugin_runtime import framing, protocol
from plugin_runtime.explained import Explain, ExplainedExchange
from plugin_runtime.frame_connection import FrameConnection
from plugin_runtime.framing import FrameType, FramingError, Header
from plugin_runtime.http import App, Exchange, Mounting, build_scope

_BACKLOG = 128
_HANDSHAKE_TIME = 5.0
"""Seconds in which a connection must have said HELLO."""
_CANCEL_TIME = 2.0
"""Seconds that close() gives to cancelled apps, and to gateways that have yet to read what was sent to them."""


@dataclass(frozen=True)
class _Service:
    """What all connections share."""

    app: App
    secret: bytes
    mounting: Mounting
    explain: Optional[Explain]


class _Tally:
    """All calls of the app that run, over all connections, and how many there have been."""

    def __init__(self) -> None:
        self.requests = 0
        self.running: dict[Exchange, asyncio.Task[None]] = {}
        self.draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    def started(self, exchange: Exchange, task: asyncio.Task[None]) -> None:
        self.requests += 1
        self.running[exchange] = task
        self._idle.clear()

    def returned(self, exchange: Exchange) -> None:
        del self.running[exchange]
        if not self.running:
            self._idle.set()

    async def wait_idle(self) -> None:
        await self._idle.wait()


class _GatewayConnection(FrameConnection):
    """A gateway that is connected to us, and its requests."""

    def __init__(self, loop: asyncio.AbstractEventLoop, service: _Service, tally: _Tally) -> None:
        super().__init__(loop)
        self._service = service
        self._tally = tally
        self._credit = 0  # 0 until HELLO: what the gateway takes of each response unasked
        self._last_stream = 0
        self._exchanges: dict[int, Exchange] = {}
        self._accepted: list[Exchange] = []
        self._held: list[Exchange] = []
        self._deadline = loop.call_later(_HANDSHAKE_TIME, self.drop, "no HELLO in time")
        self.ended = loop.create_future()

    # --- frames ---

    def frame_received(self, header: Header, body: bytes) -> None:
        if not self._credit and header[0] != FrameType.HELLO:
            raise FramingError("a frame before HELLO")
        handler = _HANDLERS.get(header[0])
        if handler is None:
            raise FramingError(f"{FrameType(header[0]).name} from a gateway")
        handler(self, header, body)

    def hello_received(self, header: Header, body: bytes) -> None:
        _, _, version, secret, _, window = header
        if self._credit:
            raise FramingError("a second HELLO")
        if version not in protocol.ACCEPTED_VERSIONS:
            self.drop(f"version {version} of the link is not spoken here, but {sorted(protocol.ACCEPTED_VERSIONS)}")
        elif not hmac.compare_digest(secret, self._service.secret):
            self.drop("wrong secret")
        else:
            self._welcome(window)

    def _welcome(self, window: int) -> None:
        self._deadline.cancel()
        self._credit = window
        self.send(framing.welcome(protocol.PROTOCOL_VERSION, framing.WINDOW))
        if self._tally.draining:
            self.send(framing.draining())

    def request_received(self, header: Header, body: bytes) -> None:
        stream, end = header[1], header[-1]
        if stream <= self._last_stream:
            raise FramingError(f"stream {stream} used twice")
        self._last_stream = stream
        head = framing.RequestHead._make(header[2:-1])
        exchange = self._exchange(stream, build_scope(head, self._service.mounting))
        exchange.upload.received(body, end=end)
        self._exchanges[stream] = exchange
        if head.idempotent:
            self._call_app(exchange)
        else:
            self.send(framing.accepted(stream))
            self._accepted.append(exchange)

    def _exchange(self, stream: int, scope: dict[str, Any]) -> Exchange:
        explain = self._service.explain
        if scope["state"]["xcore"].pop(framing.EXPLAIN, False) and explain is not None:
            return ExplainedExchange(self, stream, scope, window=framing.WINDOW, credit=self._credit, explain=explain)
        return Exchange(self, stream, scope, window=framing.WINDOW, credit=self._credit)

    def body_received(self, header: Header, body: bytes) -> None:
        if exchange := self._find(header[1]):
            exchange.upload.received(body, end=header[2])

    def credit_received(self, header: Header, body: bytes) -> None:
        if exchange := self._find(header[1]):
            exchange.credit_received(header[2])

    def cancel_received(self, header: Header, body: bytes) -> None:
        if exchange := self._find(header[1]):
            del self._exchanges[header[1]]
            exchange.disconnect()

    def _find(self, stream: int) -> Optional[Exchange]:
        # What comes for a stream that is over was on its way when it ended: not an error, and dropped.
        if stream > self._last_stream:
            raise FramingError(f"stream {stream} was never opened")
        return self._exchanges.get(stream)

    # --- calling the app ---

    def batch_received(self) -> None:
        """Call the app for what was accepted, but never before the kernel has the ACCEPTED frames.

        Were we killed with one of them still in our own memory, the gateway would take the request for undelivered
        and send it again, though the app may have seen it.
        """
        if self._accepted:
            self.flush()
            if not self.paused:
                self._call_accepted()

    def _call_accepted(self) -> None:
        accepted, self._accepted = self._accepted, []
        for exchange in accepted:
            if not exchange.complete:
                self._call_app(exchange)

    def _call_app(self, exchange: Exchange) -> None:
        call = exchange.run(self._service.app)
        task = self._loop.create_task(call, name=f"request {exchange.stream}")
        self._tally.started(exchange, task)

    # --- Carrier ---

    def hold(self, exchange: Exchange) -> None:
        self._held.append(exchange)
        self.schedule_flush()

    def completed(self, exchange: Exchange) -> None:
        self._exchanges.pop(exchange.stream, None)

    def returned(self, exchange: Exchange) -> None:
        self._tally.returned(exchange)

    # --- FrameConnection ---

    def flush(self) -> None:
        if self._held:
            held, self._held = self._held, []
            for exchange in held:
                exchange.release_head()
        super().flush()

    def writing_resumed(self) -> None:
        self._call_accepted()
        for exchange in list(self._exchanges.values()):
            exchange.writing_resumed()

    def announce_draining(self) -> None:
        """Ask the gateway to send no new requests; those it still sends are served."""
        if self._credit:
            self.send(framing.draining())

    def connection_ended(self, reason: str) -> None:
        self._deadline.cancel()
        exchanges, self._exchanges, self._accepted = self._exchanges, {}, []
        for exchange in exchanges.values():
            exchange.disconnect()
        self.ended.set_result(None)


_HANDLERS: dict[int, Callable[[_GatewayConnection, Header, bytes], None]] = {
    FrameType.HELLO: _GatewayConnection.hello_received,
    FrameType.REQUEST: _GatewayConnection.request_received,
    FrameType.BODY: _GatewayConnection.body_received,
    FrameType.CREDIT: _GatewayConnection.credit_received,
    FrameType.CANCEL: _GatewayConnection.cancel_received,
}


class LinkServer:
    """Serves ``app`` to the gateways that know ``secret``; made inside a running event loop.

    ``prefix`` and ``path_mode`` ("full" or "stripped") say what the app sees as its path; ``lifespan_state`` is what
    its lifespan left behind for all requests. ``explain`` describes what the app raises, for gateways that ask.
    """

    def __init__(
        self,
        app: App,
        *,
        path: str,
        secret: bytes,
        prefix: str = "",
        path_mode: str = "full",
        lifespan_state: Optional[Mapping[str, Any]] = None,
        explain: Optional[Explain] = None,
    ) -> None:
        mounting = Mounting(prefix, path_mode, {} if lifespan_state is None else lifespan_state)
        self._path = Path(path)
        self._service = _Service(app, secret, mounting, explain)
        self._tally = _Tally()
        self._server: Optional[asyncio.AbstractServer] = None
        self._connections: set[_GatewayConnection] = set()

    @property
    def in_flight(self) -> int:
        """Calls of the app that have not returned, background work after a response included. For any thread."""
        return len(self._tally.running)

    @property
    def requests(self) -> int:
        """Calls of the app so far. For any thread."""
        return self._tally.requests

    async def start(self) -> None:
        """Bind the socket, in place of a stale one, and listen.

        Raises:
            OSError: the path is too long, in use by something that is no socket, or not ours to write.
        """
        loop = asyncio.get_running_loop()
        listener = _bind(self._path)
        try:
            self._server = await loop.create_unix_server(self._connection, sock=listener, backlog=_BACKLOG)
        except BaseException:
            listener.close()
            raise

    def _connection(self) -> _GatewayConnection:
        connection = _GatewayConnection(asyncio.get_running_loop(), self._service, self._tally)
        self._connections.add(connection)
        connection.ended.add_done_callback(lambda _: self._connections.discard(connection))
        return connection

    async def drain(self, timeout: float) -> bool:
        """Tell the gateways, then wait at most ``timeout`` seconds; return whether no call is left in flight."""
        self._tally.draining = True
        for connection in self._connections:
            connection.announce_draining()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._tally.wait_idle(), timeout)
        return not self._tally.running

    async def close(self) -> None:
        """Stop listening, cancel the calls still in flight, end all connections. Takes a few seconds at most."""
        if self._server is None:
            return
        self._server.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        await self._cancel_calls()
        await self._close_connections()
        await self._server.wait_closed()
        self._server = None

    async def _cancel_calls(self) -> None:
        tasks = list(self._tally.running.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CANCEL_TIME)

    async def _close_connections(self) -> None:
        connections = list(self._connections)
        for connection in connections:
            connection.close("the worker stops")
        if connections:
            await asyncio.wait([connection.ended for connection in connections], timeout=_CANCEL_TIME)
        for connection in self._connections.copy():
            connection.abort()
            await connection.ended


def _bind(path: Path) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if path.is_socket():
            path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.bind(str(path))
        # Nobody can connect before listen(), so there is no moment at which the mode is another. The umask is no
        # way: it belongs to the whole process, other threads included.
        path.chmod(0o600)
    except BaseException:
        listener.close()
        raise
    return listener
