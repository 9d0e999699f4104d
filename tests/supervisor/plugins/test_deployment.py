"""A reload is a transaction: the new generation takes over whole, or nothing has changed for anybody."""

import asyncio
import os
import shutil
import signal
from dataclasses import replace

import pytest

from plugin_runtime.protocol import Description, RoutingSnapshot
from supervisor.config.plugin_keys import PluginOverrides
from supervisor.errors import (
    ConflictError,
    ReplacementError,
    StoreUnavailableError,
)
from supervisor.preparation.generations import Served
from tests.fakes.plugin_scene import (
    FAILS,
    assert_nothing_else_runs,
    broken,
    incarnations,
    pids,
    reload,
    routed,
    serving,
    touched,
)
from tests.fakes.waiting import DEADLINE, settle, until

pytestmark = [pytest.mark.process, pytest.mark.slow]


def test_the_new_generation_takes_over_in_one_step(run):
    """Each routing table has workers, and of one generation only; the old ones leave after that."""

    async def scenario(at):
        hello = await serving(at, instances=2)
        before, told, old = pids(hello), len(at.gateway.of(RoutingSnapshot)), incarnations(routed(at)[-1])
        at.add("hello", generation="two", instances=3)
        view = await reload(at)
        await settle()
        new = incarnations(routed(at)[-1])
        assert len(new) == 3
        assert not old & new
        assert all(incarnations(route) in (old, new) for route in routed(at, told))
        assert sorted((record.pid, record.cause, record.actor) for record in at.exits) == [
            (pid, "reload", "token:ci") for pid in sorted(before)
        ]
        assert (view.generation, view.state, view.error, len(view.instances)) == ("two", "running", None, 3)
        assert [child.record.restarts for child in hello.instances] == [1, 1, 0]
        assert_nothing_else_runs(at, hello)
        assert at.preparation.served_generations["hello"] == Served("two", before="one")
        await until(lambda: at.preparation.pruned["hello"] == {"one", "two"}, "both are kept")

    run(scenario)


def test_fewer_instances_than_before_are_a_generation_too(run):
    """The places that are not taken are left."""

    async def scenario(at):
        hello = await serving(at, instances=3)
        at.add("hello", generation="two", instances=1)
        await reload(at)
        assert [child.spec.id for child in hello.instances] == ["hello.1"]
        assert_nothing_else_runs(at, hello)

    run(scenario)


def test_the_same_content_replaces_nothing(run):
    """A file that was saved without a change."""

    async def scenario(at):
        hello = await serving(at)
        before = pids(hello)
        await reload(at)
        assert (pids(hello), at.exits) == (before, [])

    run(scenario)


def test_what_cannot_be_prepared_leaves_all_as_it_was(run):
    """Row 8: the error is shown beside what serves, and is gone with the next good save."""

    async def scenario(at):
        hello = await serving(at)
        before, told = pids(hello), len(at.gateway.of(RoutingSnapshot))
        at.preparation.plans["hello"] = broken()
        with pytest.raises(
            ReplacementError, match="flask; the one before goes on serving; see xcore plugin show hello"
        ):
            await reload(at)
        view = await at.orders.show("hello")
        assert (view.state, view.generation, view.error.message) == ("running", "one", "no module named flask")
        assert (pids(hello), at.exits) == (before, [])
        assert {route.prefix for route in routed(at, told)} <= {"/app/hello"}
        at.add("hello", generation="one")
        assert (await reload(at)).error is None
        assert pids(hello) == before

    run(scenario)


@pytest.mark.parametrize("steps", [FAILS, ("hello", "exit:3"), ("exit:3",)], ids=["says why", "dies", "never joins"])
def test_one_worker_that_does_not_become_ready_takes_all_of_them_away(run, steps, tmp_path):
    """No mixed generations: the one that had become ready leaves as well."""

    async def scenario(at):
        hello = await serving(at, instances=2)
        before, old = pids(hello), incarnations(routed(at)[-1])
        at.add("hello", generation="two", instances=2, steps=steps)
        with pytest.raises(ReplacementError):
            await reload(at)
        await settle()
        assert (pids(hello), hello.ready) == (before, 2)
        assert incarnations(routed(at)[-1]) == old
        view = await at.orders.show("hello")
        assert (view.generation, view.error is not None) == ("one", True)
        assert_nothing_else_runs(at, hello)
        assert at.preparation.served_generations["hello"].current == "one"

    run(scenario)


def test_the_prefix_changes_with_the_workers(run):
    """And where the new one is another's, nothing changes."""

    async def scenario(at):
        at.add("other", Description(api_prefix="/app/taken"))
        hello = await serving(at, description=Description(api_prefix="/app/old"))
        old, told = incarnations(routed(at)[-1]), len(at.gateway.of(RoutingSnapshot))
        at.add("hello", Description(api_prefix="/app/taken"), generation="two")
        with pytest.raises(ReplacementError, match="belongs to plugin 'other'"):
            await reload(at)
        assert (hello.prefix, hello.state.value) == ("/app/old", "running")
        at.add("hello", Description(api_prefix="/app/new"), generation="three")
        await reload(at)
        await settle()
        seen = {(route.prefix, incarnations(route) == old) for route in routed(at, told)}
        assert seen <= {("/app/old", True), ("/app/new", False)}
        assert at.gateway.route("hello").prefix == "/app/new"

    run(scenario)


def test_a_prefix_that_is_lost_while_the_successors_start_takes_them_away(run, tmp_path):
    """Somebody else was quicker; the old prefix and the old workers stay."""

    async def scenario(at):
        hello = await serving(at, description=Description(api_prefix="/app/old"))
        go = tmp_path / "go"
        steps = ("hello", f"wait:{go}", "ready", "serve")
        at.add("hello", Description(api_prefix="/app/new"), generation="two", steps=steps)
        reloading = asyncio.create_task(reload(at))
        await until(lambda: len(at.table.tree.children) == 2, "the successor is there")
        at.services.claims.claim("quick", "/app/new")
        go.touch()
        with pytest.raises(ReplacementError, match="belongs to plugin 'quick'"):
            await reloading
        assert (hello.prefix, hello.ready) == ("/app/old", 1)
        assert_nothing_else_runs(at, hello)

    run(scenario)


@pytest.mark.parametrize("which", ["old", "new"])
def test_an_exclusive_generation_never_runs_beside_another(run, which):
    """Whichever of the two wants to be alone; requests wait meanwhile."""

    async def scenario(at):
        hello = await serving(at, exclusive=which == "old")
        (old,) = pids(hello)
        most, told = [], len(at.gateway.of(RoutingSnapshot))
        at.add("hello", generation="two", exclusive=which == "new")
        reloading = asyncio.create_task(reload(at))
        while not reloading.done():
            most.append(sum(child.pid is not None for child in at.table.tree.children))
            await asyncio.sleep(0)
        await reloading
        assert max(most) == 1
        assert pids(hello) != [old]
        assert all(route.upstreams or route.expected for route in routed(at, told))

    run(scenario)


def test_an_exclusive_one_that_fails_gives_its_place_back(run):
    """The old generation is started again, and the error stays."""

    async def scenario(at):
        hello = await serving(at, exclusive=True)
        at.add("hello", generation="two", exclusive=True, steps=FAILS)
        with pytest.raises(ReplacementError, match="no database"):
            await reload(at)
        await until(lambda: hello.ready == 1, "the old generation serves")
        view = await at.orders.show("hello")
        assert (view.generation, view.error.message) == ("one", "no database")
        assert_nothing_else_runs(at, hello)

    run(scenario)


def test_a_generation_that_a_task_stands_on_is_kept(run):
    """It follows its plugin only when its own file changes."""

    async def scenario(at):
        await serving(at)
        at.pruning.needed["hello"] = {"ancient"}
        at.add("hello", generation="two")
        await reload(at)
        await until(lambda: at.preparation.pruned["hello"] == {"one", "two", "ancient"}, "it is kept")

    run(scenario)


def test_a_failing_plugin_is_mended_by_the_next_save(run):
    """It serves nothing, so nothing has to be kept."""

    async def scenario(at):
        at.add("hello", generation="one", steps=FAILS)
        await at.discover()
        await until(lambda: at.state("hello") in {"backoff", "failed"}, "it fails")
        at.add("hello", generation="two")
        view = await reload(at)
        assert (view.state, view.generation, view.error) == ("running", "two", None)

    run(scenario)


def test_a_save_is_not_waited_with_by_two(run):
    """Whoever waits for their turn serves what the folder says then; an order that waits as well does not hide them."""

    async def scenario(at):
        hello = await serving(at)
        gate = at.preparation.gates["hello"] = asyncio.Event()
        hello.deployment.is_stale = True
        first = asyncio.create_task(hello.deployment.follow("first"))
        await settle()
        reloading = asyncio.create_task(hello.deployment.reload("operator"))
        await settle()
        second = asyncio.create_task(hello.deployment.follow("second"))
        await settle()
        gate.set()
        gate = at.preparation.gates["hello"] = asyncio.Event()
        await first
        await settle()
        third = asyncio.create_task(hello.deployment.follow("third"))
        await settle()
        assert (third.done(), second.done()) == (True, False)
        gate.set()
        await asyncio.gather(reloading, second)

    run(scenario)


def test_a_mistake_of_ours_is_tried_again(run):
    """The plugin's author can do nothing about it."""

    async def scenario(at):
        at.add_broken("hello", ValueError("in the table already"))
        at.plugins._look = lambda: None
        await at.discover()
        hello = at.plugins.named("hello")
        assert (hello.state.value, hello.error.phase) == ("failed", "internal")
        assert "xcore plugin reload hello" in hello.error.hint
        shutil.rmtree(at.directory / "hello")
        at.add("hello")
        assert hello.deployment.trouble.is_due
        await hello.deployment.follow("supervisor")
        await at.reaches("hello", "running")

    run(scenario)


def test_disable_does_not_wait_for_an_installer(run):
    """What is being done with the plugin is given up; enabled again it is done anew."""

    async def scenario(at):
        at.add("hello")
        at.preparation.gates["hello"] = asyncio.Event()
        await at.plugins.discover()
        await settle()
        view = await at.orders.disable("hello", "operator", wait=DEADLINE)
        assert (view.state, view.active, view.prefix, at.repository.active) == ("disabled", False, "", {"hello": False})
        del at.preparation.gates["hello"]
        view = await at.orders.enable("hello", "operator", wait=DEADLINE)
        assert (view.state, at.repository.active) == ("running", {"hello": True})

    run(scenario)


def test_a_disabled_plugin_has_no_process_no_prefix_and_no_jobs(run):
    """Who was refused for its prefix gets it."""

    async def scenario(at):
        await serving(at, description=Description(api_prefix="/app/x"))
        at.add("second", Description(api_prefix="/app/x"))
        await touched(at, "second")
        await until(lambda: "second" in at.plugins, "the second one is seen")
        await at.reaches("second", "refused")
        await at.orders.disable("hello", "operator", wait=DEADLINE)
        await at.reaches("second", "running")
        assert [record.cause for record in at.exits] == ["disabled"]
        assert "hello" not in at.services.jobs.jobs
        assert at.gateway.route("hello") is None
        assert at.gateway.route("second").prefix == "/app/x"

    run(scenario)


def test_disabling_gives_up_a_reload_with_its_successors(run, tmp_path):
    """Nothing of either generation is left."""

    async def scenario(at):
        await serving(at, instances=2)
        at.add("hello", generation="two", instances=2, steps=("hello", f"wait:{tmp_path / 'never'}", "ready", "serve"))
        reloading = asyncio.create_task(reload(at))
        await until(lambda: len(at.table.tree.children) == 4, "the successors are there")
        await at.orders.disable("hello", "operator", wait=DEADLINE)
        with pytest.raises(ConflictError, match="given up"):
            await reloading
        assert at.table.tree.children == []

    run(scenario)


def test_what_cannot_be_stored_is_not_done(run):
    """Row 38: 503, and the plugin is as it was."""

    async def scenario(at):
        hello = await serving(at)
        at.repository.error = StoreUnavailableError("the database is locked")
        with pytest.raises(StoreUnavailableError):
            await at.orders.disable("hello", "operator", wait=DEADLINE)
        assert (hello.active, hello.state.value, at.exits) == (True, "running", [])

    run(scenario)


def test_many_orders_at_once_end_in_the_last_one(run):
    """Row 50: fifty at once; serialised, one worker at the end, no error of ours."""

    async def scenario(at):
        hello = await serving(at)
        orders = (at.orders.disable, at.orders.enable, at.orders.restart, at.orders.reload, at.orders.enable)
        given = []
        for number in range(50):
            given.append(asyncio.create_task(ordered(orders[number % len(orders)])))
            await asyncio.sleep(0)
        assert set(await asyncio.gather(*given)) <= {None, "ConflictError", "PluginRefusedError", "ReplacementError"}
        await at.orders.enable("hello", "operator", wait=DEADLINE)
        await at.plugins.settled()
        assert (hello.state.value, len(hello.instances)) == ("running", 1)
        assert_nothing_else_runs(at, hello)

    async def ordered(order):
        try:
            await order("hello", "operator")
        except Exception as error:  # noqa: BLE001 - compared with what may come
            return type(error).__name__

    run(scenario)


def test_a_save_is_followed(run):
    """By whom it was is seen in the exits."""

    async def scenario(at):
        hello = await serving(at)
        at.add("hello", generation="two")
        await touched(at, "hello")
        await until(lambda: hello.prepared.build.generation.hash == "two", "the save is followed")
        await until(lambda: at.exits, "the old worker is gone")
        assert (at.exits[0].cause, at.exits[0].actor) == ("reload", "watcher")

    run(scenario)


@pytest.mark.parametrize("where", ["manifest", "config.json", "all"])
def test_without_autoreload_a_save_waits_for_somebody(run, where):
    """Per plugin or for all; by hand it is done."""

    async def scenario(at):
        hello = await serving(at, autoreload=where != "manifest")
        current = at.live.current
        if where == "config.json":
            at.live.replace(replace(current, plugins={"hello": PluginOverrides(autoreload=False)}))
        elif where == "all":
            plugins = current.manager.plugins.model_copy(update={"autoreload": False})
            at.live.replace(replace(current, manager=current.manager.model_copy(update={"plugins": plugins})))
        await at.plugins.settled()
        at.add("hello", generation="two", autoreload=where != "manifest")
        await touched(at, "hello")
        await until(lambda: hello.deployment.is_stale, "the save is seen")
        await at.plugins.settled()
        assert hello.prepared.build.generation.hash == "one"
        assert (await reload(at)).generation == "two"

    run(scenario)


def test_a_change_of_its_keys_in_the_configuration_is_followed(run):
    """Like a change of its folder."""

    async def scenario(at):
        hello = await serving(at)
        at.add("hello", generation="two", instances=2)
        at.live.replace(replace(at.live.current, plugins={"hello": PluginOverrides(instances=2)}))
        await until(lambda: len(hello.instances) == 2, "it has two instances")
        await at.plugins.settled()
        await hello.serving.cleared()
        assert {record.actor for record in at.exits} == {"configuration"}

    run(scenario)


DESCRIBES = ("hello", "description", "ready", "serve")


def test_the_workers_themselves_say_what_the_new_code_is(run):
    """No process validates it before: they run beside the old ones until they are ready, whatever they are."""

    async def scenario(at):
        hello = await serving(at, instances=2)
        at.preparation.assumes = True
        at.add("hello", generation="two", instances=2, steps=DESCRIBES)
        view = await reload(at)
        assert (view.generation, view.state, view.title) == ("two", "running", "Hello")
        assert at.preparation.validated == []
        assert not hello.prepared.is_assumed
        assert at.repository.registered[-1].version == "1.0"
        assert_nothing_else_runs(at, hello)

    run(scenario)


def test_code_that_claims_another_prefix_than_was_assumed_is_started_again(run):
    """Its workers were told the old one; nobody sees them."""

    async def scenario(at):
        hello = await serving(at, description=Description(api_prefix="/app/old"))
        told = len(at.gateway.of(RoutingSnapshot))
        at.preparation.assumes = True
        at.add("hello", Description(api_prefix="/app/new"), generation="two", steps=DESCRIBES)
        view = await reload(at)
        assert (view.prefix, view.state, at.preparation.validated) == ("/app/new", "running", ["hello"])
        assert {len(route.upstreams) for route in routed(at, told)} == {1}
        assert len(at.exits) == 2
        assert_nothing_else_runs(at, hello)

    run(scenario)


def test_code_is_validated_where_those_that_served_are_gone_meanwhile(run, tmp_path):
    """It was to run beside them; in their place it would serve as what was before it."""

    async def scenario(at):
        hello = await serving(at, description=Description(api_prefix="/app/old"), restart="never")
        at.preparation.assumes = True
        at.add("hello", Description(api_prefix="/app/new"), generation="two")
        prepared, examine = asyncio.Event(), at.preparation.examine

        async def watched(*arguments, **keys):
            prepared.set()
            return await examine(*arguments, **keys)

        at.preparation.examine = watched
        async with hello.deployment.lock:
            reloading = asyncio.create_task(reload(at))
            await prepared.wait()
            os.kill(hello.instances[0].pid, signal.SIGKILL)
            await until(lambda: not hello.ready, "nobody serves")
        view = await reloading
        assert (view.generation, view.prefix, view.state) == ("two", "/app/new", "running")
        assert (at.preparation.validated, hello.prepared.is_assumed) == (["hello"], False)

    run(scenario)


@pytest.mark.parametrize(
    ("step", "validated", "message"),
    [("fail", ["hello"], "no module named flask"), ("unwell", [], "it is unwell")],
)
def test_a_validator_says_all_that_is_wrong_with_code_that_workers_cannot_import(run, step, validated, message):
    """A worker stops at the first thing. What is not the code's fault is told as it is."""

    async def scenario(at):
        hello = await serving(at)
        before = pids(hello)
        at.preparation.assumes = True
        at.add("hello", generation="two", steps=("hello", f"{step}:it is unwell", "exit:1"))
        at.preparation.found["hello"] = broken()
        with pytest.raises(ReplacementError, match=message):
            await reload(at)
        assert (pids(hello), at.preparation.validated) == (before, validated)
        assert_nothing_else_runs(at, hello)

    run(scenario)


def test_a_prefix_that_comes_free_ends_the_wait_of_new_code(run):
    """Row 44: it serves under its old prefix until it gets the one that its newest code wants."""

    async def scenario(at):
        at.add("other", Description(api_prefix="/app/taken"))
        await serving(at, description=Description(api_prefix="/app/old"))
        at.add("hello", Description(api_prefix="/app/taken"), generation="two")
        with pytest.raises(ReplacementError, match="belongs to plugin 'other'"):
            await reload(at)
        await at.orders.disable("other", "operator", wait=DEADLINE)
        await until(lambda: at.plugins.named("hello").prefix == "/app/taken", "it has the prefix")
        view = await at.orders.show("hello")
        assert (view.generation, view.state, view.error) == ("two", "running", None)

    run(scenario)


def test_an_exclusive_one_that_fails_under_another_prefix_keeps_its_own(run):
    """Whoever waits for its old prefix does not get it before the new generation has proven itself."""

    async def scenario(at):
        hello = await serving(at, description=Description(api_prefix="/app/a"), exclusive=True)
        at.add("second", Description(api_prefix="/app/a"))
        await touched(at, "second")
        await until(lambda: "second" in at.plugins, "the second one is seen")
        await at.reaches("second", "refused")
        at.add("hello", Description(api_prefix="/app/b"), generation="two", exclusive=True, steps=FAILS)
        with pytest.raises(ReplacementError, match="no database"):
            await reload(at)
        await until(lambda: hello.ready == 1, "the old generation serves")
        assert (hello.prefix, at.state("second")) == ("/app/a", "refused")
        assert_nothing_else_runs(at, hello)

    run(scenario)


def test_a_save_is_not_lost_when_its_reload_is_given_up(run, tmp_path):
    """Disabled and enabled in the middle: what is served in the end is what the folder says."""

    async def scenario(at):
        hello = await serving(at)
        go = tmp_path / "go"
        at.add("hello", generation="two", steps=("hello", f"wait:{go}", "ready", "serve"))
        await touched(at, "hello")
        await until(lambda: len(at.table.tree.children) == 2, "the successor is there")
        disabled = asyncio.create_task(at.orders.disable("hello", "operator"))
        enabled = asyncio.create_task(at.orders.enable("hello", "operator", wait=DEADLINE))
        go.touch()
        await asyncio.gather(disabled, enabled)
        await until(lambda: hello.prepared and hello.prepared.build.generation.hash == "two", "the save is served")

    run(scenario)


def test_the_next_save_does_not_wait_for_workers_that_still_drain(run, tmp_path):
    """A stream may keep one for as long as stop_timeout: its name is given to the next one meanwhile."""

    async def scenario(at):
        hello = await serving(at, steps=("hello", "ready", "deaf", "serve"), stop_timeout=2)
        for generation in ("two", "three"):
            at.add("hello", generation=generation)
            view = await at.orders.reload("hello", "token:ci", wait=DEADLINE)
            assert view.generation == generation
        assert "one" in {child.spec.generation for child in at.table.tree.children}
        await at.orders.disable("hello", "operator", wait=DEADLINE)
        await until(lambda: at.table.tree.children == [], "all are gone", 10.0)
        assert hello.instances == []

    run(scenario)


def test_nothing_is_begun_once_xcore_stops(run):
    """An order may have waited for the database meanwhile."""

    async def scenario(at):
        hello = await serving(at)
        await at.plugins.close()
        with pytest.raises(ConflictError, match="xcore is stopping"):
            at.plugins.begin(hello, hello.restart("operator"))

    run(scenario)
