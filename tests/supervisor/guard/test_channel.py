"""The guard while its supervisor lives, against a socket that a test answers on."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from plugin_runtime.protocol import Beat, ExitCode, Hello, Ready, Refused, Stop, Welcome
from plugin_runtime.task_protocol import ListThreads, Threads
from plugin_runtime.wire import Decoder, Envelope, encode
from supervisor.guard.attendance import Attendance, open_pidfd
from supervisor.guard.channel import GuardChannel
from supervisor.guard.process_table import identify
from supervisor.guard.selection import Identity
from tests.fakes.processes import wait_until

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("nothing_left_behind")]

HELLO = Hello(1, "guard", 12, 34, "nonce")


class Scene:
    """A supervisor's process, and its end of the channel; the guard runs in a thread."""

    def __init__(self, folder):
        self.path = folder / "control.sock"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.settimeout(10)
        self.listener.bind(str(self.path))
        self.listener.listen()
        self.supervisor = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(3600)"])
        self.pidfd = open_pidfd(identify(self.supervisor.pid))
        self.channel = GuardChannel(str(self.path), HELLO)
        self.beats = 0
        self.code: ExitCode | str | None = "still there"
        self._decoder = Decoder()
        self._received: list[Envelope] = []
        self._thread = threading.Thread(target=self._attend)
        self._thread.start()

    def _attend(self):
        self.code = Attendance(self.pidfd, self.channel, self._beat).attend()

    def _beat(self):
        self.beats += 1

    def accept(self) -> socket.socket:
        connection, _ = self.listener.accept()
        connection.settimeout(10)
        self._decoder = Decoder()
        return connection

    def receive(self, connection: socket.socket) -> Envelope:
        while not self._received:
            data = connection.recv(65536)
            assert data, "the guard has closed the connection"
            self._received += self._decoder.feed(data)
        return self._received.pop(0)

    def outcome(self) -> ExitCode | str | None:
        self._thread.join(10)
        return self.code

    def close(self):
        self.supervisor.kill()
        self.supervisor.wait()
        self._thread.join(10)
        self.channel.close()
        self.listener.close()
        os.close(self.pidfd)


@pytest.fixture
def scene(tmp_path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


@contextmanager
def joined(scene: Scene) -> Iterator[socket.socket]:
    with scene.accept() as connection:
        assert scene.receive(connection).message == HELLO
        connection.sendall(encode(Welcome(1)))
        yield connection


def test_it_joins_says_that_it_is_ready_and_beats(scene):
    """As every child; with each beat it has looked at the children."""
    with joined(scene) as connection:
        assert scene.receive(connection).message == Ready()
        assert scene.receive(connection).message == Beat(0.0)
        assert scene.beats >= 1


def test_it_tells_its_only_thread(scene):
    """``/tasks/threads`` is about every Python process of ours."""
    with joined(scene) as connection:
        connection.sendall(encode(ListThreads(), 7))
        answers = [scene.receive(connection) for _ in range(3)]
        (answer,) = (envelope for envelope in answers if isinstance(envelope.message, Threads))
        assert (answer.id, len(answer.message.threads)) == (7, 1)


def test_it_leaves_when_it_is_told_to(scene):
    """By the one that it watches."""
    with joined(scene) as connection:
        connection.sendall(encode(Stop("shutdown", 1.0)))
        assert scene.outcome() == ExitCode.OK


def test_refused_it_goes_on_watching_and_does_not_knock_again(scene):
    """A supervisor that was executed in the place of the one before has no guard of its own yet."""
    with scene.accept() as connection:
        scene.receive(connection)
        connection.sendall(encode(Refused("no child 'guard' is expected")))
        assert connection.recv(1) == b""
    beats = scene.beats
    wait_until(lambda: scene.beats > beats, "it watches on")
    scene.listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        scene.listener.accept()
    scene.supervisor.kill()
    assert scene.outcome() is None


def test_the_death_of_the_supervisor_is_seen_though_the_channel_stays_open(scene):
    """Something else may hold the connection open; the pidfd is the kernel's word."""
    with joined(scene):
        scene.supervisor.kill()
        assert scene.outcome() is None


def test_a_broken_connection_is_made_again(scene):
    """Closed, or full of nonsense: as long as the supervisor lives it is its guard."""
    with joined(scene):
        pass
    with joined(scene) as connection:
        connection.sendall(b"\xff" * 64)
    with joined(scene) as connection:
        connection.sendall(encode(Stop("shutdown", 1.0)))
        assert scene.outcome() == ExitCode.OK


def test_a_supervisor_that_does_not_read_holds_nobody_up(scene):
    """It is stopped, or hangs: the guard drops the connection once it takes no more."""
    with joined(scene) as connection:
        scene.receive(connection)
        while scene.channel.descriptor is not None:
            scene.channel.send(Beat(0.0))
        scene.supervisor.kill()
        assert scene.outcome() is None


def test_a_process_that_is_dead_or_another_one_is_not_watched():
    """The pid may have been given away before the guard began."""
    ourselves = identify(os.getpid())
    assert open_pidfd(ourselves._replace(start_ticks=1)) is None
    assert open_pidfd(Identity(2**22 + 1, 1)) is None
