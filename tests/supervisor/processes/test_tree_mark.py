"""The mark of a state folder's processes."""

import shutil

import pytest

from supervisor.errors import XcoreError
from supervisor.processes.tree_mark import MARK_BYTES, tree_mark


def test_a_folder_keeps_its_mark(tmp_path):
    """The guard of the next supervisor must know the processes of the one before."""
    path = tmp_path / "tree.mark"
    mark = tree_mark(path)
    assert len(bytes.fromhex(mark)) == MARK_BYTES
    assert tree_mark(path) == mark
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_copy_of_the_folder_gets_another_one(tmp_path):
    """Else the guard of the copy would end the processes of the original."""
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.mkdir()
    mark = tree_mark(original / "tree.mark")
    shutil.copytree(original, copy)
    assert tree_mark(copy / "tree.mark") != mark
    original.rename(tmp_path / "moved")
    assert tree_mark(tmp_path / "moved" / "tree.mark") == mark


@pytest.mark.parametrize("content", [b"", b"x", b"\xff\xfe", b"a b c"])
def test_a_damaged_file_is_written_anew(tmp_path, content):
    """There is nothing in it that could not be drawn again."""
    path = tmp_path / "tree.mark"
    path.write_bytes(content)
    assert tree_mark(path) == tree_mark(path)


def test_where_it_cannot_be_kept_is_a_clear_error(tmp_path):
    """A folder in its place."""
    (tmp_path / "tree.mark").mkdir()
    with pytest.raises(XcoreError, match=r"cannot keep the mark of our processes in .*tree\.mark: Is a directory"):
        tree_mark(tmp_path / "tree.mark")
