"""Both ends of the link together, over a real socket."""

import asyncio
import contextlib
import socket

import pytest
import uvloop

from gateway.link import Link, LinkClosedError, LinkError, RequestHead, StreamErrorKind
from plugin_runtime import framing
from plugin_runtime.link import LinkServer
from plugin_runtime.protocol import Upstream

SECRET = b"right"
MIB = 1024 * 1024
GET = RequestHead("GET", b"/x", b"", "1.1", "http", ("127.0.0.1", 1), None, [(b"host", b"h")], {"request_id": "r"})
POST = GET._replace(method="POST")


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    """Run a coroutine on either kind of event loop."""

    def runner(coroutine):
        with asyncio.Runner(loop_factory=request.param) as loop:
            return loop.run(coroutine)

    return runner


class Sink:
    """Records what comes; gives credit back at once, unless it is slow."""

    def __init__(self, *, slow=False):
        self.status = None
        self.size = 0
        self.last = b""
        self.errors = []
        self.calls = []
        self.slow = slow
        self.stream = None
        self.over = asyncio.Event()

    def response_started(self, status, fields):
        self.status = status
        self.calls.append("started")

    def body_received(self, data, end):
        self.size += len(data)
        self.last = data
        if self.stream is not None and not self.slow:
            self.stream.consumed(len(data))
        if end:
            self.calls.append("ended")
            self.over.set()

    def failed(self, error):
        self.errors.append(error)
        self.calls.append("failed")
        self.over.set()

    async def wait(self):
        async with asyncio.timeout(30):
            await self.over.wait()


class Ends:
    """A worker's server and a gateway's link to it."""

    def __init__(self, server, link, closed):
        self.server = server
        self.link = link
        self.closed = closed

    def open(self, head=GET, body=b"", *, end=True, slow=False):
        sink = Sink(slow=slow)
        sink.stream = self.link.open(head, sink, body, end)
        return sink


@contextlib.asynccontextmanager
async def linked(app, tmp_path):
    path, closed = str(tmp_path / "w.link"), []
    server = LinkServer(app, path=path, secret=SECRET)
    await server.start()
    try:
        link = await Link.connect(
            Upstream("hello.1", "1", path, SECRET), "g", closed=lambda _, reason: closed.append(reason)
        )
        yield Ends(server, link, closed)
        link.close("test over")
        await until(lambda: closed)
    finally:
        await server.close()


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def respond(send, body=b"", status=200, *, more=False):
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def hello(scope, receive, send):
    await respond(send, b"hello")


async def echo(scope, receive, send):
    """Answer while the request is still being read."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message["more_body"]
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})


async def forever(scope, receive, send):
    await asyncio.Event().wait()


class Writes:
    """Counts the writes of one transport."""

    def __init__(self, connection):
        self.count = 0
        self._transport = connection._transport
        connection._transport = self

    def write(self, data):
        self.count += 1
        self._transport.write(data)

    def writelines(self, data):
        self.count += 1
        self._transport.writelines(data)

    def __getattr__(self, name):
        return getattr(self._transport, name)


def test_many_concurrent_requests_cost_few_writes(run, tmp_path):
    """Where the speed comes from: frames of one turn of the event loop leave in one write, at both ends."""

    async def scenario():
        async with linked(hello, tmp_path) as ends:
            (connection,) = ends.server._connections
            there, back = Writes(ends.link), Writes(connection)
            sinks = [ends.open(head) for head in [GET, POST] * 100]
            for sink in sinks:
                await sink.wait()
            assert [sink.last for sink in sinks] == [b"hello"] * 200
            assert there.count == 1
            assert back.count <= 6
            assert ends.link.in_flight == 0

    run(scenario())


def test_200_concurrent_streams_do_not_mix(run, tmp_path):
    """Each gets its own bytes back, however the frames of all were woven together."""

    async def scenario():
        async with linked(echo, tmp_path) as ends:
            sinks = [ends.open(POST, b"%d " % number, end=False) for number in range(200)]
            for round_ in range(5):
                for number, sink in enumerate(sinks):
                    sink.stream.send_body(b"%d " % number * number, round_ == 4)
                await asyncio.sleep(0)
            for number, sink in enumerate(sinks):
                await sink.wait()
                assert (sink.status, sink.errors) == (200, [])
                assert sink.size == len(b"%d " % number) * (1 + 5 * number)
                assert set(sink.last.split()) <= {b"%d" % number}
            assert ends.server.requests == 200

    run(scenario())


@pytest.mark.slow
def test_a_large_download_is_complete_in_bounded_memory(run, tmp_path):
    """Row 62: the app is held back by what the client has taken."""
    peak = 0

    async def app(scope, receive, send):
        nonlocal peak
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(64):
            await send({"type": "http.response.body", "body": bytes(MIB), "more_body": True})
            peak = max(peak, *(connection.unsent for connection in server._connections))
        await send({"type": "http.response.body", "body": b""})

    async def scenario():
        nonlocal server
        async with linked(app, tmp_path) as ends:
            server = ends.server
            sink = ends.open()
            await sink.wait()
            assert (sink.size, sink.errors) == (64 * MIB, [])

    server = None
    run(scenario())
    assert peak <= 2 * framing.WINDOW


@pytest.mark.slow
def test_a_large_upload_is_complete_in_bounded_memory(run, tmp_path):
    """Row 62, the other way: the client is held back by what the app has taken."""
    peak = 0

    async def app(scope, receive, send):
        nonlocal peak
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message["body"]), message["more_body"]
            peak = max(peak, len(message["body"]))
        await respond(send, b"%d" % size)

    async def scenario():
        nonlocal peak
        async with linked(app, tmp_path) as ends:
            sink = ends.open(POST, end=False)
            for _ in range(256):
                await sink.stream.wait_writable()
                sink.stream.send_body(bytes(MIB // 4), False)
                peak = max(peak, ends.link.unsent + sum(map(len, sink.stream._pending)))
            sink.stream.send_body(b"", True)
            await sink.wait()
            assert sink.last == b"%d" % (64 * MIB)

    run(scenario())
    assert peak <= 2 * framing.WINDOW


def test_a_body_larger_than_a_frame_may_be_given_at_once(run, tmp_path):
    """Requests that were parked come with all of their body."""

    async def scenario():
        async with linked(echo, tmp_path) as ends:
            sink = ends.open(POST, bytes(3 * MIB))
            assert not sink.stream.writable
            await sink.wait()
            assert (sink.size, sink.errors) == (3 * MIB, [])

    run(scenario())


def test_a_slow_client_holds_back_its_own_stream_only(run, tmp_path):
    """design.md 3: in bounded memory, and no other."""
    sent = 0

    async def app(scope, receive, send):
        nonlocal sent
        if scope["raw_path"] != b"/slow":
            await hello(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(64):
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
            sent += 65536
        await send({"type": "http.response.body", "body": b""})

    async def scenario():
        async with linked(app, tmp_path) as ends:
            slow = ends.open(GET._replace(raw_path=b"/slow"), slow=True)
            await until(lambda: slow.size == framing.WINDOW)
            for _ in range(100):
                other = ends.open()
                await other.wait()
                assert other.last == b"hello"
            assert slow.size == sent == framing.WINDOW
            slow.slow = False
            slow.stream.consumed(slow.size)
            await slow.wait()
            assert slow.size == 64 * 65536

    run(scenario())


def test_a_slow_app_holds_back_its_own_upload_only(run, tmp_path):
    """The same, the other way."""

    async def scenario():
        go = asyncio.Event()

        async def app(scope, receive, send):
            if scope["raw_path"] == b"/slow":
                await go.wait()
            await echo(scope, receive, send)

        async with linked(app, tmp_path) as ends:
            slow = ends.open(POST._replace(raw_path=b"/slow"), bytes(framing.WINDOW), end=False)
            slow.stream.send_body(b"more", True)
            assert not slow.stream.writable
            for _ in range(20):
                other = ends.open(POST, bytes(100_000))
                await other.wait()
                assert other.size == 100_000
            assert slow.size == 0
            go.set()
            await slow.wait()
            assert slow.size == framing.WINDOW + 4

    run(scenario())


def test_an_app_may_answer_before_it_has_read_the_upload(run, tmp_path):
    """Row 63: the rest is dropped, and the client may send it as if nothing were."""

    async def scenario():
        async with linked(hello, tmp_path) as ends:
            sink = ends.open(POST, bytes(framing.WINDOW), end=False)
            sink.stream.send_body(bytes(framing.WINDOW), False)
            waiting = asyncio.ensure_future(sink.stream.wait_writable())
            await sink.wait()
            await waiting
            assert sink.last == b"hello"
            assert sink.stream.writable
            sink.stream.send_body(bytes(MIB), True)
            other = ends.open()
            await other.wait()
            assert (other.last, ends.closed) == (b"hello", [])

    run(scenario())


def test_cancel_shows_the_app_a_disconnect_and_silences_the_sink(run, tmp_path):
    """Row 64: everything freed on our side at once, the app told; what it still sends goes nowhere."""

    async def scenario():
        seen = asyncio.Queue()

        async def app(scope, receive, send):
            await receive()
            await respond(send, bytes(100), more=True)
            seen.put_nowait((await receive())["type"])
            await send({"type": "http.response.body", "body": bytes(10 * MIB)})
            seen.put_nowait("sent")

        async with linked(app, tmp_path) as ends:
            sink = ends.open()
            await until(lambda: sink.size == 100)
            sink.stream.cancel("client gone")
            sink.stream.cancel("client gone")
            assert ends.link.in_flight == 0
            async with asyncio.timeout(5):
                assert [await seen.get(), await seen.get()] == ["http.disconnect", "sent"]
            await until(lambda: ends.server.in_flight == 0)
            assert (sink.size, sink.calls) == (100, ["started"])

    run(scenario())


def test_cancelling_in_the_middle_of_a_frame_stops_the_rest_of_it(run, tmp_path, caplog):
    """A door that finds its client gone when the head arrives must not be handed the body."""

    async def scenario():
        async with linked(hello, tmp_path) as ends:
            sink = Sink()
            sink.response_started = lambda status, fields: sink.stream.cancel("client gone")
            sink.stream = ends.link.open(GET, sink)
            other = ends.open()
            await other.wait()
            assert sink.calls == caplog.records == []

    run(scenario())


@pytest.mark.parametrize("started", [False, True])
def test_when_the_worker_is_lost_every_sink_fails_exactly_once(run, tmp_path, started):
    """Rows 2 and 3: and each failure says whether a part of the response has come."""

    async def app(scope, receive, send):
        if started:
            await respond(send, b"part", more=True)
        await forever(scope, receive, send)

    async def scenario():
        async with linked(app, tmp_path) as ends:
            order = []
            ends.link._closed = lambda link, reason: (order.append("closed"), ends.closed.append(reason))
            sinks = [ends.open(GET if number % 2 else POST, b"x", end=False) for number in range(50)]
            for sink in sinks:
                sink.failed = lambda error, sink=sink: (order.append("failed"), Sink.failed(sink, error))
            uploads = [asyncio.ensure_future(_fill(sink.stream)) for sink in sinks[:5]]
            await until(lambda: all(s.stream.accepted for s in sinks[::2]) and ends.server.in_flight == 50)
            await until(lambda: all(sink.status for sink in sinks) or not started)
            (connection,) = ends.server._connections
            connection._transport.abort()
            for sink in sinks:
                await sink.wait()
            await asyncio.gather(*uploads)
            kind = StreamErrorKind.LINK_LOST_AFTER_HEAD if started else StreamErrorKind.LINK_LOST_BEFORE_HEAD
            assert [[error.kind for error in sink.errors] for sink in sinks] == [[kind]] * 50
            assert order == ["closed"] + ["failed"] * 50
            assert not any(sink.stream.accepted for sink in sinks[1::2])
            assert len(ends.closed) == 1
            with pytest.raises(LinkClosedError, match=r"'hello\.1'"):
                ends.open()

    run(scenario())


async def _fill(stream):
    """Send until the loss of the link ends the wait."""
    while stream.open:
        stream.send_body(bytes(65536), False)
        await stream.wait_writable()


def test_an_app_that_fails_in_mid_response_fails_its_stream_only(run, tmp_path, caplog):
    """The worker lives, so the link does too."""

    async def app(scope, receive, send):
        await respond(send, b"part", more=True)
        if scope["raw_path"] == b"/bad":
            raise ValueError("mistake")
        await send({"type": "http.response.body", "body": b""})

    async def scenario():
        async with linked(app, tmp_path) as ends:
            sinks = [ends.open(GET._replace(raw_path=path)) for path in (b"/bad", b"/good")]
            for sink in sinks:
                await sink.wait()
            bad, good = sinks
            assert (bad.calls, good.calls) == (["started", "failed"], ["started", "ended"])
            assert bad.errors[0].kind is StreamErrorKind.APP_FAILED
            assert bad.errors[0].reason == "ValueError in the app"

    run(scenario())


def test_a_sink_that_raises_harms_no_other(run, tmp_path, caplog):
    """A mistake of ours in one request must not end its neighbours."""

    def mistake(*_):
        raise ZeroDivisionError

    async def scenario():
        async with linked(echo, tmp_path) as ends:
            bad, good = ends.open(POST, b"x", end=False), ends.open(POST, b"x", end=False)
            bad.body_received = mistake
            await until(lambda: good.size == 1)
            good.stream.send_body(b"y", True)
            await good.wait()
            assert (good.size, ends.closed) == (2, [])
            await until(lambda: ends.server.in_flight == 0)

    run(scenario())
    assert "ZeroDivisionError" in caplog.text


def test_draining_is_seen_and_the_link_still_serves(run, tmp_path):
    """A request that was routed before the switch is not lost."""

    async def scenario():
        async with linked(hello, tmp_path) as ends:
            assert await ends.server.drain(1)
            await until(lambda: ends.link.draining)
            sink = ends.open()
            await sink.wait()
            assert sink.last == b"hello"

    run(scenario())


def test_closing_the_link_fails_what_is_open_and_tells_the_worker(run, tmp_path):
    """The gateway ends, or has no more use for the worker."""

    async def scenario():
        async with linked(forever, tmp_path) as ends:
            sink = ends.open()
            await until(lambda: ends.server.in_flight == 1)
            (connection,) = ends.server._connections
            ends.link.close("drained")
            await sink.wait()
            assert sink.errors[0].reason == "drained"
            assert ends.closed == ["drained"]
            await until(connection.ended.done)
            assert connection._reason == "drained"

    run(scenario())


@pytest.mark.parametrize(
    "frames",
    [
        framing.accepted(2),
        framing.body(1, end=True, body_length=0),
        framing.response(1, 200, [], end=False, body_length=0) * 2,
        framing.response(1, 200, [], end=False, body_length=0)
        + (framing.body(1, end=False, body_length=65536) + bytes(65536)) * 5,
        framing.request(1, GET, end=True, body_length=0),
        framing.welcome(1, framing.WINDOW),
        b"\xff" * 20,
    ],
)
def test_a_worker_that_breaks_the_rules_loses_its_link_and_is_known_as_faulty(run, tmp_path, frames):
    """Row 68: memory of the gateway stays bounded, and no worker harms another."""

    async def worker(reader, writer):
        writer.write(framing.welcome(1, framing.WINDOW))
        await reader.readexactly(len(HELLO) + len(framing.request(1, GET, end=True, body_length=0)))
        writer.write(frames)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    async def scenario():
        path, closed = str(tmp_path / "w.link"), []
        server = await asyncio.start_unix_server(worker, path)
        link = await Link.connect(Upstream("bad.1", "1", path, SECRET), "g", closed=lambda _, why: closed.append(why))
        sink = Sink()
        link.open(GET, sink)
        await sink.wait()
        assert link.faulty
        assert closed[0].startswith("broken link: ")
        assert [error.kind for error in sink.errors] == [
            StreamErrorKind.LINK_LOST_AFTER_HEAD if sink.status else StreamErrorKind.LINK_LOST_BEFORE_HEAD
        ]
        server.close()
        await server.wait_closed()

    run(scenario())


HELLO = framing.hello(1, SECRET, "g", framing.WINDOW)


def test_connect_says_why_it_cannot(tmp_path):
    """Nobody there, a wrong secret, a name too long: one error type, and closed() is not called."""

    async def connect(path, secret=SECRET):
        await Link.connect(Upstream("hello.1", "1", str(path), secret), "g", closed=unexpected)

    def unexpected(*_):
        raise AssertionError

    async def scenario():
        with pytest.raises(LinkError, match=r"cannot link worker 'hello\.1': No such file"):
            await connect(tmp_path / "none")
        with pytest.raises(LinkError, match="path too long"):
            await connect(tmp_path / ("x" * 120))
        server = LinkServer(hello, path=str(tmp_path / "w.link"), secret=SECRET)
        await server.start()
        with pytest.raises(LinkError, match="wrong secret"):
            await connect(tmp_path / "w.link", b"wrong")
        await server.close()

    asyncio.run(scenario())


def test_connect_gives_up_on_a_worker_that_is_silent(tmp_path):
    """A stopped process accepts connections, because the kernel does it."""

    async def scenario():
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(tmp_path / "w.link"))
            silent.listen()
            upstream = Upstream("hello.1", "1", str(tmp_path / "w.link"), SECRET)
            with pytest.raises(LinkError, match=r"no answer within 0\.05 s"):
                await Link.connect(upstream, "g", closed=lambda *_: None, timeout=0.05)

    asyncio.run(scenario())


def test_closing_does_not_wait_for_a_worker_that_does_not_read(tmp_path):
    """Row 6: a stopped worker must not keep its requests waiting."""

    async def worker(reader, writer):
        writer.write(framing.welcome(1, 2**30))
        await stopped.wait()
        writer.close()

    async def scenario():
        nonlocal stopped
        stopped = asyncio.Event()
        path, closed = str(tmp_path / "w.link"), []
        server = await asyncio.start_unix_server(worker, path, limit=1024)
        link = await Link.connect(Upstream("s.1", "1", path, SECRET), "g", closed=lambda _, why: closed.append(why))
        sink = Sink()
        stream = link.open(POST, sink, bytes(16 * MIB))
        await until(lambda: link.paused)
        assert not stream.writable
        assert not link.open(POST, Sink(), b"", False).writable
        assert link.unsent <= 2 * framing.WINDOW
        link.close("enough")
        await sink.wait()
        assert closed == ["enough"]
        stopped.set()
        server.close()
        await server.wait_closed()

    stopped = None
    asyncio.run(scenario())
