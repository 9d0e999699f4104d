"""What serves a plugin: replaced whole or not at all, by overlap or in turn, and gone when it is to be gone."""

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from plugin_runtime.protocol import Cause, Description, PluginSchema
from supervisor.errors import PluginRefusedError
from supervisor.plugins.serving import OtherwiseError, Serving
from supervisor.preparation.manifest import parse_manifest
from supervisor.preparation.preparation import PreparationError
from tests.fakes.plugin_scene import pids, serving
from tests.fakes.processes import exists
from tests.fakes.waiting import DEADLINE, settle, until

pytestmark = [pytest.mark.process, pytest.mark.slow]

FAILS = ("hello", "fail:no database", "exit:1")
DESCRIBES = ("hello", "description", "ready", "serve")
"""What a worker says is that it claims the default prefix."""


def prepared(at, generation="two", assumed=False, **keys):
    """Another generation of hello, as a preparation leaves it."""
    at.add("hello", generation=generation, **keys)
    plan = at.preparation.plans["hello"]
    return replace(plan, is_assumed=assumed)


async def replaced(plugin, new, count=1):
    await plugin.serving.replace(new, count, Cause.RELOAD, "token:ci")


async def without_workers(at, **keys):
    """Hello, whose only worker is dead for good, so that what comes next does not overlap with anything."""
    plugin = await serving(at, restart="never", **keys)
    os.kill(plugin.instances[0].pid, signal.SIGKILL)
    await until(lambda: plugin.state.value == "failed", "its worker is dead")
    return plugin


def assert_serves(at, plugin, generation, count=1):
    """All of it, and no other process of that name is left."""
    assert plugin.serving.prepared.build.generation.hash == generation
    assert (plugin.ready, len(plugin.instances)) == (count, count)
    assert {child for child in at.table.tree.children if child.spec.name == "hello"} == set(plugin.instances)
    assert all(exists(pid) for pid in pids(plugin))


# --- nothing yet --------------------------------------------------------------------------------------------


def test_before_anything_is_started_there_is_nothing_of_it(run):
    """Whoever shows a plugin need not ask whether there is one."""

    async def scenario(at):
        empty = Serving("hello", at.services, lambda: None)
        shown = (empty.children, empty.linked, empty.notes, empty.ready, empty.restarts, empty.template, empty.error)
        assert shown == ([], [], [], 0, 0, "", None)
        assert (empty.is_expected, empty.is_over, empty.last_exit) == (False, True, None)
        await empty.settled()
        await empty.retire(Cause.DISABLED, "operator")
        await empty.cleared()
        await empty.close()
        assert empty.is_over

    run(scenario)


@pytest.mark.parametrize(
    ("ready", "before", "after", "overlaps"),
    [
        (1, False, False, True),
        (0, False, False, False),
        (1, True, False, False),
        (1, False, True, False),
        (1, True, True, False),
    ],
)
def test_generations_overlap_where_one_serves_and_none_wants_to_be_alone(run, ready, before, after, overlaps):
    """The old one need not be exclusive: the new one may be."""

    async def scenario(at):
        hello = await (serving if ready else without_workers)(at, exclusive=before)
        assert hello.serving.is_overlapping(parse_manifest("hello", None, {"exclusive": after})) is overlaps

    run(scenario)


# --- replacing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alone", [False, True], ids=["overlap", "in turn"])
def test_a_replacement_that_is_refused_has_touched_nothing(run, alone):
    """Not even in turn, where the old one would have to end first."""

    async def scenario(at):
        at.services.claims.claim("shop", "/shop")
        hello = await serving(at, exclusive=alone)
        before = pids(hello)
        with pytest.raises(PluginRefusedError, match="belongs to plugin 'shop'"):
            await replaced(hello, prepared(at, prefix="/shop", exclusive=alone))
        assert (pids(hello), at.exits, hello.prefix) == (before, [], "/app/hello")
        assert_serves(at, hello, "one")

    run(scenario)


def test_one_that_died_comes_back_as_it_was_where_the_new_one_fails(run):
    """Nobody served meanwhile, so the old ones are tried once more: as many as there were."""

    async def scenario(at):
        hello = await without_workers(at)
        with pytest.raises(PreparationError, match="no database"):
            await replaced(hello, prepared(at, steps=FAILS), count=3)
        await hello.serving.settled()
        assert_serves(at, hello, "one")

    run(scenario)


def test_a_mistake_of_ours_in_mid_replacement_leaves_the_plugin_served(run):
    """Here a process that nobody knows of has the name of one that is to be started."""

    async def scenario(at):
        hello = await without_workers(at)
        at.table.add(id="hello.2", name="stranger")
        with pytest.raises(ValueError, match=r"'hello\.2' is in the process table already"):
            await replaced(hello, prepared(at), count=2)
        await hello.serving.settled()
        assert_serves(at, hello, "one")
        await replaced(hello, prepared(at))
        await hello.serving.cleared()
        assert_serves(at, hello, "two")

    run(scenario)


@pytest.mark.parametrize("steps", [DESCRIBES, ("hello", "ready", "serve")], ids=["another prefix", "no word"])
def test_one_that_is_not_what_was_assumed_of_it_is_taken_away(run, steps):
    """It would be served under a prefix that its code does not claim; what was before is there again."""

    async def scenario(at):
        former = Description(api_prefix="/app/old")
        hello = await serving(at, description=former)
        with pytest.raises(OtherwiseError):
            await replaced(hello, prepared(at, assumed=True, description=former, steps=steps))
        await hello.serving.settled()
        assert (hello.prefix, hello.prepared.is_assumed) == ("/app/old", False)
        assert_serves(at, hello, "one")

    run(scenario)


def test_a_save_whose_only_worker_dies_meanwhile_moves_to_the_prefix_it_claims(run):
    """All the way from the order: the validator has the last word, since nobody may assume any more."""

    async def scenario(at):
        hello = await serving(at, description=Description(api_prefix="/app/old"), restart="never")
        at.preparation.assumes = True
        at.add("hello", Description(api_prefix="/app/new"), generation="two", steps=DESCRIBES)
        async with hello.deployment.lock:
            reload = asyncio.create_task(at.orders.reload("hello", "token:ci", wait=DEADLINE))
            await until(lambda: hello.progress is not None, "it is prepared, and waits for its turn")
            await settle()
            os.kill(hello.instances[0].pid, signal.SIGKILL)
            await until(lambda: not hello.ready, "the worker is dead")
        view = await reload
        assert (view.prefix, view.state, view.error) == ("/app/new", "running", None)
        assert at.preparation.validated == ["hello"]
        assert_serves(at, hello, "two")

    run(scenario)


# --- the end ------------------------------------------------------------------------------------------------


def test_it_is_over_when_its_last_process_and_its_prefix_are_gone(run, tmp_path):
    """Until then whoever comes by the same name would meet its processes."""

    async def scenario(at):
        hello = await serving(at, steps=("hello", "ready", "deaf", "serve"), stop_timeout=1)
        assert not hello.serving.is_over
        retired = asyncio.create_task(hello.serving.retire(Cause.DISABLED, "operator"))
        await settle()
        assert (hello.instances, hello.serving.is_over) == ([], False)
        await retired
        assert not hello.serving.is_over
        hello.serving.held.release()
        assert hello.serving.is_over
        assert at.table.tree.children == []

    run(scenario)


def test_whoever_gives_up_waiting_for_the_end_does_not_keep_anybody_from_leaving(run):
    """And whoever starts the next ones can wait for it."""

    async def scenario(at):
        hello = await serving(at, instances=2)
        retired = asyncio.create_task(hello.serving.retire(Cause.DISABLED, "operator"))
        await settle()
        retired.cancel()
        await asyncio.wait([retired])
        await hello.serving.cleared()
        assert at.table.tree.children == []
        assert [record.cause for record in at.exits] == ["disabled", "disabled"]

    run(scenario)


def test_with_its_workers_its_document_goes(run):
    """Gateways would show routes of a plugin that is not there any more."""

    async def scenario(at):
        hello = await serving(at, steps=("hello", "ready:documented", "serve"))
        await until(lambda: at.gateway.of(PluginSchema), "its document is passed on")
        await hello.serving.retire(Cause.DISABLED, "operator")
        assert at.gateway.of(PluginSchema)[-1] == PluginSchema("hello", "", "")

    run(scenario)


@pytest.mark.parametrize("dead", [False, True], ids=["overlap", "in turn"])
def test_successors_under_way_at_the_close_are_left_to_the_tree(run, tmp_path, dead):
    """It stops them with all else; or they serve on, and the next supervisor takes them over."""

    async def scenario(at):
        hello = await (without_workers if dead else serving)(at)
        gated = ("hello", f"wait:{tmp_path}/gate", "ready", "serve")
        replacement = asyncio.create_task(replaced(hello, prepared(at, steps=gated)))
        await until(lambda: "two" in {child.spec.generation for child in at.table.tree.children}, "it is begun")
        (successor,) = (child for child in at.table.tree.children if child.spec.generation == "two")
        await until(lambda: successor.pid, "it has a process")
        await hello.serving.close()
        replacement.cancel()
        await asyncio.wait([replacement])
        await settle()
        assert successor in at.table.tree.children
        assert exists(successor.pid)
        assert not hello.serving.is_expected or not dead

    run(scenario)


def test_what_does_not_work_is_noted_whoever_says_so(run):
    """The settings it was made with, and processes that serve all the same."""

    async def scenario(at):
        hello = await serving(at)
        object.__setattr__(hello.prepared.build, "notes", ["cannot read .env, line 3"])
        hello.serving.workers.notes.said(hello.instances[0], ["its queue is gone"])
        assert hello.notes == ["cannot read .env, line 3", "its queue is gone"]

    run(scenario)


def test_a_prefix_that_is_given_up_is_no_route_any_more(run):
    """And whoever was refused for it is tried again."""

    async def scenario(at):
        at.add("second", Description(api_prefix="/app/a"))
        at.services.claims.claim("first", "/app/a")
        await at.discover()
        first = Serving("first", at.services, lambda: None)
        first.held.take("/app/a")
        assert at.state("second") == "refused"
        first.held.release()
        await at.reaches("second", "running")

    run(scenario)
