"""A whole gateway in the test's own event loop: real sockets, real links, and workers that are ASGI functions."""

import asyncio
import contextlib
import json
import socket
from dataclasses import dataclass, field

from gateway.deaths import Deaths
from gateway.dispatch import Dispatcher
from gateway.door import Door
from gateway.headers import Sifter
from gateway.identity import Tokens
from gateway.parking import Parking
from gateway.server import create_server
from gateway.settings import GatewayOptions
from gateway.traffic import Tallies
from gateway.upstreams import Upstreams
from plugin_runtime.link import LinkServer
from plugin_runtime.protocol import Route, RoutingSnapshot, Upstream
from tests.fakes.waiting import DEADLINE, until


async def core(scope, receive, send):
    """Stands for the gateway's own application."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await respond(send, b"core", 200)


async def respond(send, body=b"ok", status=200, fields=()):
    await send({"type": "http.response.start", "status": status, "headers": list(fields)})
    await send({"type": "http.response.body", "body": body})


@dataclass
class Response:
    """What a client read; ``complete``: it ended as HTTP says it must."""

    status: int = 0
    fields: dict = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False

    def json(self):
        return json.loads(self.body)


class Client:
    """One connection, close to the wire."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    async def ask(self, path="/hello", method="GET", fields=(), body=b"", host="test"):
        self.write(path, method, fields, body, host)
        return await self.read_response(method)

    def write(self, path="/hello", method="GET", fields=(), body=b"", host="test"):
        lines = [f"{method} {path} HTTP/1.1", f"host: {host}", *fields]
        if body:
            lines.append(f"content-length: {len(body)}")
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    async def read_head(self):
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), DEADLINE)).decode("latin-1")
        status, *fields = head.rstrip().split("\r\n")
        pairs = (line.split(": ", 1) for line in fields)
        return Response(int(status.split()[1]), dict(pairs))

    async def read_response(self, method="GET"):
        response = await self.read_head()
        try:
            response.body = await asyncio.wait_for(self._read_body(response, method), DEADLINE)
            response.complete = True
        except asyncio.IncompleteReadError as error:
            response.body = error.partial
        return response

    async def _read_body(self, response, method):
        if method == "HEAD" or response.status in {204, 304}:
            return b""
        if "content-length" in response.fields:
            return await self.reader.readexactly(int(response.fields["content-length"]))
        chunks = []
        while size := int((await self._line()).strip(), 16):
            chunks.append((await self.reader.readexactly(size + 2))[:-2])
        await self._line()
        return b"".join(chunks)

    async def _line(self):
        line = await self.reader.readline()
        if not line.endswith(b"\n"):
            raise asyncio.IncompleteReadError(line, None)
        return line

    def close(self):
        self.writer.close()


class GatewayInLoop:
    """Give it workers with ``serve``, then ``connect`` clients."""

    def __init__(self, folder, development=None, **options):
        self._folder = folder
        self._development = development
        self._server = None
        self._workers = {}
        self._clients = []
        self.options = GatewayOptions(**options)
        self.parking = Parking(self.options.parking)
        self.deaths = Deaths()
        self.tokens = Tokens()
        self.sent = []
        self.tallies = Tallies()
        self.upstreams = Upstreams("gateway.1", self.parking, self.deaths, self.tallies, send=self.sent.append)
        self.dispatcher = Dispatcher(self.parking, self.deaths, max_body=self.options.max_body)
        self._version = 0
        self.port = 0

    async def __aenter__(self):
        sifter = Sifter(self.options.trusted_networks)
        door = Door(core, self.upstreams, self.dispatcher, sifter, self.tokens, self._development)
        listening = asyncio.Event()
        self._server = create_server(door, self.options, listening=listening.set)
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        await listening.wait()
        return self

    async def __aexit__(self, *_):
        for client in self._clients:
            client.close()
        await self.upstreams.close()
        for server in self._workers.values():
            await server.close()
        if not self._task.done():
            self._server.drain(1)
        await self._task

    def drain(self, seconds, linger):
        """What Stop does."""
        self._server.drain(seconds, linger=linger)

    @property
    def has_ended(self):
        return self._task.done()

    async def serve(self, app, plugin="hello", prefix="/hello", explain=None, **fields):
        """Serve an ASGI function under a prefix, in the place of what was there."""
        self._version += 1
        path, secret = str(self._folder / f"{self._version}.link"), b"secret"
        server = self._workers[plugin, self._version] = LinkServer(
            app, path=path, secret=secret, prefix=prefix, explain=explain
        )
        await server.start()
        target = Upstream(f"{plugin}.1", f"{plugin}.1:{self._version}", path, secret)
        await self.route(Route(plugin, prefix, [target], **fields))
        return server

    async def route(self, *routes):
        acknowledged = len(self.sent)
        self.upstreams.follow(RoutingSnapshot(self._version, list(routes)))
        await until(lambda: len(self.sent) > acknowledged, "acknowledgement")

    async def connect(self):
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self._clients.append(client)
        return client

    async def kill(self, server):
        """What the gateway sees of a worker that is killed."""
        for connection in list(server._connections):
            connection.abort()
        with contextlib.suppress(TimeoutError):
            await until(lambda: not server._connections)
