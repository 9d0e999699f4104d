import errno
import hashlib
import os
import re
import socket
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.settings import SnapshotSettings
from supervisor.environments.file_system import SHORT
from supervisor.errors import OutOfResourcesError, PluginInvalidError
from supervisor.preparation import snapshot as module
from supervisor.preparation.snapshot import Difference, Snapshot, diff
from supervisor.watching import file_signature

DEFAULTS = SnapshotSettings().ignores


def nothing(_name):
    return False


def write(folder, *paths, content="x"):
    for path in paths:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


def raising(code):
    def fail(*_arguments):
        raise OSError(code, os.strerror(code))

    return fail


def opening_all_but(name, code):
    def opened(path, original=module.open_plain):
        return raising(code)() if path.name == name else original(path)

    return opened


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
    write(tmp_path, "run.py", "a.csv", "notes/a.py", ".hidden/a.py", ".flake8", "sub/b.csv", "sub/.env")
    assert paths(tmp_path, ignores) == {"run.py"}


def test_the_plugins_gitignore_is_followed(tmp_path):
    """What the author's Git ignores is no code; patterns, folders and exceptions work as there."""
    write(tmp_path, ".gitignore", content="/build/\n*.gen.py\n!keep.gen.py\n# comment\n")
    write(tmp_path, "run.py", "build/a.py", "sub/build/a.py", "a.gen.py", "keep.gen.py")
    assert paths(tmp_path) == {"run.py", "sub/build/a.py", "keep.gen.py"}


def test_dependencies_and_variables_always_count(tmp_path):
    """A rebuilt environment must not depend on anybody's ignore list; nor must what a worker is started with."""
    write(tmp_path, ".gitignore", content="*\n.env\n")
    write(tmp_path, "run.py", "pyproject.toml", "poetry.lock", ".env", "sub/poetry.lock")
    assert paths(tmp_path, lambda _: True) == {"pyproject.toml", "poetry.lock", ".env"}


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


@pytest.mark.parametrize("path", ["broken.py", ".gitignore"])
def test_an_unreadable_file_is_an_error_that_names_it(tmp_path, monkeypatch, path):
    """Without it the copy would not be the plugin; and the author can mend or ignore it."""
    write(tmp_path, path)
    monkeypatch.setattr(module, "open_plain", opening_all_but(path, errno.EACCES))
    with pytest.raises(PluginInvalidError, match=re.escape(f"{path}: cannot be read: ") + r".*\.gitignore"):
        paths(tmp_path, nothing)


@pytest.mark.parametrize("path", ["run.py", ".gitignore"])
@pytest.mark.parametrize("code", sorted(SHORT))
def test_what_the_machine_cannot_read_at_the_moment_is_not_the_authors_fault(tmp_path, monkeypatch, path, code):
    """The next try may find descriptors, memory, and a server that answers."""
    write(tmp_path, path)
    monkeypatch.setattr(module, "open_plain", opening_all_but(path, code))
    with pytest.raises(OutOfResourcesError, match=f"cannot read {re.escape(path)} of plugin .*; it may pass by itself"):
        paths(tmp_path, nothing)


def test_a_file_that_does_not_read_or_does_not_say_what_it_is_is_not_left_out(tmp_path):
    """The copy would lack it; a link that leads nowhere is no file."""
    (tmp_path / "broken.py").symlink_to("/proc/self/mem")  # a plain file whose first read fails, for root, too
    with pytest.raises(OutOfResourcesError, match=r"broken\.py of plugin .*: Input/output error"):
        paths(tmp_path)
    walk = module._Walk(tmp_path, None)
    assert walk._status(SimpleNamespace(stat=raising(errno.EACCES)), "a.py") is None
    with pytest.raises(OutOfResourcesError, match=r"cannot read a\.py of plugin"):
        walk._status(SimpleNamespace(stat=raising(errno.EIO)), "a.py")


@pytest.mark.parametrize("env_file", ["prod.env", "conf/prod.env", "./conf/../prod.env"])
def test_the_env_file_of_the_manifest_counts_whatever_is_ignored(tmp_path, env_file):
    """It holds secrets, so Git is told to ignore it; and what workers are started with is part of what they are."""
    write(tmp_path, ".gitignore", content="*.env\n/conf/\n")
    write(tmp_path, "run.py", "other.env", "prod.env", "conf/prod.env", "conf/other.env")
    before = Snapshot.take(tmp_path, DEFAULTS)
    assert set(before.files) == {"run.py"}
    taken = Snapshot.take(tmp_path, DEFAULTS, before, env_file)
    path = os.path.normpath(env_file)
    assert set(taken.files) == {"run.py", path}
    folder, _, name = path.rpartition("/")
    assert folder in taken.folders
    assert [taken.ignored_in(folder)(each) for each in (name, "other.env")] == [False, True]
    write(tmp_path, path, content="y")
    assert diff(taken, taken.again()).modified == (path,)


@pytest.mark.parametrize("env_file", ["/etc/hostname", "../outside.env", "absent.env", "folder"])
def test_an_env_file_that_is_none_of_the_folder_does_not_count(tmp_path, env_file):
    """Like one that is missing."""
    write(tmp_path, "outside.env", "plugin/run.py")
    (tmp_path / "plugin" / "folder").mkdir()
    assert set(Snapshot.take(tmp_path / "plugin", DEFAULTS, env_file=env_file).files) == {"run.py"}


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


def test_a_difference_is_told_in_one_short_line():
    """A checkout changes thousands of files, and the log is to be read."""
    assert str(Difference(("b.py", "c.py"), (), ("run.py",))) == "modified run.py; added b.py, c.py"
    assert str(Difference(removed=tuple("abcdefg"))) == "removed a, b, c, d, e and 2 more"
    assert str(Difference(removed=tuple("abcde"))) == "removed a, b, c, d, e"


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


@pytest.fixture
def settled(monkeypatch):
    """Files count as old as soon as they are written."""
    monkeypatch.setattr(file_signature, "SETTLED", -10_000_000_000)


@pytest.fixture
def read(monkeypatch):
    """Paths of the files that were read, in order."""
    paths, digest = [], module._digest
    monkeypatch.setattr(module, "_digest", lambda folder, path: paths.append(path) or digest(folder, path))
    return paths


@pytest.mark.usefixtures("settled")
def test_files_that_are_the_same_to_the_kernel_are_not_read_again(tmp_path, read):
    """Fifty plugins are looked at all the time; their files are read when they change."""
    write(tmp_path, "run.py", "pkg/a.py", ".gitignore")
    old = Snapshot.take(tmp_path, DEFAULTS)
    read.clear()
    write(tmp_path, "pkg/a.py", "b.py", content="other")
    new = old.again()
    assert sorted(read) == ["b.py", "pkg/a.py"]
    assert new == Snapshot.take(tmp_path, DEFAULTS)
    assert set(new.signatures) == set(new.files)


def test_a_file_that_was_just_written_is_read_again(tmp_path, read):
    """A second write within the same tick of the kernel's clock would have the same signature."""
    write(tmp_path, "run.py")
    taken = Snapshot.take(tmp_path, DEFAULTS)
    assert taken.signatures == {}
    taken.again()
    assert read == ["run.py", "run.py"]


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("act", ["replace", "retarget", "swap"])
def test_another_file_of_the_same_size_and_time_is_read(tmp_path, act):
    """Deployments set times, and rename folders as a whole."""
    plugin = tmp_path / "plugin"
    for path, content in (("one/a.py", "1"), ("two/a.py", "2")):
        write(plugin, path, content=content)
        os.utime(plugin / path, (1_000_000_000, 1_000_000_000))
    (plugin / "link.py").symlink_to("one/a.py")
    old = Snapshot.take(plugin, DEFAULTS)
    if act == "replace":
        (plugin / "two" / "a.py").rename(plugin / "one" / "a.py")
    elif act == "retarget":
        (plugin / "link.py").unlink()
        (plugin / "link.py").symlink_to("two/a.py")
    else:
        (plugin / "one").rename(plugin / "aside")
        (plugin / "two").rename(plugin / "one")
        (plugin / "aside").rename(plugin / "two")
    new = old.again()
    assert new == Snapshot.take(plugin, DEFAULTS) != old


def test_signatures_and_folders_do_not_count_for_equality(tmp_path, monkeypatch):
    """They say when it was looked at, not what is there."""
    write(tmp_path, "run.py")
    old = Snapshot.take(tmp_path, DEFAULTS)
    monkeypatch.setattr(file_signature, "SETTLED", -10_000_000_000)
    (tmp_path / "empty").mkdir()
    new = old.again()
    assert (new.signatures, new.folders) != (old.signatures, old.folders)
    assert (new, new.hash) == (old, old.hash)


@pytest.mark.usefixtures("settled")
def test_another_gitignore_and_other_settings_count_at_once(tmp_path):
    """What they said before is remembered only as long as they say the same."""
    write(tmp_path, "run.py", "a.gen.py", "b.csv")
    old = Snapshot.take(tmp_path, nothing)
    write(tmp_path, ".gitignore", content="*.gen.py\n")
    ignored = old.again()
    assert set(ignored.files) == {".gitignore", "run.py", "b.csv"}
    (tmp_path / ".gitignore").unlink()
    assert set(ignored.again().files) == {"run.py", "a.gen.py", "b.csv"}
    ignores = SnapshotSettings(extensions=["*.csv"]).ignores
    assert set(Snapshot.take(tmp_path, ignores, ignored).files) == {"run.py", "a.gen.py"}


def test_what_is_remembered_of_files_that_are_gone_is_forgotten(tmp_path):
    """A plugin may make and remove files of ever new names for months."""
    taken = None
    for number in range(5):
        write(tmp_path, f"{number}.log", f"{number}.py")
        taken = Snapshot.take(tmp_path, DEFAULTS, taken)
        for path in tmp_path.iterdir():
            path.unlink()
    assert set(taken.rules.decided) == {"4.log", "4.py"}


def test_a_folder_full_of_data_is_refused_before_it_is_read(tmp_path, monkeypatch, read):
    """Or every look would read 50,000 files."""
    monkeypatch.setattr(module, "MOST_FILES", 1)
    write(tmp_path, "a", "b")
    with pytest.raises(PluginInvalidError):
        Snapshot.take(tmp_path, DEFAULTS)
    assert read == []


@pytest.mark.parametrize("line", ["[z-a]", "!", "\\"])
def test_a_line_of_the_gitignore_that_is_no_pattern_is_named(tmp_path, line):
    """What it was to ignore is not known: nothing is guessed, and the author is told where."""
    write(tmp_path, ".gitignore", content=f"*.gen\n{line}\n")
    with pytest.raises(PluginInvalidError, match=r"\.gitignore: line 2 is no pattern: .*mend or remove") as caught:
        Snapshot.take(tmp_path, DEFAULTS)
    assert (caught.value.location, caught.value.excerpt) == (".gitignore:2", ["     1 | *.gen", f">    2 | {line}"])


def test_folders_below_each_other_without_end_are_refused(tmp_path):
    """Who walks, copies or removes them may come to the limit of Python's recursion; ignored ones are not entered."""
    write(tmp_path, "run.py", "deep" + "/d" * module.MOST_LEVELS + "/a.py")
    with pytest.raises(PluginInvalidError, match="deep: has folders more than 100 levels deep; name it in"):
        Snapshot.take(tmp_path, DEFAULTS)
    write(tmp_path, ".gitignore", content="deep/\n")
    assert paths(tmp_path) == {"run.py"}


def test_a_snapshot_names_the_folders_in_which_files_may_come_to_lie(tmp_path):
    """What counts nowhere is left out: thousands of folders, of each of which the kernel would have to tell."""
    write(
        tmp_path, "run.py", "pkg/sub/a.py", ".venv/lib/x.py", "pkg/__pycache__/a.pyc", ".git/HEAD", "node_modules/x/y"
    )
    (tmp_path / "empty").mkdir()
    (tmp_path / "alias").symlink_to("pkg")
    folders = Snapshot.take(tmp_path, DEFAULTS).folders
    assert sorted(folders) == ["", "alias", "alias/sub", "empty", "pkg", "pkg/sub"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("run.py", False), ("pyproject.toml", False), (".env", False), (".gitignore", False), ("app.db", True),
        ("app.db-journal", True), ("app.sqlite3-wal", True), ("out.log", True), ("__pycache__", True), (".venv", True),
        (".run.py.swp", True), ("notes.txt", False), ("pkg/.env", True), ("state.json", True),
        ("pkg/state.json", False), ("pkg/cache.gen", True), ("build", False), ("kept", False),
    ],
)  # fmt: skip
def test_what_cannot_change_a_snapshot_is_told_by_its_name(tmp_path, path, expected):
    """By that alone: it is all that the kernel says of a change, not whether it is a file or a folder."""
    write(tmp_path, ".gitignore", content="/state.json\n*.gen\nbuild/\n/kept\n!/kept/\n")
    folder, _, name = path.rpartition("/")
    assert Snapshot.take(tmp_path, DEFAULTS).ignored_in(folder)(name) is expected


def test_whatever_counts_can_change_a_snapshot(tmp_path):
    """Its changes would not be noticed."""
    write(tmp_path, ".gitignore", content="/*\n!/pkg/\n*.toml\n!/*.html\n")
    write(tmp_path, "run.py", "pyproject.toml", ".env", "poetry.lock", "a.html", "pkg/Makefile", "pkg/b.toml")
    taken = Snapshot.take(tmp_path, DEFAULTS)
    assert set(taken.files) == {"pyproject.toml", ".env", "poetry.lock", "a.html", "pkg/Makefile"}
    for path in [*taken.files, *taken.folders[1:]]:
        folder, _, name = path.rpartition("/")
        assert not taken.ignored_in(folder)(name)
