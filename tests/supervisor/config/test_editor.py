"""Changes of config.json: everything else in the file stays, and it is whole at every moment."""

import json
import os
import resource
import stat
import subprocess
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.config import editor as editor_module
from supervisor.config.editor import ConfigurationEditor, UnwritableFileError
from supervisor.config.regular_file import MAX_BYTES
from supervisor.config.source import load
from supervisor.errors import ConfigurationError, ConflictError, XcoreError

RETRIES = ("manager", "tasks", "max_retries")


@pytest.fixture
def path(tmp_path):
    """An empty configuration."""
    path = tmp_path / "config.json"
    path.write_text("{}")
    return path


def set_key(path, key, value, environ=None):
    return ConfigurationEditor(path, environ or {}).set(key, value)


@contextmanager
def untouched(path, *, beside=()):
    """The file says what it said, is the same file, and no draft of it is left."""
    said, inode = path.read_bytes(), path.stat().st_ino
    yield
    assert (path.read_bytes(), path.stat().st_ino) == (said, inode)
    assert sorted(entry.name for entry in path.parent.iterdir()) == sorted([path.name, *beside])


def refusal(path, key, value, environ=None) -> ConfigurationError:
    with untouched(path), pytest.raises(ConfigurationError) as caught:
        set_key(path, key, value, environ)
    return caught.value


# --- what is written ----------------------------------------------------------------------------------------


def test_a_key_is_set_and_everything_else_stays(path):
    """Order, "$schema", other sections; two spaces, a newline at the end."""
    path.write_text(
        '{"$schema": "./s.json", "tasks": {"ö": {"env": {"B": "2", "A": "1"}}}, "manager": {"dotenv": null}}'
    )
    configuration = set_key(path, RETRIES, 7)
    assert path.read_text() == (
        "{\n"
        '  "$schema": "./s.json",\n'
        '  "tasks": {\n    "ö": {\n      "env": {\n        "B": "2",\n        "A": "1"\n      }\n    }\n  },\n'
        '  "manager": {\n    "dotenv": null,\n    "tasks": {\n      "max_retries": 7\n    }\n  }\n'
        "}\n"
    )
    assert configuration == load(path, {})
    assert configuration.manager.tasks.max_retries == 7


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (("manager", "tasks", "auto_restart"), False),
        (("manager", "dotenv"), None),
        (("manager", "tasks", "interval"), 0.5),
        (("manager", "log", "file"), "größe.log"),
        (("manager", "snapshot", "filenames"), ["a", "b*"]),
        (("manager", "tasks"), {"max_retries": 1, "interval": 3}),
        (("supervisor", "restart", "limit"), 3),
        (("tasks", "my.sweep", "env"), {"COLOUR": "red"}),
    ],
    ids=lambda part: ".".join(part) if isinstance(part, tuple) else "",
)
def test_values_of_any_type_are_written(path, key, value):
    """Also whole sections, which replace what was there."""
    set_key(path, key, value)
    found = json.loads(path.read_text())
    for part in key:
        found = found[part]
    assert found == value


def test_a_value_that_is_there_already_writes_nothing(path):
    """A backup or a version control that watches the file has nothing to do."""
    set_key(path, RETRIES, 7)
    with untouched(path):
        assert set_key(path, RETRIES, 7).manager.tasks.max_retries == 7


def test_mode_and_owner_stay(path):
    """A file that others must not read does not become readable, at no moment."""
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 12345, 23456)
    before = path.stat()
    set_key(path, RETRIES, 7)
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert stat.S_IMODE(after.st_mode) == 0o640


def test_a_symbolic_link_stays_one(path, tmp_path):
    """Its target is written, where it lies; relative paths still start at the folder of the link."""
    (tmp_path / "shared").mkdir()
    target = path.rename(tmp_path / "shared" / "real.json")
    path.symlink_to("shared/real.json")
    configuration = set_key(path, RETRIES, 7)
    assert path.readlink() == Path("shared/real.json")
    assert json.loads(target.read_text())["manager"]["tasks"]["max_retries"] == 7
    assert configuration.folder == tmp_path
    assert [entry.name for entry in target.parent.iterdir()] == ["real.json"]


def test_readers_see_the_old_file_or_the_new_one(path):
    """Never a part: the old one is whole as long as somebody holds it open."""
    path.write_text('{"manager": {}}')
    with path.open() as reader:
        set_key(path, RETRIES, 7)
        assert reader.read() == '{"manager": {}}'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from([RETRIES, ("manager",), ("manager", "dotenv"), ("tasks", "x", "env")]), value=JSON)
def test_whatever_comes_the_file_stays_valid(path, key, value):
    """It is written and loads, or it is refused with one error and nothing has changed."""
    before = path.read_bytes()
    try:
        written = set_key(path, key, value)
    except ConfigurationError:
        assert path.read_bytes() == before
    else:
        assert load(path, {}) == written


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (("manager", "tasks", "max_retrys"), "manager.tasks.max_retrys: unknown key; did you mean 'max_retries'?"),
        (("manager", "taks", "interval"), "manager.taks: unknown key; did you mean 'tasks'?"),
        ((*RETRIES, "most"), "max_retries.most: unknown key; manager.tasks.max_retries has no keys of its own"),
        (("manager", "snapshot", "filenames", "0"), "filenames.0: unknown key; manager.snapshot.filenames has no keys"),
        (("manager", "tasks", ""), 'manager.tasks."": unknown key; known: auto_restart'),
        (("tasks", "sweep", "enf"), "tasks.sweep.enf: unknown key; did you mean 'env'?"),
        ((), "no key is named"),
    ],
)
def test_an_unknown_key_comes_with_the_nearest_one(path, key, text):
    """The path as a person would look for it, and what could have been meant."""
    assert f"{path}: {text}" in str(refusal(path, key, 1)) or text in str(refusal(path, key, 1))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("7", 'must be a whole number, not "7"; write 7 without quotes'),
        (-1, "must be at least 0, not -1"),
        (True, "must be a whole number, not true"),
        (float("nan"), "manager.tasks.max_retries: must be a whole number, not NaN"),
        (10**5000, "must be a JSON value: Exceeds the limit"),
        (b"7", "must be a JSON value: Object of type bytes"),
        ({"\ud800": 1}, "must not contain half of a surrogate pair"),
    ],
    ids=["text", "range", "bool", "NaN", "digits", "bytes", "surrogate"],
)
def test_a_wrong_value_is_refused_before_anything_is_written(path, value, text):
    """With the key, the value and what to write."""
    assert text in str(refusal(path, RETRIES, value))


@pytest.mark.parametrize("depth", [40, 100_000])
def test_a_value_that_is_nested_too_deeply_is_refused(path, depth):
    """The limit of the file is that of its changes; it is found without the interpreter's stack overflowing."""
    value = []
    for _ in range(depth):
        value = [value]
    assert "nested more than 32 levels deep" in str(refusal(path, ("manager", "dotenv"), value))


def test_a_value_that_makes_the_file_too_large_is_refused(path):
    """What is written can be read again."""
    error = refusal(path, ("manager", "snapshot", "filenames"), ["x" * MAX_BYTES])
    assert f"makes the file larger than {MAX_BYTES} bytes" in str(error)


def test_keys_that_contradict_each_other_are_refused(path):
    """The whole is checked, with what the file says beside the key."""
    path.write_text('{"supervisor": {"heartbeat": {"stalled": 20}}}')
    error = refusal(path, ("supervisor", "heartbeat", "hung"), 10)
    assert "stalled, hung and hang_cpu_limit must be in rising order" in str(error)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b'{"manager": {"tasks": {"max_re', "not valid JSON at line 1"),
        (b"", "is empty"),
        (b'{"manager": []}', "manager: must be an object, not a list"),
        (b'{"gateway": {"prot": 1}}', "gateway.prot: unknown key"),
        (b"\xff{}", "is not UTF-8"),
    ],
    ids=["half-written", "empty", "section", "elsewhere", "bytes"],
)
def test_a_file_that_is_not_valid_is_left_to_its_user(path, content, text):
    """Whatever they are in the middle of: we do not write over it."""
    path.write_bytes(content)
    assert text in str(refusal(path, RETRIES, 7))


def test_a_missing_file_is_not_made(tmp_path):
    """There is nobody's configuration to change."""
    with pytest.raises(ConfigurationError, match="there is no such file"):
        set_key(tmp_path / "config.json", RETRIES, 7)
    assert list(tmp_path.iterdir()) == []


def test_half_of_a_surrogate_pair_where_nobody_looks_is_found(path):
    """ "$schema" may say anything, but what cannot be written is not."""
    path.write_text('{"$schema": "\\ud800"}')
    assert "holds half of a surrogate pair" in str(refusal(path, RETRIES, 7))


@pytest.mark.parametrize("key", [RETRIES, ("manager", "tasks")], ids=".".join)
def test_a_key_that_the_environment_overrides_is_a_conflict(path, key):
    """It would have no effect; the message names the variable. So it is for a section that holds it."""
    value = 7 if key == RETRIES else {"max_retries": 7}
    with untouched(path), pytest.raises(ConflictError) as caught:
        set_key(path, key, value, {"XCORE__MANAGER__TASKS__MAX_RETRIES": "5"})
    assert str(caught.value) == (
        f"cannot change {'.'.join(key)}: environment variable XCORE__MANAGER__TASKS__MAX_RETRIES overrides it; "
        "change it there"
    )


def test_a_key_that_the_dotenv_file_overrides_names_the_file(path, tmp_path):
    """Where to change it."""
    (tmp_path / ".env").write_text("XCORE__MANAGER__TASKS__MAX_RETRIES=5\n")
    with untouched(path, beside=[".env"]), pytest.raises(ConflictError) as caught:
        set_key(path, RETRIES, 7)
    assert f"{tmp_path}/.env: XCORE__MANAGER__TASKS__MAX_RETRIES overrides it" in str(caught.value)


def test_neighbours_of_an_overridden_key_can_be_changed(path):
    """The file alone is written: what the environment says does not get into it."""
    configuration = set_key(path, RETRIES, 7, {"XCORE__MANAGER__TASKS__INTERVAL": "9"})
    assert json.loads(path.read_text()) == {"manager": {"tasks": {"max_retries": 7}}}
    assert (configuration.manager.tasks.interval, configuration.manager.tasks.max_retries) == (9, 7)


# --- others who write --------------------------------------------------------------------------------------


@pytest.fixture
def meanwhile(monkeypatch):
    """Do something between the reading of the file and the rename: when the draft is on the disk."""

    def install(action):
        write_draft = editor_module._write_draft

        def write_draft_and_act(*arguments):
            draft = write_draft(*arguments)
            action()
            return draft

        monkeypatch.setattr(editor_module, "_write_draft", write_draft_and_act)

    return install


def _save(path):
    path.write_text('{"gateway": {"port": 1}}')


def _replace(path):
    other = path.with_name("other")
    other.write_text('{"gateway": {"port": 1}}')
    other.rename(path)


def _half_write(path):
    path.write_text('{"gateway": {"po')


def _remove(path):
    path.unlink()


def _link(path):
    elsewhere = path.with_name("elsewhere.json")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


@pytest.mark.parametrize("act", [_save, _replace, _half_write, _remove, _link], ids=lambda act: act.__name__[1:])
def test_what_somebody_else_writes_meanwhile_is_not_lost(path, meanwhile, act):
    """Their editor takes no lock of ours. Ours can be asked for again, theirs would be gone."""
    meanwhile(lambda: act(path))
    with pytest.raises(ConflictError, match=r"somebody else is changing it; try again"):
        set_key(path, RETRIES, 7)
    said = path.read_text() if path.exists() else None
    assert said == {
        "_save": '{"gateway": {"port": 1}}',
        "_replace": '{"gateway": {"port": 1}}',
        "_half_write": '{"gateway": {"po',
        "_remove": None,
        "_link": "{}",
    }.get(act.__name__)
    assert not list(path.parent.glob(".*"))


def test_what_was_written_before_is_kept(path):
    """A file changed since the last change of ours is read anew."""
    editor = ConfigurationEditor(path, {})
    editor.set(RETRIES, 7)
    path.write_text('{"gateway": {"port": 1}}')
    editor.set(RETRIES, 8)
    assert json.loads(path.read_text()) == {"gateway": {"port": 1}, "manager": {"tasks": {"max_retries": 8}}}


def test_changes_at_once_are_all_there_at_the_end(path):
    """Each reads what the one before wrote; none of them is a conflict."""
    editor = ConfigurationEditor(path, {})
    names = [f"t{number}" for number in range(16)]
    failures = []

    def change(name):
        try:
            editor.set(("tasks", name, "max_age"), 5)
        except XcoreError as error:
            failures.append(error)

    threads = [threading.Thread(target=change, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert sorted(json.loads(path.read_text())["tasks"]) == sorted(names)


# --- a disk that does not want -----------------------------------------------------------------------------


def unwritable(path, status) -> str:
    with untouched(path), pytest.raises(UnwritableFileError) as caught:
        set_key(path, RETRIES, 7)
    assert caught.value.status == status
    assert str(caught.value).startswith(f"cannot write {path}: ")
    return str(caught.value)


@contextmanager
def failing(monkeypatch, function, number):
    """Let one call of the os module fail as the kernel would."""

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(editor_module.os, function, fail)
        yield


@pytest.mark.parametrize(
    ("function", "number", "status"),
    [("fsync", 28, 507), ("fsync", 122, 507), ("fsync", 5, 503), ("fchmod", 1, 503)],
    ids=["full", "quota", "I/O", "mode"],
)
def test_a_failure_before_the_rename_changes_nothing(path, monkeypatch, function, number, status):
    """Said with the kernel's reason; a full disk by a status of its own."""
    with failing(monkeypatch, function, number):
        assert os.strerror(number) in unwritable(path, status)


def test_a_rename_that_fails_changes_nothing(path, monkeypatch):
    """The file of a container is often a mount of its own: it cannot be replaced."""

    def busy(*_):
        raise OSError(16, os.strerror(16))

    monkeypatch.setattr(Path, "rename", busy)
    assert "Device or resource busy" in unwritable(path, 503)


def test_a_folder_in_which_nothing_can_be_made_is_said(path, monkeypatch):
    """Root ignores the mode of a folder, so the kernel's answer is given for it."""

    def read_only(*_, **__):
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(editor_module.tempfile, "mkstemp", read_only)
    assert "Read-only file system" in unwritable(path, 503)


def test_a_file_that_must_not_be_written_is_not_replaced(path, monkeypatch):
    """A rename would need no permission on it; whoever made it read-only meant it."""
    monkeypatch.setattr(editor_module.os, "access", lambda *_: False)
    assert "Permission denied" in unwritable(path, 503)


def test_a_folder_that_cannot_be_synced_is_no_failure(path, monkeypatch):
    """The change has happened by then; to say that it has not would be wrong."""
    fsync, calls = os.fsync, []

    def file_only(fd):
        calls.append(fd)
        if len(calls) == 1:
            return fsync(fd)
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(editor_module.os, "fsync", file_only)
    set_key(path, RETRIES, 7)
    assert len(calls) == 2
    assert load(path, {}).manager.tasks.max_retries == 7


@contextmanager
def files_up_to(size):
    """Let no file grow beyond ``size`` bytes: a failing write without a full disk (Python ignores SIGXFSZ)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_ends_half_way_changes_nothing(path):
    """The kernel takes the first bytes and refuses the rest: what there is of the draft goes."""
    with files_up_to(10):
        assert "File too large" in unwritable(path, 503)


@pytest.fixture
def full_disk(tmp_path):
    """A file system with a configuration and no room for anything else."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting is not permitted here")
    try:
        (tmp_path / "config.json").write_text("{}")
        with suppress(OSError), (tmp_path / "filler").open("wb", buffering=0) as filler:
            while filler.write(b"x" * 4096):
                pass
        yield tmp_path
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.process
def test_a_full_disk_is_said_and_gets_better_by_itself(full_disk):
    """Row 32: 507, the file as it was; once there is room the same change succeeds."""
    path = full_disk / "config.json"
    with untouched(path, beside=["filler"]), pytest.raises(UnwritableFileError) as caught:
        set_key(path, RETRIES, 7)
    assert (caught.value.status, "No space left on device" in str(caught.value)) == (507, True)
    (full_disk / "filler").unlink()
    assert set_key(path, RETRIES, 7) == load(path, {})
