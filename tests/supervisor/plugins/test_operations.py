"""What can be asked of plugins: by whom it is refused before anything is begun, and what who waits is told."""

import asyncio
import inspect
import shutil

import pytest

from plugin_runtime.protocol import Description
from supervisor.config.plugin_keys import MOST_INSTANCES
from supervisor.errors import (
    ConflictError,
    InvalidValueError,
    StoreUnavailableError,
    TookTooLongError,
    UnknownNameError,
)
from supervisor.plugins import operations
from tests.fakes.plugin_scene import broken, serving
from tests.fakes.waiting import DEADLINE, settle, until

pytestmark = [pytest.mark.process, pytest.mark.slow]

ORDERS = {"restart", "reload", "rollback", "install", "enable", "disable", "scale"}
"""They begin something, and can be waited for."""
CHANGES = ORDERS | {"add", "update", "delete"}
OF_DISABLED = {"install", "enable", "disable", "update", "delete"}
"""What may be asked of a plugin that is disabled."""
LOOKS = {"show", "logs"}


def ask(at, operation, name="hello", **arguments):
    """As the command socket does, with what the operation cannot do without."""
    call = at.orders.operations[f"plugins.{operation}"]
    wanted = {"name": name, "actor": "token:ci", "instances": 1}
    return call(
        **{key: value for key, value in wanted.items() if key in inspect.signature(call).parameters}, **arguments
    )


async def disabled(at, name="hello"):
    """A plugin with a folder, that nobody wants."""
    at.repository.knows(name, active=False)
    at.add(name)
    await at.discover()
    return at.plugins.named(name)


async def arrives(at, description=None):
    """A folder that comes while everything runs."""
    at.add("hello", description)
    (at.directory / "hello" / "main.py").write_text("x = 1")
    await until(lambda: "hello" in at.plugins, "it is noticed")
    return await at.reaches("hello", "running")


# --- what is refused ----------------------------------------------------------------------------------------


def test_each_operation_is_one_of_these(run):
    """Whoever adds one decides here what it needs."""

    async def scenario(at):
        assert set(at.orders.operations) == {f"plugins.{name}" for name in CHANGES | LOOKS | {"list"}}

    run(scenario)


@pytest.mark.parametrize("operation", sorted(CHANGES - {"add"} | LOOKS))
def test_a_name_that_nobody_has_is_unknown(run, operation):
    """And what there is instead is told."""

    async def scenario(at):
        await disabled(at)
        with pytest.raises(UnknownNameError, match=r"'helo'.*hello"):
            await ask(at, operation, name="helo")

    run(scenario)


@pytest.mark.parametrize("operation", sorted(ORDERS - OF_DISABLED))
def test_what_only_one_that_is_served_can_do_is_refused(run, operation):
    """Before anything is begun, so that also who does not wait learns of it."""

    async def scenario(at):
        hello = await disabled(at)
        with pytest.raises(ConflictError, match="it is disabled; enable it first"):
            await ask(at, operation)
        assert (bool(hello.works), at.repository.active, at.repository.scaled) == (False, {}, {})

    run(scenario)


@pytest.mark.parametrize("operation", sorted(CHANGES))
def test_nothing_is_changed_once_xcore_stops(run, operation):
    """Nothing is written down either: the caller is told that it was not done."""

    async def scenario(at):
        await disabled(at)
        at.plugins.named("hello").active = True  # so that nothing else is a reason to refuse
        await at.plugins.close()
        name = "new" if operation == "add" else "hello"
        with pytest.raises(ConflictError, match=f"plugin '{name}': xcore is stopping"):
            await ask(at, operation, name=name)
        assert (at.repository.active, at.repository.scaled, at.repository.forgotten) == ({}, {}, [])
        assert "new" not in at.plugins

    run(scenario)


@pytest.mark.parametrize("operation", ["enable", "install"])
def test_what_needs_a_folder_says_which_one(run, operation):
    """A record may outlive it."""

    async def scenario(at):
        at.repository.knows("hello", active=False)
        await at.discover()
        with pytest.raises(ConflictError, match=f"there is no folder {at.directory / 'hello'}"):
            await ask(at, operation)
        assert at.repository.active == {}

    run(scenario)


@pytest.mark.parametrize("instances", [0, -1, MOST_INSTANCES + 1])
def test_a_number_that_nobody_can_have_is_refused_whoever_is_asked(run, instances):
    """A slip of the finger must not start ten thousand processes."""

    async def scenario(at):
        with pytest.raises(InvalidValueError, match=f"must be from 1 to {MOST_INSTANCES}, not {instances}"):
            await at.orders.scale("nobody", instances, "token:ci")

    run(scenario)


@pytest.mark.parametrize("operation", ["enable", "disable"])
def test_an_order_that_cannot_be_written_down_is_not_carried_out(run, operation):
    """The next start would undo it, unasked."""

    async def scenario(at):
        hello = await (disabled if operation == "enable" else serving)(at)
        before = hello.state
        at.repository.error = StoreUnavailableError("locked")
        with pytest.raises(StoreUnavailableError):
            await ask(at, operation, wait=DEADLINE)
        assert (hello.state, bool(hello.works)) == (before, False)

    run(scenario)


# --- waiting ------------------------------------------------------------------------------------------------


def test_who_does_not_wait_sees_the_plugin_as_it_is_at_the_moment(run):
    """And it is done all the same."""

    async def scenario(at):
        await disabled(at)
        assert (await ask(at, "enable")).instances == []
        await at.reaches("hello", "running")

    run(scenario)


def test_who_waits_too_short_is_told_and_it_is_done_all_the_same(run, tmp_path):
    """A request has an end, and a start may take minutes."""

    async def scenario(at):
        hello = await disabled(at)
        at.restep("hello", "hello", f"wait:{tmp_path}/gate", "ready", "serve")
        with pytest.raises(TookTooLongError, match="the start of plugin 'hello'"):
            await ask(at, "enable", wait=0.01)
        (tmp_path / "gate").touch()
        await at.reaches("hello", "running")
        assert hello.active

    run(scenario)


def test_who_waits_is_told_when_another_order_ends_the_wait(run, tmp_path):
    """They are not told that it is done, and not left waiting."""

    async def scenario(at):
        await disabled(at)
        at.restep("hello", "hello", f"wait:{tmp_path}/gate", "ready", "serve")
        enabled = asyncio.create_task(ask(at, "enable", wait=DEADLINE))
        await at.reaches("hello", "starting")
        view = await ask(at, "disable", wait=DEADLINE)
        assert (view.state, view.instances) == ("disabled", [])
        with pytest.raises(ConflictError, match="the start of plugin 'hello' was given up"):
            await enabled

    run(scenario)


# --- looking ------------------------------------------------------------------------------------------------


def test_plugins_are_listed_by_name_and_by_whether_they_are_to_be_served(run):
    """What is broken is to be served, too."""

    async def scenario(at):
        at.add("shop")
        at.add_broken("broken", broken())
        await disabled(at)
        await at.reaches("shop", "running")
        listed = {
            active: [view.name for view in await at.orders.list_plugins(active=active)] for active in (None, True)
        }
        assert listed == {None: ["broken", "hello", "shop"], True: ["broken", "shop"]}
        assert [view.name for view in await at.orders.list_plugins(active=False)] == ["hello"]

    run(scenario)


@pytest.mark.parametrize(
    ("tail", "lines"), [(2, ["line 4", "line 5"]), (0, []), (-3, []), (10**9, [f"line {n}" for n in range(1, 6)])]
)
def test_the_end_of_a_log_is_as_long_as_is_asked_for_within_reason(run, monkeypatch, tail, lines):
    """An answer with a gigabyte of log would be the end of whoever makes it."""

    async def scenario(at):
        await disabled(at)
        (at.table.folder.logs / "hello.log").write_text("".join(f"line {number}\n" for number in range(-2, 6)))
        assert await at.orders.read_logs("hello", tail) == lines

    monkeypatch.setattr(operations, "MOST_LINES", 5)
    run(scenario)


# --- records ------------------------------------------------------------------------------------------------


def test_a_record_is_changed_in_what_was_named_only(run):
    """In normal form, by the rule that its code would meet."""

    async def scenario(at):
        hello = await disabled(at)
        view = await ask(at, "update", version="2.0", api_prefix="/shop/", tag_for_identified=["a", "b"])
        assert (view.version, view.tags, view.author) == ("2.0", ["a", "b"], "Ada")
        assert (hello.record.api_prefix, hello.prefix) == ("/shop", "")
        assert (await ask(at, "update", trigger=7)).trigger == 7
        with pytest.raises(InvalidValueError, match="Api_prefix"):
            await ask(at, "update", api_prefix="no slash")

    run(scenario)


def test_a_folder_that_comes_while_its_record_is_written_is_disabled_as_the_record_says(run):
    """Whoever adds a record wants it to be served when they say so, and not before."""

    async def scenario(at):
        await at.discover()
        gate, writing = asyncio.Event(), asyncio.Event()
        add = at.repository.add

        async def slow(facts, *, active):
            writing.set()
            await gate.wait()
            return await add(facts, active=active)

        at.repository.add = slow
        added = asyncio.create_task(ask(at, "add", author="Ada"))
        await writing.wait()
        hello = await arrives(at)
        gate.set()
        assert not (await added).active
        await at.plugins.settled()
        assert (hello.state.value, hello.record.author, hello.prefix) == ("disabled", "Ada", "")
        assert at.table.tree.children == []

    run(scenario)


def test_what_still_runs_is_not_forgotten(run):
    """A folder of that name may come, and be another plugin, whose processes have the same names."""

    async def scenario(at):
        hello = await serving(at, steps=("hello", "ready", "deaf", "serve"), stop_timeout=1)
        shutil.rmtree(at.directory / "hello")
        stopped = asyncio.create_task(ask(at, "disable", wait=DEADLINE))
        await until(lambda: not hello.active, "it is disabled")
        with pytest.raises(ConflictError, match="cannot forget plugin 'hello': it is still being stopped"):
            await ask(at, "delete")
        await until(lambda: not hello.instances, "it is about to go")
        with pytest.raises(ConflictError, match="still being stopped"):
            await ask(at, "delete")
        assert at.repository.forgotten == []
        await stopped
        assert await ask(at, "delete") == {"name": "hello", "folder": ""}
        assert "hello" not in at.plugins
        assert (await arrives(at, Description(api_prefix="/app/new"))) is not hello

    run(scenario)


def test_what_is_forgotten_removes_nothing_more(run):
    """Its copies wait for a build to end; whoever comes next under its name has others, and needs them."""

    async def scenario(at):
        at.preparation.free.clear()
        await serving(at)
        shutil.rmtree(at.directory / "hello")
        await ask(at, "disable", wait=DEADLINE)
        await ask(at, "delete")
        await settle()
        at.preparation.free.set()
        await settle()
        assert at.preparation.pruned == {}

    run(scenario)


def test_what_was_forgotten_is_so_wholly_when_its_folder_goes(run):
    """Forgotten and then removed, as it is told: nothing of it is listed, and a folder that comes counts as new."""

    async def scenario(at):
        hello = await disabled(at)
        at.add("other")
        await ask(at, "delete")
        at.repository.rows = []
        shutil.rmtree(at.directory / "hello")
        await until(lambda: "hello" not in at.plugins, "nothing of it is left")
        assert (await arrives(at)) is not hello

    run(scenario)


def test_what_is_installed_after_it_was_forgotten_is_given_up_when_its_folder_goes(run):
    """Whoever comes next under its name would build beside it."""

    async def scenario(at):
        hello = await disabled(at)
        at.add("other")
        await ask(at, "delete")
        building = asyncio.Event()

        async def build_anew(name, folder, on_progress):
            building.set()
            await asyncio.Event().wait()

        at.preparation.build_anew = build_anew
        installed = asyncio.create_task(ask(at, "install", wait=DEADLINE))
        await building.wait()
        shutil.rmtree(at.directory / "hello")
        with pytest.raises(ConflictError, match="the installation of plugin 'hello' was given up"):
            await installed
        assert ("hello" in at.plugins, bool(hello.works)) == (False, False)

    run(scenario)


def test_a_folder_that_goes_while_its_plugin_is_being_forgotten_leaves_nothing_of_it(run):
    """Its removal is told once: not before it is known that nobody wants the plugin."""

    async def scenario(at):
        hello = await disabled(at)
        at.add("other")
        has_folder = hello.has_folder

        async def had_folder():
            found = await has_folder()
            shutil.rmtree(hello.folder)
            await until(lambda: "hello" not in at.plugins, "nothing of it is left")
            return found

        hello.has_folder = had_folder
        assert await ask(at, "delete") == {"name": "hello", "folder": str(hello.folder)}

    run(scenario)


def test_what_is_listed_without_a_record_is_forgotten_again(run):
    """As often as somebody asks: with the folder that is left, or wholly where there is none."""

    async def scenario(at):
        hello = await disabled(at)
        for _ in range(2):
            assert await ask(at, "delete") == {"name": "hello", "folder": str(hello.folder)}
        shutil.rmtree(hello.folder)
        assert await ask(at, "delete") == {"name": "hello", "folder": ""}
        assert "hello" not in at.plugins

    run(scenario)


def test_an_unknown_name_is_told_all_that_are_listed(run):
    """Those without a record, too: whoever misspelt one looks for it there."""

    async def scenario(at):
        at.add_broken("broken", broken())
        await disabled(at)
        await ask(at, "delete")
        with pytest.raises(UnknownNameError, match=r"no plugin named 'helo'; known: broken, hello$"):
            await ask(at, "delete", name="helo")

    run(scenario)


def test_what_is_being_installed_is_not_forgotten(run):
    """It is disabled and nothing of it runs: nobody is to look for what is being stopped."""

    async def scenario(at):
        await disabled(at)
        built = asyncio.Event()

        async def build_anew(name, folder, on_progress):
            await built.wait()

        at.preparation.build_anew = build_anew
        installed = asyncio.create_task(ask(at, "install", wait=DEADLINE))
        await until(lambda: at.plugins.named("hello").works, "it is begun")
        with pytest.raises(ConflictError, match="cannot forget plugin 'hello': something is still being done with it"):
            await ask(at, "delete")
        built.set()
        await installed
        assert (await ask(at, "delete"))["name"] == "hello"

    run(scenario)
