"""One step back, at once, which holds until the folder says something else; and code that is broken at the start."""

import asyncio

import pytest

from supervisor.errors import (
    ConflictError,
    ReplacementError,
)
from supervisor.preparation.generations import Served
from tests.fakes.plugin_scene import (
    FAILS,
    assert_nothing_else_runs,
    broken,
    pids,
    reload,
    serving,
    touched,
)
from tests.fakes.waiting import DEADLINE, until

pytestmark = [pytest.mark.process, pytest.mark.slow]


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
