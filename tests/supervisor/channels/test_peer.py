"""Who is at the other end of a Unix socket."""

import os
import socket
import subprocess

import pytest

from supervisor.channels.peer import PeerCredentials, descends_from_us, peer_credentials
from tests.fakes.processes import command


def test_the_kernel_says_who_it_is():
    """Nothing that the peer sends."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_credentials(ours) == PeerCredentials(os.getpid(), os.geteuid(), os.getegid())


def test_neither_our_parents_nor_we_ourselves_are_our_descendants():
    """The shell that ran xcore is the operator's."""
    assert not descends_from_us(os.getppid())
    assert not descends_from_us(os.getpid())


@pytest.mark.process
def test_a_grandchild_descends_from_us():
    """However deep; and a process that is gone counts as ours, the side that refuses."""
    with subprocess.Popen(command("forks_grandchild.py"), stdout=subprocess.PIPE, start_new_session=True) as child:
        grandchild = int(child.stdout.readline())
        assert descends_from_us(child.pid)
        assert descends_from_us(grandchild)
        os.killpg(child.pid, 9)
    assert descends_from_us(child.pid)
