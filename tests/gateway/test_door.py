"""The whole way from a client's socket to a worker's application and back."""

import asyncio
import gc
import json
import statistics
import time

import pytest

from gateway.deaths import Deaths
from gateway.dispatch import Dispatcher, Exchange
from gateway.door import Door
from gateway.headers import Sifter
from gateway.identity import Tokens
from gateway.parking import Parking
from gateway.settings import ParkingLimits
from gateway.stream import Stream
from gateway.traffic import Tallies
from gateway.upstreams import Upstreams
from gateway.visit import Visit
from plugin_runtime.protocol import Route, RoutingSnapshot
from tests.fakes.gateway_process import GatewayInLoop, core, respond
from tests.fakes.links import FakeConnector, route, upstream
from tests.fakes.tokens import token_record
from tests.fakes.waiting import until


def http_scope(**fields):
    return {
        "type": "http",
        "method": "GET",
        "raw_path": b"/hello",
        "query_string": b"",
        "headers": [(b"host", b"test")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "scheme": "http",
        "http_version": "1.1",
        **fields,
    }


def run(tmp_path, scenario, **options):
    async def main():
        async with GatewayInLoop(tmp_path, **options) as gateway:
            await scenario(gateway)
            await until(lambda: gateway.tallies.in_flight == 0, "every request to be over")

    asyncio.run(main())


async def mirror(scope, receive, send):
    """Answers with what it was asked."""
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            break
    seen = {
        "method": scope["method"],
        "raw_path": scope["raw_path"].decode("latin-1"),
        "path": scope["path"],
        "query": scope["query_string"].decode(),
        "fields": [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]],
        "state": scope["state"]["xcore"],
        "client": scope["client"][0],
        "scheme": scope["scheme"],
        "body": body.decode("latin-1"),
    }
    await respond(send, json.dumps(seen).encode(), fields=[(b"x-plugin", b"mirror")])


def test_a_request_reaches_the_application_as_it_was_sent(tmp_path):
    """Path bytes, query, fields and body; and back."""

    async def scenario(gateway):
        await gateway.serve(mirror)
        client = await gateway.connect()
        response = await client.ask("/hello/a%2Fb%20c?x=1&y=%20", "POST", ["x-some: thing"], b"body")
        seen = response.json()
        assert (response.status, response.fields["x-plugin"]) == (200, "mirror")
        assert (seen["method"], seen["raw_path"], seen["query"]) == ("POST", "/hello/a%2Fb%20c", "x=1&y=%20")
        assert seen["body"] == "body"
        assert ["x-some", "thing"] in seen["fields"]
        assert ["host", "test"] in seen["fields"]
        assert len(response.fields["date"]) > 20
        assert "server" not in response.fields

    run(tmp_path, scenario)


def test_requests_share_a_connection_one_after_another_and_pipelined(tmp_path):
    """Keep-alive in both ways of using it."""

    async def scenario(gateway):
        await gateway.serve(mirror)
        client = await gateway.connect()
        for number in range(3):
            assert (await client.ask(f"/hello/{number}")).json()["raw_path"] == f"/hello/{number}"
        for number in range(3):
            client.write(f"/hello/{number}", "POST", body=b"x" * number)
        for number in range(3):
            seen = (await client.read_response()).json()
            assert (seen["raw_path"], seen["body"]) == (f"/hello/{number}", "x" * number)

    run(tmp_path, scenario)


@pytest.mark.parametrize("path", ["/admin/plugins", "/health", "/docs", "/openapi.json"])
def test_the_core_s_paths_go_to_the_core_even_beside_a_catch_all(tmp_path, path):
    """The plugin under "/" takes only what nobody else has."""

    async def scenario(gateway):
        await gateway.serve(mirror, prefix="/")
        client = await gateway.connect()
        assert (await client.ask(path)).body == b"core"
        assert (await client.ask("/else")).json()["raw_path"] == "/else"

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("//admin", 404),
        ("/admin%2f", 404),
        ("/admin%2fplugins", 404),
        ("/%61dmin", 404),
        ("/nothing", 404),
        ("/hellooo", 404),
        ("/hello/../admin", 400),
        ("/hello/%2e%2e/admin", 400),
        ("/a%2f..%2fadmin", 400),
        ("/hello/%00", 400),
        ("/hello?" + "x" * 17_000, 414),
    ],
)
def test_what_belongs_to_nobody_is_answered_in_the_error_model(tmp_path, path, status):
    """And never decoded into something that belongs to somebody."""

    async def scenario(gateway):
        await gateway.serve(mirror)
        response = await (await gateway.connect()).ask(path)
        assert response.status == status
        assert response.json().keys() == {"type", "message", "extension"}

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("method", "fields", "status"),
    [
        ("TRACE", [], 405),
        ("GET", ["expect: miracles"], 417),
        ("GET", ["host: other"], 400),
        ("GET", ["x: y"] * 101, 431),
        ("PROPFIND", [], 200),
        ("REPORT", [], 200),
        ("PURGE", [], 200),
    ],
)
def test_methods_and_fields_are_checked_before_they_go_anywhere(tmp_path, method, fields, status):
    """Unknown methods are the application's affair; TRACE would tell a script what it may not see."""

    async def scenario(gateway):
        await gateway.serve(mirror)
        assert (await (await gateway.connect()).ask("/hello", method, fields)).status == status

    run(tmp_path, scenario)


def test_a_client_that_waits_for_100_continue_gets_it(tmp_path):
    """Otherwise it would send its body only after its own patience."""

    async def scenario(gateway):
        await gateway.serve(mirror)
        client = await gateway.connect()
        client.write("/hello", "POST", ["expect: 100-continue", "content-length: 4"])
        assert (await client.read_head()).status == 100
        client.writer.write(b"body")
        assert (await client.read_response()).json()["body"] == "body"

    run(tmp_path, scenario)


def test_trailers_never_become_fields(tmp_path):
    """They come after every check of ours: Authorization and Host would be whatever the client likes."""

    async def scenario(gateway):
        await gateway.serve(mirror)
        client = await gateway.connect()
        client.write("/hello", "POST", ["transfer-encoding: chunked", "trailer: authorization"])
        client.writer.write(b"4\r\nbody\r\n0\r\nAuthorization: Bearer stolen\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
        seen = (await client.read_response()).json()
        assert seen["body"] == "body"
        assert "stolen" not in str(seen["fields"])
        assert "6.6.6.6" not in str(seen["fields"])
        assert (await client.ask("/hello", fields=["authorization: Basic next"])).json()["fields"].count(
            ["authorization", "Basic next"]
        ) == 1

    run(tmp_path, scenario)


def test_the_plugin_learns_who_asks_but_not_their_token(tmp_path):
    """With the token it could act as its caller; foreign credentials are its own affair."""

    async def scenario(gateway):
        await gateway.serve(mirror)
        gateway.tokens.replace([token_record("ours", "superadmin")])
        client = await gateway.connect()
        seen = (await client.ask(fields=["authorization: Bearer ours", "x-request-id: r1"])).json()
        user = {"id": None, "email": None, "role": "superadmin"}
        assert seen["state"] == {"user": user, "request_id": "r1"}
        assert "ours" not in str(seen["fields"])
        seen = (await client.ask(fields=["authorization: Bearer foreign"])).json()
        assert seen["state"]["user"] is None
        assert ["authorization", "Bearer foreign"] in seen["fields"]

    run(tmp_path, scenario)


def test_an_upload_of_any_size_arrives_whole(tmp_path):
    """Through every window and buffer on the way."""
    size = 3_000_000

    async def count(scope, receive, send):
        received = 0
        while True:
            message = await receive()
            received += len(message["body"])
            if not message["more_body"]:
                break
        await respond(send, str(received).encode())

    async def scenario(gateway):
        await gateway.serve(count)
        client = await gateway.connect()
        assert (await client.ask("/hello", "POST", body=b"x" * size)).body == str(size).encode()
        client.write("/hello", "POST", ["transfer-encoding: chunked"])
        for _ in range(10):
            client.writer.write(b"%x\r\n%s\r\n" % (size // 10, b"y" * (size // 10)))
            await client.writer.drain()
        client.writer.write(b"0\r\n\r\n")
        assert (await client.read_response()).body == str(size).encode()

    run(tmp_path, scenario)


def test_an_application_may_answer_before_it_has_read(tmp_path):
    """Upload and response are independent; head and part of the answer come while the upload waits."""

    async def duplex(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"early", "more_body": True})
        message = await receive()
        while message["more_body"]:
            await send({"type": "http.response.body", "body": message["body"], "more_body": True})
            message = await receive()
        await send({"type": "http.response.body", "body": b"done"})

    async def scenario(gateway):
        await gateway.serve(duplex)
        client = await gateway.connect()
        client.write("/hello", "POST", ["transfer-encoding: chunked"])
        response = await client.read_head()
        assert response.status == 200
        assert await client.reader.readexactly(10) == b"5\r\nearly\r\n"
        client.writer.write(b"3\r\nnow\r\n")
        assert await client.reader.readexactly(8) == b"3\r\nnow\r\n"
        client.writer.write(b"0\r\n\r\n")
        assert await client.reader.readexactly(14) == b"4\r\ndone\r\n0\r\n\r\n"

    run(tmp_path, scenario)


def test_a_request_that_is_over_leaves_nothing_to_the_garbage_collector(tmp_path):
    """Requests once were circles, and kept for a while after their end: finding that out took a fifth of all CPU."""

    def left():
        return [thing for thing in gc.get_objects() if isinstance(thing, (Exchange, Visit, Stream))]

    async def scenario(gateway):
        await gateway.serve(mirror)
        client = await gateway.connect()
        assert (await client.ask()).status == 200
        assert (await client.ask(method="POST", body=b"body")).status == 200
        await until(lambda: not left(), "every request to be forgotten")

    gc.collect()
    gc.disable()
    try:
        run(tmp_path, scenario)
    finally:
        gc.enable()


@pytest.mark.slow
def test_a_slow_reader_holds_back_the_application_and_gets_everything(tmp_path):
    """In bounded memory: what the client does not take, the application does not send."""
    chunk, total = b"z" * 65536, 400
    sent = 0

    async def download(scope, receive, send):
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(total):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            sent += 1
        await send({"type": "http.response.body"})

    async def scenario(gateway):
        await gateway.serve(download)
        client = await gateway.connect()
        client.write()
        await client.read_head()
        seen = -1
        while seen != sent:
            seen = sent
            await asyncio.sleep(0.2)
        # The kernel's socket buffers are most of it.
        assert sent < total / 2
        received = await client._read_body(type("Head", (), {"status": 200, "fields": {}}), "GET")
        assert len(received) == total * len(chunk)

    run(tmp_path, scenario)


@pytest.mark.parametrize("case", ["before the head", "in the upload", "in the stream"])
def test_an_application_learns_within_a_tenth_of_a_second_that_its_client_has_gone(tmp_path, case):
    """Whatever it is doing; and everything is freed. The median of five: of a busy machine one may be late."""
    begun = asyncio.Event()
    gone = asyncio.Event()

    async def patient(scope, receive, send):
        if case == "in the stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"event", "more_body": True})
        begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    async def seconds_until_it_learns(gateway) -> float:
        begun.clear()
        gone.clear()
        client = await gateway.connect()
        if case == "in the upload":
            client.write("/hello", "POST", ["content-length: 10"])
        else:
            client.write()
        await begun.wait()
        left = time.monotonic()
        client.writer.transport.abort()
        await until(gone.is_set, "it learns of it")
        return time.monotonic() - left

    async def scenario(gateway):
        await gateway.serve(patient)
        assert statistics.median([await seconds_until_it_learns(gateway) for _ in range(5)]) < 0.1

    run(tmp_path, scenario)


@pytest.mark.parametrize("length", [None, 10_000])
def test_a_response_whose_worker_dies_never_looks_complete(tmp_path, length):
    """No clean last chunk, or fewer bytes than announced."""
    begun = asyncio.Event()

    async def dying(scope, receive, send):
        fields = [(b"content-length", str(length).encode())] if length else []
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        begun.set()
        await receive()
        await receive()

    async def scenario(gateway):
        server = await gateway.serve(dying)
        client = await gateway.connect()
        client.write()
        await begun.wait()
        await asyncio.sleep(0.02)
        await gateway.kill(server)
        response = await client.read_response()
        assert response.status == 200
        assert not response.complete

    run(tmp_path, scenario)


def test_what_the_server_refuses_to_send_ends_the_response_and_the_stream():
    """A worker is foreign code: a body over its Content-Length reaches uvicorn's own check, which raises."""

    async def scenario():
        connector, sent = FakeConnector(), []
        parking, deaths, tallies = Parking(ParkingLimits()), Deaths(), Tallies()
        upstreams = Upstreams("gateway.1", parking, deaths, tallies, send=sent.append, connect=connector)
        dispatcher = Dispatcher(parking, deaths)
        upstreams.follow(RoutingSnapshot(1, [route(upstream())]))
        await until(lambda: sent)
        door = Door(core, upstreams, dispatcher, Sifter(), Tokens())

        async def send(message):
            if message["type"] == "http.response.body":
                raise RuntimeError("Response content longer than Content-Length")

        request = asyncio.create_task(door(http_scope(), None, send))
        await until(lambda: connector.links[0].streams)
        stream = connector.links[0].streams[0]
        stream.start()
        stream.sink.body_received(b"too long", False)
        await request
        assert stream.cancelled
        assert tallies.in_flight == 0
        await upstreams.close()

    asyncio.run(scenario())


def test_a_websocket_scope_is_closed_before_it_is_accepted(tmp_path):
    """1008, which servers turn into 403; never handed to the core, whose authorisation is for HTTP."""

    async def scenario(gateway):
        await gateway.serve(mirror)
        door = Door(core, gateway.upstreams, gateway.dispatcher, Sifter(), gateway.tokens)
        for path, reason in [(b"/hello/ws", "hello"), (b"/admin", "no WebSocket"), (b"/none", "nothing is served")]:
            sent = []

            async def receive():
                return {"type": "websocket.connect"}

            async def send(message, sent=sent):
                sent.append(message)

            await door(http_scope(type="websocket", raw_path=path), receive, send)
            assert (sent[0]["type"], sent[0]["code"]) == ("websocket.close", 1008)
            assert reason in sent[0]["reason"]

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("method", "status", "fields"),
    [("HEAD", 200, [(b"content-length", b"5")]), ("GET", 204, []), ("GET", 304, [(b"content-length", b"5")])],
)
def test_responses_without_a_body_have_none_and_the_connection_goes_on(tmp_path, method, status, fields):
    """A stray byte would be the start of the next response."""

    async def bodiless(scope, receive, send):
        await respond(send, b"hello" if method == "HEAD" else b"", status, fields)

    async def scenario(gateway):
        await gateway.serve(bodiless)
        client = await gateway.connect()
        for _ in range(2):
            response = await client.ask("/hello", method)
            assert response.status == status
        if method == "HEAD":
            assert response.fields["content-length"] == "5"

    run(tmp_path, scenario)


def test_a_websocket_to_a_plugin_is_refused_with_the_reason(tmp_path):
    """403 over HTTP: it is not opened and closed again."""

    async def scenario(gateway):
        await gateway.serve(mirror)
        client = await gateway.connect()
        fields = ["connection: Upgrade", "upgrade: websocket", "sec-websocket-key: x", "sec-websocket-version: 13"]
        response = await client.ask("/hello/ws", fields=fields)
        assert (response.status, response.json()["type"]) == (403, "WebSocketRefused")
        assert response.json()["extension"]["plugin"] == "hello"

    run(tmp_path, scenario)


def test_another_upgrade_is_ignored(tmp_path):
    """RFC 9110, 7.8: a server may; `curl --http2` sends one with every request."""

    async def scenario(gateway):
        await gateway.serve(mirror)
        client = await gateway.connect()
        fields = ["connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABk"]
        response = await client.ask("/hello", fields=fields)
        assert response.status == 200
        assert "h2c" not in str(response.json()["fields"])

    run(tmp_path, scenario)


def test_a_long_body_for_the_core_is_not_read(tmp_path):
    """It would be held in memory before anybody knows who sent it."""

    async def scenario(gateway):
        client = await gateway.connect()
        client.write("/admin/tokens", "POST", ["content-length: 2000000"])
        client.writer.write(b"x" * 2_000_000)
        assert (await client.read_response()).status == 413

    run(tmp_path, scenario)


def test_before_the_first_routing_table_nothing_is_said_to_be_missing(tmp_path):
    """404 would be remembered; 503 with Retry-After is the truth."""

    async def scenario(gateway):
        response = await (await gateway.connect()).ask("/hello")
        assert (response.status, response.fields["retry-after"]) == (503, "1")

    run(tmp_path, scenario)


def test_errors_of_plugins_reach_the_client_as_json_with_its_name(tmp_path):
    """503 of a plugin without workers, over the wire."""

    async def scenario(gateway):
        await gateway.serve(mirror)
        await gateway.route(Route("hello", "/hello", state="failed"))
        response = await (await gateway.connect()).ask()
        assert response.status == 503
        assert response.fields["content-type"] == "application/json"
        assert response.json()["extension"]["plugin"] == "hello"

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /hello HTTP/1.1\r\nhost: test\r\n\r\n",
        b"POST /hello HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\nbody",
        b"POST /hello HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\nbo",
    ],
    ids=["no body", "a body", "half of a body"],
)
def test_a_parked_request_whose_client_leaves_is_forgotten_at_once(tmp_path, request_):
    """Its place is another one's, and no worker is bothered with it."""

    async def scenario(gateway):
        await gateway.route(Route("hello", "/hello", expected=True))
        client = await gateway.connect()
        client.writer.write(request_)
        await until(lambda: gateway.parking.requests == 1, "the request to be parked")
        client.close()
        loop = asyncio.get_running_loop()
        left = loop.time()
        await until(lambda: gateway.parking.requests == gateway.parking.bytes == 0, "its place to be free")
        assert loop.time() - left < 1
        assert gateway.tallies.of("hello").figures.in_flight == 0

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (ParkingLimits(requests=3), "parking_requests"),
        (ParkingLimits(mb=0.01), "parking_bytes"),
        (ParkingLimits(seconds=0.1), "parking_seconds"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_request_over_the_bounds_of_parking_is_answered_at_once(tmp_path, limits, reason):
    """503 with Retry-After in the error model, with the plugin's name; those that are parked are served."""

    async def scenario(gateway):
        await gateway.route(Route("hello", "/hello", expected=True, state="starting"))
        clients = [await gateway.connect() for _ in range(4)]
        for client in clients:
            client.write("/hello", fields=["x-long: " + "y" * 3000])
        refused = [client for client in clients if reason != "parking_seconds"][-1:] or clients
        for client in refused:
            response = await client.read_response()
            error = response.json()
            assert (response.status, response.fields["retry-after"], error["type"]) == (503, "1", "PluginUnavailable")
            assert error["extension"] == {"plugin": "hello", "state": "starting", "reason": reason}
        await gateway.serve(mirror)
        for client in clients:
            if client not in refused:
                assert (await client.read_response()).status == 200

    run(tmp_path, scenario, parking=limits)
