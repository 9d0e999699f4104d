"""What becomes of connections when a gateway ends and others accept in its place."""

import asyncio

from tests.fakes.gateway_process import GatewayInLoop, respond
from tests.fakes.waiting import settle, until

LINGER = 30.0
"""Seconds; longer than any test."""


def run(tmp_path, scenario, app=None):
    async def main():
        async with GatewayInLoop(tmp_path) as gateway:
            await gateway.serve(app or hello)
            await scenario(gateway)

    asyncio.run(main())


async def hello(scope, receive, send):
    await respond(send, b"hello", fields=[(b"content-length", b"5")])


async def is_closed(client):
    return await client.reader.read() == b""


async def drained(gateway, linger):
    """Draining has begun, and every connection has been told."""
    listening = gateway._server.servers[0]
    gateway.drain(60, linger)
    await until(lambda: not listening.is_serving(), "it does not accept any more")
    await settle()


def test_the_next_answer_of_an_idle_connection_says_that_it_is_the_last_one(tmp_path):
    """A client that was sending its request when the end began gets it answered, and the one after goes to others."""

    async def scenario(gateway):
        used, fresh = await gateway.connect(), await gateway.connect()
        assert "connection" not in (await used.ask()).fields
        await until(lambda: len(gateway._server.server_state.connections) == 2, "both are accepted")
        await drained(gateway, LINGER)
        for client in (used, fresh):
            response = await client.ask()
            assert (response.body, response.fields["connection"]) == (b"hello", "close")
            assert await is_closed(client)
        await until(lambda: gateway.has_ended, "it ends when its connections are gone")

    run(tmp_path, scenario)


def test_an_answer_under_way_says_that_it_is_the_last_one_if_it_still_can(tmp_path):
    """One whose head is gone leaves its connection open: the client was told that it may use it again."""
    begun, go_on = [], asyncio.Event()

    async def slow(scope, receive, send):
        begun.append(scope["path"])
        if scope["path"] == "/hello/streams":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await go_on.wait()
        if scope["path"] == "/hello/streams":
            await send({"type": "http.response.body", "body": b"done"})
        else:
            await respond(send, b"done", fields=[(b"content-length", b"4")])

    async def scenario(gateway):
        waits, streams = await gateway.connect(), await gateway.connect()
        waits.write("/hello/waits")
        streams.write("/hello/streams")
        head = await streams.read_head()
        await until(lambda: len(begun) == 2, "both are under way")
        await drained(gateway, LINGER)
        go_on.set()
        response = await waits.read_response()
        assert (response.body, response.fields["connection"]) == (b"done", "close")
        assert await is_closed(waits)
        assert "connection" not in head.fields
        assert await streams.reader.readexactly(4) == b"done"
        assert (await streams.ask("/hello/again")).fields["connection"] == "close"
        assert await is_closed(streams)

    run(tmp_path, scenario, slow)


def test_connections_that_stay_idle_are_closed_after_a_while(tmp_path):
    """Those that were idle, those that never asked, and those whose answer had begun."""
    go_on = asyncio.Event()

    async def streams(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"done"})

    async def scenario(gateway):
        fresh, busy = await gateway.connect(), await gateway.connect()
        busy.write()
        await busy.read_head()
        await until(lambda: len(gateway._server.server_state.connections) == 2, "both are accepted")
        await drained(gateway, 0.05)
        assert await is_closed(fresh)
        assert not gateway.has_ended
        go_on.set()
        assert await busy.reader.read() == b"done"
        await until(lambda: gateway.has_ended, "it ends")

    run(tmp_path, scenario, streams)


def test_where_nobody_accepts_in_its_place_idle_connections_are_closed_at_once(tmp_path):
    """The end of everything is not for idle clients to delay; answers under way say that they are the last."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(scope, receive, send):
        begun.set()
        await go_on.wait()
        await hello(scope, receive, send)

    async def scenario(gateway):
        idle, busy = await gateway.connect(), await gateway.connect()
        busy.write()
        await begun.wait()
        await drained(gateway, 0.0)
        assert await is_closed(idle)
        go_on.set()
        assert (await busy.read_response()).fields["connection"] == "close"

    run(tmp_path, scenario, slow)
