"""What gateways are told, and when a switch counts as done."""

import asyncio
import logging
from pathlib import Path

import pytest

from plugin_runtime.gateway_protocol import PluginTraffic, PluginTrouble, Traffic, Wake
from plugin_runtime.protocol import (
    Call,
    Caller,
    Health,
    PluginSchema,
    Ready,
    Result,
    Route,
    RoutingAck,
    RoutingSnapshot,
    TokenRecord,
    TokenTable,
    UpstreamDied,
    UpstreamLost,
)
from plugin_runtime.views import TrafficView
from supervisor.gateways.gateways import Gateways, share_of
from supervisor.state_folder import StateFolder
from tests.fakes.gateway_children import FakeGatewayChild
from tests.fakes.waiting import settle, until

HELLO = Route("hello", "/app/hello")
SHOP = Route("shop", "/shop")
SHOPS, RUNS = Caller("shop", "t1:x"), Caller("job:shop.clean", "t2:y")


class Scene:
    def __init__(self, **options):
        self.exits = []
        self.changes = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.gateways = Gateways(StateFolder(Path("/state")), self.perform, self.changed, self.exits.append, **options)

    async def perform(self, call):
        await self.answers.wait()
        return Result(call.arguments.get("value"))

    def changed(self):
        self.changes += 1

    def connect(self, number=1):
        child = FakeGatewayChild(number)
        self.gateways.connected(child)
        return child


def in_loop(scenario):
    """Run a scenario with a fresh scene."""

    def test(*arguments):
        async def main():
            await scenario(Scene(), *arguments)

        asyncio.run(main())

    test.__name__, test.__doc__ = scenario.__name__, scenario.__doc__
    return test


TROUBLE = PluginTrouble("hello", "import", "RuntimeError", "no luck")


def test_troubles_are_told_in_development_mode_and_taken_back():
    """At once, to every gateway, also to one that comes later; an empty one says that nothing is wrong any more."""
    at = Scene(development=True)
    child = at.connect()
    at.gateways.set_trouble(PluginTrouble("shop"))
    at.gateways.set_trouble(TROUBLE)
    at.gateways.set_trouble(TROUBLE)
    assert child.of(PluginTrouble) == [TROUBLE]
    assert at.connect(2).of(PluginTrouble) == [TROUBLE]
    at.gateways.set_trouble(PluginTrouble("hello"))
    assert child.of(PluginTrouble) == [TROUBLE, PluginTrouble("hello")]
    assert at.connect(3).of(PluginTrouble) == []


def test_without_development_mode_no_gateway_knows_a_trouble():
    """What it does not have it cannot tell anybody."""
    at = Scene()
    child = at.connect()
    at.gateways.set_trouble(TROUBLE)
    assert (child.of(PluginTrouble), at.connect(2).of(PluginTrouble)) == ([], [])


@in_loop
async def test_changes_of_one_turn_leave_as_one_snapshot(at):
    """A start of 200 plugins is not 200 routing tables."""
    child = at.connect()
    at.gateways.set_route(HELLO)
    at.gateways.set_route(SHOP)
    at.gateways.set_route(Route("hello", "/app/hello", expected=True))
    assert child.of(RoutingSnapshot) == []
    await settle()
    (snapshot,) = child.of(RoutingSnapshot)
    assert snapshot == RoutingSnapshot(1, [Route("hello", "/app/hello", expected=True), SHOP])


@in_loop
async def test_a_route_that_did_not_change_is_not_sent_again(at):
    """Nor one dropped that was not there."""
    child = at.connect()
    at.gateways.set_route(HELLO)
    await settle()
    at.gateways.set_route(Route("hello", "/app/hello"))
    at.gateways.drop_route("shop")
    await settle()
    assert len(child.of(RoutingSnapshot)) == 1
    at.gateways.drop_route("hello")
    await settle()
    assert child.of(RoutingSnapshot)[1:] == [RoutingSnapshot(2, [])]


@in_loop
async def test_who_may_call_is_told_with_the_routes(at):
    """Until it is dead; once for all that changes in a turn."""
    child = at.connect()
    at.gateways.admit_caller(SHOPS)
    at.gateways.admit_caller(RUNS)
    at.gateways.set_route(HELLO)
    await settle()
    assert child.of(RoutingSnapshot) == [RoutingSnapshot(1, [HELLO], [SHOPS])]
    at.gateways.dismiss_caller("t1")
    at.gateways.dismiss_caller("t3")
    await settle()
    assert child.of(RoutingSnapshot)[1:] == [RoutingSnapshot(2, [HELLO], [])]
    assert at.connect(2).of(RoutingSnapshot) == [RoutingSnapshot(2, [HELLO], [])]


@in_loop
async def test_a_caller_that_no_gateway_has_heard_of_costs_no_routing_table(at):
    """Most runs of jobs call nobody: with many plugins a table is work for every gateway."""
    child = at.connect()
    at.gateways.set_route(HELLO)
    await settle()
    at.gateways.admit_caller(RUNS)
    at.gateways.dismiss_caller("t2")
    await settle()
    assert child.of(RoutingSnapshot) == [RoutingSnapshot(1, [HELLO])]


@in_loop
async def test_runs_that_overlap_cost_no_routing_table_though_there_is_one_meanwhile(at):
    """If that told of the runs alive then, their ends would tell of the next ones, and so on for ever."""
    child = at.connect()
    at.gateways.admit_caller(RUNS)
    at.gateways.set_route(HELLO)
    await settle()
    for number in range(3, 10):
        at.gateways.admit_caller(Caller("job:shop.clean", f"t{number}:y"))
        at.gateways.dismiss_caller(f"t{number - 1}")
        await settle()
    assert child.of(RoutingSnapshot) == [RoutingSnapshot(1, [HELLO])]
    at.gateways.set_route(SHOP)
    await settle()
    assert child.of(RoutingSnapshot)[1:] == [RoutingSnapshot(2, [HELLO, SHOP])]
    await at.gateways.tell_callers()
    assert child.of(RoutingSnapshot)[-1].callers == [Caller("job:shop.clean", "t9:y")]


@in_loop
async def test_who_asks_for_callers_is_told_of_them_before_the_answer(at):
    """Once: whoever is told knows them until they are dead."""
    child = at.connect()
    at.gateways.set_route(HELLO)
    await settle()
    at.gateways.admit_caller(SHOPS)
    await at.gateways.tell_callers()
    assert child.of(RoutingSnapshot)[1:] == [RoutingSnapshot(2, [HELLO], [SHOPS])]
    at.gateways.admit_caller(SHOPS)
    await at.gateways.tell_callers()
    at.gateways.dismiss_caller("t1")
    await settle()
    assert child.of(RoutingSnapshot)[2:] == [RoutingSnapshot(3, [HELLO])]


@in_loop
async def test_a_gateway_that_comes_is_told_what_the_others_were(at):
    """And of the ends of those; of the rest it asks."""
    at.gateways.set_route(HELLO)
    await settle()
    at.gateways.admit_caller(SHOPS)
    child = at.connect()
    assert child.of(RoutingSnapshot)[0].callers == []
    await at.gateways.tell_callers()
    assert child.of(RoutingSnapshot)[-1].callers == [SHOPS]
    await settle()
    at.gateways.dismiss_caller("t1")
    await settle()
    assert child.of(RoutingSnapshot)[-1].callers == []


@in_loop
async def test_without_any_plugin_there_is_a_snapshot_all_the_same(at):
    """Gateways do not open before their first one."""
    child = at.connect()
    at.gateways.publish()
    await settle()
    assert child.of(RoutingSnapshot) == [RoutingSnapshot(1, [])]


@in_loop
async def test_a_late_joiner_gets_the_latest_of_everything(at):
    """And nothing of what was before."""
    at.gateways.set_route(HELLO)
    at.gateways.set_health(Health("ok"))
    at.gateways.set_tokens(TokenTable([TokenRecord("aa", "old", "admin")]))
    at.gateways.set_tokens(TokenTable([TokenRecord("bb", "ci", "admin")]))
    at.gateways.set_schema(PluginSchema("hello", "/app/hello", "1", b"{}"))
    at.gateways.set_schema(PluginSchema("shop", "/shop", "2", b"{}"))
    at.gateways.set_schema(PluginSchema("shop", "/shop", "", b""))
    await settle()
    assert at.connect().sent == [
        TokenTable([TokenRecord("bb", "ci", "admin")]),
        Health("ok"),
        PluginSchema("hello", "/app/hello", "1", b"{}"),
        RoutingSnapshot(1, [HELLO]),
    ]


@in_loop
async def test_news_go_to_every_gateway_that_is_connected(at):
    """Health only when it is another one; deaths at once."""
    first, second, third = at.connect(1), at.connect(2), at.connect(3)
    at.gateways.disconnected(third)
    died = UpstreamDied("hello.1", "t1", "crash", resend=True)
    at.gateways.tell_death(died)
    at.gateways.set_health(Health("ok"))
    at.gateways.set_health(Health("ok"))
    for child in (first, second):
        assert child.of(UpstreamDied) == [died]
        assert child.of(Health) == [Health("down"), Health("ok")]
    assert third.of(UpstreamDied) == []


@in_loop
async def test_a_switch_is_done_when_all_gateways_have_acknowledged(at):
    """Only then is anything drained: the slowest gateway counts, and an older acknowledgement does not."""
    first, second = at.connect(1), at.connect(2)
    done = []
    at.gateways.set_route(HELLO)
    at.gateways.when_switched(lambda: done.append("hello"))
    assert first.of(RoutingSnapshot) == [RoutingSnapshot(1, [HELLO])]  # not in the next turn: somebody waits
    first.says(at.gateways, RoutingAck(1))
    assert done == []
    at.gateways.set_route(SHOP)
    at.gateways.when_switched(lambda: done.append("shop"))
    second.says(at.gateways, RoutingAck(1))
    assert done == ["hello"]
    first.says(at.gateways, RoutingAck(2))
    second.says(at.gateways, RoutingAck(2))
    assert done == ["hello", "shop"]
    await settle()
    assert len(first.of(RoutingSnapshot)) == 2


@in_loop
async def test_a_switch_to_what_is_published_already_needs_no_snapshot(at):
    """It is done at once where all have acknowledged, and where there is no gateway."""
    done = []
    at.gateways.when_switched(lambda: done.append("nobody there"))
    child = at.connect()
    at.gateways.when_switched(lambda: done.append("not yet"))
    child.says(at.gateways, RoutingAck(1))
    at.gateways.when_switched(lambda: done.append("at once"))
    assert done == ["nobody there", "not yet", "at once"]
    assert len(child.of(RoutingSnapshot)) == 1


@in_loop
async def test_a_gateway_that_goes_is_not_waited_for(at):
    """Nor one that died and is known again by its next incarnation only."""
    first, second = at.connect(1), at.connect(2)
    done = []
    at.gateways.set_route(HELLO)
    at.gateways.when_switched(lambda: done.append(1))
    first.says(at.gateways, RoutingAck(1))
    at.gateways.disconnected(second)
    assert done == [1]


def test_a_gateway_that_never_acknowledges_is_given_up(caplog):
    """Draining must go on; it is said once per switch."""

    async def main():
        at = Scene(ack_timeout=0.02)
        at.connect()
        done = []
        at.gateways.set_route(HELLO)
        at.gateways.when_switched(lambda: done.append(1))
        await until(lambda: done, "it is given up")
        assert done == [1]

    asyncio.run(main())
    assert caplog.text.count("did not acknowledge routing table 1 within 0.02 s") == 1


@in_loop
async def test_a_call_is_answered_with_its_id(at):
    """While others wait, messages go on."""
    child = at.connect()
    at.answers.clear()
    child.says(at.gateways, Call("a", {"value": 1}), 1)
    child.says(at.gateways, Call("b", {"value": 2}), 2)
    child.says(at.gateways, RoutingAck(0))
    await settle()
    assert child.answers == []
    at.answers.set()
    await settle()
    assert [(answer.id, answer.message.value) for answer in child.answers] == [(1, 1), (2, 2)]


@in_loop
async def test_the_next_incarnation_does_not_get_the_answers_of_the_one_before(at):
    """It counts its calls from 1 again, and would take them for its own."""
    child = at.connect()
    at.answers.clear()
    child.says(at.gateways, Call("a", {"value": 1}), 1)
    child.incarnation = object()
    at.answers.set()
    await settle()
    assert child.answers == []


@in_loop
async def test_an_answer_that_cannot_be_sent_is_an_error(at):
    """The gateway's caller must not wait for its time to be up."""
    child = at.connect()
    child.says(at.gateways, Call("a", {"value": {1, 2}}), 1)
    await settle()
    assert [answer.message.type for answer in child.answers] == ["NotSendable"]


@in_loop
async def test_close_ends_the_calls_that_are_under_way(at):
    """No task is left."""
    child = at.connect()
    at.answers.clear()
    child.says(at.gateways, Call("a"), 1)
    await settle()
    await at.gateways.close()
    assert child.answers == []
    assert [task for task in asyncio.all_tasks() if task.get_name() == "call-a"] == []


@pytest.mark.parametrize(
    ("message", "logged"), [(Ready(), "unexpected Ready"), (UpstreamLost("a.1", "t", "reset"), "lost its link to a.1")]
)
def test_what_needs_no_reaction_is_logged(message, logged, caplog):
    """The death of a worker comes from the kernel, not from a gateway."""
    caplog.set_level(logging.INFO)
    at = FakeGatewayChild()

    async def main():
        at.says(Scene().gateways, message)

    asyncio.run(main())
    assert logged in caplog.text


@in_loop
async def test_what_gateways_tell_of_requests_is_added_up(at):
    """A gateway that ends has counted what it has counted."""
    first, second = at.connect(1), at.connect(2)
    first.says(at.gateways, Traffic({"hello": PluginTraffic(1, 10)}))
    second.says(at.gateways, Traffic({"hello": PluginTraffic(0, 5)}))
    assert at.gateways.traffic.of("hello") == TrafficView(1, 15)
    at.gateways.exited(first, "the record")
    assert at.gateways.traffic.of("hello") == TrafficView(0, 15)


@in_loop
async def test_a_request_that_waits_for_an_idle_plugin_is_passed_on(at):
    """Whoever keeps the plugins knows what to do about it."""
    wanted = []
    at.gateways.wanted = wanted.append
    at.connect().says(at.gateways, Wake("hello"))
    assert wanted == ["hello"]


@in_loop
async def test_it_owns_its_children(at):
    """Settings from above; exits and changes go up; nobody sends a gateway requests that had to be withdrawn."""
    child = at.connect()
    assert at.gateways.settings_for(child, "t") == {"url": "x", "door_path": "/state/run/t.door"}
    at.gateways.changed(child)
    at.gateways.exited(child, "record")
    done = []
    at.gateways.withdraw(child, lambda: done.append(1))
    assert (at.changes, at.exits, done) == (1, ["record"], [1])


def test_where_it_handed_the_door_over_is_removed_at_its_exit(tmp_path):
    """A supervisor that takes over asks only those that are there."""
    gateways, child, exits = Gateways(StateFolder(tmp_path), None, lambda: None, list), FakeGatewayChild(), []
    (tmp_path / "run").mkdir()
    door = Path(gateways.settings_for(child, "t")["door_path"])
    door.touch()
    gateways.exited(child, exits)
    assert not door.exists()
    gateways.exited(child, exits)  # an attempt to start it that came to nothing


@pytest.mark.parametrize(
    ("total", "count", "shares"),
    [(0, 3, [0, 0, 0]), (5, 1, [5]), (5, 2, [3, 2]), (6, 3, [2, 2, 2]), (1, 2, [1, 1]), (7, 4, [2, 2, 2, 1])],
)
def test_a_total_is_shared_out_to_the_last_one(total, count, shares):
    """0 is any number; a gateway without any could answer nobody, so each has one at least."""
    assert [share_of(total, number, count) for number in range(1, count + 1)] == shares


@in_loop
async def test_each_gateway_has_its_share_of_the_requests_at_once(at):
    """``max_in_flight`` is the plugin's, however many gateways there are."""
    first, second = at.connect(1), at.connect(2)
    at.gateways.set_route(Route("hello", "/app/hello", max_in_flight=5))
    at.gateways.share_among(2)
    at.gateways.share_among(2)
    await settle()
    third = at.connect(2)
    for child, share in (first, 3), (second, 2), (third, 2):
        (snapshot,) = child.of(RoutingSnapshot)
        assert snapshot.routes == [Route("hello", "/app/hello", max_in_flight=share)]
