"""Folders that come, go, are late or have another name; records before and after them."""

import asyncio
import shutil
from types import SimpleNamespace

import pytest

from plugin_runtime.protocol import Description
from supervisor.errors import (
    ConflictError,
    InvalidValueError,
    PluginRefusedError,
    StoreUnavailableError,
)
from supervisor.preparation.generations import Served
from supervisor.watching import folder_watch, followed_directory
from tests.fakes.plugin_scene import (
    FOREVER,
    broken,
    serving,
    touched,
)
from tests.fakes.waiting import DEADLINE, until

pytestmark = [pytest.mark.process, pytest.mark.slow]


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
