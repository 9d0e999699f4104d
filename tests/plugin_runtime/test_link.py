"""Worker's end of the link, seen by a gateway that writes its frames by hand."""

import asyncio
import contextlib
import socket
import stat
import struct

import msgpack
import pytest

from plugin_runtime import framing
from plugin_runtime.framing import FrameType, RequestHead
from plugin_runtime.link import LinkServer

SECRET = b"right"
HEAD = RequestHead("GET", b"/x", b"", "1.1", "http", None, None, (), {})
POST = HEAD._replace(method="POST")
HELLO = framing.hello(1, SECRET, "gateway.1", framing.WINDOW)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Run a coroutine on either kind of event loop."""
    loop = pytest.importorskip(request.param).new_event_loop()
    yield loop.run_until_complete
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


class Gateway:
    """A connection that reads frames one at a time."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    async def frame(self):
        """The next frame as (type name, fields after the stream, body); None at the end of the connection."""
        try:
            return await asyncio.wait_for(self._frame(), 5)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return None

    async def _frame(self):
        lengths = struct.unpack(">II", await self.reader.readexactly(8))
        header = msgpack.unpackb(await self.reader.readexactly(lengths[0]), use_list=False)
        return FrameType(header[0]).name, header[2:], await self.reader.readexactly(lengths[1])

    def write(self, *frames):
        self.writer.write(b"".join(frames))


@contextlib.asynccontextmanager
async def serving(app, tmp_path, **options):
    server = LinkServer(app, path=str(tmp_path / "w.link"), secret=SECRET, **options)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def connected(tmp_path, *, hello=HELLO):
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "w.link"))
    gateway = Gateway(reader, writer)
    gateway.write(hello)
    try:
        yield gateway
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def hello_app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def until(condition):
    deadline = asyncio.get_running_loop().time() + 5
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "the condition did not come true"
        await asyncio.sleep(0.001)


def request(stream, head=HEAD, body=b"", *, end=True):
    return framing.request(stream, head, end=end, body_length=len(body)) + body


def test_a_request_is_answered_after_the_handshake(run, tmp_path):
    """The plain way."""

    async def scenario():
        async with serving(hello_app, tmp_path) as server, connected(tmp_path) as gateway:
            assert await gateway.frame() == ("WELCOME", (1, framing.WINDOW), b"")
            gateway.write(request(1))
            assert await gateway.frame() == ("RESPONSE", (200, (), True), b"hello")
            await until(lambda: server.in_flight == 0)
            assert server.requests == 1

    run(scenario())


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        (framing.hello(1, b"wrong", "g", framing.WINDOW), "wrong secret"),
        (framing.hello(1, b"", "g", framing.WINDOW), "wrong secret"),
        (framing.hello(99, SECRET, "g", framing.WINDOW), "version 99"),
        (request(1), "before HELLO"),
        (framing.credit(1, 1), "before HELLO"),
        (framing.welcome(1, framing.WINDOW), "before HELLO"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "over the limit"),
    ],
)
def test_who_does_not_know_the_secret_is_told_why_and_shut_out(tmp_path, hello, reason):
    """Row 70: links want a secret; nothing reaches the app before it."""

    async def scenario():
        async with serving(hello_app, tmp_path) as server, connected(tmp_path, hello=hello + request(1)) as gateway:
            name, (text,), _ = await gateway.frame()
            assert (name, reason in text) == ("CLOSE", True), text
            assert await gateway.frame() is None
            assert server.requests == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "broken",
    [
        HELLO,
        request(1) + request(1),
        request(2) + request(1),
        framing.body(1, end=True, body_length=0),
        framing.credit(7, 5),
        framing.response(1, 200, [], end=True, body_length=0),
        framing.accepted(1),
        framing.draining(),
        request(1, POST, b"a") + framing.body(1, end=True, body_length=0),
        request(1, POST, bytes(65536), end=False) + (framing.body(1, end=False, body_length=65536) + bytes(65536)) * 4,
        b"\xff" * 100,
        b"\x00" * 100,
    ],
)
def test_a_gateway_that_breaks_the_rules_loses_its_connection_and_no_other(tmp_path, broken):
    """Row 68: that connection dropped, never the process."""

    async def waits(scope, receive, send):
        await asyncio.Event().wait()

    async def scenario():
        async with serving(waits, tmp_path) as server, connected(tmp_path) as other, connected(tmp_path) as gateway:
            await gateway.frame()
            await other.frame()
            gateway.write(broken)
            frames = [await gateway.frame()]
            while frames[-1] is not None:
                frames.append(await gateway.frame())
            assert frames[-2][0] == "CLOSE"
            assert frames[-2][1][0].startswith("broken link: ")
            before = server.in_flight
            other.write(request(1))
            await until(lambda: server.in_flight == before + 1)

    asyncio.run(scenario())


def test_what_comes_late_for_a_finished_stream_is_dropped(tmp_path):
    """Row 63: an app may answer before it has read the upload, the rest of which is on its way then."""

    async def scenario():
        async with serving(hello_app, tmp_path), connected(tmp_path) as gateway:
            gateway.write(request(1, POST, b"part", end=False))
            names = [(await gateway.frame())[0] for _ in range(3)]
            assert names == ["WELCOME", "ACCEPTED", "RESPONSE"]
            late = framing.body(1, end=True, body_length=4) + b"rest" + framing.credit(1, 9) + framing.cancel(1, "x")
            gateway.write(late, request(2))
            assert await gateway.frame() == ("RESPONSE", (200, (), True), b"hello")

    asyncio.run(scenario())


def test_accepted_is_said_for_what_must_not_run_twice_only(tmp_path):
    """It saves a frame for all others."""

    async def scenario():
        async with serving(hello_app, tmp_path), connected(tmp_path) as gateway:
            gateway.write(request(1), request(2, POST), request(3, HEAD._replace(method="PATCH")))
            names = [(await gateway.frame())[0] for _ in range(6)]
            assert sorted(names) == ["ACCEPTED", "ACCEPTED", "RESPONSE", "RESPONSE", "RESPONSE", "WELCOME"]
            assert names[1:3] == ["ACCEPTED", "ACCEPTED"]

    asyncio.run(scenario())


def test_the_app_is_not_called_before_the_kernel_has_the_accepted_frame(run, tmp_path):
    """Row 2: killed with ACCEPTED still in its own memory, a worker would get the same POST a second time."""
    called = []

    async def app(scope, receive, send):
        called.append(scope["method"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(framing.WINDOW)})

    async def scenario():
        async with serving(app, tmp_path), connected(tmp_path) as gateway:
            # Responses that nobody reads fill the socket, so that more cannot be written.
            gateway.writer.transport.pause_reading()
            gateway.write(*(request(stream) for stream in range(1, 9)))
            await until(lambda: len(called) == 8)
            gateway.write(request(9, POST), request(10))
            await until(lambda: len(called) == 9)
            assert called == ["GET"] * 9
            gateway.writer.transport.resume_reading()
            frames = []
            while "POST" not in called:
                frames.append((await gateway.frame())[0])
            while "ACCEPTED" not in frames:
                frames.append((await gateway.frame())[0])

    run(scenario())


class FullTransport(asyncio.Transport):
    """A socket of which the kernel takes no more: what is written stays in memory."""

    def __init__(self, protocol, sock):
        super().__init__({"socket": sock})
        self.protocol = protocol

    def write(self, data):
        self.protocol.pause_writing()

    def set_write_buffer_limits(self, high=None, low=None):
        assert high == 0, "paused would not mean that something is unsent"

    def close(self):
        self.protocol.connection_lost(None)


def test_an_accepted_frame_that_the_kernel_did_not_take_holds_back_the_call(tmp_path):
    """The same, when it is this very frame that fills the socket."""

    async def scenario():
        async with serving(hello_app, tmp_path) as server:
            connection = server._connection()
            with socket.socket(socket.AF_UNIX) as sock:
                connection.connection_made(FullTransport(connection, sock))
            for data in (HELLO, request(1, POST)):
                connection.paused = False
                connection.get_buffer(-1)[: len(data)] = data
                connection.buffer_updated(len(data))
                connection.flush()
            assert server.in_flight == 0
            connection.resume_writing()
            await until(lambda: server.requests == 1)
            connection.resume_writing()
            await until(lambda: server.in_flight == 0)

    asyncio.run(scenario())


def test_a_cancelled_request_that_was_not_begun_is_not_begun(tmp_path):
    """Its client has gone while it stood in the same batch."""

    async def scenario():
        async with serving(hello_app, tmp_path) as server, connected(tmp_path) as gateway:
            gateway.write(request(1, POST), framing.cancel(1, "client gone"), request(2))
            assert [(await gateway.frame())[0] for _ in range(3)] == ["WELCOME", "ACCEPTED", "RESPONSE"]
            assert server.requests == 1

    asyncio.run(scenario())


def test_a_lost_connection_tells_every_app_and_cancels_none(tmp_path):
    """As with uvicorn: apps are told, and may clean up in their own time."""
    seen = []

    async def app(scope, receive, send):
        await receive()
        seen.append(await receive())
        await asyncio.sleep(0)
        seen.append("cleaned up")

    async def scenario():
        async with serving(app, tmp_path) as server:
            async with connected(tmp_path) as gateway:
                gateway.write(request(1), request(2, POST))
                await until(lambda: server.in_flight == 2)
            await until(lambda: server.in_flight == 0)

    asyncio.run(scenario())
    assert seen.count({"type": "http.disconnect"}) == 2
    assert seen.count("cleaned up") == 2


def test_the_socket_is_private_and_replaces_a_stale_one(tmp_path):
    """A worker that died leaves its socket behind."""
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "w.link"))

    async def scenario():
        async with serving(hello_app, tmp_path):
            assert stat.S_IMODE((tmp_path / "w.link").stat().st_mode) == 0o600
            async with connected(tmp_path) as gateway:
                assert (await gateway.frame())[0] == "WELCOME"
        assert not (tmp_path / "w.link").exists()

    asyncio.run(scenario())


def test_a_file_in_the_place_of_the_socket_is_left_alone(tmp_path):
    """Whatever it is, it is not ours to delete."""
    (tmp_path / "w.link").write_text("precious")

    async def scenario():
        await LinkServer(hello_app, path=str(tmp_path / "w.link"), secret=SECRET).start()

    with pytest.raises(OSError, match="in use"):
        asyncio.run(scenario())
    assert (tmp_path / "w.link").read_text() == "precious"


def test_drain_tells_all_gateways_and_waits_for_the_calls_in_flight(tmp_path):
    """Also one that connects while it drains."""

    async def scenario():
        go = asyncio.Event()

        async def app(scope, receive, send):
            await go.wait()
            await hello_app(scope, receive, send)

        async with serving(app, tmp_path) as server, connected(tmp_path) as gateway:
            assert await server.drain(0)
            assert [(await gateway.frame())[0] for _ in range(2)] == ["WELCOME", "DRAINING"]
            gateway.write(request(1))
            await until(lambda: server.in_flight == 1)
            assert not await server.drain(0.01)
            draining = asyncio.ensure_future(server.drain(5))
            await asyncio.sleep(0)
            go.set()
            assert await draining

    asyncio.run(scenario())


def test_close_cancels_what_is_left_and_says_so_to_the_gateway(run, tmp_path):
    """Stop is a ladder; this is its last rung but the signals."""
    ended = []

    async def app(scope, receive, send):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(scope["method"])

    async def scenario():
        async with serving(app, tmp_path) as server, connected(tmp_path) as gateway:
            gateway.write(request(1))
            await until(lambda: server.in_flight == 1)
            await asyncio.sleep(0)
            await server.close()
            assert ended == ["GET"]
            assert [(await gateway.frame())[0] for _ in range(3)] == ["WELCOME", "FAILED", "CLOSE"]
            assert await gateway.frame() is None
            await server.close()

    run(scenario())


def test_close_does_not_wait_for_a_gateway_that_does_not_read(tmp_path, monkeypatch):
    """A stopped gateway must not hold up the end of a worker."""
    monkeypatch.setattr("plugin_runtime.link._CANCEL_TIME", 0.05)

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(framing.WINDOW)})

    async def scenario():
        async with serving(app, tmp_path) as server, connected(tmp_path) as gateway:
            gateway.writer.transport.pause_reading()
            gateway.write(*(request(stream) for stream in range(1, 9)))
            await until(lambda: server.requests == 8)
            await asyncio.wait_for(server.close(), 2)

    asyncio.run(scenario())


def test_a_connection_that_never_says_hello_is_dropped(tmp_path, monkeypatch):
    """It would hold a file descriptor for ever."""
    monkeypatch.setattr("plugin_runtime.link._HANDSHAKE_TIME", 0.01)

    async def scenario():
        async with serving(hello_app, tmp_path), connected(tmp_path, hello=HELLO[:5]) as gateway:
            name, (reason,), _ = await gateway.frame()
            assert (name, reason) == ("CLOSE", "no HELLO in time")
            assert await gateway.frame() is None

    asyncio.run(scenario())
