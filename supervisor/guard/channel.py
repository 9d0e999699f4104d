"""The guard's end of the control channel: without a thread, and never waiting for the supervisor.

A connection that breaks is opened again by ``connect``. Whether there is a supervisor at all is not seen here: a pidfd
tells.
"""

import socket
from contextlib import suppress

from plugin_runtime.protocol import Hello
from plugin_runtime.wire import Decoder, Envelope, WireError, encode

_CHUNK = 65536


class GuardChannel:
    """At most one connection to the control socket ``path``."""

    def __init__(self, path: str, hello: Hello) -> None:
        self._path = path
        self._hello = hello
        self._socket: socket.socket | None = None
        self._decoder = Decoder()

    @property
    def descriptor(self) -> int | None:
        """To be polled for reading; None without a connection."""
        return self._socket.fileno() if self._socket is not None else None

    def connect(self) -> bool:
        """Open a connection and say Hello; whether somebody listens."""
        self.close()
        self._decoder = Decoder()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            connection.connect(self._path)
        except OSError:
            connection.close()
            return False
        self._socket = connection
        self.send(self._hello)
        return True

    def send(self, message: object, request_id: int = 0) -> None:
        """Send a message, or close a connection that does not take it whole: the peer reads no more."""
        if self._socket is None:
            return
        frame = encode(message, request_id)
        sent = 0
        with suppress(OSError):
            sent = self._socket.send(frame)
        if sent < len(frame):
            self.close()

    def receive(self) -> list[Envelope]:
        """Return what has come, nothing where nothing has; a broken connection is closed."""
        if self._socket is None:
            return []
        try:
            data = self._socket.recv(_CHUNK)
            envelopes = self._decoder.feed(data)
        except BlockingIOError:
            return []
        except (OSError, WireError):
            self.close()
            return []
        if not data:
            self.close()
        return envelopes

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
