"""What nobody needs any more is removed, and nothing else: on real folders, with real processes."""

import asyncio
import errno
import json
import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from supervisor.config.settings import SnapshotSettings
from supervisor.environments import builder as building
from supervisor.environments.build_lock import alone
from supervisor.environments.build_log import BuildLogs
from supervisor.environments.builder import MARK, Builder
from supervisor.environments.environment import Environment
from supervisor.environments.package_index import PackageIndex
from supervisor.environments.progress import unheard
from supervisor.environments.project import parse
from supervisor.environments.runner import Completed
from supervisor.preparation.generations import Generations, Ingredients, Served
from supervisor.preparation.pruning import FORESIGHT, Pruning
from supervisor.preparation.snapshot import Snapshot
from tests.fakes.builds import INTERPRETER
from tests.fakes.processes import state_folder
from tests.fakes.runners import ForbiddenRunner, ScriptedRunner
from tests.fakes.waiting import until


class Scene:
    """``runs``: words of what is to be started; ``gone``: plugins that there are no more."""

    def __init__(self, root, runner=None):
        self.root = root
        self.folder = state_folder(root)
        self.runs = []
        self.gone = set()
        self.generations = Generations(self.folder.generations)
        runner = runner or ForbiddenRunner()
        self.builder = Builder(
            self.folder.environments / ".cache", runner, PackageIndex(runner, {}), BuildLogs(self.folder.build_logs), {}
        )
        child = SimpleNamespace(spec=SimpleNamespace(name="todo", command=self.runs, environment={}))
        self.tree = SimpleNamespace(children=[child])
        self.survivors = []
        self.pruning = Pruning(self.folder, self.builder, self.generations, self.tree, self.survivors)
        self.pruning.is_known = lambda name: name not in self.gone
        self._clock = 1000

    def environment(self, owner="shop", name="a", root=None, *, whole=True):
        """One that was completed after those before."""
        folder = (root or self.folder.environments) / owner / name
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").symlink_to("/bin/sleep")
        if whole:
            self._clock += 1
            (folder / MARK).write_text("{}")
            os.utime(folder / MARK, (self._clock, self._clock))
        return folder

    def generation(self, environment, plugin="shop", text="x = 1"):
        source = self.root / "plugins" / plugin
        source.mkdir(parents=True, exist_ok=True)
        (source / "run.py").write_text(text)
        made = Environment(environment, environment.name, INTERPRETER)
        return self.generations.make(
            plugin, Snapshot.take(source, ignores=SnapshotSettings().ignores), Ingredients({}, made)
        )

    def prune(self):
        asyncio.run(self.pruning.prune())


@pytest.fixture
def at(tmp_path):
    return Scene(tmp_path)


def test_what_no_kept_generation_names_is_removed(at):
    """Three dependency sets came and went: the serving one and the one before stay."""
    first, second, third = (at.environment(name=name) for name in "abc")
    at.generation(first, text="x = 1")
    kept = [at.generation(environment, text="x = 2") for environment in (second, third)]
    at.generations.prune("shop", {generation.hash for generation in kept})
    at.prune()
    assert (first.exists(), second.exists(), third.exists()) == (False, True, True)


def test_a_living_process_keeps_what_it_was_started_with(at):
    """Whoever it belongs to: one that was taken over, a child of a plugin, a job of yesterday."""
    used, used_by_variable, newest = at.environment(name="a"), at.environment(name="b"), at.environment(name="c")
    sleeper = subprocess.Popen([used / "bin" / "python", "60"], env={})
    other = subprocess.Popen(["/bin/sleep", "60"], env={"XCORE_RUNTIME": f"{used_by_variable}/lib"})
    try:
        at.prune()
        assert (used.exists(), used_by_variable.exists()) == (True, True)
    finally:
        for process in (sleeper, other):
            process.kill()
            process.wait()
    at.prune()
    assert (used.exists(), used_by_variable.exists(), newest.exists()) == (False, False, True)


def test_what_is_to_be_started_again_keeps_its_environment(at):
    """A worker between two lives has no process that could be seen."""
    used = at.environment(name="a")
    at.environment(name="b")
    at.runs.extend([str(used / "bin" / "python"), "-I"])
    at.prune()
    assert used.exists()
    at.runs.clear()
    at.prune()
    assert not used.exists()


def test_what_a_task_stands_on_is_kept_with_the_generation_of_its_plugin(at):
    """It follows its plugin only when its own file changes."""
    used = at.environment(name="a")
    at.environment(name="b")
    kept = at.folder.generations / "shop" / "0123"
    at.pruning.foundations = lambda: [
        str(used / "bin" / "python"),
        str(kept),
        str(at.folder.generations / "other" / "9"),
    ]
    at.prune()
    assert used.exists()
    assert at.pruning.generations("shop") == {"0123"}


def test_the_newest_of_an_owner_is_kept_though_nothing_uses_it(at):
    """It was built for a plugin that is disabled, or for code that is being mended."""
    at.environment(name="a")
    newest = at.environment(name="b")
    half_built = at.environment(name="c", whole=False)
    at.prune()
    assert list(newest.parent.iterdir()) == [newest]
    assert not half_built.exists()


def test_a_plugin_that_is_gone_keeps_nothing(at):
    """Folder and record were removed; its generations may still lie there."""
    theirs, ours = at.environment(), at.environment("todo")
    copy, other = at.generation(theirs), at.generation(ours, "todo")
    at.generations.keep_served("shop", Served(copy.hash))
    at.prune()
    assert copy.folder.exists()
    at.gone.add("shop")
    at.prune()
    assert (theirs.exists(), ours.exists()) == (False, True)
    assert [path.name for path in at.folder.generations.iterdir()] == ["todo"]
    assert other.folder.exists()


@pytest.mark.parametrize("use", ["its process", "a task", "survivors", "a link", "nobody"])
def test_code_of_a_plugin_that_is_gone_stays_while_somebody_may_import_it(at, use):
    """Its last worker drains, a task stands on it, processes of the supervisor before may be such; or it is shared."""
    copy = at.generation(at.environment())
    at.gone.add("shop")
    match use:
        case "its process":
            at.tree.children.append(SimpleNamespace(spec=SimpleNamespace(name="shop", command=[], environment={})))
        case "a task":
            at.pruning.foundations = lambda: [str(copy.folder)]
        case "survivors":
            at.survivors.append("somebody")
        case "a link":
            elsewhere = at.folder.generations.rename(at.root / "elsewhere")
            at.folder.generations.symlink_to(elsewhere)
    at.prune()
    assert copy.folder.exists() is (use != "nobody")


def test_copies_of_tasks_modules_are_no_plugins(at):
    """They lie beside those of plugins, and are the tasks' own affair."""
    kept = at.folder.task_copies / "sweep" / "0123"
    kept.mkdir(parents=True)
    at.gone.add("_tasks")
    at.prune()
    assert kept.exists()


def test_what_a_check_has_built_for_a_plugin_that_is_yet_to_come_is_kept_for_a_day(at):
    """It need not be built again when the plugin is deployed; what is never deployed takes no space for ever."""
    at.gone.add("shop")
    older, newest = at.environment(name="a"), at.environment(name="b")
    built = time.time() - FORESIGHT + 60
    os.utime(newest / MARK, (built, built))
    at.prune()
    assert (older.exists(), newest.exists()) == (False, True)
    os.utime(newest / MARK, (built - 120, built - 120))
    at.prune()
    assert not newest.exists()


@pytest.mark.parametrize("is_known", [True, False])
def test_what_another_process_builds_is_left_alone(at, is_known):
    """A check has made the folder, and nothing that runs names it yet."""
    if not is_known:
        at.gone.add("shop")
    begun = at.environment(whole=False)
    other = at.environment("blog", whole=False)

    async def prune_beside():
        async with alone(begun.parent):
            await at.pruning.prune()

    asyncio.run(prune_beside())
    assert (begun.exists(), other.exists()) == (True, False)
    at.prune()
    assert not begun.exists()


@pytest.mark.parametrize("obstacle", ["its lock", "its folder", "its copies"])
def test_what_cannot_be_removed_of_one_owner_keeps_nobody_elses(at, obstacle, monkeypatch, caplog):
    """A check that root made leaves a lock, or a folder, that is root's; all others have their turn."""
    olds = [at.environment(owner, name) for owner in ("blog", "shop", "todo") for name in ("old", "new")][::2]
    at.generation(at.environment("gone"), "gone")
    at.generation(at.environment("lost"), "lost")
    at.gone.update(["gone", "lost"])
    opened, renamed = os.open, Path.rename

    def refuse(path, is_theirs):
        if is_theirs:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    def open_ours(path, *rest, **keys):
        refuse(path, obstacle == "its lock" and str(path).endswith(".shop.lock"))
        return opened(path, *rest, **keys)

    def rename_ours(path, target):
        theirs = {"its folder": olds[1], "its copies": at.folder.generations / "lost"}.get(obstacle)
        refuse(path, path == theirs)
        return renamed(path, target)

    monkeypatch.setattr(os, "open", open_ours)
    monkeypatch.setattr(Path, "rename", rename_ours)
    at.prune()
    assert [path.exists() for path in olds] == [False, obstacle != "its copies", False]
    copies = ["lost"] if obstacle == "its copies" else []
    assert [path.name for path in at.folder.generations.iterdir()] == copies
    assert not list(at.folder.environments.glob("*/.*.removed"))
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith("Cannot remove what nobody needs in ")
    assert "Permission denied; let the user that runs xcore own it" in warning


def test_what_is_completed_while_it_is_looked_for_is_kept(at):
    """It was half built when it was seen, and its builder is done when it would be removed."""
    begun = at.environment(whole=False)

    def complete(_name):
        (begun / MARK).write_text("{}")
        return True

    at.pruning.is_known = complete
    at.prune()
    assert begun.exists()


def test_the_process_of_a_plugin_that_is_gone_may_end_in_peace(at):
    """It drains: it may import something yet."""
    theirs = at.environment()
    at.gone.add("shop")
    at.runs.append(str(theirs / "bin" / "python"))
    at.prune()
    assert theirs.exists()


def test_old_base_environments_and_runtimes_go_too(at):
    """An upgrade of xcore brings others; the base environment of a kept generation stays for a rollback."""
    runtime = at.folder.runtime
    old_base, kept_base, base = (at.environment("_base", name) for name in "abc")
    old, new = (at.environment("cp311", name, runtime) for name in "ab")
    at.generation(kept_base)
    at.prune()
    assert [path.exists() for path in (old_base, kept_base, base, old, new)] == [False, True, True, False, True]


def test_a_linked_folder_of_environments_is_left_alone(at, tmp_path):
    """Other projects use it, and nobody knows here what they need."""
    shared = tmp_path / "shared"
    shared.mkdir()
    at.folder.environments.symlink_to(shared)
    old = at.environment(name="a")
    at.environment(name="b")
    at.prune()
    assert old.exists()


def test_a_removal_that_was_killed_is_finished_by_the_next_one(at):
    """It was renamed first, so nobody took it for whole meanwhile."""
    kept = at.environment(name="a")
    at.environment(name=".0123.removed")
    at.gone.add(".4567.removed")
    half = at.folder.generations / ".4567.removed" / "abc"
    half.mkdir(parents=True)
    at.prune()
    assert list(kept.parent.iterdir()) == [kept]
    assert list(at.folder.generations.iterdir()) == []


def test_what_is_given_out_while_it_is_looked_for_is_kept(tmp_path, monkeypatch):
    """Somebody reverts a dependency at that very moment."""

    def play(call):
        if call.verb == "venv":
            (call.cwd / "bin").mkdir()
            (call.cwd / "bin" / "python").touch()
        return Completed(0, tail=('xcore-index:{"index_url": "x", "certificate": null, "mirror": true}',))

    at = Scene(tmp_path, ScriptedRunner(play))
    owner = at.folder.environments / "shop"
    plans = [
        building.Plan("shop", owner, parse("shop", f"[project]\ndependencies = [{name!r}]", "# lock"), INTERPRETER)
        for name in ("six", "idna")
    ]

    async def scenario():
        for plan in plans:
            await at.builder.ensure(plan, unheard)
        looked = at.pruning._look
        reverted = asyncio.Event()
        loop = asyncio.get_running_loop()

        def look_slowly():
            seen = looked()
            asyncio.run_coroutine_threadsafe(revert(), loop).result()
            return seen

        async def revert():
            await at.builder.ensure(plans[0], unheard)
            reverted.set()

        monkeypatch.setattr(at.pruning, "_look", look_slowly)
        await at.pruning.prune()
        assert reverted.is_set()

    asyncio.run(scenario())
    assert building.existing(plans[0]) is not None


def test_orders_to_prune_are_not_lost_and_not_piled_up(at, monkeypatch):
    """A hundred plugins switch at once."""
    runs, gate = [], None

    async def scenario():
        nonlocal gate
        gate = asyncio.Event()

        async def prune():
            runs.append(1)
            await gate.wait()

        monkeypatch.setattr(at.pruning, "prune", prune)
        at.pruning.soon()
        await until(lambda: runs, "the first has begun")
        for _ in range(100):
            at.pruning.soon()
        gate.set()
        await until(lambda: len(runs) == 2, "once more after the first")
        await at.pruning.close()

    asyncio.run(scenario())
    assert len(runs) == 2


def test_after_its_close_nothing_is_pruned(at, monkeypatch):
    """A plugin's removal that ends late still asks for it; the state folder may be another supervisor's by then."""

    async def prune():
        raise AssertionError("it was begun")

    async def scenario():
        monkeypatch.setattr(at.pruning, "prune", prune)
        await at.pruning.close()
        at.pruning.soon()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


def test_ingredients_of_another_version_name_nothing(at):
    """And keep nobody from pruning."""
    folder = at.folder.generations / "shop" / "abc"
    folder.mkdir(parents=True)
    for text in ("{", "[]", json.dumps({"environment": 3})):
        (folder / "ingredients.json").write_text(text)
        assert at.generations.environments() == {}
