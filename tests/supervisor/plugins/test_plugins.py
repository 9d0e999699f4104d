"""Plugins: found, brought up side by side, restarted, refused, and each one's trouble its own."""

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from plugin_runtime.protocol import MAX_SCHEMA, Cause, Description, PluginSchema, RoutingSnapshot, Schema, UpstreamDied
from plugin_runtime.wire import Envelope
from supervisor.config.plugin_keys import PluginOverrides
from supervisor.errors import (
    ConflictError,
    ReplacementError,
    StoreUnavailableError,
    TookTooLongError,
    UnknownNameError,
)
from tests.fakes.plugin_scene import broken
from tests.fakes.waiting import DEADLINE, settle, until

pytestmark = [pytest.mark.process, pytest.mark.slow]


def test_every_folder_is_brought_up_and_routed(run):
    """Registered with what it says of itself; its instances are upstreams as soon as they are ready."""

    async def scenario(at):
        at.add("hello", Description(version="1.0", author="Ada", api_prefix="/app/hi"), instances=2)
        at.add("shop", app="main:app")
        await at.discover()
        hello = await at.reaches("hello", "running")
        await at.reaches("shop", "running")
        await settle()
        route = at.gateway.route("hello")
        assert (route.prefix, route.state, [one.instance for one in route.upstreams]) == (
            "/app/hi",
            "running",
            ["hello.1", "hello.2"],
        )
        assert at.gateway.route("shop").prefix == "/shop"
        facts = next(facts for facts in at.repository.registered if facts.name == "hello")
        assert (facts.version, facts.author, facts.api_prefix) == ("1.0", "Ada", "/app/hi")
        assert at.plugins.is_settled
        assert (hello.ready, hello.wanted) == (2, 2)
        health = at.plugins.health()["hello"]
        assert (health.state, health.ready, health.wanted, health.restarts) == ("running", 2, 2, 0)

    run(scenario)


def test_what_fails_is_shown_and_nobody_else_notices(run, caplog):
    """Row 8, and a mistake of ours as well: the plugin has an error, its neighbour serves."""

    async def scenario(at):
        at.add("good")
        at.add_broken("faulty", broken())
        at.add_broken("mistaken", ZeroDivisionError("by the number of plugins"))
        await at.discover()
        await at.reaches("good", "running")
        views = {view.name: view for view in await at.orders.list_plugins()}
        assert [view.name for view in views.values()] == ["faulty", "good", "mistaken"]
        assert (views["faulty"].state, views["faulty"].error.message) == ("failed", "no module named flask")
        assert (views["mistaken"].state, views["mistaken"].error.type) == ("failed", "ZeroDivisionError")
        assert "number" not in views["mistaken"].error.message
        assert at.plugins.is_settled

    run(scenario)
    assert "Plugin mistaken cannot be served" in caplog.text


def test_keys_for_a_plugin_that_is_not_there_are_warned_of(run, caplog):
    """A misspelt name is silent otherwise."""

    async def scenario(at):
        at.add("shop", app="main:app")
        keys = {"shop": PluginOverrides(), "shp": PluginOverrides()}
        at.live.replace(replace(at.live.current, plugins=keys))
        await at.discover()

    run(scenario)
    (warning,) = [line for line in caplog.messages if "has no effect" in line]
    assert warning.startswith("Configuration: plugins.shp has no effect: there is no plugin 'shp' in ")
    assert warning.endswith("; did you mean 'shop'?")


def test_a_disabled_plugin_is_listed_and_left_alone(run):
    """Its prefix is free; restarting it is a conflict."""

    async def scenario(at):
        at.add("hello")
        at.repository.knows("hello", "/app/hello", active=False)
        await at.discover()
        assert (at.state("hello"), at.preparation.calls) == ("disabled", [])
        assert at.plugins.health()["hello"].wanted == 0
        said = "cannot restart plugin 'hello': it is disabled; enable it first: xcore plugin enable hello"
        with pytest.raises(ConflictError, match=said):
            await at.orders.restart("hello", "operator")
        assert [view.name for view in await at.orders.list_plugins(active=True)] == []
        assert [view.name for view in await at.orders.list_plugins(active=False)] == ["hello"]

    run(scenario)


def test_a_plugin_in_the_making_keeps_its_former_prefix_and_its_callers(run):
    """Row 29: requests that come before it is up are parked, not refused."""

    async def scenario(at):
        at.add("hello")
        at.repository.knows("hello", "/app/hello")
        gate = at.preparation.gates["hello"] = asyncio.Event()
        await at.plugins.discover()
        await settle()
        route = at.gateway.route("hello")
        assert (route.prefix, route.expected, route.upstreams) == ("/app/hello", True, [])
        gate.set()
        await at.reaches("hello", "running")

    run(scenario)


INFO = 'PLUGIN_INFO = {"Api_prefix": "/app/written"}'


@pytest.mark.parametrize(("written", "expected"), [("", "/app/hello"), (INFO, "/app/written")])
@pytest.mark.parametrize("said", ["/app/hello", "/app/written", "/app/other"])
def test_callers_of_a_newcomer_that_is_being_installed_wait_where_it_is_expected(run, written, expected, said):
    """Its code cannot be asked yet; what its files say, or the default, holds until it can, and then what it says."""

    async def scenario(at):
        at.add("hello", Description(api_prefix=said))
        (at.directory / "hello" / "run.py").write_text(written)
        built = at.preparation.builds["hello"] = asyncio.Event()
        await at.plugins.discover()
        await at.reaches("hello", "installing")
        await settle()
        route = at.gateway.route("hello")
        assert (route.prefix, route.state, route.expected, route.upstreams) == (expected, "installing", True, [])
        built.set()
        await at.reaches("hello", "running")
        await settle()
        assert at.gateway.route("hello").prefix == said
        assert at.services.claims.prefixes == {"hello": said}
        assert [facts.api_prefix for facts in at.repository.registered] == [said]

    run(scenario)


def test_what_is_only_expected_of_a_newcomer_is_refused_to_nobody(run):
    """Another plugin claims it while that one is being installed: it gets it at once, and both are served."""

    async def scenario(at):
        at.add("hello", Description(api_prefix="/app/else"))
        built = at.preparation.builds["hello"] = asyncio.Event()
        at.add("owner", Description(api_prefix="/app/hello"))
        wanted = at.preparation.builds["owner"] = asyncio.Event()
        await at.plugins.discover()
        await until(lambda: at.services.claims.owner("/app/hello") == "hello", "it is held")
        wanted.set()
        await at.reaches("owner", "running")
        await settle()
        assert at.gateway.route("owner").prefix == "/app/hello"
        assert (at.gateway.route("hello"), at.state("hello")) == (None, "installing")
        built.set()
        await at.reaches("hello", "running")
        await settle()
        assert at.gateway.route("hello").prefix == "/app/else"
        assert at.repository.registered[0].name == "owner"

    run(scenario)


def test_those_that_are_refused_do_not_wake_each_other_for_ever(run, caplog):
    """Each gives up what was expected of it when its code says what it cannot have; nobody has waited for that."""

    async def scenario(at):
        for name in ("one", "two", "three"):
            at.add(name, Description(api_prefix="/app/x"))
        await at.discover()
        assert sorted(at.state(name) for name in ("one", "two", "three"))[:2] == ["refused", "refused"]
        assert sorted(at.preparation.calls) == ["one", "three", "two"]
        assert list(at.services.claims.prefixes.values()) == ["/app/x"]

    run(scenario)


def test_the_refused_one_starts_when_the_owner_goes(run, caplog):
    """Row 44: the same prefix is given out once; when it is free again, whoever was refused gets it."""

    async def scenario(at):
        at.add("owner", Description(api_prefix="/app/x"))
        at.repository.knows("owner", "/app/x")
        at.add("second", Description(api_prefix="/app/x"))
        await at.discover()
        assert at.state("second") == "refused"
        view = await at.orders.show("second")
        assert "prefix '/app/x' belongs to plugin 'owner'" in view.error.message
        assert view.prefix == ""
        at.services.claims.release("owner")
        at.plugins.retry_refused()
        await at.reaches("second", "running")
        await settle()
        assert at.gateway.route("second").prefix == "/app/x"

    run(scenario)


def test_a_plugin_that_moves_leaves_its_old_prefix_to_others(run):
    """Even where it does not get the new one: nothing stays routed to a plugin that is not there."""

    async def scenario(at):
        at.add("mover", Description(api_prefix="/app/taken"))
        at.repository.knows("mover", "/app/old")
        at.add("owner", Description(api_prefix="/app/taken"))
        at.repository.knows("owner", "/app/taken")
        at.add("waiting", Description(api_prefix="/app/old"))
        await at.discover()
        await at.plugins.settled()
        await at.reaches("waiting", "running")
        await settle()
        assert at.state("mover") == "refused"
        assert at.gateway.route("mover") is None
        assert at.gateway.route("waiting").prefix == "/app/old"

    run(scenario)


@pytest.mark.parametrize("name", ["_base", "gateway", "supervisor", b"caf\xe9", "-rf", "two\nlines"])
def test_a_name_that_is_not_to_be_had_is_refused_and_shown(run, name):
    """Row 45: environments, logs and process ids of our own bear some names; bytes that are no UTF-8 are escaped."""

    async def scenario(at):
        (at.directory / os.fsdecode(name)).mkdir()
        at.add("good")
        await at.discover()
        await at.reaches("good", "running")
        (view,) = [view for view in await at.orders.list_plugins() if view.name != "good"]
        assert (view.state, view.name) == ("refused", "caf\\xe9" if isinstance(name, bytes) else name)
        assert view.error.hint == "rename its folder"
        view.name.encode()
        assert at.preparation.calls == ["good"]

    run(scenario)


def test_restart_replaces_one_instance_after_the_other(run):
    """The others serve meanwhile; it is done when all are ready again."""

    async def scenario(at):
        at.add("hello", instances=2)
        await at.discover()
        hello = await at.reaches("hello", "running")
        before = [child.pid for child in hello.instances]
        told = len(at.gateway.of(RoutingSnapshot))
        view = await at.orders.restart("hello", "token:ci", wait=DEADLINE)
        assert not set(before) & {instance.pid for instance in view.instances}
        assert [(record.cause, record.actor, record.exit_code) for record in at.exits] == [
            ("operator", "token:ci", 0)
        ] * 2
        assert (view.state, view.last_exit.cause) == ("running", "operator")
        assert all(snapshot.routes[0].upstreams for snapshot in at.gateway.of(RoutingSnapshot)[told:])

    run(scenario)


def test_restart_of_a_plugin_that_could_not_be_brought_up_tries_again(run):
    """And what it has started then is not restarted once more."""

    async def scenario(at):
        at.add_broken("hello", broken())
        await at.discover()
        assert at.state("hello") == "failed"
        at.add("hello")
        view = await at.orders.restart("hello", "operator", wait=DEADLINE)
        assert (view.state, view.error) == ("running", None)
        assert at.exits == []

    run(scenario)


def test_reload_of_a_plugin_that_could_not_be_brought_up_ends_when_it_is_ready(run):
    """Whoever mended it and reloads it is told that it serves, not that it starts."""

    async def scenario(at):
        at.add_broken("hello", broken())
        await at.discover()
        assert at.state("hello") == "failed"
        at.add("hello", instances=2)
        view = await at.orders.reload("hello", "operator", wait=DEADLINE)
        assert (view.state, view.error, at.plugins.named("hello").ready) == ("running", None, 2)

    run(scenario)


def test_reload_of_a_plugin_that_nothing_serves_says_so_and_what_to_do(run):
    """No code before goes on serving."""

    async def scenario(at):
        at.add_broken("hello", broken())
        await at.discover()
        with pytest.raises(ConflictError, match=r"^no module named flask; add it$"):
            await at.orders.reload("hello", "operator", wait=DEADLINE)

    run(scenario)


def test_what_cannot_be_done_before_it_serves_says_whether_to_wait_or_to_mend_it(run):
    """One that is still being installed has nothing that could be mended."""

    async def scenario(at):
        gate = at.preparation.gates["slow"] = asyncio.Event()
        at.add("slow")
        at.add_broken("faulty", broken())
        await at.plugins.discover()
        await at.reaches("faulty", "failed")
        with pytest.raises(ConflictError, match="let it come up first; see xcore plugin show slow"):
            await at.orders.scale("slow", 2, "operator")
        with pytest.raises(ConflictError, match="nothing serves it; see xcore plugin show slow"):
            await at.orders.rollback("slow", "operator")
        with pytest.raises(ConflictError, match="mend it first; see xcore plugin show faulty"):
            await at.orders.scale("faulty", 2, "operator")
        gate.set()
        await at.plugins.settled()

    run(scenario)


def test_what_is_forgotten_is_enabled_as_one_that_is_new(run):
    """The number of instances was of the record."""

    async def scenario(at):
        at.add("hello")
        await at.discover()
        hello = await at.reaches("hello", "running")
        await at.orders.scale("hello", 2, "operator", wait=DEADLINE)
        await at.orders.disable("hello", "operator", wait=DEADLINE)
        await at.orders.delete("hello", "operator")
        assert hello.record is None
        view = await at.orders.enable("hello", "operator", wait=DEADLINE)
        assert (view.wanted, len(view.instances)) == (1, 1)

    run(scenario)


def test_restart_waits_while_it_is_being_brought_up(run):
    """Row 50: what is done with one plugin is serialised."""

    async def scenario(at):
        at.add("hello")
        gate = at.preparation.gates["hello"] = asyncio.Event()
        await at.plugins.discover()
        restarts = [asyncio.create_task(at.orders.restart("hello", "operator", wait=DEADLINE)) for _ in range(3)]
        await settle()
        gate.set()
        await asyncio.gather(*restarts)
        assert at.plugins.named("hello").ready == 1
        assert [record.cause for record in at.exits] == ["operator"]
        assert len(at.table.tree.children) == 1

    run(scenario)


def test_restart_gives_up_waiting_not_restarting(run):
    """504, and it goes on."""

    async def scenario(at):
        at.add("hello", steps=("hello", "ready", "deaf", "serve"), stop_timeout=1.0)
        await at.discover()
        await at.reaches("hello", "running")
        said = "the restart of plugin 'hello' is not done after 0.05 s; it goes on; see xcore plugin show hello"
        with pytest.raises(TookTooLongError, match=said):
            await at.orders.restart("hello", "operator", wait=0.05)
        await until(lambda: at.exits, "it is replaced all the same")
        await at.reaches("hello", "running")

    run(scenario)


def test_restart_ends_when_the_new_one_cannot_start(run, tmp_path):
    """Nobody waits for ever: the old one serves on, and whoever asked learns why."""

    async def scenario(at):
        at.add("hello", steps=("hello", f"once:{tmp_path}/up", "ready", "serve"), start_timeout=0.5)
        await at.discover()
        hello = await at.reaches("hello", "running")
        (serving,) = hello.instances
        with pytest.raises(ReplacementError, match=r"cannot replace a worker of plugin 'hello': .* start_timeout"):
            await at.orders.restart("hello", "operator", wait=DEADLINE)
        assert (hello.instances, hello.state.value) == ([serving], "running")

    run(scenario)


def test_nothing_new_is_begun_while_xcore_stops(run):
    """A gateway may still hand in orders while it drains: what is started then would never be stopped."""

    async def scenario(at):
        at.add("hello")
        await at.discover()
        await at.reaches("hello", "running")
        waiting = asyncio.create_task(at.orders.restart("hello", "operator", wait=DEADLINE))
        await settle(1)
        await at.plugins.close()
        with pytest.raises(ConflictError, match="was given up: another order came, or xcore is stopping"):
            await waiting
        with pytest.raises(ConflictError, match="cannot restart plugin 'hello': xcore is stopping"):
            await at.orders.restart("hello", "operator")
        await at.table.tree.stop_all(Cause.SHUTDOWN, "test")
        assert at.state("hello") == "exited"

    run(scenario)


def test_a_death_is_told_to_gateways_with_the_name_of_the_incarnation(run):
    """A request that may have killed a worker is not sent to the next one; its socket is gone."""

    async def scenario(at):
        at.add("hello", memory_hard_mb=100.0)
        await at.discover()
        hello = await at.reaches("hello", "running")
        await settle()
        (first,) = at.gateway.route("hello").upstreams
        os.kill(hello.instances[0].pid, signal.SIGKILL)
        await until(lambda: hello.ready and at.exits, "it is back")
        await settle()
        (second,) = at.gateway.route("hello").upstreams
        assert first.incarnation != second.incarnation
        assert first.secret != second.secret
        hello.instances[0].check_limits(memory_mb=200.0)
        await until(lambda: len(at.gateway.of(UpstreamDied)) == 2, "the second death is told")
        assert at.gateway.of(UpstreamDied) == [
            UpstreamDied("hello.1", first.incarnation, "signal", resend=True),
            UpstreamDied("hello.1", second.incarnation, "memory_limit", resend=False),
        ]

    run(scenario)


def test_one_instance_that_fails_leaves_a_degraded_plugin(run, tmp_path):
    """The other one serves, so the plugin as a whole has no error."""

    async def scenario(at):
        at.add("hello", steps=("hello", "ready", f"once:{tmp_path}/a", "exit:1"), instances=2, restart="never")
        await at.discover()
        hello = at.plugins.named("hello")
        await until(lambda: at.exits and hello.ready == 1, "one serves, the other is dead")
        await settle()
        assert (hello.state.value, hello.wanted, hello.error) == ("degraded", 2, None)
        assert len(at.gateway.route("hello").upstreams) == 1

    run(scenario)


def test_a_plugin_that_cannot_start_shows_its_own_words(run):
    """failed, with phase and last lines; its callers get 503 with the reason."""

    async def scenario(at):
        at.add("hello", steps=("hello", "print:disk on fire", "fail:no database", "exit:78"))
        await at.discover()
        hello = await at.reaches("hello", "failed")
        assert (hello.error.phase, hello.error.message, hello.error.log_tail) == (
            "import",
            "no database",
            ["disk on fire"],
        )
        await settle()
        route = at.gateway.route("hello")
        assert (route.state, route.error, route.expected) == ("failed", "no database", False)

    run(scenario)


def test_one_worker_is_asked_for_its_document_not_those_that_follow_it(run):
    """They have requests waiting, and are made from the same; a restart by hand wants to know anew."""

    async def scenario(at):
        at.add("hello", steps=("hello", "ready:documented", "serve"))
        await at.discover()
        hello = await at.reaches("hello", "running")
        first = hello.instances[0].pid
        await until(lambda: at.gateway.of(PluginSchema), "the document is there")
        os.kill(first, signal.SIGKILL)
        await until(lambda: hello.instances[0].pid not in {None, first} and hello.ready, "another one is ready")
        await hello.restart("operator")
        await until(lambda: len(at.gateway.of(PluginSchema)) > 1, "the document is there anew")
        hashes = [schema.hash for schema in at.gateway.of(PluginSchema)]
        assert hashes == [str(first), str(hello.instances[0].pid)]

    run(scenario)


def test_schemas_are_passed_on_up_to_their_limit(run, caplog):
    """One that no gateway could be sent would keep every new gateway from its routes."""

    async def scenario(at):
        at.add("hello")
        await at.discover()
        hello = await at.reaches("hello", "running")
        hello.serving.workers.received(hello.instances[0], Envelope(Schema("1", b"x" * (MAX_SCHEMA + 1))))
        hello.serving.workers.received(hello.instances[0], Envelope(Schema("2", b"{}")))
        assert at.gateway.of(PluginSchema) == [PluginSchema("hello", "/app/hello", "2", b"{}")]

    run(scenario)
    assert "it is left out" in caplog.text


def test_the_database_may_be_away(run, caplog):
    """Serving never depends on it."""

    async def scenario(at):
        at.add("hello")
        at.repository.error = StoreUnavailableError("locked")
        await at.discover()
        await at.reaches("hello", "running")

    run(scenario)
    assert "Cannot register plugin hello: locked" in caplog.text


def test_unknown_names_say_what_there_is(run):
    """404 with the known ones."""

    async def scenario(at):
        at.add("hello")
        await at.discover()
        for question in (at.orders.show("helo"), at.orders.restart("helo", "x"), at.orders.read_logs("helo")):
            with pytest.raises(UnknownNameError, match="no plugin named 'helo'; known: hello"):
                await question

    run(scenario)


def test_settings_of_a_worker_are_those_of_its_incarnation(run):
    """A new link and a new secret each time; the grace is the configured one."""

    async def scenario(at):
        at.add("hello")
        await at.discover()
        hello = await at.reaches("hello", "running")
        (first, second) = (hello.serving.workers.settings_for(hello.instances[0], token) for token in ("t1", "t2"))
        assert first["link_path"].endswith("run/t1.link")
        assert first["link_secret"] != second["link_secret"]
        assert (first["adopt_grace"], first["prefix"]) == (3.0, "/app/hello")

    run(scenario)
