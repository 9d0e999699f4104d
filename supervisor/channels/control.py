"""The control channel's server: ties each connection to the child that it proves to be."""

import asyncio
import hmac
import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from plugin_runtime.protocol import ACCEPTED_VERSIONS, PROTOCOL_VERSION, Hello, Refused, Welcome
from plugin_runtime.wire import Decoder, Envelope, WireError, encode
from supervisor.channels.peer import peer_credentials

logger = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT = 10.0
"""Seconds to say Hello; a connection that says nothing holds a descriptor of ours."""
SEND_BUFFER_LIMIT = 32 * 1024 * 1024
"""Bytes that a child may leave unread before its connection is closed; it reconnects when it reads again."""


class ChildListener(Protocol):
    """What the supervisor does with one child's messages."""

    def connected(self, connection: "Connection") -> None:
        """The handshake is complete; a connection before it, if any, is gone for good."""

    def received(self, envelope: Envelope) -> None:
        """A message other than the handshake."""

    def disconnected(self, connection: "Connection") -> None:
        """The connection closed; the child may come back."""


@dataclass(frozen=True)
class Expected:
    """A child that was spawned and may connect."""

    pid: int
    start_ticks: int
    nonce: str
    settings: Mapping[str, Any]
    listener: ChildListener


class ControlServer:
    """Listens on the control socket; knows the children that may connect."""

    def __init__(
        self,
        path: Path,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
        may_be_expected: Callable[[str, str], bool] = lambda _child, _nonce: False,
    ) -> None:
        """``may_be_expected``: whether a child with this nonce may be expected later; its answer waits till then."""
        self._path = path
        self._may_be_expected = may_be_expected
        self._handshake_timeout = handshake_timeout
        self._expected: dict[str, list[Expected]] = {}
        self._births: list[tuple[str, str]] = []
        """Child and nonce of those that may say hello before it is known which process each is."""
        self._early: list[tuple[Connection, Hello]] = []
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._accept, str(self._path), backlog=1024)
        self._path.chmod(0o600)

    def expect(self, child: str, expected: Expected) -> None:
        """Let the process connect as ``child``, beside others: a successor has the name of the one it replaces."""
        self._expected.setdefault(child, []).append(expected)
        if self._early:  # in another turn: whoever expects it is not done yet
            asyncio.get_running_loop().call_soon(self.answer_early)

    def forget(self, child: str, nonce: str) -> None:
        """The incarnation with this nonce is dead."""
        others = [expected for expected in self._expected.pop(child, []) if expected.nonce != nonce]
        if others:
            self._expected[child] = others

    @contextmanager
    def birth(self, child: str, nonce: str) -> Iterator[None]:
        """Have a process that says hello with this nonce wait for its answer: until the end it is told to ``expect``.

        What a template forks may speak before the template has said that there is such a process.
        """
        self._births.append((child, nonce))
        try:
            yield
        finally:
            self._births.remove((child, nonce))
            self.answer_early()

    def answer_early(self) -> None:
        """Look again at those whose hello could not be answered yet."""
        early, self._early = self._early, []
        for connection, hello in early:
            connection.shake_hands(hello)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()
        if self._server is not None:
            await self._server.wait_closed()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> "Connection":
        return Connection(self._identify, self._connections, self._handshake_timeout)

    def _identify(self, connection: "Connection", hello: Hello) -> Expected | str | None:
        """The child that says hello, or why it is refused; None where that is still to be seen."""
        if hello.version not in ACCEPTED_VERSIONS:
            return (
                f"cannot talk protocol {hello.version}: this supervisor speaks "
                f"{', '.join(map(str, sorted(ACCEPTED_VERSIONS)))}; restart the supervisor with this version of xcore"
            )
        candidates = self._expected.get(hello.child, [])
        claimed = (hello.pid, hello.start_ticks, connection.pid)
        for expected in candidates:
            is_claimed = claimed == (expected.pid, expected.start_ticks, expected.pid)
            if _is_same(hello.nonce, expected.nonce) and is_claimed:
                return expected
        is_being_born = any(child == hello.child and _is_same(hello.nonce, nonce) for child, nonce in self._births)
        if is_being_born or self._may_be_expected(hello.child, hello.nonce):
            self._early.append((connection, hello))
            return None
        return f"this process is not child {hello.child!r}" if candidates else f"no child {hello.child!r} is expected"


def _is_same(nonce: str, other: str) -> bool:
    return hmac.compare_digest(nonce.encode(), other.encode())


class Connection(asyncio.Protocol):
    """One child's connection, from its handshake on."""

    def __init__(
        self,
        identify: Callable[["Connection", Hello], Expected | str | None],
        connections: "set[Connection]",
        handshake_timeout: float,
    ) -> None:
        self._identify = identify
        self._connections = connections
        self._handshake_timeout = handshake_timeout
        self._decoder = Decoder()
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._listener: ChildListener | None = None
        self.pid = 0
        """Of its other end, by the kernel's word."""
        self.hello: Hello | None = None
        """What the child said of itself; set once the handshake is complete."""

    def send(self, message: object, request_id: int = 0) -> None:
        """Queue one message; messages to a closed connection are dropped, its child is told anew when it is back."""
        if not self._is_closing:
            self.send_frame(encode(message, request_id))

    def send_frame(self, frame: bytes) -> None:
        """Queue one message that is encoded already."""
        if self._transport is None or self._is_closing:
            return
        self._transport.write(frame)
        if self._transport.get_write_buffer_size() > SEND_BUFFER_LIMIT:
            logger.warning("Closing the control channel of %s: it does not read", self._peer)
            self._transport.abort()

    def shake_hands(self, hello: Hello) -> None:
        """Answer Hello, unless that has to wait."""
        if self._is_closing or self._listener is not None:
            return
        answer = self._identify(self, hello)
        if answer is None:
            return
        if isinstance(answer, str):
            logger.warning("Refused the control connection of pid %d: %s", self.pid, answer)
            self.send(Refused(answer))
            self.close()
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self._listener = answer.listener
        self.hello = hello
        self.send(Welcome(min(hello.version, PROTOCOL_VERSION), dict(answer.settings)))
        answer.listener.connected(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    @property
    def _peer(self) -> str:
        return f"{self.hello.child} (pid {self.pid})" if self.hello else f"pid {self.pid}"

    @property
    def _is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - create_unix_server makes no other kind
        self._transport = transport
        self._connections.add(self)
        sock: socket.socket = transport.get_extra_info("socket")
        self.pid = peer_credentials(sock).pid
        self._deadline = asyncio.get_running_loop().call_later(self._handshake_timeout, transport.abort)

    def data_received(self, data: bytes) -> None:
        try:
            for envelope in self._decoder.feed(data):
                if self._is_closing:  # by what came before it in the same read
                    break
                self._received(envelope)
        except WireError as error:
            logger.warning("Closing the control channel of %s: %s", self._peer, error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()
        if self._listener is not None:
            self._listener.disconnected(self)
            self._listener = None

    def _received(self, envelope: Envelope) -> None:
        if self._listener is not None:
            self._listener.received(envelope)
        elif isinstance(envelope.message, Hello):
            self.shake_hands(envelope.message)
        else:
            raise WireError(f"expected hello, got {type(envelope.message).__name__}")
