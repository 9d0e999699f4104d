import errno
import os
from dataclasses import replace

import pytest

from plugin_runtime.protocol import Description, Failed
from supervisor.environments.environment import Environment
from supervisor.errors import ConflictError, DiskFullError, OutOfResourcesError, XcoreError
from supervisor.preparation import generations as module
from supervisor.preparation.generations import Generations, Ingredients
from supervisor.preparation.snapshot import Snapshot
from tests.fakes.builds import INTERPRETER


def nothing(_name):
    return False


@pytest.fixture
def plugin(tmp_path):
    folder = tmp_path / "plugins" / "shop"
    (folder / "pkg").mkdir(parents=True)
    (folder / "run.py").write_text("one")
    (folder / "pkg" / "a.py").write_text("a")
    return folder


@pytest.fixture
def generations(tmp_path):
    return Generations(tmp_path / "state" / "generations")


def make(generations, plugin, environment="e1", configuration=None, snapshot=None):
    snapshot = snapshot or Snapshot.take(plugin, nothing)
    ingredients = Ingredients(configuration or {"instances": 1}, Environment(plugin, environment, INTERPRETER))
    return generations.make("shop", snapshot, ingredients)


def content(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_a_generation_owns_a_copy_of_the_code(generations, plugin, tmp_path):
    """Workers import from it, whatever becomes of the original."""
    generation = make(generations, plugin)
    assert generation.source == tmp_path / "state" / "generations" / "shop" / generation.hash / "source"
    (plugin / "run.py").write_text("broken")
    assert content(generation.source) == {"run.py": "one", "pkg/a.py": "a"}


def test_times_of_change_go_along(generations, plugin):
    """Compiled code is checked by them."""
    os.utime(plugin / "run.py", ns=(10**18, 10**18))
    assert (make(generations, plugin).source / "run.py").stat().st_mtime_ns == 10**18


def test_the_same_code_environment_and_configuration_are_the_same_generation(generations, plugin):
    """Saving a file without changing it restarts nothing, and a change taken back is the old generation."""
    first = make(generations, plugin)
    (plugin / "run.py").write_text("two")
    second = make(generations, plugin)
    (plugin / "run.py").write_text("one")
    marker = first.source / "marker"
    marker.touch()
    assert make(generations, plugin).hash == first.hash != second.hash
    assert marker.exists(), "it was copied again"


def test_each_of_the_three_makes_another_generation(generations, plugin):
    """Code, environment, configuration."""
    hashes = {make(generations, plugin).hash}
    hashes.add(make(generations, plugin, environment="e2").hash)
    hashes.add(make(generations, plugin, configuration={"instances": 2}).hash)
    (plugin / "new.py").touch()
    hashes.add(make(generations, plugin).hash)
    assert len(hashes) == 4


def test_the_order_of_configuration_keys_does_not_matter(generations, plugin):
    """JSON objects have no order."""
    one = make(generations, plugin, configuration={"a": 1, "b": plugin})
    assert one.hash == make(generations, plugin, configuration={"b": plugin, "a": 1}).hash


@pytest.mark.parametrize("change", ["saved", "removed", "folder"])
def test_a_file_that_changes_while_it_is_copied_is_not_half_taken(generations, plugin, change):
    """The copy is compared with the snapshot, and made again from a new one."""
    old = Snapshot.take(plugin, nothing)
    if change == "saved":
        (plugin / "run.py").write_text("two")
    else:
        (plugin / "run.py").unlink()
    if change == "folder":
        (plugin / "run.py").mkdir()
    generation = make(generations, plugin, snapshot=old)
    assert Snapshot.take(plugin, nothing) != old
    assert content(generation.source) == content(plugin)
    assert generation.hash == make(generations, plugin).hash
    assert [entry.name for entry in generation.folder.parent.iterdir()] == [generation.hash]


class Restless(Snapshot):
    """A snapshot that is outdated the moment it is taken."""

    def again(self):
        return replace(self, files={"run.py": "0" * 64})


def test_files_that_never_rest_are_given_up_with_advice(generations, plugin):
    """A plugin that writes into its own folder all the time must be told so."""
    restless = Restless(plugin, nothing, {"run.py": "0" * 64})
    with pytest.raises(ConflictError, match=r"keep changing.*\.gitignore"):
        make(generations, plugin, snapshot=restless)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, DiskFullError),
        (errno.EDQUOT, DiskFullError),
        (errno.EMFILE, OutOfResourcesError),
        (errno.EIO, OutOfResourcesError),
        (errno.EROFS, XcoreError),
    ],
)
def test_nothing_half_made_ever_has_a_generations_name(generations, plugin, monkeypatch, code, kind):
    """Killed, out of space or of descriptors in the middle of copying: the next attempt begins anew."""

    def full(original, copy):
        copy.touch()
        raise OSError(code, os.strerror(code), str(copy))

    with monkeypatch.context() as patched:
        patched.setattr(module, "_copy_file", full)
        with pytest.raises(kind, match=rf"cannot copy the code of plugin 'shop'.*: {os.strerror(code)}; ") as caught:
            make(generations, plugin)
        assert type(caught.value) is kind
    owner = make(generations, plugin).folder.parent
    assert len(list(owner.iterdir())) == 1


def test_a_description_for_which_there_is_no_room_is_a_full_disk(generations, plugin):
    """So that it is tried again when there is."""
    generation = make(generations, plugin)
    (generation.folder / "description.tmp").symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match=r"cannot write .*description\.json: No space left on device; free some"):
        generations.keep_description(generation, Description())


def test_a_copy_that_somebody_else_has_made_meanwhile_is_as_good(generations, plugin, monkeypatch):
    """A thread that was given up runs on: disabled and enabled again, two of them copy the same."""
    copy_files = module._copy_files

    def overtaken(snapshot, target):
        monkeypatch.setattr(module, "_copy_files", copy_files)
        make(generations, plugin)
        copy_files(snapshot, target)

    monkeypatch.setattr(module, "_copy_files", overtaken)
    generation = make(generations, plugin)
    assert content(generation.source) == content(plugin)
    assert [entry.name for entry in generation.folder.parent.iterdir()] == [generation.hash]


def test_nothing_is_written_into_the_plugins_folder(generations, plugin):
    """The folder is its author's."""
    before = sorted((str(p), p.stat().st_mtime_ns) for p in [plugin, *plugin.rglob("*")])
    generation = make(generations, plugin)
    generations.keep_description(generation, Description())
    generations.prune("shop", set())
    assert sorted((str(p), p.stat().st_mtime_ns) for p in [plugin, *plugin.rglob("*")]) == before


def test_a_description_is_kept_with_its_generation(generations, plugin):
    """Validation starts an interpreter; an unchanged plugin needs none."""
    generation = make(generations, plugin)
    assert generations.description(generation) is None
    found = Description(title="Shop", tags=["a"], errors=[Failed("import", "E", "m", location="run.py:1")])
    generations.keep_description(generation, found)
    assert generations.description(make(generations, plugin)) == found


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"protocol": 0, "description": {}}', '{"protocol": 1, "description": {"trigger": "x"}}'],
)
def test_a_damaged_or_foreign_description_counts_as_none(generations, plugin, text):
    """The plugin is simply validated again."""
    generation = make(generations, plugin)
    (generation.folder / "description.json").write_text(text)
    assert generations.description(generation) is None


def test_pruning_keeps_what_is_named_and_removes_the_rest(generations, plugin):
    """The generation in use and the one to roll back to stay; so does nothing else."""
    kept = make(generations, plugin)
    make(generations, plugin, environment="e2")
    owner = kept.folder.parent
    for leftover in (f".{kept.hash}.abc.tmp", ".0123.removed"):
        (owner / leftover / "source").mkdir(parents=True)
    generations.prune("shop", {kept.hash})
    generations.prune("unknown", set())
    assert [entry.name for entry in owner.iterdir()] == [kept.hash]
    assert content(kept.source) == {"run.py": "one", "pkg/a.py": "a"}
