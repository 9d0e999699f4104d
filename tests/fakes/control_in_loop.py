"""The supervisor's end of the control channel, in the test's own event loop."""

import asyncio
from pathlib import Path

from plugin_runtime.protocol import PROTOCOL_VERSION, Call, GatewaySettings, Hello, Refused, Result, Welcome
from plugin_runtime.wire import Decoder, encode, to_wire
from tests.fakes.waiting import DEADLINE, until


class ControlInLoop:
    """Welcomes a gateway, keeps what it says, answers calls with ``answers`` (a value, or a message by operation)."""

    def __init__(self, path: Path, settings: GatewaySettings | None = None):
        self.path = path
        self.settings = settings or GatewaySettings(0, "http://test", {})
        self.version = PROTOCOL_VERSION
        self.refuse = ""
        self.answers = {}
        self.push = []
        """Sent after every welcome."""
        self.messages = []
        self.answered = []
        """Ids of answers that came."""
        self.writers = []
        self._server = None

    async def __aenter__(self):
        await self.listen()
        return self

    async def __aexit__(self, *_):
        await self.die()

    async def listen(self):
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Connection(self), str(self.path))

    async def die(self):
        """What a gateway sees of a supervisor that is killed."""
        if self._server is not None:
            self._server.close()
            self.path.unlink(missing_ok=True)
            for writer in self.writers:
                writer.abort()
            self.writers.clear()
            await self._server.wait_closed()
            self._server = None

    def send(self, message, request_id=0):
        self.writers[-1].write(encode(message, request_id))

    def of(self, kind):
        return [message for message in self.messages if isinstance(message, kind)]

    async def wait_for(self, kind, count=1, deadline=DEADLINE):
        await until(lambda: len(self.of(kind)) >= count, f"{kind.__name__} number {count}", deadline)
        return self.of(kind)[count - 1]

    def take(self, writer, envelope):
        message = envelope.message
        self.messages.append(message)
        if envelope.id and not isinstance(message, Call):
            self.answered.append(envelope.id)
        if isinstance(message, Hello):
            self.writers.append(writer)
            refusal = Refused(self.refuse) if self.refuse else None
            writer.write(encode(refusal or Welcome(self.version, to_wire(self.settings))))
            for pushed in self.push:
                writer.write(encode(pushed))
        elif isinstance(message, Call) and message.operation in self.answers:
            answer = self.answers[message.operation]
            writer.write(encode(answer if hasattr(answer, "__dataclass_fields__") else Result(answer), envelope.id))


class _Connection(asyncio.Protocol):
    """Not streams: a reader forgets what it has got when the connection is reset after it."""

    def __init__(self, owner):
        self._owner = owner
        self._decoder = Decoder()

    def connection_made(self, transport):
        self._transport = transport

    def data_received(self, data):
        for envelope in self._decoder.feed(data):
            self._owner.take(self._transport, envelope)
