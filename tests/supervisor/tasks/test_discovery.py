"""The task directory at one moment, and what was done to it between two."""

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.preparation.prefixes import RESERVED_NAMES
from supervisor.tasks import discovery
from supervisor.tasks.discovery import TaskFile, look, name_problem
from supervisor.watching import file_signature
from supervisor.watching.directory_look import Difference, Look, diff
from tests.fakes.waiting import DEADLINE


def names(seen):
    return sorted(seen.entries)


@pytest.fixture
def settled(monkeypatch):
    """Files count as old as soon as they are written."""
    monkeypatch.setattr(file_signature, "SETTLED", -10_000_000_000)


def test_files_that_end_in_py_are_tasks_links_too(tmp_path):
    """Hidden files and those that start with ``__`` are none; the name is the file's without its suffix."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    (tmp_path / "elsewhere.txt").write_text("x = 1")
    for name in ("a.py", "b.PY", "c.txt", ".d.py", "__init__.py", "_e.py", "f.pyc", "g.py.bak"):
        (folder / name).write_text("x = 1")
    (folder / "linked.py").symlink_to(tmp_path / "elsewhere.txt")
    seen = look(folder, Look())
    assert names(seen) == ["_e", "a", "linked"]
    assert seen.entries["linked"] == TaskFile("linked", folder / "linked.py", seen.entries["a"].digest)


def test_what_cannot_be_read_is_a_task_with_a_problem(tmp_path):
    """Nothing is passed over in silence, and nobody waits for a FIFO's writer."""
    (tmp_path / "folder.py").mkdir()
    os.mkfifo(tmp_path / "fifo.py")
    (tmp_path / "dangling.py").symlink_to("nowhere.py")
    (tmp_path / "circle.py").symlink_to("circle.py")
    (tmp_path / "latin.py").write_bytes(b"# caf\xe9\n")
    (tmp_path / "huge.py").write_bytes(b"#" * (1024 * 1024 + 1))
    files = look(tmp_path, Look()).entries
    assert {name: file.problem for name, file in files.items()} == {
        "folder": "is a folder, not a regular file",
        "fifo": "is a FIFO, not a regular file",
        "dangling": "is a link to nowhere.py, which is not there",
        "circle": "cannot be read: Too many levels of symbolic links",
        "latin": "is not UTF-8 (line 1)",
        "huge": "is larger than 1048576 bytes",
    }
    assert {file.digest for file in files.values()} == {""}


def test_a_name_of_any_bytes_can_be_told(tmp_path):
    """It is refused by its name later; no message could hold it as it is."""
    (tmp_path / os.fsdecode(b"caf\xe9.py")).touch()
    assert names(look(tmp_path, Look())) == ["caf\\xe9"]


def test_a_directory_that_is_not_there_is_another_matter_than_one_that_cannot_be_read(tmp_path):
    """A project may have none."""
    with pytest.raises(FileNotFoundError):
        look(tmp_path / "none", Look())
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        look(tmp_path / "file", Look())


def test_what_was_done_is_told_by_content(tmp_path):
    """A file that was only touched has not changed; one that cannot be read any more has."""
    for name in ("kept", "touched", "changed", "removed", "broken"):
        (tmp_path / f"{name}.py").write_text("x = 1")
    before = look(tmp_path, Look())
    os.utime(tmp_path / "touched.py", (1, 1))
    (tmp_path / "changed.py").write_text("x = 2")
    (tmp_path / "removed.py").unlink()
    (tmp_path / "broken.py").write_bytes(b"\xff")
    (tmp_path / "new.py").write_text("x = 1")
    after = look(tmp_path, before)
    assert diff(before, after) == Difference(new=("new",), changed=("broken", "changed"))
    again = look(tmp_path, after)
    assert diff(after, again) == Difference(removed=("removed",))
    assert diff(again, look(tmp_path, again)) == Difference()


def test_a_file_that_is_missing_for_one_look_is_not_gone(tmp_path):
    """Editors and deployments replace files; what was missing counts as changed, since it may have been asked for."""
    file = tmp_path / "a.py"
    file.write_text("x = 1")
    first = look(tmp_path, Look())
    file.unlink()
    second = look(tmp_path, first)
    file.write_text("x = 1")
    third = look(tmp_path, second)
    file.unlink()
    fourth = look(tmp_path, third)
    assert [diff(first, second), diff(second, third), diff(third, fourth)] == [
        Difference(),
        Difference(changed=("a",)),
        Difference(),
    ]
    assert names(fourth) == ["a"]


def test_the_empty_folder_of_a_mount_point_says_nothing_about_the_files(tmp_path):
    """It is what is left where the file system that holds the tasks is not mounted."""
    (tmp_path / "a.py").write_text("x = 1")
    elsewhere = replace(look(tmp_path, Look()), device=-1)
    (tmp_path / "a.py").rename(tmp_path / "a.txt")
    with pytest.raises(OSError, match="another file system"):
        look(tmp_path, elsewhere)
    assert names(look(tmp_path, replace(Look(), device=-1))) == []
    (tmp_path / "b.py").write_text("x = 1")
    assert look(tmp_path, elsewhere).missing == {"a"}


@pytest.mark.usefixtures("settled")
def test_a_file_that_is_the_same_to_the_kernel_is_not_read_again(tmp_path, monkeypatch):
    """Fifty tasks looked at every two seconds cost fifty stats."""
    (tmp_path / "a.py").write_text("x = 1")
    before = look(tmp_path, Look())
    monkeypatch.setattr(discovery, "read_text", lambda _: pytest.fail("it is read again"))
    assert look(tmp_path, before).entries["a"] is before.entries["a"]


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("act", ["replace", "rewrite", "retarget"])
def test_the_kernel_tells_of_another_content_of_the_same_size_and_time(tmp_path, act):
    """By its inode, by the time of the last change of anything: neither can be set back."""
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    for path, text in ((tmp_path / "one", "x = 1"), (tmp_path / "two", "x = 2"), (tasks / "a.py", "x = 1")):
        path.write_text(text)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    (tasks / "link.py").symlink_to(tmp_path / "one")
    before = look(tasks, Look())
    if act == "replace":
        (tmp_path / "two").rename(tasks / "a.py")
    elif act == "rewrite":
        changed = (tasks / "a.py").stat().st_ctime_ns
        end = os.times().elapsed + DEADLINE
        while (tasks / "a.py").stat().st_ctime_ns == changed and os.times().elapsed < end:
            (tasks / "a.py").write_text("x = 2")  # until the kernel's clock has ticked
            os.utime(tasks / "a.py", (1_000_000_000, 1_000_000_000))
    else:
        (tasks / "link.py").unlink()
        (tasks / "link.py").symlink_to(tmp_path / "two")
    expected = "link" if act == "retarget" else "a"
    assert diff(before, look(tasks, before)) == Difference(changed=(expected,))


def test_a_file_that_was_just_written_is_read_again(tmp_path):
    """A second write within the same tick of the kernel's clock would have the same time."""
    (tmp_path / "a.py").write_text("x = 1")
    assert look(tmp_path, Look()).entries["a"].signature is None


@pytest.mark.parametrize("name", ["report", "_report", "Report2", "nightly-report", "a", "x" * 200])
def test_a_name_of_letters_and_digits_is_fine(name):
    """It becomes part of paths, ids and names of modules."""
    assert name_problem(name) == ""


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "must be of the letters"),
        ("2nd", "must be of the letters"),
        ("-rf", "must be of the letters"),
        ("two words", "must be of the letters"),
        ("a.b", "must be of the letters"),
        ("café", "must be of the letters"),
        ("a\n", "must be of the letters"),
        ("x" * 201, "longer than 200"),
        *((name, "reserved for xcore's own") for name in sorted(RESERVED_NAMES)),
    ],
)
def test_other_names_are_refused(name, problem):
    """Ids of jobs are ``<task>.<job>``, those of processes too: a dot would make one look like another."""
    assert problem in name_problem(name)


looks = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["1", "2", ""]))


@given(looks, looks)
def test_the_difference_leads_from_one_look_to_the_other(old, new):
    """Whatever was done, in one step."""

    def as_look(contents):
        return Look({name: TaskFile(name, discovery.Path(name), digest) for name, digest in contents.items()})

    found = diff(as_look(old), as_look(new))
    assert set(found.new) == new.keys() - old.keys()
    assert set(found.removed) == old.keys() - new.keys()
    assert set(found.changed) == {name for name in old.keys() & new.keys() if old[name] != new[name]}
