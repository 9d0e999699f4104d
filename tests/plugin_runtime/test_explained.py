"""One HTTP request of an app whose developer is told what it raises."""

import asyncio
import logging

import pytest

from plugin_runtime import explained, framing, wire
from plugin_runtime.explained import ExplainedExchange
from plugin_runtime.gateway_protocol import PluginTrouble
from plugin_runtime.http import INTERNAL_ERROR, Mounting, build_scope
from tests.plugin_runtime.test_http import HEAD, INTERNAL_ERROR_FIELDS, Carrier, answering, chunk, start

BARE = (start(500, *INTERNAL_ERROR_FIELDS), chunk(INTERNAL_ERROR))
BARE_FRAME = ("RESPONSE", 500, INTERNAL_ERROR_FIELDS, True, INTERNAL_ERROR)


def explain(error):
    return PluginTrouble("hello", type=type(error).__name__)


def make(head=HEAD, explain=explain):
    scope = build_scope(head, Mounting())
    exchange = ExplainedExchange(Carrier(), 1, scope, window=framing.WINDOW, credit=framing.WINDOW, explain=explain)
    exchange.upload.received(b"", end=True)
    return exchange


def frames_of(app, **options):
    exchange = make(**options)

    async def scenario():
        task = asyncio.create_task(exchange.run(app))
        while not task.done():
            await asyncio.sleep(0)
            for held in exchange._carrier.held:  # the end of a turn
                held.release_head()
        await task

    asyncio.run(scenario())
    return exchange._carrier.frames


def raising_after(*messages):
    """Answers, lets the turn end, and raises."""

    async def app(scope, receive, send):
        for message in messages:
            await send(message)
            await asyncio.sleep(0)
        raise ValueError("mistake")

    return app


@pytest.mark.parametrize("messages", [(), BARE, BARE[:1]], ids=["nothing", "bare answer", "its head"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_app_that_raises_is_told_of_instead_of_a_bare_answer(messages, method, caplog):
    """Starlette answers for its app before it raises the error; the log has it as ever."""
    ((name, reason, told),) = frames_of(raising_after(*messages), head=HEAD._replace(method=method))
    assert (name, reason) == ("FAILED", "ValueError: mistake")
    assert [envelope.message for envelope in wire.Decoder().feed(told)] == [PluginTrouble("hello", type="ValueError")]
    assert "ValueError: mistake" in caplog.text


def test_a_bare_answer_of_an_app_that_raises_nothing_leaves_when_its_call_ends():
    """It may well mean to say just that."""
    assert frames_of(answering(*BARE)) == [BARE_FRAME]


@pytest.mark.parametrize(
    ("messages", "frames"),
    [
        ((start(500), chunk(b"sorry")), [("RESPONSE", 500, (), False, b""), ("BODY", True, b"sorry")]),
        (
            (start(500, INTERNAL_ERROR_FIELDS[1]), chunk(b"Internal Server Sorry")),
            [("RESPONSE", 500, (INTERNAL_ERROR_FIELDS[1],), True, b"Internal Server Sorry")],
        ),
        (
            (start(500, INTERNAL_ERROR_FIELDS[1]), chunk(b"Internal ", more=True), chunk(b"Server Sorry")),
            [
                ("RESPONSE", 500, (INTERNAL_ERROR_FIELDS[1],), False, b"Internal "),
                ("BODY", True, b"Server Sorry"),
            ],
        ),
    ],
    ids=["a page", "of the same length", "in pieces"],
)
def test_an_answer_of_the_app_s_own_stays_whatever_it_raises_then(messages, frames):
    """An author who has made a page of errors wants to see it."""
    assert frames_of(raising_after(*messages)) == frames


def test_a_response_that_has_begun_to_leave_is_broken_off():
    """Nothing can be put in its place any more, and what was raised goes to the log alone."""
    app = raising_after(start(200), chunk(b"x", more=True))
    assert frames_of(app)[-1] == ("FAILED", "ValueError in the app", b"")


@pytest.mark.parametrize("count", [1, 2], ids=["head", "answer"])
def test_a_bare_answer_is_not_held_back_for_long(count, monkeypatch):
    """An app that goes on after it keeps nobody waiting."""
    monkeypatch.setattr(explained, "PATIENCE", 0.01)

    async def scenario():
        exchange = make()
        finish = asyncio.Event()

        async def app(scope, receive, send):
            for message in BARE[:count]:
                await send(message)
            await finish.wait()
            for message in BARE[count:]:
                await send(message)

        task = asyncio.create_task(exchange.run(app))
        async with asyncio.timeout(20):
            while not exchange._carrier.frames:
                await asyncio.sleep(0.001)
        finish.set()
        await task
        return exchange._carrier.frames

    body = b"".join(frame[-1] for frame in asyncio.run(scenario()))
    assert body == INTERNAL_ERROR


def test_an_app_that_is_cancelled_after_its_answer_has_answered():
    """The end of its worker takes nothing back."""

    async def scenario():
        exchange = make()

        async def app(scope, receive, send):
            for message in BARE:
                await send(message)
            await asyncio.Event().wait()

        task = asyncio.create_task(exchange.run(app))
        while not exchange._answered:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return exchange._carrier.frames

    assert asyncio.run(scenario()) == [BARE_FRAME]


def test_an_exception_that_cannot_be_described_becomes_a_plain_500(caplog):
    """Foreign exceptions make anything of being looked at; the client is answered all the same."""

    def broken(error):
        raise RuntimeError("no words")

    assert frames_of(raising_after(), explain=broken) == [BARE_FRAME]
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
