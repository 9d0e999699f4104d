"""Ending processes that have nobody else: signals, in order, until nothing is left."""

import os
import signal
import subprocess
import sys

import pytest

from supervisor.guard.ending import end_all
from supervisor.guard.process_table import children_of, identify, read_table, send
from supervisor.guard.selection import Exempt, Identity, ours
from tests.fakes.processes import command, exists, wait_until

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("nothing_left_behind")]

WAITS = "print(flush=True); import time; time.sleep(3600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(3600)"
FORKS_ON = """
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: os.fork())
print(flush=True)
while True:
    time.sleep(3600)
"""


@pytest.fixture
def start():
    """Start programs that are ready when they have printed a line; they are killed at the end."""
    running = []

    def start(script: str) -> subprocess.Popen:
        process = subprocess.Popen([sys.executable, "-I", "-S", "-c", script], stdout=subprocess.PIPE)
        running.append(process)
        process.stdout.readline()
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


def living(*processes: subprocess.Popen):
    """A ``find`` as the guard's: it knows these and all that it has seen descend from them."""
    known = {identify(process.pid) for process in processes}
    exempt = Exempt(pids={os.getpid()}, shared_sessions={os.getsid(0)})

    def find() -> set[Identity]:
        table = read_table()
        found = ours(table, known, "a mark that nobody has", exempt)
        known.update(found)
        return {identity for identity in found if not table[identity.pid].is_zombie}

    return find, known


def end(find, said, **times):
    return end_all(find, said.append, lambda found: f"{len(found)}", **{"term_time": 5, "kill_time": 5, **times})


def test_what_listens_to_sigterm_gets_nothing_else(start):
    """A plugin may have something to write down."""
    process, said = start(WAITS), []
    assert end(living(process)[0], said) == set()
    assert process.wait() == -signal.SIGTERM
    assert said == ["Sending SIGTERM to 1"]


def test_a_stopped_process_is_ended_by_sigterm_as_well(start):
    """It must be continued to hear of it."""
    process, said = start(WAITS), []
    process.send_signal(signal.SIGSTOP)
    assert end(living(process)[0], said) == set()
    assert process.wait() == -signal.SIGTERM
    assert said == ["Sending SIGTERM to 1"]


def test_what_is_deaf_is_killed(start):
    """Together with those that listened, in one round."""
    deaf, listens, said = start(DEAF), start(WAITS), []
    assert end(living(deaf, listens)[0], said, term_time=0.3) == set()
    assert (deaf.wait(), listens.wait()) == (-signal.SIGKILL, -signal.SIGTERM)
    assert said == ["Sending SIGTERM to 2", "Sending SIGKILL to 1"]


def test_what_is_started_meanwhile_is_ended_too(start):
    """Each look is a new one: an answer to SIGTERM may be another process."""
    process, said = start(FORKS_ON), []
    find, known = living(process)
    assert end(find, said, term_time=0.3) == set()
    assert process.wait() == -signal.SIGKILL
    forked = {identity.pid for identity in known} - {process.pid}
    assert forked
    for pid in forked:  # they are ours now, as the supervisor's would be init's
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_what_cannot_be_ended_is_told_and_left(start):
    """There is a limit: the next supervisor waits for the lock."""
    said = []
    nobody = {Identity(2**22 + 1, 1)}
    assert end(lambda: nobody, said, term_time=0.1, kill_time=0.1) == nobody
    assert said[-1] == "Cannot end 1: still there after 0.1 s of SIGKILL; end it by hand"


def test_where_there_is_nothing_nothing_is_said():
    """The usual case: all guests have ended by themselves."""
    said = []
    assert end(set, said) == set()
    assert said == []


def test_no_signal_reaches_another_process_that_has_the_pid(start):
    """Start ticks are compared after the pidfd holds the process."""
    process = start(WAITS)
    identity = identify(process.pid)
    send(identity._replace(start_ticks=identity.start_ticks - 1), [signal.SIGKILL])
    send(Identity(2**22 + 1, 1), [signal.SIGKILL])
    assert process.poll() is None
    send(identity, [signal.SIGKILL])
    assert process.wait() == -signal.SIGKILL


def test_the_table_shows_marks_parents_and_zombies():
    """Of a process that is our own; the mark is what it was started with."""
    environment = {"XCORE_TREE": "m1", "OTHER": "x"}
    process = subprocess.Popen(command("exits_with.py", 0, 3600), env=environment, start_new_session=True)
    try:
        wait_until(lambda: read_table()[process.pid].mark == "m1", "it is executed")
        seen = read_table()[process.pid]
        assert (seen.parent, seen.session, seen.is_zombie) == (os.getpid(), process.pid, False)
        assert seen.identity == identify(process.pid)
        assert read_table()[os.getpid()].mark is None
        assert process.pid in children_of(os.getpid())
        process.kill()
        wait_until(lambda: not exists(process.pid), "it is dead")
        assert read_table()[process.pid].is_zombie
    finally:
        process.kill()
        process.wait()
    assert identify(process.pid) is None
    assert children_of(2**22 + 1) == set()
