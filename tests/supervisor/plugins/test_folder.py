"""The plugin directory: which folders are plugins, and what was done to it between two looks."""

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.settings import SnapshotSettings
from supervisor.errors import ConfigurationError
from supervisor.plugins import folder as plugin_folder
from supervisor.plugins.folder import PluginFolder, directories, plugin_folders
from supervisor.preparation import snapshot as snapshot_module
from supervisor.watching import file_signature
from supervisor.watching.directory_look import Difference, Look, diff

IGNORES = SnapshotSettings().ignores


def look(directory, before=None):
    return plugin_folder.look(directory, before or Look(), IGNORES)


def write(folder, text="x = 1", name="run.py"):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder


@pytest.fixture
def plugins(tmp_path):
    folder = tmp_path / "plugins"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Files count as old as soon as they are written, so that what is remembered of them is used."""
    monkeypatch.setattr(file_signature, "SETTLED", -10_000_000_000)


def test_folders_are_plugins_links_too(plugins, tmp_path):
    """Hidden ones and those that start with ``__`` are none, nor is a link that leads nowhere."""
    for name in ("shop", "_shop", ".git", "__pycache__"):
        write(plugins / name)
    write(tmp_path / "elsewhere")
    (plugins / "linked").symlink_to(tmp_path / "elsewhere")
    (plugins / "dangling").symlink_to("nowhere")
    (plugins / "circle").symlink_to("circle")
    (plugins / "README").touch()
    seen = look(plugins).entries
    assert sorted(seen) == ["_shop", "linked", "shop"]
    assert seen["linked"].path == plugins / "linked"
    assert set(seen["linked"].snapshot.files) == {"run.py"}


def test_hidden_folders_and_files_are_no_plugins(tmp_path, caplog):
    """Nor is a directory that is not there an error; one that cannot be read is."""
    for name in (".git", "__pycache__", "hello"):
        (tmp_path / name).mkdir()
    (tmp_path / "README").touch()
    assert plugin_folders(tmp_path) == [tmp_path / "hello"]
    assert plugin_folders(tmp_path / "none") == []
    assert "does not exist" in caplog.text
    with pytest.raises(ConfigurationError, match=r"manager\.plugins\.directory: cannot read .*README: Not a directory"):
        plugin_folders(tmp_path / "README")


def test_a_folder_that_cannot_be_read_is_a_plugin_with_a_problem(plugins, monkeypatch):
    """Nothing is dropped in silence; what was wrong is told, and seen when it is mended."""
    monkeypatch.setattr(snapshot_module, "MOST_FILES", 2)
    write(plugins / "good")
    (write(plugins / "broken") / "bad.py").symlink_to("/proc/self/mem")
    for name in ("a", "b", "c"):
        write(plugins / "huge", name=name)
    seen = look(plugins)
    assert {name: bool(folder.problem) for name, folder in seen.entries.items()} == {
        "good": False,
        "broken": True,
        "huge": True,
    }
    assert seen.entries["broken"].snapshot is None
    assert seen.entries["broken"].problem.startswith("cannot read bad.py of plugin 'broken': ")
    assert "more than 2 files; name the folders that hold data" in seen.entries["huge"].problem
    assert not diff(seen, look(plugins, seen))
    (plugins / "huge" / "c").unlink()
    assert diff(seen, look(plugins, seen)) == Difference(changed=("huge",))


def test_one_folder_that_nobody_thought_of_does_not_hide_the_others(plugins, monkeypatch, caplog):
    """It is a plugin with a problem, logged once and not with every look."""
    take = plugin_folder.Snapshot.take

    def odd(folder, *args):
        if folder.name == "odd":
            raise ZeroDivisionError("by its files")
        return take(folder, *args)

    monkeypatch.setattr(plugin_folder.Snapshot, "take", odd)
    write(plugins / "good")
    write(plugins / "odd")
    write(plugins / "wrong", "[z-a]", ".gitignore")
    seen = look(plugins)
    assert {name: folder.problem for name, folder in seen.entries.items()} == {
        "good": "",
        "odd": f"{plugins}/odd: cannot be read: ZeroDivisionError: by its files",
        "wrong": '.gitignore: line 1 is no pattern: "[z-a]"; mend or remove that line',
    }
    assert not diff(seen, look(plugins, seen))
    assert caplog.messages == ["Cannot read the folder of plugin odd"]


def test_a_link_that_may_not_be_followed_is_a_plugin_with_a_problem(plugins):
    """It may be a folder; as root it cannot be caused."""

    class Entry:
        name = "shop"
        path = "plugins/shop"

        def is_dir(self):
            raise PermissionError(13, "Permission denied")

    folder = plugin_folder._read(plugins, IGNORES, plugin_folder.dotenv_of, Entry(), {})
    assert folder == PluginFolder("shop", plugins / "shop", problem="plugins/shop: cannot be read: Permission denied")


def test_a_name_of_any_bytes_can_be_told(plugins):
    """It is refused by its name later; no message could hold it as it is."""
    write(plugins / os.fsdecode(b"caf\xe9"))
    (folder,) = look(plugins).entries.values()
    assert (folder.name, set(folder.snapshot.files)) == ("caf\\xe9", {"run.py"})


def rename(plugins):
    (plugins / "one").rename(plugins / "new")


def swap(plugins):
    (plugins / "one").rename(plugins / ".aside")
    (plugins / "two").rename(plugins / "one")
    (plugins / ".aside").rename(plugins / "two")


def replace_by_rename(plugins):
    write(plugins / ".staged", "x = 3")
    (plugins / "one").rename(plugins / ".old")
    (plugins / ".staged").rename(plugins / "one")


def retarget(plugins):
    (plugins / "link").unlink()
    (plugins / "link").symlink_to(plugins / "two")


def save_by_rename(plugins):
    write(plugins / "one", "x = 3", ".run.py.swp")
    write(plugins / "one", "x = 3", "run.py~")
    (plugins / "one" / "run.py~").rename(plugins / "one" / "run.py")


@pytest.mark.parametrize(
    ("act", "at_once", "then"),
    [
        (lambda plugins: write(plugins / "new"), Difference(new=("new",)), Difference()),
        (lambda plugins: write(plugins / "one", "x = 3"), Difference(changed=("one",)), Difference()),
        (lambda plugins: write(plugins / "one", "K=V", ".env"), Difference(changed=("one",)), Difference()),
        (lambda plugins: os.utime(plugins / "one" / "run.py", (1, 1)), Difference(), Difference()),
        (rename, Difference(new=("new",)), Difference(removed=("one",))),
        (swap, Difference(changed=("one", "two")), Difference()),
        (replace_by_rename, Difference(changed=("one",)), Difference()),
        (retarget, Difference(changed=("link",)), Difference()),
        (save_by_rename, Difference(changed=("one",)), Difference()),
        (lambda plugins: write(plugins / "one", "", ".run.py.swp"), Difference(), Difference()),
        (lambda plugins: write(plugins / "one" / ".venv" / "lib"), Difference(), Difference()),
        (lambda plugins: write(plugins / "one", "x", "app.db"), Difference(), Difference()),
        (lambda plugins: (plugins / "one" / "empty").mkdir(), Difference(), Difference()),
    ],
    ids=[
        "add", "edit", "env", "touch", "rename", "swap", "replace", "retarget", "save", "swap file", "venv", "database",
        "empty",
    ],
)  # fmt: skip
def test_what_was_done_is_told_by_content(plugins, tmp_path, act, at_once, then):
    """By the next look, and the one after that: only what two looks do not find is gone."""
    write(plugins / "one", "x = 1")
    write(plugins / "two", "x = 2")
    write(tmp_path / "elsewhere", "x = 4")
    (plugins / "link").symlink_to(tmp_path / "elsewhere")
    before = look(plugins)
    act(plugins)
    first = look(plugins, before)
    second = look(plugins, first)
    assert [diff(before, first), diff(first, second)] == [at_once, then]
    assert not diff(second, look(plugins, second))


def test_a_folder_that_is_missing_for_one_look_is_not_gone(plugins, tmp_path):
    """A deployment moves the old one away first. It counts as changed: meanwhile it may have been asked for."""
    write(plugins / "one")
    before = look(plugins)
    (plugins / "one").rename(tmp_path / "aside")
    first = look(plugins, before)
    (tmp_path / "aside").rename(plugins / "one")
    assert [diff(before, first), diff(first, look(plugins, first))] == [Difference(), Difference(changed=("one",))]


def test_the_empty_folder_of_a_mount_point_says_nothing_about_the_plugins(plugins, tmp_path):
    """It is what is left where the file system that holds them is not mounted."""
    write(plugins / "one")
    elsewhere = replace(look(plugins), device=-1)
    (plugins / "one").rename(tmp_path / "aside")
    with pytest.raises(OSError, match="another file system"):
        look(plugins, elsewhere)


trees = st.dictionaries(
    st.sampled_from(["one", "two", "three", ".hidden", "__pycache__"]),
    st.dictionaries(st.sampled_from(["run.py", "pkg/a.py", "app.db", ".env", ".venv/x.py"]), st.sampled_from("12")),
    max_size=4,
)


def make(directory, tree):
    for name, files in tree.items():
        (directory / name).mkdir()
        for path, text in files.items():
            write(directory / name, text, path)


@given(old=trees, new=trees)
def test_the_difference_leads_from_one_tree_to_the_other(tmp_path_factory, old, new):
    """Whatever was done in between, and however much of it the kernel does not show."""

    def seen(tree):
        plugins = {name: files for name, files in tree.items() if not name.startswith((".", "__"))}
        return {
            name: {path: text for path, text in files.items() if path not in {"app.db", ".venv/x.py"}}
            for name, files in plugins.items()
        }

    root = tmp_path_factory.mktemp("trees")
    make_in = root / "plugins"
    make_in.mkdir()
    make(make_in, old)
    before = look(make_in)
    make_in.rename(root / "former")
    make_in.mkdir()
    make(make_in, new)
    first = look(make_in, before)
    second = look(make_in, first)
    was, now = seen(old), seen(new)
    assert diff(before, first) == Difference(
        new=tuple(sorted(now.keys() - was.keys())),
        changed=tuple(sorted(name for name in was.keys() & now.keys() if was[name] != now[name])),
    )
    assert diff(first, second) == Difference(removed=tuple(sorted(was.keys() - now.keys())))
    assert second.entries == look(make_in).entries


def test_events_are_wanted_of_every_folder_that_counts(plugins, tmp_path, monkeypatch):
    """Not of environments; of a plugin with a problem, of its own folder, where it can be mended."""
    monkeypatch.setattr(snapshot_module, "MOST_FILES", 2)
    write(plugins / "one", name="pkg/a.py")
    write(plugins / "one" / ".venv" / "lib")
    write(tmp_path / "elsewhere", name="pkg/a.py")
    (plugins / "linked").symlink_to(tmp_path / "elsewhere")
    for name in ("a", "b", "sub/c"):
        write(plugins / "huge", name=name)
    wanted = directories(plugins, look(plugins).entries.values())
    assert {os.path.relpath(path, plugins) for path in wanted} == {
        ".", "one", "one/pkg", "linked", "linked/pkg", "huge",
    }  # fmt: skip
    ignored = {os.path.relpath(path, plugins): is_ignored for path, is_ignored in wanted.items()}
    assert [ignored["."](name) for name in ("shop", "app.db", ".shop", "__pycache__")] == [False, False, True, True]
    assert [ignored["one"](name) for name in ("run.py", "app.db", ".env", ".venv")] == [False, True, False, True]
