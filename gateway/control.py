"""Channel to the supervisor: handshake, beats, pushed messages, calls with answers.

The connection may break at any moment, and the gateway serves on: everything that needs the supervisor says so at once,
and a new connection is tried every RECONNECT_DELAY until ``adopt_grace`` is over. Only ``run`` opens and reads
connections; other methods at most write one frame.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import HandshakeRefusedError, OperationFailedError, SupervisorAwayError
from plugin_runtime import protocol, wire
from plugin_runtime.gateway_protocol import Traffic
from plugin_runtime.process_facts import peak_memory_kb, start_ticks, threads
from plugin_runtime.task_protocol import ListThreads, Threads

logger = logging.getLogger(__name__)

RECONNECT_DELAY = 0.1
"""Seconds between two tries; a restarted supervisor should find us before anybody notices."""
BEAT_INTERVAL = 1.0
"""Seconds; a tenth of the shortest silence that has a consequence."""
HANDSHAKE_TIMEOUT = 10.0
"""Seconds from connecting to Welcome; a supervisor that is that slow is stuck."""
CALL_TIMEOUT = 30.0
"""Seconds for an operation that says nothing else."""
CLOSE_TIMEOUT = 1.0
"""Seconds for the last message to arrive."""
_READ_SIZE = 256 * 1024


@dataclass(frozen=True)
class ControlAddress:
    """Where the supervisor listens and who we are to it."""

    path: str
    child: str
    nonce: str = field(repr=False)

    @classmethod
    def take_from(cls, environ: "os._Environ[str] | dict[str, str]") -> "ControlAddress":
        """Read the address and remove the secret, which children of ours must not inherit.

        Raises:
            KeyError: not started by a supervisor.
        """
        return cls(environ.pop(protocol.ENV_CONTROL), environ[protocol.ENV_CHILD], environ.pop(protocol.ENV_NONCE))


@dataclass(frozen=True)
class Load:
    """What the gateway does now, for Beat."""

    in_flight: int
    requests: int


class Connection:
    """One connection after its handshake; ``settings``: the wire form of ours."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = wire.Decoder()
        self._early: list[wire.Envelope] = []
        self.settings: Mapping[str, Any] = {}

    def send(self, message: Any, request_id: int = 0) -> None:
        """Raise ConnectionResetError where it is closed already, and whoever reads from it has not been told yet."""
        # Never drained: our messages are few and small, and a supervisor that stopped reading is replaced.
        try:
            self._writer.write(wire.encode(message, request_id))
        except RuntimeError as error:  # uvloop's word for it
            raise ConnectionResetError("the supervisor went away meanwhile") from error

    async def shake_hands(self, hello: protocol.Hello) -> None:
        """Introduce ourselves.

        Raises:
            HandshakeRefusedError: the supervisor said no, or speaks another version.
            OSError, wire.WireError: the connection broke.
        """
        self.send(hello)
        first, *self._early = await self._receive()
        match first.message:
            case protocol.Welcome(version=version, settings=settings) if version in protocol.ACCEPTED_VERSIONS:
                self.settings = settings
            case protocol.Welcome(version=version):
                raise HandshakeRefusedError(f"it speaks version {version} of the protocol")
            case protocol.Refused(reason=reason):
                raise HandshakeRefusedError(reason)
            case other:
                raise wire.WireError(f"{type(other).__name__} instead of Welcome")

    async def receive(self) -> list[wire.Envelope]:
        """Wait for the next messages; at least one.

        Raises:
            OSError, wire.WireError: the connection broke.
        """
        early, self._early = self._early, []
        return early or await self._receive()

    async def _receive(self) -> list[wire.Envelope]:
        while True:
            data = await self._reader.read(_READ_SIZE)
            if not data:
                raise ConnectionResetError("the supervisor closed the connection")
            if messages := self._decoder.feed(data):
                return messages

    def close(self) -> None:
        self._writer.close()

    async def finish(self) -> None:
        """Close when what was sent has arrived.

        Closing at once would fail what the supervisor is writing at that moment, and it would give the connection up
        without reading our last words.
        """
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                self._writer.write_eof()
                while await self._reader.read(_READ_SIZE):
                    pass
        self.close()


class ControlChannel:
    """Owns the connection to the supervisor, the calls that wait for answers and the beats.

    ``received`` is called with every pushed message, ``joined`` after every handshake, the first one included, before
    any message of the new connection.
    """

    def __init__(
        self,
        address: ControlAddress,
        *,
        received: Callable[[Any], None],
        joined: Callable[[], None],
        load: Callable[[], Load],
        traffic: Callable[[], Traffic | None] = lambda: None,
    ) -> None:
        """``traffic``: what is sent with a beat, where there is news of it."""
        self._address = address
        self._received = received
        self._joined = joined
        self._load = load
        self._traffic = traffic
        self._connection: Connection | None = None
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._last_id = 0

    @property
    def connected(self) -> bool:
        return self._connection is not None

    async def open(self) -> protocol.GatewaySettings:
        """Connect for the first time and return our settings; ``run`` goes on from there.

        Raises:
            HandshakeRefusedError: the supervisor does not want us.
            OSError, TimeoutError, wire.WireError: nobody there, or nobody who makes sense.
        """
        connection = await self._connect()
        settings = wire.from_wire(protocol.GatewaySettings, dict(connection.settings))
        self._connection = connection
        return settings

    async def run(self, adopt_grace: float) -> str:
        """Serve the connection of ``open`` and its successors; return why there will be no other.

        Raises:
            HandshakeRefusedError: a new supervisor does not want us.
        """
        beats = asyncio.create_task(self._beat(), name="control beats")
        try:
            while self._connection is not None:
                reason = await self._serve(self._connection)
                logger.warning("Lost the supervisor: %s; serving on and reconnecting for %g s", reason, adopt_grace)
                self._connection = await self._reconnect(adopt_grace)
            return f"no supervisor for {adopt_grace:g} s"
        finally:
            beats.cancel()
            await asyncio.gather(beats, return_exceptions=True)
            await self.close()

    def send(self, message: Any) -> bool:
        """Send a message that wants no answer; False where there is nobody to send it to."""
        if self._connection is None:
            return False
        try:
            self._connection.send(message)
        except ConnectionResetError:
            return False
        return True

    async def call(
        self, operation: str, arguments: dict[str, Any] | None = None, *, actor: str, timeout: float = CALL_TIMEOUT
    ) -> Any:
        """Have the supervisor carry out an operation and return its value.

        Raises:
            OperationFailedError: it said no.
            SupervisorAwayError: it is not there, went away, or took longer than ``timeout`` seconds.
        """
        if self._connection is None:
            raise SupervisorAwayError(operation, "the supervisor is away")
        self._last_id += 1
        answer = self._calls[self._last_id] = asyncio.get_running_loop().create_future()
        request_id = self._last_id
        try:
            self._connection.send(protocol.Call(operation, arguments or {}, actor), request_id)
            async with asyncio.timeout(timeout):
                result = await answer
        except TimeoutError:
            raise SupervisorAwayError(operation, f"the supervisor did not answer within {timeout:g} s") from None
        except ConnectionError as error:
            raise SupervisorAwayError(operation, str(error)) from error
        finally:
            del self._calls[request_id]
        return _value(result)

    async def close(self) -> None:
        """Leave; what was sent still arrives, calls that wait fail."""
        connection = self._detach()
        if connection is not None:
            await connection.finish()

    def _detach(self) -> Connection | None:
        connection, self._connection = self._connection, None
        for call in self._calls.values():
            if not call.done():
                call.set_exception(ConnectionResetError("the supervisor went away meanwhile"))
        return connection

    async def _connect(self) -> Connection:
        async with asyncio.timeout(HANDSHAKE_TIMEOUT):
            connection = Connection(*await asyncio.open_unix_connection(self._address.path))
            try:
                await connection.shake_hands(self._hello())
            except BaseException:
                connection.close()
                raise
        return connection

    def _hello(self) -> protocol.Hello:
        address = self._address
        return protocol.Hello(protocol.PROTOCOL_VERSION, address.child, os.getpid(), start_ticks(), address.nonce)

    async def _serve(self, connection: Connection) -> str:
        """Handle messages until the connection breaks; return how it did."""
        try:
            self._joined()
            while True:
                for envelope in await connection.receive():
                    self._handle(connection, envelope)
        except (OSError, wire.WireError) as error:
            return str(error)
        finally:
            self._detach()
            connection.close()

    def _handle(self, connection: Connection, envelope: wire.Envelope) -> None:
        if isinstance(envelope.message, ListThreads):
            connection.send(Threads(threads()), envelope.id)
            return
        if isinstance(envelope.message, (protocol.Result, protocol.Error)):
            # No future: the caller stopped waiting.
            call = self._calls.get(envelope.id)
            if call is not None and not call.done():
                call.set_result(envelope.message)
            return
        self._received(envelope.message)

    async def _reconnect(self, grace: float) -> Connection | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        while loop.time() < deadline:
            await asyncio.sleep(RECONNECT_DELAY)
            try:
                connection = await self._connect()
            except (OSError, TimeoutError, wire.WireError) as error:
                logger.debug("Cannot reach the supervisor: %s", error)
                continue
            logger.info("Joined the supervisor again")
            return connection
        return None

    async def _beat(self) -> None:
        """Report once a second. A loop that is stuck sends nothing, one that is slow says by how much."""
        while True:
            due = time.monotonic() + BEAT_INTERVAL
            await asyncio.sleep(BEAT_INTERVAL)
            load = self._load()
            late = max(0.0, time.monotonic() - due)
            self.send(protocol.Beat(late, load.in_flight, load.requests, peak_memory_kb()))
            if self._connection is not None and (figures := self._traffic()) is not None:
                self.send(figures)


def _value(answer: protocol.Result | protocol.Error) -> Any:
    if isinstance(answer, protocol.Error):
        raise OperationFailedError(answer.type, answer.message, answer.extension, answer.status)
    return answer.value
