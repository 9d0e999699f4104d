"""Environments built by order or anew, beside what serves: what fails is tried again, and changes nothing."""

import asyncio
import shutil

import pytest

from plugin_runtime.views import PluginError
from supervisor.environments.progress import BuildProgress
from supervisor.errors import (
    ConflictError,
)
from supervisor.preparation.preparation import PreparationError
from tests.fakes.plugin_scene import (
    assert_nothing_else_runs,
    broken,
    incarnations,
    pids,
    reload,
    routed,
    serving,
)
from tests.fakes.waiting import DEADLINE, settle, until

pytestmark = [pytest.mark.process, pytest.mark.slow]


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
