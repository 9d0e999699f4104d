import hashlib
import os
import socket
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import snapshot as module
from supervisor.config.settings import SnapshotSettings
from supervisor.errors import PluginInvalidError
from supervisor.snapshot import Difference, Snapshot, diff

DEFAULTS = SnapshotSettings().ignores


def nothing(_name):
    return False


def write(folder, *paths, content="x"):
    for path in paths:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


def paths(folder, ignores=DEFAULTS):
    return set(Snapshot.take(folder, ignores).files)


def test_a_snapshot_names_every_file_by_its_sha256(tmp_path):
    """The class of the founding document: path to SHA-256."""
    write(tmp_path, "run.py", "pages/index.html", content="hello")
    digest = hashlib.sha256(b"hello").hexdigest()
    assert Snapshot.take(tmp_path, DEFAULTS).files == {"run.py": digest, "pages/index.html": digest}


@pytest.mark.parametrize("path", ["__init__.py", "a.toml", "a.html", "pkg/data.json", "LICENSE", "pyproject.toml"])
def test_what_a_plugin_is_made_of_counts(tmp_path, path):
    """The old lists left out __init__.py, *.toml and *.html; a change there was never seen."""
    write(tmp_path, path)
    assert paths(tmp_path) == {path}


@pytest.mark.parametrize(
    "path",
    [
        ".venv/lib/a.py", "sub/.git/HEAD", "__pycache__/a.pyc", "web/node_modules/x/index.js",
        "app.db", "app.db-wal", "app.db.bak", "data/app.sqlite", "app.sqlite3-journal", "out.log",
    ],
)  # fmt: skip
def test_what_never_is_code_does_not_count_whatever_the_settings_say(tmp_path, path):
    """A plugin that writes its own database would reload for ever."""
    write(tmp_path, "run.py", path)
    assert paths(tmp_path, nothing) == {"run.py"}


def test_the_settings_ignore_by_name(tmp_path):
    """manager.snapshot: extensions, filenames, hidden; folders as well as files."""
    ignores = SnapshotSettings(extensions=["*.csv"], filenames=["notes"]).ignores
    write(tmp_path, "run.py", "a.csv", "notes/a.py", ".hidden/a.py", ".env", "sub/b.csv")
    assert paths(tmp_path, ignores) == {"run.py"}


def test_the_plugins_gitignore_is_followed(tmp_path):
    """What the author's Git ignores is no code; patterns, folders and exceptions work as there."""
    write(tmp_path, ".gitignore", content="/build/\n*.gen.py\n!keep.gen.py\n# comment\n")
    write(tmp_path, "run.py", "build/a.py", "sub/build/a.py", "a.gen.py", "keep.gen.py")
    assert paths(tmp_path) == {"run.py", "sub/build/a.py", "keep.gen.py"}


def test_dependencies_always_count(tmp_path):
    """A rebuilt environment must not depend on anybody's ignore list."""
    write(tmp_path, ".gitignore", content="*\n")
    write(tmp_path, "run.py", "pyproject.toml", "poetry.lock", "sub/poetry.lock")
    assert paths(tmp_path, lambda _: True) == {"pyproject.toml", "poetry.lock"}


def test_links_inside_the_plugin_are_followed(tmp_path):
    """A linked folder is imported from under its own name, so its files count there."""
    plugin = tmp_path / "plugin"
    write(plugin, "real/a.py")
    (plugin / "alias").symlink_to("real")
    (plugin / "b.py").symlink_to("real/a.py")
    assert paths(plugin) == {"real/a.py", "alias/a.py", "b.py"}


def test_folders_outside_the_plugin_are_not_followed(tmp_path):
    """A link to / would hash the machine. A single file is another matter: it is what the plugin imports."""
    plugin = tmp_path / "plugin"
    write(tmp_path, "elsewhere/a.py", "plugin2/a.py")
    write(plugin, "run.py")
    for name in ("elsewhere", "plugin2"):
        (plugin / name).symlink_to(tmp_path / name)
    (plugin / "shared.py").symlink_to(tmp_path / "elsewhere" / "a.py")
    assert paths(plugin) == {"run.py", "shared.py"}


def test_links_in_circles_end(tmp_path):
    """To itself, to a folder above, and through each other."""
    write(tmp_path, "a/x.py", "b/y.py")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "top").symlink_to(".")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "a" / "to_b").symlink_to("../b")
    (tmp_path / "b" / "to_a").symlink_to("../a")
    assert paths(tmp_path) == {"a/x.py", "b/y.py", "a/to_b/y.py", "b/to_a/x.py"}


def test_a_plugin_that_is_itself_a_link_is_read_like_any_other(tmp_path):
    """Plugins are often links to a checkout elsewhere."""
    write(tmp_path, "checkout/pkg/a.py")
    (tmp_path / "checkout" / "alias").symlink_to("pkg")
    (tmp_path / "plugin").symlink_to("checkout")
    assert paths(tmp_path / "plugin") == {"pkg/a.py", "alias/a.py"}


def test_what_is_no_plain_file_is_passed_over(tmp_path):
    """Reading a FIFO would wait for ever."""
    write(tmp_path, "run.py")
    os.mkfifo(tmp_path / "fifo.py")
    (tmp_path / "dangling.py").symlink_to("nowhere")
    (tmp_path / "zero.py").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        assert paths(tmp_path) == {"run.py"}


def test_a_file_that_becomes_a_fifo_in_between_is_not_waited_for(tmp_path):
    """It was looked at, then replaced, then opened."""
    os.mkfifo(tmp_path / "run.py")
    with module.open_plain(tmp_path / "run.py") as file:
        assert file.read() == b""


def test_files_and_folders_that_vanish_meanwhile_do_not_count(tmp_path):
    """A checkout removes them while we read; the next event brings the next snapshot."""
    write(tmp_path, "run.py", "a.py", "gone/b.py", "c.py")

    def ignores(name):
        # Called between listing and reading: the moment in which it happens.
        if name == "a.py":
            (tmp_path / "a.py").unlink()
        if name == "gone":
            (tmp_path / "gone" / "b.py").unlink()
            (tmp_path / "gone").rmdir()
        if name == "c.py":
            (tmp_path / "c.py").unlink()
            (tmp_path / "c.py").mkdir()
        return False

    assert paths(tmp_path, ignores) == {"run.py"}
    assert paths(tmp_path / "never was") == set()


def test_an_unreadable_file_is_an_error_that_names_it(tmp_path):
    """Without it the copy would not be the plugin; and the author can mend or ignore it."""
    (tmp_path / "broken.py").symlink_to("/proc/self/mem")  # a plain file whose first read fails, for root, too
    with pytest.raises(PluginInvalidError, match=r"broken\.py: cannot be read: .*\.gitignore"):
        paths(tmp_path)


def test_a_folder_full_of_data_is_refused(tmp_path, monkeypatch):
    """Hashing a million images at every save would make reloads take minutes, and nobody would know why."""
    monkeypatch.setattr(module, "MOST_FILES", 3)
    write(tmp_path, "a", "b", "c")
    assert len(paths(tmp_path)) == 3
    write(tmp_path, "d")
    with pytest.raises(PluginInvalidError, match=r"more than 3 files.*\.gitignore"):
        paths(tmp_path)


def test_a_difference_tells_added_removed_and_modified(tmp_path):
    """The three words of the founding document."""
    write(tmp_path, "same.py", "changed.py", "removed.py")
    old = Snapshot.take(tmp_path, DEFAULTS)
    (tmp_path / "removed.py").rename(tmp_path / "added.py")
    write(tmp_path, "changed.py", content="y")
    assert diff(old, old.again()) == Difference(("added.py",), ("removed.py",), ("changed.py",))
    assert not diff(old, old)


files = st.dictionaries(st.text("ab/", min_size=1, max_size=3), st.sampled_from(["1", "2"]), max_size=5)


@given(files, files)
def test_equal_hashes_mean_no_difference(one, other):
    """A generation is named by the hash; two codes must never share it."""
    old, new = (Snapshot(None, nothing, content) for content in (one, other))
    assert (old.hash == new.hash) is (not diff(old, new))


@given(files, files)
def test_a_difference_applied_to_the_old_gives_the_new(one, other):
    """Nothing is forgotten and nothing is told twice."""
    result = diff(*(SimpleNamespace(files=content) for content in (one, other)))
    rebuilt = {path: digest for path, digest in one.items() if path not in result.removed}
    rebuilt |= {path: other[path] for path in (*result.added, *result.modified)}
    assert rebuilt == other
    assert not set(result.added) & set(result.modified)


def test_names_that_are_no_unicode_are_names_like_others(tmp_path):
    """Linux allows any bytes."""
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff.py", os.O_CREAT | os.O_WRONLY))
    taken = Snapshot.take(tmp_path, DEFAULTS)
    assert [os.fsencode(path) for path in taken.files] == [b"\xff.py"]
    assert len(taken.hash) == 64
