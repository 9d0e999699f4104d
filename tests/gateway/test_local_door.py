"""What the local side makes of a call, and what it refuses."""

import asyncio
import json

import pytest

from gateway.callers import Callers
from gateway.deaths import Deaths
from gateway.dispatch import Dispatcher
from gateway.headers import Sifter
from gateway.local_door import LocalDoor
from gateway.parking import Parking
from gateway.settings import ParkingLimits
from gateway.traffic import Tallies
from gateway.upstreams import Upstreams
from plugin_runtime.protocol import Caller, RoutingAck, RoutingSnapshot
from tests.fakes.links import FakeConnector, route, upstream
from tests.fakes.waiting import settle, until

KEY = (b"x-xcore-key", b"t1:secret")
PREFIX = "/books/v1"


class Call:
    """One request of the local side, and its answer."""

    def __init__(self, door, target, fields, method):
        raw_path, _, query = target.partition(b"?")
        scope = {
            "type": "http",
            "method": method,
            "raw_path": raw_path,
            "query_string": query,
            "headers": [(b"host", b"localhost"), *fields],
            "client": None,
            "server": None,
            "scheme": "http",
            "http_version": "1.1",
        }
        self.sent = []
        self.task = asyncio.create_task(door(scope, asyncio.Event().wait, self._send))

    async def _send(self, message):
        self.sent.append(message)

    @property
    def status(self):
        return self.sent[0]["status"]

    @property
    def error(self):
        return json.loads(self.sent[1]["body"])


class Scene:
    """A local side with ``library`` at PREFIX, ``root`` at "/", and ``ruin``, which has no worker."""

    def __init__(self):
        self.sent = []
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.connector = FakeConnector()
        parking, deaths, tallies = Parking(ParkingLimits()), Deaths(), Tallies()
        self.upstreams = Upstreams("gateway.1", parking, deaths, tallies, send=self.sent.append, connect=self.connector)
        callers = Callers(self.ask_for_callers)
        callers.replace([Caller("shop", "t1:secret")])
        self.door = LocalDoor(self.upstreams, Dispatcher(parking, deaths, max_body=0), Sifter(), callers)

    async def ask_for_callers(self):
        """There are no others, once it is answered."""
        self.asked += 1
        await self.answers.wait()

    async def follow(self):
        routes = [
            route(upstream("library.1:1"), plugin="library", prefix=PREFIX),
            route(upstream("root.1:1"), plugin="root", prefix="/"),
            route(plugin="ruin", prefix="/ruin", state="failed"),
        ]
        self.upstreams.follow(RoutingSnapshot(1, routes))
        await until(lambda: RoutingAck(1) in self.sent, "acknowledgement")

    def ask(self, target, *fields, method="GET"):
        return Call(self.door, target, fields, method)

    async def refused(self, target, *fields, method="GET"):
        """Status and body of an answer that no plugin has given."""
        call = self.ask(target, *fields, method=method)
        await call.task
        return call.status, call.error

    async def arrived(self, plugin, call):
        """The head of the request that has reached a plugin; its answer is given."""
        link = self.connector.to(f"{plugin}.1:1")
        await until(lambda: link.streams or call.task.done(), "the call arrives")
        (stream,) = link.streams
        stream.answer()
        await call.task
        assert call.status == 200
        return stream.head


def run(scenario, *, routed=True):
    async def main():
        at = Scene()
        if routed:
            await at.follow()
        try:
            await scenario(at)
        finally:
            await at.upstreams.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("target", "plugin", "path"),
    [
        (b"/~library/a%2Fb", "library", b"/books/v1/a%2Fb"),
        (b"/~library/", "library", b"/books/v1/"),
        (b"/~library", "library", b"/books/v1"),
        (b"/~l%69brary/x", "library", b"/books/v1/x"),
        (b"/~root/admin", "root", b"/admin"),
        (b"/~root", "root", b"/"),
        (b"/books/v1/x", "library", b"/books/v1/x"),
        (b"/x", "root", b"/x"),
    ],
)
def test_a_target_is_a_plugins_own_path_or_a_whole_one(target, plugin, path):
    """By name a plugin gets what is below its prefix, whatever that is; bytes are kept."""

    async def scenario(at):
        head = await at.arrived(plugin, at.ask(target + b"?q=1", KEY))
        assert (head.raw_path, head.query, head.client, head.scheme) == (path, b"q=1", None, "http")

    run(scenario)


def test_what_the_caller_says_becomes_state_and_no_field():
    """The called plugin need not guess which fields were checked."""

    async def scenario(at):
        user = {"id": None, "email": None, "role": "admin"}
        fields = [KEY, (b"x-xcore-user", json.dumps(user).encode()), (b"x-xcore-hops", b"3"), (b"x-request-id", b"r1")]
        head = await at.arrived("library", at.ask(b"/~library/", *fields, (b"authorization", b"Basic eA==")))
        assert head.state == {"user": user, "caller": "shop", "hops": 3, "request_id": "r1"}
        names = [name for name, _ in head.headers]
        assert not [name for name in names if name.startswith(b"x-xcore")]
        assert b"authorization" in names

    run(scenario)


def test_a_call_in_nobodys_name_has_a_request_id_all_the_same():
    """It is found in logs by it."""

    async def scenario(at):
        head = await at.arrived("library", at.ask(b"/~library/", KEY))
        assert (head.state["user"], head.state["hops"]) == (None, 1)
        assert head.state["request_id"]

    run(scenario)


@pytest.mark.parametrize("fields", [(), ((b"x-xcore-key", b"t1:guess"),), (KEY, (b"x-xcore-key", b""))])
def test_without_a_key_nothing_is_told(fields):
    """Not even whether the plugin exists."""

    async def scenario(at):
        for target in (b"/~library/", b"/~nobody/", b"/.."):
            status, error = await at.refused(target, *fields)
            assert (status, error["type"], error["extension"]) == (403, "UnknownCaller", {})

    run(scenario)


@pytest.mark.parametrize(
    ("target", "fields", "method", "status", "kind"),
    [
        (b"/~nobody/x", (), "GET", 404, "UnknownName"),
        (b"/~/x", (), "GET", 404, "UnknownName"),
        (b"/admin/plugins", (), "GET", 404, "NotFound"),
        (b"/health", (), "GET", 404, "NotFound"),
        (b"/~ruin/x", (), "GET", 503, "PluginUnavailable"),
        (b"/~library/../x", (), "GET", 400, "BadRequest"),
        (b"/~library/%2e%2e/x", (), "GET", 400, "BadRequest"),
        (b"/~library/" + b"x" * 20000, (), "GET", 414, "BadRequest"),
        (b"/~library/", (), "TRACE", 405, "BadRequest"),
        (b"/~library/", ((b"upgrade", b"websocket"),), "GET", 403, "WebSocketRefused"),
        (b"/~library/", ((b"x-xcore-hops", b"16"),), "GET", None, None),
        (b"/~library/", ((b"x-xcore-hops", b"17"),), "GET", 508, "CallLoop"),
        (b"/~library/", ((b"x-xcore-hops", b"-1"),), "GET", 400, "BadRequest"),
        (b"/~library/", ((b"x-xcore-hops", b"9" * 5000),), "GET", 400, "BadRequest"),
        (b"/~library/", ((b"x-xcore-user", b"ada"),), "GET", 400, "BadRequest"),
        (b"/~library/", ((b"x-xcore-user", b'["ada"]'),), "GET", 400, "BadRequest"),
        (b"/~library/", ((b"x-xcore-user", b'{"id": {}}'),), "GET", 400, "BadRequest"),
        (b"/~library/", ((b"x-xcore-user", b"[" * 60000),), "GET", 400, "BadRequest"),
        (b"/~library/", ((b"x-xcore-user", b"null"),), "GET", None, None),
    ],
)
def test_what_cannot_be_carried_out_is_refused_with_a_reason(target, fields, method, status, kind):
    """Status and type are those of the reference."""

    async def scenario(at):
        if status is None:
            await at.arrived("library", at.ask(target, KEY, *fields, method=method))
            return
        found, error = await at.refused(target, KEY, *fields, method=method)
        assert (found, error["type"]) == (status, kind)

    run(scenario)


def test_an_unknown_name_is_answered_with_the_nearest():
    """Or with none, where nothing is like it."""

    async def scenario(at):
        _, error = await at.refused(b"/~libary/", KEY)
        assert error["extension"] == {"plugin": "libary", "nearest": "library"}
        assert "did you mean 'library'?" in error["message"]
        _, error = await at.refused(b"/~xyz/", KEY)
        assert error["extension"] == {"plugin": "xyz", "nearest": None}

    run(scenario)


def test_before_the_first_table_nobody_is_said_not_to_exist():
    """Whether a plugin is there is not known yet."""

    async def scenario(at):
        status, error = await at.refused(b"/~library/", KEY)
        assert (status, error["type"]) == (503, "NotRouted")

    run(scenario, routed=False)


def test_calls_are_broken_off_at_the_end_with_an_answer():
    """The plugins that wait for them end next, and can say why."""

    async def scenario(at):
        call = at.ask(b"/~library/", KEY)
        link = at.connector.to("library.1:1")
        await until(lambda: link.streams, "the call arrives")
        await at.door.close(0.01)
        await call.task
        assert (call.status, call.error["type"]) == (503, "Stopping")
        await until(lambda: not link.streams, "the plugin's request is cancelled")

    run(scenario)


def test_a_call_that_still_inquires_who_calls_is_broken_off_with_an_answer_too():
    """No supervisor comes any more, and the gateway does not wait for one."""

    async def scenario(at):
        at.answers.clear()
        call = at.ask(b"/~library/", (b"x-xcore-key", b"t9:young"))
        await until(lambda: at.asked, "the supervisor is asked")
        await at.door.close(0.01)
        await call.task
        assert (call.status, call.error["type"]) == (503, "Stopping")

    run(scenario)


def test_a_call_that_still_inquires_who_calls_is_waited_for():
    """As any call in flight: the answer may be on its way."""

    async def scenario(at):
        at.answers.clear()
        call = at.ask(b"/~library/", (b"x-xcore-key", b"t9:young"))
        await until(lambda: at.asked, "the supervisor is asked")
        closing = asyncio.create_task(at.door.close(30.0))
        await settle()
        assert not closing.done()
        at.answers.set()
        await closing
        assert (call.status, call.error["type"]) == (403, "UnknownCaller")

    run(scenario)


def test_a_call_that_ends_in_time_is_waited_for():
    """A request from outside may have been answered a moment ago, and its last call with it."""

    async def scenario(at):
        call = at.ask(b"/~library/", KEY)
        link = at.connector.to("library.1:1")
        await until(lambda: link.streams, "the call arrives")
        closing = asyncio.create_task(at.door.close(30.0))
        link.streams[0].answer()
        await closing
        assert call.status == 200

    run(scenario)
