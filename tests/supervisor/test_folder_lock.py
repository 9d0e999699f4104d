"""One supervisor per state folder, by the kernel's word."""

import os
import subprocess
import sys

import pytest

from supervisor.errors import ConfigurationError, StateFolderLockedError
from supervisor.folder_lock import FolderLock, refuse_if_locked
from tests.fakes.processes import CHILDREN, command, nothing_left_behind


@pytest.fixture(autouse=True)
def _nothing_left_behind():
    with nothing_left_behind():
        yield


@pytest.fixture
def path(tmp_path):
    return tmp_path / "supervisor.lock"


@pytest.fixture
def holder(path):
    """Another process that holds the lock."""
    script = [sys.executable, str(CHILDREN / "holds_lock.py"), str(path)]
    with subprocess.Popen(script, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"locked\n"
        yield process
        process.kill()


@pytest.mark.process
def test_a_second_supervisor_is_told_who_holds_the_folder(path, holder):
    """Row 25: refused at once, with the pid; the first is undisturbed."""
    with pytest.raises(StateFolderLockedError, match=rf"supervisor \(pid {holder.pid}\) runs on it") as caught:
        FolderLock(path).acquire()
    assert (caught.value.folder, caught.value.holder) == (path.parent, holder.pid)
    assert path.read_text(encoding="ascii") == f"{holder.pid}\n"


@pytest.mark.process
def test_looking_tells_the_same_and_takes_nothing(path, holder):
    """``xcore up`` refuses before it has imported all that a supervisor needs."""
    with pytest.raises(StateFolderLockedError, match=rf"supervisor \(pid {holder.pid}\) runs on it"):
        refuse_if_locked(path)
    assert path.read_text(encoding="ascii") == f"{holder.pid}\n"
    holder.kill()
    holder.wait()
    refuse_if_locked(path)
    refuse_if_locked(path.with_name("missing"))


@pytest.mark.process
def test_the_lock_of_a_killed_supervisor_can_be_taken(path, holder):
    """The file it left behind means nothing."""
    holder.kill()
    holder.wait()
    lock = FolderLock(path)
    lock.acquire()
    assert path.read_text(encoding="ascii") == f"{os.getpid()}\n"
    lock.release()


@pytest.mark.process
def test_a_child_does_not_keep_the_lock(path):
    """The supervisor's successor must get it while the children of the first still run."""
    lock = FolderLock(path)
    lock.acquire()
    with subprocess.Popen(command("ignores_sigterm.py"), stdout=subprocess.PIPE, close_fds=False) as child:
        child.stdout.readline()
        lock.release()
        successor = FolderLock(path)
        successor.acquire()
        successor.release()
        child.kill()


def test_release_lets_others_in_and_may_be_repeated(path):
    """Also: nobody is named as the holder any more."""
    first, second = FolderLock(path), FolderLock(path)
    first.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()
    assert path.read_text(encoding="ascii") == ""


@pytest.mark.parametrize("content", [b"", b"not a pid\n", b"\xff\xfe", b"9" * 5000])
def test_a_held_lock_with_unreadable_content_is_still_refused(path, content):
    """The holder writes its pid after locking, and a file may hold anything."""
    lock = FolderLock(path)
    lock.acquire()
    path.write_bytes(content)
    with pytest.raises(StateFolderLockedError, match="another supervisor"):
        FolderLock(path).acquire()
    lock.release()


def test_a_stale_file_of_any_content_is_overwritten(path):
    """Nothing of it remains."""
    path.write_bytes(b"9" * 5000)
    lock = FolderLock(path)
    lock.acquire()
    assert path.read_text(encoding="ascii") == f"{os.getpid()}\n"
    lock.release()


def test_what_cannot_be_locked_is_an_error_of_configuration(tmp_path):
    """A directory in its place, or no folder at all: the operator's to mend, and the message names the file."""
    with pytest.raises(
        ConfigurationError, match=r"supervisor\.state_dir: cannot lock the state folder: Is a directory"
    ):
        FolderLock(tmp_path).acquire()
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        FolderLock(tmp_path / "gone" / "supervisor.lock").acquire()
