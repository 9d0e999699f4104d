"""The state folder and what of a dead supervisor is left in it."""

import socket

import pytest

from supervisor.errors import XcoreError
from supervisor.run_folder import clear_run_folder, make_state_folder
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
    assert clear_run_folder(folder, keep=set())
    assert list(folder.run.iterdir()) == []
    assert not clear_run_folder(folder, keep=set())


def test_the_files_of_processes_that_live_are_kept(folder):
    """Row 23: whoever takes them over reads their output and links to them; the address of the gateways is theirs."""
    make_state_folder(folder)
    kept = {folder.output_fifo("ab12", "out"), folder.link_socket("ab12"), folder.process_record("ab12")}
    for path in (*kept, folder.gateway_file, folder.control_socket, folder.output_fifo("cd34", "out")):
        path.touch()
    assert clear_run_folder(folder, keep={"ab12"})
    assert set(folder.run.iterdir()) == {*kept, folder.gateway_file}


def test_records_are_kept_for_whoever_has_to_know_of_the_dead(folder):
    """The guard ends processes; the next supervisor puts their ends on record."""
    make_state_folder(folder)
    for path in (folder.process_record("ab12"), folder.link_socket("ab12"), folder.control_socket):
        path.touch()
    assert clear_run_folder(folder, keep=(), keep_records=True)
    assert list(folder.run.iterdir()) == [folder.process_record("ab12")]
