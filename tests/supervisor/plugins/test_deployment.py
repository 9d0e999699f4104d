"""A reload is a transaction: the new generation takes over whole, or nothing has changed for anybody."""

import asyncio
import os
import shutil
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest

from plugin_runtime.protocol import Description, RoutingSnapshot
from plugin_runtime.views import PluginError
from supervisor.config.plugin_keys import PluginOverrides
from supervisor.environments.progress import BuildProgress
from supervisor.errors import (
    ConflictError,
    InvalidValueError,
    PluginRefusedError,
    ReplacementError,
    StoreUnavailableError,
)
from supervisor.preparation.generations import Served
from supervisor.preparation.preparation import PreparationError
from supervisor.watching import folder_watch, followed_directory
from tests.fakes.plugin_scene import FOREVER, broken, pids, serving
from tests.fakes.processes import exists
from tests.fakes.waiting import DEADLINE, settle, until

pytestmark = [pytest.mark.process, pytest.mark.slow]

FAILS = ("hello", "fail:no database", "exit:1")


async def reload(at):
    """Return when the workers before are gone, too."""
    view = await at.orders.reload("hello", "token:ci", wait=DEADLINE)
    await at.plugins.named("hello").serving.cleared()
    return view


def routed(at, since=0):
    """The route of hello in each snapshot that has it."""
    snapshots = at.gateway.of(RoutingSnapshot)[since:]
    return [route for snapshot in snapshots for route in snapshot.routes if route.plugin == "hello"]


def incarnations(route):
    return {upstream.incarnation for upstream in route.upstreams}


def assert_nothing_else_runs(at, plugin):
    assert set(at.table.tree.children) == set(plugin.instances)
    assert all(exists(pid) for pid in pids(plugin))


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


def killed():
    return PreparationError(PluginError("environment", "BuildInterrupted", "killed by signal 9"))


async def install(at, wait=DEADLINE):
    return await at.orders.install("hello", "token:ci", wait=wait)


def test_an_installation_takes_over_as_a_reload_does(run):
    """The new environment makes another generation of the same code; the old one serves until then."""

    async def scenario(at):
        hello = await serving(at)
        before, old = pids(hello), incarnations(routed(at)[-1])
        at.preparation.installing["hello"] = [lambda: at.add("hello", generation="two")]
        view = await install(at)
        await hello.serving.cleared()
        assert at.preparation.installed == ["hello"]
        assert (view.generation, view.state, view.error, view.progress) == ("two", "running", None, None)
        assert [(record.pid, record.cause) for record in at.exits] == [(before[0], "reload")]
        assert incarnations(routed(at)[-1]) != old
        assert_nothing_else_runs(at, hello)
        assert at.pruning.asked >= 2

    run(scenario)


def test_an_installation_that_fails_leaves_what_serves(run):
    """The error is shown, and code that is saved next does not have to wait for the environment."""

    async def scenario(at):
        hello = await serving(at)
        before = pids(hello)
        at.preparation.installing["hello"] = [broken("no such package"), broken("no such package")]
        with pytest.raises(ConflictError, match="no such package"):
            await install(at)
        assert (pids(hello), hello.state.value, hello.error.message) == (before, "running", "no such package")
        at.add("hello", generation="two")
        assert (await reload(at)).generation == "two"
        assert at.preparation.installed == ["hello"]

    run(scenario)


def test_an_installation_whose_installer_is_killed_is_tried_again(run):
    """Somebody's hand, or want of memory: nobody has to ask once more."""

    async def scenario(at):
        await serving(at)
        at.preparation.installing["hello"] = [killed(), killed(), lambda: at.add("hello", generation="two")]
        with pytest.raises(ConflictError, match="killed by signal 9"):
            await install(at)
        await until(lambda: at.plugins.named("hello").prepared.build.generation.hash == "two", "it is built after all")
        assert at.preparation.installed == ["hello"] * 3

    run(scenario)


def test_a_plugin_that_has_failed_is_tried_again_at_once(run):
    """By an installation of its environment, which may be what was broken."""

    async def scenario(at):
        at.add_broken("hello", broken())
        await at.discover()
        assert at.state("hello") == "failed"
        shutil.rmtree(at.directory / "hello")
        at.add("hello")
        view = await install(at)
        assert (view.state, view.error, at.preparation.installed) == ("running", None, ["hello"])

    run(scenario)


def test_a_first_build_that_was_killed_is_tried_again_by_itself(run):
    """Nothing serves, and nobody is there to see it."""

    async def scenario(at):
        at.add_broken("hello", killed())
        await at.discover()
        assert at.state("hello") == "failed"
        shutil.rmtree(at.directory / "hello")
        at.add("hello")
        await at.reaches("hello", "running")

    run(scenario)


def test_a_build_that_is_killed_each_time_is_not_tried_for_ever(run):
    """After the limit it is only probed, as a worker that crashes."""

    async def scenario(at):
        at.add_broken("hello", killed())
        at.plugins._look = lambda: None
        await at.discover()
        deployment = at.plugins.named("hello").deployment
        for _ in range(2):
            await until(lambda: deployment.trouble.is_due, "it is tried again")
            await deployment.follow("supervisor")
        clock = at.services.around.clock.monotonic()
        assert not deployment.trouble._retries.is_due(clock + 60.0)

    run(scenario)


@pytest.mark.parametrize("outcome", ["built", "failed"])
def test_the_environment_of_a_disabled_plugin_is_only_built(run, outcome):
    """No process, no prefix; when it is enabled it is ready."""

    async def scenario(at):
        at.add("hello")
        at.repository.knows("hello", "/app/hello", active=False)
        await at.discover()
        at.preparation.installing["hello"] = [killed()] if outcome == "failed" else []
        if outcome == "failed":
            with pytest.raises(ConflictError, match="killed"):
                await install(at)
        else:
            await install(at)
        view = await at.orders.show("hello")
        assert (view.state, view.prefix, at.preparation.installed) == ("disabled", "", ["hello"])
        assert (view.error is None) == (outcome == "built")
        assert at.table.tree.children == []
        await settle()
        assert at.preparation.installed == ["hello"]

    run(scenario)


def test_a_plugin_without_a_folder_has_nothing_to_install(run):
    """It says so at once."""

    async def scenario(at):
        await serving(at)
        shutil.rmtree(at.directory / "hello")
        with pytest.raises(ConflictError, match="cannot install plugin 'hello': there is no folder"):
            await install(at)

    run(scenario)


def test_what_is_being_built_is_shown_while_the_old_one_serves(run):
    """Step, last line, and since when."""

    async def scenario(at):
        hello = await serving(at)
        building, go_on = asyncio.Event(), asyncio.Event()

        async def build_anew(name, folder, on_progress):
            on_progress(BuildProgress("installing dependencies"))
            on_progress(BuildProgress("installing dependencies", "- Installing six"))
            building.set()
            await go_on.wait()

        at.preparation.build_anew = build_anew
        installing = asyncio.create_task(install(at))
        await building.wait()
        view = await at.orders.show("hello")
        assert (view.state, view.progress.step, view.progress.line) == (
            "running", "installing dependencies", "- Installing six",
        )  # fmt: skip
        assert view.progress.seconds >= 0
        go_on.set()
        await installing
        assert hello.progress is None

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


def test_rollback_goes_to_the_generation_before_and_stays_there(run):
    """Until the folder says something else; with nothing before it is a conflict."""

    async def scenario(at):
        hello = await serving(at)
        with pytest.raises(ConflictError, match="no other generation has served before"):
            await at.orders.rollback("hello", "operator")
        at.add("hello", generation="two")
        await reload(at)
        view = await at.orders.rollback("hello", "operator", wait=DEADLINE)
        await hello.serving.cleared()
        assert (view.generation, view.state) == ("one", "running")
        assert at.exits[-1].cause == "rollback"
        assert at.preparation.served_generations["hello"] == Served("one", withdrawn="two")
        before = pids(hello)
        hello.deployment.is_stale = True
        await hello.deployment.follow("watcher")
        assert (hello.prepared.build.generation.hash, pids(hello)) == ("one", before)
        at.add("hello", generation="three")
        hello.deployment.is_stale = True
        await hello.deployment.follow("watcher")
        assert hello.prepared.build.generation.hash == "three"
        assert at.preparation.served_generations["hello"] == Served("three", before="one")

    run(scenario)


def test_an_error_is_gone_when_the_files_are_again_those_that_were_rolled_back(run):
    """A broken save in between leaves no mark: what serves is what the operator wants."""

    async def scenario(at):
        hello = await serving(at)
        at.add("hello", generation="two")
        await reload(at)
        await at.orders.rollback("hello", "operator", wait=DEADLINE)
        for plan, error in ((broken(), "no module named flask"), (at.preparation.kept["hello", "two"], None)):
            at.preparation.plans["hello"] = plan
            hello.deployment.is_stale = True
            await hello.deployment.follow("watcher")
            assert (hello.error and hello.error.message, hello.prepared.build.generation.hash) == (error, "one")

    run(scenario)


def test_a_save_that_only_its_workers_find_broken_forgives_nothing(run):
    """What was rolled back does not come back with the files that it was made from."""

    async def scenario(at):
        hello = await serving(at)
        at.add("hello", generation="two")
        await reload(at)
        await at.orders.rollback("hello", "operator", wait=DEADLINE)
        at.preparation.assumes = True
        at.add("hello", generation="three", steps=("hello", "unwell:it is unwell", "exit:1"))
        await touched(at, "hello")
        await until(lambda: hello.error is not None, "it is refused")
        at.add("hello", generation="two")
        await touched(at, "hello", text="x = 2")
        await until(lambda: hello.error is None, "the files are what they were")
        assert hello.prepared.build.generation.hash == "one"
        assert at.preparation.served_generations["hello"] == Served("one", withdrawn="two")

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


def test_a_plugin_that_is_rolled_back_says_so_while_it_is_served(run):
    """Its folder has other code than answers, and nothing is wrong with it."""

    async def scenario(at):
        await serving(at)
        at.add("hello", generation="two")
        assert (await reload(at)).notes == []
        view = await at.orders.rollback("hello", "operator", wait=DEADLINE)
        (note,) = view.notes
        assert "generation one serves since the plugin was rolled back" in note
        assert (view.error, view.outdated) == (None, False)
        assert (await at.orders.disable("hello", "operator", wait=DEADLINE)).notes == []
        assert (await at.orders.enable("hello", "operator", wait=DEADLINE)).notes == [note]
        assert (await reload(at)).notes == []

    run(scenario)


def test_reload_by_hand_takes_up_again_what_was_rolled_back(run):
    """An operator's word is newer than an operator's word."""

    async def scenario(at):
        hello = await serving(at)
        at.add("hello", generation="two")
        await reload(at)
        await at.orders.rollback("hello", "operator", wait=DEADLINE)
        await reload(at)
        assert hello.prepared.build.generation.hash == "two"

    run(scenario)


def test_what_was_rolled_back_is_served_again_once_the_folder_has_said_something_else(run):
    """Even if that was just what serves: somebody has taken the change back, and made it anew."""

    async def scenario(at):
        hello = await serving(at)
        at.add("hello", generation="two")
        await reload(at)
        await at.orders.rollback("hello", "operator", wait=DEADLINE)
        assert at.preparation.served_generations["hello"] == Served("one", withdrawn="two")
        at.add("hello", generation="one")
        await touched(at, "hello")
        await until(lambda: at.preparation.served_generations["hello"] == Served("one"), "it is forgiven")
        at.add("hello", generation="two")
        await touched(at, "hello", text="x = 2")
        await until(lambda: hello.prepared.build.generation.hash == "two", "it is served")
        assert at.preparation.served_generations["hello"] == Served("two", before="one")

    run(scenario)


def test_a_rollback_that_fails_leaves_what_serves(run):
    """The former code may not start any more."""

    async def scenario(at):
        hello = await serving(at)
        at.add("hello", generation="two")
        await reload(at)
        before = pids(hello)
        object.__setattr__(at.preparation.kept["hello", "one"].build, "steps", FAILS)
        with pytest.raises(ReplacementError, match="no database"):
            await at.orders.rollback("hello", "operator", wait=DEADLINE)
        assert (pids(hello), hello.prepared.build.generation.hash) == (before, "two")
        assert_nothing_else_runs(at, hello)

    run(scenario)


def test_a_rollback_neither_waits_for_a_build_nor_takes_its_copy(run):
    """Old copies are removed when the build is done, by what is needed then; orders have their turn before."""

    async def scenario(at):
        hello = await serving(at)
        at.add("hello", generation="two")
        await reload(at)
        await until(lambda: at.preparation.pruned["hello"] == {"one", "two"}, "nothing is being removed")
        at.preparation.free.clear()
        asked = at.pruning.asked
        examining, go_on = asyncio.Event(), asyncio.Event()
        examine = at.preparation.examine

        async def slow(build, before=None, *, may_assume=False):
            examining.set()
            await go_on.wait()
            return await examine(build, before, may_assume=may_assume)

        at.preparation.examine = slow
        at.add("hello", generation="three")
        reloading = asyncio.create_task(reload(at))
        await examining.wait()
        view = await at.orders.rollback("hello", "operator", wait=DEADLINE)
        assert view.generation == "one"
        await at.orders.scale("hello", 2, "operator", wait=DEADLINE)
        assert (hello.ready, at.pruning.asked) == (2, asked)
        at.preparation.free.set()
        await until(lambda: "three" in at.preparation.pruned["hello"], "the copy in the making is kept")
        await until(lambda: at.pruning.asked > asked, "environments are looked through after that")
        go_on.set()
        assert (await reloading).generation == "three"

    run(scenario)


def test_broken_code_at_the_start_is_served_as_it_was(run):
    """A save while xcore was down: what served last is there still, and the error is shown."""

    async def scenario(at):
        at.add("hello", generation="one")
        at.preparation.served_generations["hello"] = Served("one")
        at.preparation.plans["hello"] = broken()
        await at.discover()
        hello = await at.reaches("hello", "running")
        assert (hello.prepared.build.generation.hash, hello.error.message) == ("one", "no module named flask")

    run(scenario)


def test_what_was_rolled_back_is_not_served_at_the_next_start(run):
    """The folder still says it."""

    async def scenario(at):
        at.add("hello", generation="one")
        at.add("hello", generation="two")
        at.preparation.served_generations["hello"] = Served("one", withdrawn="two")
        await at.discover()
        hello = await at.reaches("hello", "running")
        assert hello.prepared.build.generation.hash == "one"

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


async def touched(at, name, file="main.py", text="x = 1"):
    """Save a file of a plugin."""
    (at.directory / name).mkdir(exist_ok=True)
    (at.directory / name / file).write_text(text)


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


def test_a_new_folder_is_served_and_one_that_is_gone_is_disabled(run, caplog):
    """It drains, and stays disabled when the folder is back."""

    async def scenario(at):
        await serving(at)
        at.preparation.plan(at.root, "shop", app="main:app")
        await touched(at, "shop")
        await until(lambda: "shop" in at.plugins.health(), "the new folder is seen")
        await at.reaches("shop", "running")
        shutil.rmtree(at.directory / "shop")
        await at.reaches("shop", "disabled")
        await at.plugins.settled()
        assert at.repository.active == {"shop": False}
        assert [(record.name, record.cause) for record in at.exits] == [("shop", "disabled")]
        await touched(at, "shop")
        await until(lambda: "is there; it stays disabled" in caplog.text, "it is said")
        assert at.state("shop") == "disabled"
        await at.orders.enable("shop", "operator", wait=DEADLINE)
        assert at.state("shop") == "running"

    run(scenario)


def test_one_that_vanishes_in_mid_reload_holds_nothing_whatever_the_database_says(run):
    """The reload would fail for want of a folder, and keep the prefix of a plugin that is not served."""

    async def scenario(at):
        hello = await serving(at)
        at.preparation.gates["hello"] = asyncio.Event()
        await touched(at, "hello")
        await until(lambda: at.preparation.calls == ["hello", "hello"], "it is being prepared")
        at.repository.error = StoreUnavailableError("locked")
        at.preparation.plans["hello"] = broken("there is no such folder")
        shutil.rmtree(at.directory / "hello")
        await until(lambda: hello.state.value == "disabled" and hello.serving.is_over, "it is gone")
        at.preparation.gates["hello"].set()
        await at.plugins.settled()
        assert (hello.prefix, hello.error, hello.serving.is_over) == ("", None, True)

    run(scenario)


def test_a_plugin_without_a_folder_cannot_be_enabled(run):
    """It has a record, and nothing to serve."""

    async def scenario(at):
        at.add("hello")
        at.repository.knows("ghost", active=True)
        await at.discover()
        await at.reaches("ghost", "disabled")
        assert at.repository.active == {"ghost": False}
        with pytest.raises(ConflictError, match=r"there is no folder .*; put it there, .*: xcore plugin remove ghost"):
            await at.orders.enable("ghost", "operator")

    run(scenario)


@pytest.fixture
def looks(monkeypatch):
    """No look at the directory comes by itself but that of the start."""
    for delay in ("QUIET", "LONGEST_WAIT"):
        monkeypatch.setattr(folder_watch, delay, FOREVER)
    monkeypatch.setattr(followed_directory, "SECOND_LOOK", FOREVER)


@pytest.mark.usefixtures("looks")
def test_a_folder_that_is_away_while_xcore_starts_is_served_when_it_is_back(run):
    """A deployment replaces it at that moment. Autoreload or not: it is the folder that came, not a change of it."""

    async def scenario(at):
        at.add("hello")
        at.preparation.plan(at.root, "shop", app="main:app", autoreload=False)
        at.repository.knows("shop", "/shop")
        (at.directory / "shop").rename(at.directory / ".aside")
        await at.discover()
        await at.reaches("hello", "running")
        view = await at.orders.show("shop")
        assert (view.state, view.active, view.error.type) == ("failed", True, "FolderMissing")
        assert view.error.message == f"there is no folder {at.directory / 'shop'}"
        (at.directory / ".aside").rename(at.directory / "shop")
        await at.look()
        await at.reaches("shop", "running")
        assert (at.plugins.named("shop").error, at.repository.active) == (None, {})

    run(scenario)


@pytest.mark.usefixtures("looks")
def test_a_folder_that_has_another_name_since_the_last_start_has_its_prefix_at_once(run):
    """The one of the old name is awaited; it keeps its prefix from nobody, and has it where nobody else wants it."""

    async def scenario(at):
        for name in ("gone", "away"):
            at.repository.knows(name, f"/{name}")
        at.add("hello", Description(api_prefix="/gone"))
        await at.discover()
        await at.reaches("hello", "running")
        assert at.gateway.route("hello").prefix == "/gone"
        assert [at.plugins.named(name).prefix for name in ("gone", "away")] == ["", "/away"]

    run(scenario)


@pytest.mark.usefixtures("looks")
@pytest.mark.parametrize("autoreload", [True, False])
def test_workers_that_outlived_a_supervisor_serve_beside_the_error_of_a_missing_folder(run, monkeypatch, autoreload):
    """As long as nobody sees that it is away, a plugin that starts no new worker looks as if all was well."""

    async def scenario(at):
        at.preparation.plan(at.root / "kept", "shop", app="main:app", autoreload=autoreload)
        at.preparation.served_generations["shop"] = Served(at.preparation.plans["shop"].build.generation.hash)
        at.repository.knows("shop", "/shop")
        at.add("hello")
        former = SimpleNamespace(generation=at.preparation.plans["shop"].build.generation.hash)
        monkeypatch.setattr(at.services.around.survivors, "of", lambda name, _kind: [former] if name == "shop" else [])
        await at.discover()
        await at.reaches("shop", "running")
        view = await at.orders.show("shop")
        assert (view.error.type, view.error.message) == ("FolderMissing", f"there is no folder {at.directory / 'shop'}")
        assert "xcore plugin disable shop" in view.error.hint
        (at.directory / "shop").mkdir()
        await at.look()
        await at.plugins.settled()
        assert (at.state("shop"), at.plugins.named("shop").error) == ("running", None)

    run(scenario)


@pytest.mark.usefixtures("looks")
@pytest.mark.parametrize("mount_point", [True, False], ids=["empty", "absent"])
def test_a_plugin_directory_that_is_late_disables_nothing(run, mount_point, caplog):
    """It is mounted after xcore has started: what is written down outlives the next start, too."""

    async def scenario(at):
        at.preparation.plan(at.root, "shop", app="main:app")
        at.repository.knows("shop")
        at.repository.knows("gone")
        at.directory.rename(at.root / "disk")
        if mount_point:
            at.directory.mkdir()
        await at.discover()
        for _ in range(3):
            await at.look()
        assert (at.state("shop"), at.state("gone"), at.repository.active) == ("failed", "failed", {})
        if mount_point:
            at.directory.rmdir()
        (at.root / "disk").rename(at.directory)
        await at.look()
        await at.reaches("shop", "running")
        await at.look()
        await at.reaches("gone", "disabled")
        await at.plugins.settled()
        assert at.repository.active == {"gone": False}

    run(scenario)
    assert "Plugin shop is not served before its folder is there: the plugin directory " in caplog.text


@pytest.mark.usefixtures("looks")
def test_one_that_was_disabled_while_its_folder_was_away_stays_so(run, caplog):
    """And one that was forgotten counts as new."""

    async def scenario(at):
        for name in ("one", "two"):
            at.preparation.plan(at.root, name, app="main:app")
            at.repository.knows(name)
        at.directory.rename(at.root / "disk")
        await at.discover()
        for name in ("one", "two"):
            await at.orders.disable(name, "operator", wait=DEADLINE)
        await at.orders.delete("two", "operator")
        at.repository.rows = [row for row in at.repository.rows if row.name != "two"]
        (at.root / "disk").rename(at.directory)
        await at.look()
        await at.reaches("two", "running")
        assert at.state("one") == "disabled"

    run(scenario)
    assert "The folder of plugin one is there; it stays disabled" in caplog.text


def test_a_record_may_come_before_its_folder(run):
    """It is not served before somebody enables it; only what is disabled is forgotten."""

    async def scenario(at):
        await at.discover()
        view = await at.orders.add("shop", "operator", author="Ada", api_prefix="/shop/")
        assert (view.state, view.active, view.author) == ("disabled", False, "Ada")
        with pytest.raises(ConflictError, match="there is one of that name"):
            await at.orders.add("shop", "operator")
        view = await at.orders.update("shop", "operator", version="2.0")
        assert (view.version, view.state) == ("2.0", "disabled")
        at.preparation.plan(at.root, "shop")
        await touched(at, "shop")
        await at.plugins.settled()
        assert at.state("shop") == "disabled"
        await at.orders.enable("shop", "operator", wait=DEADLINE)
        with pytest.raises(ConflictError, match="it is enabled; disable it first"):
            await at.orders.delete("shop", "operator")
        await at.orders.disable("shop", "operator", wait=DEADLINE)
        assert await at.orders.delete("shop", "operator") == {"name": "shop", "folder": str(at.directory / "shop")}
        assert (at.state("shop"), at.repository.forgotten) == ("disabled", ["shop"])
        shutil.rmtree(at.directory / "shop")
        assert await at.orders.delete("shop", "operator") == {"name": "shop", "folder": ""}
        assert "shop" not in at.plugins

    run(scenario)


def test_a_plugin_is_not_forgotten_before_its_processes_are_gone(run):
    """Its folder may come back at once: a new plugin of the name would meet the workers of the old one."""

    async def scenario(at):
        hello = await serving(at, steps=("hello", "ready", "deaf", "serve"), stop_timeout=1)
        shutil.rmtree(at.directory / "hello")
        await at.reaches("hello", "disabled")
        with pytest.raises(ConflictError, match="cannot forget plugin 'hello': it is still being stopped"):
            await at.orders.delete("hello", "operator")
        assert at.repository.forgotten == []
        await until(lambda: not hello.is_leaving, "its worker is gone")
        assert at.table.tree.children == []
        await at.orders.delete("hello", "operator")
        assert "hello" not in at.plugins

    run(scenario)


@pytest.mark.parametrize(
    ("name", "facts", "error"),
    [
        ("-rf", {}, PluginRefusedError),
        ("supervisor", {}, PluginRefusedError),
        ("shop", {"api_prefix": "shop"}, InvalidValueError),
        ("shop", {"api_prefix": "/a/../b"}, InvalidValueError),
    ],
)
def test_a_record_of_what_can_be_no_plugin_is_refused(run, name, facts, error):
    """With the rule that a folder of that name, or its code, would meet later."""

    async def scenario(at):
        await at.discover()
        with pytest.raises(error):
            await at.orders.add(name, "operator", **facts)
        assert list(at.plugins) == []

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


def test_what_is_forgotten_between_two_looks_hides_nothing_else(run):
    """The second look tells of a folder that nobody knows any more, and of one that is new."""

    async def scenario(at):
        at.preparation.plan(at.root, "gone")
        await touched(at, "gone")
        at.repository.knows("gone", active=False)
        await at.discover()
        shutil.rmtree(at.directory / "gone")
        await at.orders.delete("gone", "operator")
        at.preparation.plan(at.root, "shop", app="main:app")
        await touched(at, "shop")
        await until(lambda: "shop" in at.plugins, "the new one is seen")
        await at.reaches("shop", "running")
        assert "gone" not in at.plugins

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
