"""One supervisor per state folder, by the kernel's word."""

import os
import subprocess
import sys
import threading

import pytest

from supervisor import folder_lock
from supervisor.errors import ConfigurationError, StateFolderLockedError
from supervisor.folder_lock import FolderLock, is_locked, refuse_if_locked
from tests.fakes.processes import CHILDREN, command

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


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


def test_a_guard_is_waited_for_and_told_about(path):
    """It ends what a dead supervisor left, and lets go then; refused, the operator would have to try again."""
    guard, supervisor, waited = FolderLock(path, is_guard=True), FolderLock(path), []
    guard.acquire()
    assert path.read_text(encoding="ascii") == f"guard {os.getpid()}\n"
    refuse_if_locked(path)

    def waits(holder):
        waited.append(holder)
        guard.release()

    supervisor.acquire(waits)
    assert waited == [os.getpid()]
    assert path.read_text(encoding="ascii") == f"{os.getpid()}\n"
    supervisor.release()


def test_a_guard_that_does_not_let_go_is_not_waited_for_for_ever(path, monkeypatch):
    """The message says who it is and where to read on."""
    monkeypatch.setattr(folder_lock, "GUARD_TIME", 0.3)
    guard = FolderLock(path, is_guard=True)
    guard.acquire()
    with pytest.raises(StateFolderLockedError, match=r"the guard \(pid \d+\) of a dead supervisor .* logs/guard\.log"):
        FolderLock(path).acquire()
    guard.release()


def test_a_guard_waits_for_nobody(path):
    """Whoever holds the lock is a supervisor, or another guard that does the same work."""
    for is_guard in (False, True):
        holder = FolderLock(path, is_guard=is_guard)
        holder.acquire()
        with pytest.raises(StateFolderLockedError):
            FolderLock(path, is_guard=True).acquire()
        holder.release()


def test_somebody_who_only_looks_keeps_nobody_out(path):
    """A guard looks several times a second, and a supervisor that starts in that moment must not be refused."""
    lock = FolderLock(path)
    assert not is_locked(path)
    lock.acquire()
    assert is_locked(path)
    lock.release()
    done = threading.Event()

    def look_on_and_on():
        while not done.is_set():
            is_locked(path)

    looking = threading.Thread(target=look_on_and_on)
    looking.start()
    try:
        for _ in range(50):
            lock.acquire()
            lock.release()
    finally:
        done.set()
        looking.join()
