"""A request's way to a worker and back, through every fault on it."""

import asyncio

import pytest

from gateway.deaths import Deaths
from gateway.dispatch import REPLAY_LIMIT, Dispatcher
from gateway.parking import Parking, size_of
from gateway.settings import ParkingLimits
from gateway.traffic import Tallies
from gateway.upstreams import Upstreams
from plugin_runtime.gateway_protocol import Wake
from plugin_runtime.protocol import RoutingAck, RoutingSnapshot, UpstreamDied
from tests.fakes.links import FakeConnector, RecordingClient, head, route, upstream
from tests.fakes.waiting import settle, until


class Gateway:
    """Dispatcher and upstreams over fake links."""

    def __init__(self, limits=None, *, max_body=0):
        self.sent = []
        self.connector = FakeConnector()
        self.parking = Parking(limits or ParkingLimits())
        self.deaths = Deaths()
        self.tallies = Tallies()
        self.upstreams = Upstreams(
            "gateway.1",
            self.parking,
            self.deaths,
            self.tallies,
            send=self.sent.append,
            connect=self.connector,
        )
        self.dispatcher = Dispatcher(self.parking, self.deaths, max_body=max_body)
        self.version = 0

    async def follow(self, *routes):
        self.version += 1
        self.upstreams.follow(RoutingSnapshot(self.version, list(routes)))
        await until(lambda: RoutingAck(self.version) in self.sent, "acknowledgement")

    def request(self, method="GET", body=b"", *, end=True):
        client = RecordingClient()
        exchange = self.dispatcher.admit(self.upstreams.find(b"/hello"), head(method), client)
        exchange.begin(body, end=end)
        return client, exchange

    def stream(self, incarnation="hello.1:1"):
        return self.connector.to(incarnation).opened[-1]

    def nothing_is_left(self):
        pool = self.upstreams.find(b"/hello")
        return (
            self.tallies.in_flight == pool.tally.parked == self.parking.requests == self.parking.bytes == 0
            and all(member.in_flight == 0 for member in pool.listed)
            and not [task for task in asyncio.all_tasks() if task.get_name().startswith("request")]
        )


def run(scenario, *routes, **settings):
    async def main():
        gateway = Gateway(**settings)
        await gateway.follow(*(routes or [route(upstream())]))
        try:
            await scenario(gateway)
            await settle()
            assert gateway.nothing_is_left()
        finally:
            await gateway.upstreams.close()

    asyncio.run(main())


def error_of(client):
    return (type(client.error).__name__, int(client.error.status), client.error.extension.get("plugin"))


def test_a_request_is_answered_without_a_task_of_its_own():
    """The way of nearly all requests: two calls down, two calls up."""

    async def scenario(gateway):
        before = len(asyncio.all_tasks())
        client, exchange = gateway.request("POST", b"body")
        assert len(asyncio.all_tasks()) == before
        stream = gateway.stream()
        assert (stream.body, stream.ended) == (b"body", True)
        stream.answer(b"hello", 201, [(b"connection", b"close"), (b"etag", b"1")])
        assert (client.status, client.fields, client.body, client.complete) == (201, [(b"etag", b"1")], b"hello", True)
        assert exchange.done

    run(scenario)


def test_requests_go_to_the_least_busy_worker():
    """And each counts until it is over."""

    async def scenario(gateway):
        for _ in range(3):
            gateway.request()
        streams = [gateway.connector.to(f"hello.{number}:1").streams for number in (1, 2, 3)]
        assert [len(each) for each in streams] == [1, 1, 1]
        streams[1][0].answer()
        gateway.request()
        assert len(gateway.connector.to("hello.2:1").opened) == 2
        for each in streams:
            each[0].answer()

    run(scenario, route(*(upstream(f"hello.{number}:1") for number in (1, 2, 3))))


def test_a_plugin_without_a_worker_to_come_is_unavailable():
    """503 with Retry-After, at once, with the plugin's name and state."""

    async def scenario(gateway):
        client, _ = gateway.request()
        assert error_of(client) == ("PluginUnavailableError", 503, "hello")
        assert client.error.extension["state"] == "failed"
        assert client.error.headers == {"Retry-After": "7"}

    run(scenario, route(state="failed", retry_after=6.5))


def test_a_request_is_parked_until_the_worker_comes():
    """A restart costs callers time, not errors."""

    async def scenario(gateway):
        client, exchange = gateway.request("POST", b"first ", end=False)
        await until(lambda: gateway.parking.requests == 1)
        assert exchange.writable
        exchange.upload(b"second ", end=False)
        assert gateway.parking.bytes == size_of(head("POST")) + len(b"first second ")
        await gateway.follow(route(upstream()))
        await until(lambda: gateway.connector.to("hello.1:1").opened)
        exchange.upload(b"third", end=True)
        stream = gateway.stream()
        assert (stream.body, stream.ended) == (b"first second third", True)
        stream.answer()
        assert client.complete

    run(scenario, route(expected=True, state="starting"))


def test_a_parked_request_is_refused_when_no_worker_is_to_come_any_more():
    """The plugin failed for good while it waited."""

    async def scenario(gateway):
        client, _ = gateway.request()
        await until(lambda: gateway.parking.requests == 1)
        await gateway.follow(route(state="failed"))
        await until(lambda: client.over)
        assert error_of(client) == ("PluginUnavailableError", 503, "hello")
        assert client.error.extension["state"] == "failed"

    run(scenario, route(expected=True))


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (ParkingLimits(seconds=0.02), "parking_seconds"),
        (ParkingLimits(requests=0), "parking_requests"),
        (ParkingLimits(mb=0), "parking_bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_request_that_cannot_be_parked_any_longer_is_refused(limits, reason):
    """Bounded in time, number and bytes; the answer says by which, and the plugin's figures count it."""

    async def scenario(gateway):
        client, _ = gateway.request()
        await until(lambda: client.over)
        assert error_of(client) == ("PluginUnavailableError", 503, "hello")
        assert client.error.extension["reason"] == reason
        assert "Retry-After" in client.error.headers
        assert gateway.tallies.of("hello").figures.refused == {reason: 1}

    run(scenario, route(expected=True), limits=limits)


def test_a_parked_request_whose_body_outgrows_the_parking_is_refused():
    """What comes while it waits counts like what it came with."""

    async def scenario(gateway):
        client, exchange = gateway.request("POST", b"x" * 50_000, end=False)
        await until(lambda: gateway.parking.requests == 1)
        exchange.upload(b"y" * 10_000, end=False)
        assert error_of(client) == ("PluginUnavailableError", 503, "hello")
        assert client.error.extension["reason"] == "parking_bytes"
        exchange.upload(b"late", end=True)

    run(scenario, route(expected=True), limits=ParkingLimits(mb=0.05))


def test_a_client_s_long_body_waits_with_it():
    """Read as far as it would be kept for sending it again, and no further."""

    async def scenario(gateway):
        client, exchange = gateway.request("POST", b"x" * REPLAY_LIMIT, end=False)
        await until(lambda: gateway.parking.requests == 1)
        assert not exchange.writable
        await gateway.follow(route(upstream()))
        await exchange.wait_writable()
        gateway.stream().answer()
        assert client.complete

    run(scenario, route(expected=True))


def test_a_parked_request_wakes_an_idle_plugin():
    """It is sent as soon as the worker is there; nobody but its client knows that it waited."""

    async def scenario(gateway):
        client, _ = gateway.request()
        other, _ = gateway.request()
        await until(lambda: gateway.parking.requests == 2)
        assert gateway.sent.count(Wake("hello")) == 1
        await gateway.follow(route(expected=True, state="starting"), route(plugin="other", prefix="/other"))
        await gateway.follow(route(upstream()))
        await until(lambda: len(gateway.connector.to("hello.1:1").opened) == 2)
        for stream in list(gateway.connector.to("hello.1:1").streams):
            stream.answer()
        assert client.complete
        assert other.complete
        figures = gateway.tallies.of("hello").figures
        assert (figures.requests, figures.parked, figures.parked_total, figures.resent) == (2, 0, 2, 0)

    run(scenario, route(expected=True, state="idle"))


def test_a_worker_that_comes_between_looking_and_waiting_is_not_missed():
    """The wake-up call may come before the waiting has begun."""

    async def scenario(gateway):
        client, _ = gateway.request()
        gateway.upstreams.follow(RoutingSnapshot(2, [route(upstream())]))
        await until(lambda: gateway.connector.links and gateway.connector.links[-1].streams)
        gateway.stream().answer()
        assert client.complete

    run(scenario, route(expected=True))


def test_the_gone_client_of_a_parked_request_frees_its_place():
    """Nothing is delivered for somebody who does not wait."""

    async def scenario(gateway):
        client, exchange = gateway.request()
        await until(lambda: gateway.parking.requests == 1)
        exchange.cancel("gone")
        await settle()
        await gateway.follow(route(upstream()))
        assert gateway.connector.to("hello.1:1").opened == []
        assert not client.over

    run(scenario, route(expected=True))


@pytest.mark.parametrize(("method", "accepted"), [("GET", False), ("PUT", True), ("DELETE", True), ("POST", False)])
@pytest.mark.parametrize("told", [True, False])
def test_a_request_of_a_dead_worker_is_sent_again(method, accepted, told, monkeypatch):
    """Idempotent, or never accepted: nobody can tell that it was sent twice. Also without the supervisor's word."""
    monkeypatch.setattr("gateway.dispatch.VERDICT_TIMEOUT", 10.0 if told else 0.02)

    async def scenario(gateway):
        client, _ = gateway.request(method, b"body")
        gateway.stream().accepted = accepted
        gateway.connector.to("hello.1:1").die()
        assert not client.over
        if told:
            gateway.upstreams.died(UpstreamDied("hello.1", "hello.1:1", "signal", resend=True))
        await until(lambda: gateway.connector.to("hello.2:1").opened)
        second = gateway.stream("hello.2:1")
        assert (second.head.method, second.body, second.ended) == (method, b"body", True)
        second.answer()
        assert client.complete

    run(scenario, route(upstream("hello.1:1"), upstream("hello.2:1", stalled=True)))


def test_a_request_of_the_only_worker_waits_for_its_successor():
    """kill -9 of a plugin's only worker costs its callers milliseconds."""

    async def scenario(gateway):
        client, _ = gateway.request()
        gateway.upstreams.died(UpstreamDied("hello.1", "hello.1:1", "signal", resend=True))
        gateway.connector.to("hello.1:1").die()
        await gateway.follow(route(expected=True, state="starting"))
        await until(lambda: gateway.parking.requests == 1)
        await gateway.follow(route(upstream("hello.1:2")))
        await until(lambda: gateway.connector.to("hello.1:2").opened)
        gateway.stream("hello.1:2").answer(b"again")
        assert client.body == b"again"

    run(scenario)


def test_an_accepted_post_is_never_delivered_twice():
    """502 naming plugin and instance, at once."""

    async def scenario(gateway):
        client, _ = gateway.request("POST", b"order")
        gateway.stream().accepted = True
        gateway.connector.to("hello.1:1").die()
        assert error_of(client) == ("PluginDiedError", 502, "hello")
        assert client.error.extension["instance"] == "hello.1"
        assert gateway.connector.to("hello.2:1").opened == []

    run(scenario, route(upstream("hello.1:1"), upstream("hello.2:1", stalled=True)))


@pytest.mark.parametrize("before", [True, False])
def test_a_request_that_may_have_killed_the_worker_is_not_sent_again(before):
    """hang, memory_limit, out_of_memory: it would kill the next one. The word may come before the link breaks."""

    async def scenario(gateway):
        client, _ = gateway.request()
        word = UpstreamDied("hello.1", "hello.1:1", "memory_limit", resend=False)
        if before:
            gateway.upstreams.died(word)
        gateway.connector.to("hello.1:1").die()
        if not before:
            await settle()
            gateway.upstreams.died(word)
        await until(lambda: client.over)
        assert error_of(client) == ("PluginDiedError", 502, "hello")
        assert client.error.extension["cause"] == "memory_limit"
        assert gateway.connector.to("hello.2:1").opened == []

    run(scenario, route(upstream("hello.1:1"), upstream("hello.2:1", stalled=True)))


def test_a_request_is_sent_again_only_once():
    """Two deaths under the same request: more than chance."""

    async def scenario(gateway):
        client, _ = gateway.request()
        for number in (1, 2):
            await until(lambda number=number: gateway.connector.to(f"hello.{number}:1").opened)
            gateway.upstreams.died(UpstreamDied(f"hello.{number}", f"hello.{number}:1", "signal", resend=True))
            gateway.connector.to(f"hello.{number}:1").die()
        await until(lambda: client.over)
        assert error_of(client) == ("PluginDiedError", 502, "hello")

    run(scenario, route(upstream("hello.1:1"), upstream("hello.2:1", stalled=True)))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_body_that_was_not_kept_cannot_be_sent_again(method):
    """Keeping long bodies would cost the gateway's memory."""

    async def scenario(gateway):
        client, exchange = gateway.request(method, b"x" * REPLAY_LIMIT, end=False)
        exchange.upload(b"y", end=False)
        gateway.connector.to("hello.1:1").die()
        assert error_of(client) == ("PluginDiedError", 502, "hello")
        exchange.upload(b"late", end=True)

    run(scenario)


def test_a_body_that_is_still_coming_is_kept_and_goes_on_after_sending_again():
    """What came so far is sent to the new worker, and the rest follows."""

    async def scenario(gateway):
        client, exchange = gateway.request("PUT", b"one ", end=False)
        gateway.upstreams.died(UpstreamDied("hello.1", "hello.1:1", "signal", resend=True))
        gateway.connector.to("hello.1:1").die()
        await exchange.wait_writable()
        exchange.upload(b"two", end=True)
        await until(lambda: gateway.connector.to("hello.2:1").opened)
        assert gateway.stream("hello.2:1").body == b"one two"
        assert gateway.tallies.of("hello").figures.resent == 1
        gateway.stream("hello.2:1").answer()
        assert client.complete

    run(scenario, route(upstream("hello.1:1"), upstream("hello.2:1", stalled=True)))


def test_a_response_that_ends_in_the_middle_is_broken_off():
    """It must never look complete, and is never sent again: the client has part of it."""

    async def scenario(gateway):
        client, _ = gateway.request()
        gateway.stream().start(200)
        gateway.stream().sink.body_received(b"half", False)
        gateway.connector.to("hello.1:1").die("worker died")
        assert (client.body, client.complete, client.broken_off) == (b"half", False, "worker died")

    run(scenario)


@pytest.mark.parametrize("started", [False, True])
def test_an_application_that_fails_is_our_500_or_a_broken_response(started):
    """The worker lives, so nothing is sent again."""

    async def scenario(gateway):
        client, _ = gateway.request()
        if started:
            gateway.stream().start()
        gateway.stream().fail("ValueError")
        if started:
            assert client.broken_off == "ValueError"
        else:
            assert error_of(client) == ("PluginFailedError", 500, "hello")

    run(scenario)


def test_a_status_that_http_does_not_have_is_not_passed_on():
    """The server below would raise on it after it has begun to answer."""

    async def scenario(gateway):
        client, _ = gateway.request()
        stream = gateway.stream()
        stream.start(700)
        assert error_of(client) == ("PluginFailedError", 500, "hello")
        assert stream.cancelled

    run(scenario)


def test_over_its_limit_in_flight_a_plugin_is_refused_at_once():
    """503 without waiting; the slot is free again when one ends."""

    async def scenario(gateway):
        gateway.request()
        gateway.request()
        client, _ = gateway.request()
        assert error_of(client) == ("PluginOverloadedError", 503, "hello")
        assert client.error.headers == {"Retry-After": "1"}
        for stream in list(gateway.connector.to("hello.1:1").streams):
            stream.answer()
        client, _ = gateway.request()
        gateway.stream().answer()
        assert client.complete

    run(scenario, route(upstream(), max_in_flight=2))


def test_a_request_without_an_answer_in_time_is_504_and_cancelled():
    """The slot is free and the application learns of it."""

    async def scenario(gateway):
        loop = asyncio.get_running_loop()
        started = loop.time()
        client, _ = gateway.request()
        await until(lambda: client.over)
        assert 0.045 <= loop.time() - started < 0.5
        assert error_of(client) == ("PluginTimedOutError", 504, "hello")
        assert gateway.stream().cancelled

    run(scenario, route(upstream(), request_timeout=0.05))


def test_a_response_that_has_begun_is_not_timed_out():
    """request_timeout is about the head: event streams and downloads take what they take."""

    async def scenario(gateway):
        client, _ = gateway.request()
        gateway.stream().start()
        await asyncio.sleep(0.04)
        assert not client.over
        gateway.connector.to("hello.1:1").streams.clear()
        gateway.stream().sink.body_received(b"", True)
        assert client.complete

    run(scenario, route(upstream(), request_timeout=0.02))


def test_a_gone_client_cancels_the_stream():
    """The application sees http.disconnect; nobody is told anything more."""

    async def scenario(gateway):
        client, exchange = gateway.request()
        exchange.cancel("the client has gone")
        assert gateway.stream().cancelled == "the client has gone"
        gateway.stream().sink.body_received(b"late", True)
        assert (client.over, exchange.writable) == (False, True)

    run(scenario)


def test_the_client_s_pace_becomes_the_worker_s_credit():
    """A slow reader holds back its own stream."""

    async def scenario(gateway):
        _, exchange = gateway.request()
        gateway.stream().start()
        gateway.stream().sink.body_received(b"12345", False)
        exchange.consumed(5)
        assert gateway.stream().credit == 5
        exchange.cancel("done")
        exchange.consumed(5)

    run(scenario)


@pytest.mark.parametrize("started", [False, True])
def test_a_body_over_the_limit_is_refused_or_broken_off(started):
    """413, as long as it can be said."""

    async def scenario(gateway):
        client, exchange = gateway.request("POST", b"12345", end=False)
        if started:
            gateway.stream().start()
        exchange.upload(b"67890", end=False)
        assert gateway.stream().body == b"12345"
        if started:
            assert client.broken_off
        else:
            assert client.error.status == 413
        assert gateway.stream().cancelled

    run(scenario, max_body=8)


def test_a_link_that_closed_unnoticed_is_passed_over():
    """Its callback comes later than our request."""

    async def scenario(gateway):
        gateway.connector.to("hello.1:1").closed = "going"
        client, _ = gateway.request()
        gateway.stream("hello.2:1").answer()
        assert client.complete

    run(scenario, route(upstream("hello.1:1"), upstream("hello.2:1", stalled=True)))
