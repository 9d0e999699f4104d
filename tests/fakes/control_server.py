"""The supervisor's side of the control channel, as far as a guest can tell."""

import contextlib
import socket
import threading
import time
from dataclasses import asdict
from pathlib import Path

from plugin_runtime.protocol import PROTOCOL_VERSION, Hello, Refused, Stop, Welcome, WorkerSettings
from plugin_runtime.task_protocol import TaskSettings
from plugin_runtime.template_protocol import TemplateSettings
from plugin_runtime.wire import Decoder, encode

Settings = WorkerSettings | TaskSettings | TemplateSettings


class FakeSupervisor:
    """Welcomes every child and keeps all it says; a context manager.

    ``settings`` are for everybody, but for whom ``settings_of`` names.
    """

    def __init__(self, path: Path, settings: Settings | None = None, *, refuse: str = ""):
        self.path = path
        self.settings = settings
        self.settings_of = {}
        self.refuse = refuse
        self.version = PROTOCOL_VERSION
        self.behind_welcome = []
        """Messages that go out in one piece with it."""
        self.messages = []
        self.answers = {}
        """What came with the id of a question."""
        self.connections = []
        self.connection_of = {}
        """The latest one, by the child's id."""
        self._child_at = {}
        self._said_by = {}
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

    def send(self, message, request_id: int = 0, *, child: str = "") -> None:
        """To that child, or to the one that came last."""
        connection = self.connection_of[child] if child else self.connections[-1]
        connection.sendall(encode(message, request_id))

    def stop_guest(self, drain: float = 5.0, *, child: str = "") -> None:
        self.send(Stop("operator", drain), child=child)

    def of(self, kind: type, child: str = "") -> list:
        """What that child has said, or anybody."""
        said = self._said_by.get(child, []) if child else self.messages
        return [message for message in said if isinstance(message, kind)]

    def wait_for(self, kind: type, count: int = 1, deadline: float = 20.0, *, child: str = ""):
        """The ``count``-th message of this kind."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.of(kind, child)) >= count, deadline)
        assert arrived, f"no {kind.__name__} number {count} within {deadline} s; got {self.messages[-5:]}"
        return self.of(kind, child)[count - 1]

    def answer_to(self, request_id: int, deadline: float = 20.0):
        with self._changed:
            arrived = self._changed.wait_for(lambda: request_id in self.answers, deadline)
        assert arrived, f"no answer to {request_id} within {deadline} s; got {self.messages[-5:]}"
        return self.answers[request_id]

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
        if isinstance(message, Hello):
            self._child_at[connection] = message.child
            self.connection_of[message.child] = connection
        child = self._child_at.get(connection, "")
        with self._changed:
            self.messages.append(message)
            self._said_by.setdefault(child, []).append(message)
            self._changed.notify_all()
        if isinstance(message, Hello):
            settings = self.settings_of.get(child, self.settings)
            answer = (
                Refused(self.refuse) if self.refuse else Welcome(self.version, asdict(settings) if settings else {})
            )
            connection.sendall(b"".join(map(encode, [answer, *self.behind_welcome])))


def eventually(condition, deadline: float = 10.0, message: str = "") -> None:
    """Wait for something that tells nobody when it happens."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, message or f"not within {deadline} s"
        time.sleep(0.01)
