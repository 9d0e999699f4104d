"""Copies of modules: whole, by content, and no more of them than are needed."""

import errno
from pathlib import Path

import pytest

from supervisor.errors import DiskFullError, XcoreError
from supervisor.tasks.module_copy import ModuleCopies


@pytest.fixture
def copies(tmp_path):
    return ModuleCopies(tmp_path / "_tasks")


def test_each_content_has_a_copy_of_its_own(copies, tmp_path):
    """Under the task's name, as it is imported; the same content is not written again."""
    first = copies.make("report", "x = 1\r\n")
    assert first.path == tmp_path / "_tasks" / "report" / first.hash / "report.py"
    assert first.path.read_bytes() == b"x = 1\r\n"
    written = first.path.stat().st_mtime_ns
    assert copies.make("report", "x = 1\r\n") == first
    assert first.path.stat().st_mtime_ns == written
    second = copies.make("report", "x = 2\r\n")
    assert second.hash != first.hash
    assert first.path.read_bytes() == b"x = 1\r\n"
    assert sorted(path.name for path in first.path.parent.parent.iterdir()) == sorted([first.hash, second.hash])


def test_what_a_kill_left_half_made_is_made_whole(copies):
    """A folder without its file is no copy."""
    copy = copies.make("report", "x = 1")
    copy.path.unlink()
    (copy.path.parent / "__pycache__").mkdir()
    assert copies.make("report", "x = 1").path.read_text() == "x = 1"


def test_prune_leaves_what_is_to_be_kept(copies, tmp_path):
    """Of that task alone; drafts that a kill left behind go, too."""
    kept, gone = copies.make("report", "x = 1"), copies.make("report", "x = 2")
    other = copies.make("other", "x = 1")
    (tmp_path / "_tasks" / "report" / ".abc.tmp").mkdir()
    copies.prune("report", {kept.hash})
    assert [path.name for path in (tmp_path / "_tasks" / "report").iterdir()] == [kept.hash]
    assert other.path.is_file()
    assert not gone.path.exists()
    copies.prune("unknown", set())


def test_a_full_disk_is_told_apart(copies, monkeypatch):
    """It may heal by itself, and then the task is tried again."""

    def write_bytes(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(DiskFullError, match="No space left on device; free some space in the file system /"):
        copies.make("sweep", "a = 1\n")


def test_a_copy_that_cannot_be_written_is_an_error_of_the_task(copies, tmp_path):
    """What runs goes on."""
    (tmp_path / "_tasks").touch()
    with pytest.raises(XcoreError, match=r"cannot copy the module of task 'report' to .*: Not a directory") as caught:
        copies.make("report", "x = 1")
    assert caught.value.hint == "the version before goes on"
