"""One HTTP request between a link and an app."""

import asyncio
import logging

import pytest

from plugin_runtime import framing
from plugin_runtime.framing import FrameType, RequestHead
from plugin_runtime.http import Exchange, Mounting, build_scope
from plugin_runtime.local_side import CURRENT

HEAD = RequestHead("GET", b"/app/demo/x", b"a=1", "1.1", "https", ("10.0.0.1", 5), ("h", None), ((b"host", b"h"),), {})
INTERNAL_ERROR_FIELDS = ((b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"21"))


class Carrier:
    """A connection that decodes what an exchange sends, so that tests see frames."""

    def __init__(self):
        self.paused = False
        self.frames = []
        self.held = []
        self.over = []

    def send(self, frame, body=b""):
        decoder = framing.Decoder()
        data = frame + bytes(body)
        decoder.get_buffer()[: len(data)] = data
        decoder.received(len(data))
        header, payload = decoder.next_frame()
        self.frames.append((FrameType(header[0]).name, *header[2:], payload))

    def hold(self, exchange):
        self.held.append(exchange)

    def completed(self, exchange):
        self.over.append("completed")

    def returned(self, exchange):
        self.over.append("returned")


def make(head=HEAD, body=b"", *, end=True, window=framing.WINDOW, credit=framing.WINDOW):
    exchange = Exchange(Carrier(), 1, build_scope(head, Mounting()), window=window, credit=credit)
    exchange.upload.received(body, end=end)
    return exchange


def frames_of(app, **options):
    exchange = make(**options)
    asyncio.run(exchange.run(app))
    return exchange._carrier.frames


def start(status=200, *headers):
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def chunk(body, *, more=False):
    return {"type": "http.response.body", "body": body, "more_body": more}


def answering(*messages):
    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    return app


async def wait_frames(exchange, count):
    deadline = asyncio.get_running_loop().time() + 5
    while len(exchange._carrier.frames) < count:
        assert asyncio.get_running_loop().time() < deadline, exchange._carrier.frames
        await asyncio.sleep(0)


# --- scope ---


@pytest.mark.parametrize(
    ("prefix", "mode", "raw", "path", "root"),
    [
        ("/app/demo", "full", b"/app/demo/x", "/app/demo/x", "/app/demo"),
        ("/app/demo", "stripped", b"/app/demo/x", "/x", "/app/demo"),
        ("/app/demo", "stripped", b"/app/demo", "/", "/app/demo"),
        ("/app/demo", "stripped", b"/app/demo/", "/", "/app/demo"),
        ("/app/demo", "stripped", b"/app/d%65mo/x", "/x", "/app/demo"),
        ("/app/demo", "stripped", b"/app/demonstration", "/app/demonstration", "/app/demo"),
        ("/", "full", b"/x", "/x", ""),
        ("/", "stripped", b"/x", "/x", ""),
        ("", "full", b"/%C3%A4/%2Fb", "/ä//b", ""),
        ("", "full", b"/%FF", "/\ufffd", ""),
    ],
)
def test_the_path_is_decoded_and_seen_as_the_path_mode_says(prefix, mode, raw, path, root):
    """design.md 3: full path and root_path, as the ASGI specification has it, or the prefix stripped for old apps."""
    scope = build_scope(HEAD._replace(raw_path=raw), Mounting(prefix, mode))
    assert (scope["path"], scope["root_path"], scope["raw_path"]) == (path, root, raw)


def test_the_scope_says_what_the_gateway_saw():
    """Right by construction: nothing is parsed a second time."""
    head = HEAD._replace(state={"request_id": "r", "user": {"id": "7"}})
    lifespan = {"pool": object()}
    scope = build_scope(head, Mounting("/app/demo", "full", lifespan))
    assert scope["type"] == "http"
    assert scope["asgi"]["version"] == "3.0"
    assert (scope["method"], scope["scheme"], scope["http_version"]) == ("GET", "https", "1.1")
    assert scope["query_string"] == b"a=1"
    assert scope["headers"] == [(b"host", b"h")]
    assert (scope["client"], scope["server"]) == (("10.0.0.1", 5), ("h", None))
    assert scope["state"] == {"pool": lifespan["pool"], "xcore": {"request_id": "r", "user": {"id": "7"}}}
    scope["state"]["mine"] = 1
    assert "mine" not in lifespan


# --- response ---


def test_a_small_response_is_one_frame():
    """Head and body that are sent in one go leave in one go."""
    app = answering(start(201, (b"X-A", b"1")), chunk(b"hello"))
    assert frames_of(app) == [("RESPONSE", 201, ((b"x-a", b"1"),), True, b"hello")]


def test_a_head_without_body_leaves_at_the_end_of_the_turn():
    """A client of an event stream waits for the head, which may come long before the first event."""

    async def scenario():
        exchange = make()
        task = asyncio.create_task(exchange.run(answering(start(), chunk(b"a", more=True), chunk(b"b"))))
        exchange.release_head()
        assert exchange._carrier.frames == []
        await exchange.send(start(202))
        exchange._carrier.held[0].release_head()
        assert exchange._carrier.frames == [("RESPONSE", 202, (), False, b"")]
        await exchange.send(chunk(b"", more=True))
        await exchange.send(chunk(b"b"))
        await task
        return exchange._carrier.frames[1:]

    assert asyncio.run(scenario()) == [("BODY", True, b"b")]


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_responses_without_body_keep_their_content_length_and_lose_the_body(method, status):
    """Row 57."""
    app = answering(start(status, (b"content-length", b"5")), chunk(b"he", more=True), chunk(b"llo"))
    frames = frames_of(app, head=HEAD._replace(method=method))
    assert frames == [
        ("RESPONSE", status, ((b"content-length", b"5"),), False, b""),
        ("BODY", True, b""),
    ]


def test_a_large_body_is_sent_in_frames_of_the_limit():
    """Streams of one link take turns."""
    body = bytes(range(256)) * 600
    frames = frames_of(answering(start(), chunk(body)))
    assert [len(frame[-1]) for frame in frames] == [65536, 65536, 22528]
    assert b"".join(frame[-1] for frame in frames) == body
    assert [frame[-2] for frame in frames] == [False, False, True]


def test_a_response_waits_for_credit():
    """A slow client holds back its own app."""

    async def scenario():
        exchange = make(credit=10)
        task = asyncio.create_task(exchange.run(answering(start(), chunk(bytes(25)))))
        await wait_frames(exchange, 1)
        exchange.credit_received(10)
        await wait_frames(exchange, 2)
        assert not task.done()
        exchange.credit_received(10)
        await task
        return [len(frame[-1]) for frame in exchange._carrier.frames]

    assert asyncio.run(scenario()) == [10, 10, 5]


def test_a_response_waits_while_the_kernel_takes_no_more():
    """Back pressure of the link reaches the app."""

    async def scenario():
        exchange = make()
        exchange._carrier.paused = True
        task = asyncio.create_task(exchange.run(answering(start(), chunk(b"x"))))
        await asyncio.sleep(0)
        assert exchange._carrier.held == []
        exchange._carrier.paused = False
        exchange.writing_resumed()
        await task
        return exchange._carrier.frames

    assert asyncio.run(scenario()) == [("RESPONSE", 200, (), True, b"x")]


# --- apps that do not answer as they should ---


async def _raises(scope, receive, send):
    raise ValueError("mistake")


async def _exits(scope, receive, send):
    raise SystemExit(3)


async def _starts_and_raises(scope, receive, send):
    await send(start(200, (b"content-length", b"900")))
    raise ValueError("mistake")


async def _returns(scope, receive, send):
    pass


@pytest.mark.parametrize(
    "app",
    [
        _raises,
        _exits,
        _starts_and_raises,
        _returns,
        answering(start()),
        answering(chunk(b"body first")),
        answering(start(), start()),
        answering({"type": "http.response.trailers"}),
        answering(start(200, (b"content-length", b"5")), chunk(b"123456")),
        answering(start(200, (b"content-length", b"5")), chunk(b"1234")),
        answering(start(200, (b"content-length", b"five")), chunk(b"1234")),
        answering(start(200, (b"x", b"a\r\nset-cookie: b"))),
        answering(start(200, (b"x\n", b"a"))),
        answering(start(200, ("x", "a"))),
        answering(start(200, (b"x", b"a", b"b"))),
        answering(start(200, *[(b"x", b"")] * 1025)),
        answering(start(200, (b"x", bytes(range(128, 256)) * 1024))),
        answering(start(101)),
        answering(start("not a number")),
        answering(start(), chunk("text")),
        answering(start(), chunk(5)),
    ],
)
def test_an_app_that_fails_before_anything_has_left_becomes_a_plain_500(app, caplog):
    """The client gets a whole answer, the log the reason; the link stays as it is, whatever the app sent."""
    frames = frames_of(app)
    assert frames == [("RESPONSE", 500, INTERNAL_ERROR_FIELDS, True, b"Internal Server Error")]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "GET /app/demo/x" in caplog.text


def test_an_exception_is_logged_with_its_traceback(caplog):
    """Logging's handler of last resort writes it to stderr where nothing is configured."""
    frames_of(_raises)
    assert "in _raises" in caplog.text
    assert "ValueError: mistake" in caplog.text


def test_the_500_of_a_head_request_has_no_body(caplog):
    """Row 57 holds for our own answers too."""
    frames = frames_of(_raises, head=HEAD._replace(method="HEAD"))
    assert frames == [("RESPONSE", 500, INTERNAL_ERROR_FIELDS, True, b"")]


@pytest.mark.parametrize(
    "last",
    [
        answering(),
        _raises,
        answering(chunk(b"abcdefghi", more=True)),
        answering(chunk(b"abc")),
        answering(chunk(b"abcdefghi")),
    ],
)
def test_an_app_that_fails_after_the_head_has_left_fails_the_stream(last, caplog):
    """Row 3: the client must see a broken message, so nothing may look like its end."""

    async def app(scope, receive, send):
        await send(start(200, (b"content-length", b"8")))
        await send(chunk(b"abcd", more=True))
        await last(scope, receive, send)

    frames = frames_of(app)
    assert frames[0] == ("RESPONSE", 200, ((b"content-length", b"8"),), False, b"abcd")
    assert frames[-1][0] == "FAILED"
    assert len(frames) == 2
    assert len(caplog.records) == 1


def test_an_exception_after_the_response_is_logged_and_nothing_else(caplog):
    """Background work may fail when the client has long been served."""

    async def app(scope, receive, send):
        await answering(start(), chunk(b""))(scope, receive, send)
        raise ValueError("afterwards")

    assert frames_of(app) == [("RESPONSE", 200, (), True, b"")]
    assert "afterwards" in caplog.text


def test_a_cancelled_call_fails_the_stream():
    """The server stops: the gateway must not wait for an answer."""

    async def app(scope, receive, send):
        await asyncio.Event().wait()

    async def scenario():
        exchange = make()
        task = asyncio.create_task(exchange.run(app))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return exchange._carrier

    carrier = asyncio.run(scenario())
    assert carrier.frames[0][0] == "FAILED"
    assert carrier.over == ["completed", "returned"]


# --- request body ---


def test_receive_returns_the_body_and_then_waits_for_the_disconnect():
    """As the ASGI specification has it; frameworks wait there to notice a client that left."""

    async def scenario():
        exchange = make(body=b"abc")
        assert await exchange.receive() == {"type": "http.request", "body": b"abc", "more_body": False}
        waiting = [asyncio.ensure_future(exchange.receive()) for _ in range(2)]
        await asyncio.sleep(0)
        assert not waiting[0].done()
        exchange.disconnect()
        return await asyncio.gather(*waiting)

    assert asyncio.run(scenario()) == [{"type": "http.disconnect"}] * 2


def test_a_request_without_body_is_one_empty_message():
    """Apps count on at least one http.request."""

    async def scenario():
        return await make().receive()

    assert asyncio.run(scenario()) == {"type": "http.request", "body": b"", "more_body": False}


def test_chunks_that_came_meanwhile_are_one_message_and_the_end_may_be_empty():
    """Chunks of the wire are not those of the app."""

    async def scenario():
        exchange = make(body=b"a", end=False)
        exchange.upload.received(b"b", end=False)
        first = await exchange.receive()
        waiting = asyncio.ensure_future(exchange.receive())
        await asyncio.sleep(0)
        exchange.upload.received(b"", end=True)
        return first, await waiting

    first, last = asyncio.run(scenario())
    assert (first["body"], first["more_body"]) == (b"ab", True)
    assert (last["body"], last["more_body"]) == (b"", False)


def test_credit_is_given_back_half_a_window_at_a_time():
    """Many small messages cost few frames, and a body that has ended none."""

    async def scenario():
        exchange = make(body=bytes(40), end=False, window=100)
        await exchange.receive()
        assert exchange._carrier.frames == []
        exchange.upload.received(bytes(20), end=False)
        await exchange.receive()
        assert exchange._carrier.frames == [("CREDIT", 60, b"")]
        exchange.upload.received(bytes(90), end=True)
        await exchange.receive()
        return exchange._carrier.frames

    assert len(asyncio.run(scenario())) == 1


@pytest.mark.parametrize("ended", [False, True])
def test_body_beyond_the_credit_or_the_end_breaks_the_link(ended):
    """Memory stays bounded whatever the other end does."""
    exchange = make(body=bytes(60), end=ended, window=100)
    with pytest.raises(framing.FramingError):
        exchange.upload.received(bytes(1 if ended else 41), end=False)


def test_after_a_complete_response_receive_says_disconnect():
    """As uvicorn does; the rest of an upload is for nobody."""

    async def scenario():
        exchange = make(body=b"unread", end=False)
        await answering(start(), chunk(b""))(exchange.scope, exchange.receive, exchange.send)
        return await exchange.receive(), exchange._carrier.over

    assert asyncio.run(scenario()) == ({"type": "http.disconnect"}, ["completed"])


def test_send_after_a_disconnect_does_nothing():
    """Apps that do not look for http.disconnect are not punished with exceptions."""

    async def scenario():
        exchange = make(credit=4)
        task = asyncio.create_task(exchange.run(answering(start(), chunk(bytes(100)), chunk(b"more"))))
        await wait_frames(exchange, 1)
        exchange.disconnect()
        await task
        return exchange._carrier

    carrier = asyncio.run(scenario())
    assert len(carrier.frames) == 1
    assert carrier.over == ["returned"]


def test_the_app_and_what_it_starts_find_the_request_that_is_served():
    """Calls to other plugins take along what is theirs; of two requests at once each sees its own."""
    seen = {}

    async def app(scope, receive, send):
        await asyncio.sleep(0)
        in_thread = await asyncio.to_thread(CURRENT.get)
        in_task = await asyncio.create_task(asyncio.sleep(0, CURRENT.get()))
        seen[scope["state"]["xcore"]["request_id"]] = CURRENT.get(), in_thread, in_task

    async def scenario():
        heads = [HEAD._replace(state={"request_id": name}, headers=[(b"n", name.encode())]) for name in "ab"]
        await asyncio.gather(*(asyncio.create_task(make(head).run(app)) for head in heads))
        return CURRENT.get()

    assert asyncio.run(scenario()) is None
    assert seen == {name: 3 * (([(b"n", name.encode())], {"request_id": name}),) for name in "ab"}
