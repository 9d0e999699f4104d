"""The supervisor's side of the control channel, as far as a guest can tell."""

import contextlib
import socket
import threading
import time
from dataclasses import asdict
from pathlib import Path

from plugin_runtime.protocol import PROTOCOL_VERSION, Hello, Refused, Stop, Welcome, WorkerSettings
from plugin_runtime.task_protocol import TaskSettings
from plugin_runtime.wire import Decoder, encode


class FakeSupervisor:
    """Welcomes every child with the same settings and keeps all it says; a context manager."""

    def __init__(self, path: Path, settings: WorkerSettings | TaskSettings | None = None, *, refuse: str = ""):
        self.path = path
        self.settings = settings
        self.refuse = refuse
        self.version = PROTOCOL_VERSION
        self.behind_welcome = []
        """Messages that go out in one piece with it."""
        self.messages = []
        self.answers = {}
        """What came with the id of a question."""
        self.connections = []
        self._changed = threading.Condition()
        self._threads = []
        self._listener = None

    def __enter__(self):
        self.listen()
        return self

    def __exit__(self, *_):
        self.die()

    def listen(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._start(self._accept, self._listener)

    def die(self) -> None:
        """What the guest sees of a supervisor that is killed."""
        self.path.unlink(missing_ok=True)
        # close() alone would leave accept() and recv() of our own threads waiting.
        for sock in [self._listener, *self.connections]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for sock in [self._listener, *self.connections]:
            sock.close()
        self.connections, self._threads = [], []

    def send(self, message, request_id: int = 0) -> None:
        self.connections[-1].sendall(encode(message, request_id))

    def stop_guest(self, drain: float = 5.0) -> None:
        self.send(Stop("operator", drain))

    def of(self, kind: type) -> list:
        return [message for message in self.messages if isinstance(message, kind)]

    def wait_for(self, kind: type, count: int = 1, deadline: float = 20.0):
        """The ``count``-th message of this kind."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.of(kind)) >= count, deadline)
        assert arrived, f"no {kind.__name__} number {count} within {deadline} s; got {self.messages[-5:]}"
        return self.of(kind)[count - 1]

    def _start(self, target, *arguments) -> None:
        thread = threading.Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self.connections.append(connection)
                self._start(self._read, connection)

    def _read(self, connection) -> None:
        decoder = Decoder()
        with contextlib.suppress(OSError):
            while data := connection.recv(65536):
                for envelope in decoder.feed(data):
                    if envelope.id:
                        self.answers[envelope.id] = envelope.message
                    self._take(connection, envelope.message)

    def _take(self, connection, message) -> None:
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()
        if isinstance(message, Hello):
            settings = asdict(self.settings) if self.settings else {}
            answer = Refused(self.refuse) if self.refuse else Welcome(self.version, settings)
            connection.sendall(b"".join(map(encode, [answer, *self.behind_welcome])))


def eventually(condition, deadline: float = 10.0, message: str = "") -> None:
    """Wait for something that tells nobody when it happens."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, message or f"not within {deadline} s"
        time.sleep(0.01)
