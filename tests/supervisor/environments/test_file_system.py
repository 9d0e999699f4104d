"""Which file system is full, as an operator would name it."""

import errno
import os
from types import SimpleNamespace

import pytest

from supervisor.environments import file_system
from supervisor.environments.file_system import FULL, SHORT, fullest, is_full, is_want_of_machine, want_of_machine


def statvfs(**shares):
    """By name of a folder: blocks and files left of a hundred; 0 files in all where they are not counted."""

    def answer(path):
        blocks, files = next(share for name, share in shares.items() if f"/{name}" in str(path))
        total = 0 if files is None else 100
        return SimpleNamespace(f_bavail=blocks, f_blocks=100, f_favail=files or 0, f_files=total)

    return SimpleNamespace(statvfs=answer)


def test_the_one_with_the_least_left_is_named_by_its_mount_point(tmp_path, monkeypatch):
    """Blocks or inodes, whatever is short; a path that is not there yet lies where its parent does."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    paths = [tmp_path / "one" / "not" / "there", tmp_path / "two"]
    monkeypatch.setattr("pathlib.Path.is_mount", lambda path: path.parent == tmp_path)
    for shares, wanted in [
        ({"one": (0, 50), "two": (20, 50)}, "one"),
        ({"one": (40, 50), "two": (90, 1)}, "two"),
        ({"one": (3, None), "two": (90, 50)}, "one"),
    ]:
        monkeypatch.setattr(file_system, "os", statvfs(**shares))
        assert fullest(paths) == tmp_path / wanted


def test_a_real_path_has_a_real_mount_point(tmp_path):
    """The kernel says so."""
    assert fullest([tmp_path / "nothing"]).is_mount()


@pytest.mark.parametrize("code", sorted(FULL | SHORT | {errno.EACCES, errno.EROFS, errno.ENOENT}))
def test_the_machine_is_to_blame_for_what_may_pass_and_for_nothing_else(tmp_path, code):
    """Whoever asks gets the same answer, whether as a yes or as an error to show."""
    error = OSError(code, os.strerror(code))
    assert (is_full(error), is_want_of_machine(error)) == (code in FULL, code in FULL | SHORT)
    assert (want_of_machine("cannot write", error, tmp_path) is not None) == is_want_of_machine(error)
    assert not is_want_of_machine(RuntimeError("none of the machine's"))
