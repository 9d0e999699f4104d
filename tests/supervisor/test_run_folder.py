"""The state folder and what of a dead supervisor is left in it."""

import socket

import pytest

from supervisor.errors import XcoreError
from supervisor.run_folder import empty_run_folder, make_state_folder
from supervisor.state_folder import MAX_SOCKET_PATH, StateFolder


@pytest.fixture
def folder(tmp_path):
    return StateFolder(tmp_path / "deep" / ".xcore")


def test_nobody_else_may_look_into_it(folder):
    """Also where it was made before, with other rights."""
    folder.run.mkdir(parents=True, mode=0o755)
    folder.root.chmod(0o755)
    make_state_folder(folder)
    make_state_folder(folder)
    assert {path: path.stat().st_mode & 0o777 for path in (folder.root, folder.run, folder.logs, folder.data)} == {
        folder.root: 0o700,
        folder.run: 0o700,
        folder.logs: 0o700,
        folder.data: 0o700,
    }


def test_a_place_where_it_cannot_be_made_is_a_clear_error(tmp_path):
    """A file in the way, here."""
    (tmp_path / "file").touch()
    with pytest.raises(
        XcoreError, match=r"cannot make the state folder .*: .*; let supervisor\.state_dir name a folder"
    ):
        make_state_folder(StateFolder(tmp_path / "file" / "state"))


def test_the_longest_path_that_is_let_through_works(tmp_path):
    """The limit is the kernel's."""
    room = MAX_SOCKET_PATH - len(str(StateFolder(tmp_path / "").longest_socket())) - len("/")
    folder = StateFolder(tmp_path / ("x" * room))
    make_state_folder(folder)
    path = folder.longest_socket()
    assert len(str(path)) == MAX_SOCKET_PATH
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def test_stale_sockets_and_fifos_are_removed_and_noticed(folder):
    """Row 23; the second time nothing is left, so nobody died."""
    make_state_folder(folder)
    folder.control_socket.touch()
    (folder.run / "ab12.out").touch()
    assert empty_run_folder(folder)
    assert list(folder.run.iterdir()) == []
    assert not empty_run_folder(folder)
