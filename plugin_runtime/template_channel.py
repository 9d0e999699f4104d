"""Control channel of a template: without a thread, since a fork would find the locks of the others held for ever."""

from __future__ import annotations

import sys
from collections import deque
from socket import socket
from time import monotonic, sleep
from typing import Any, Optional

from plugin_runtime.handshake import (
    FIRST_GRACE,
    HANDSHAKE_TIMEOUT,
    RECONNECT_INTERVAL,
    ControlAddress,
    SupervisorLostError,
    judge,
)
from plugin_runtime.protocol import Welcome
from plugin_runtime.wire import Decoder, Envelope, WireError, encode

_CHUNK = 65536


class TemplateChannel:
    """Blocks wherever it has to wait; used by the only thread there is."""

    def __init__(self, address: ControlAddress) -> None:
        self.address = address
        self._grace = FIRST_GRACE
        self._standing: list[bytes] = []
        self._socket: Optional[socket] = None
        self._decoder = Decoder()
        self._received: deque[Envelope] = deque()

    def join(self) -> Welcome:
        """Connect and shake hands, trying again for as long as the process may be without a supervisor.

        Raises:
            HandshakeRefusedError: the supervisor said no.
            SupervisorLostError: nobody answered in time.
        """
        deadline = monotonic() + self._grace
        while True:
            try:
                welcome = self._shake_hands()
            except (OSError, WireError) as error:
                sys.stderr.write(f"Control channel of {self.address.child} closed: {error}\n")
                welcome = None
            if welcome is not None:
                self._grace = float(welcome.settings.get("adopt_grace", self._grace))
                return welcome
            if monotonic() >= deadline:
                raise SupervisorLostError(self.address.path, self._grace)
            sleep(RECONNECT_INTERVAL)

    def announce(self, message: Any) -> None:
        """Send a message, and say it again on every new connection."""
        self._standing.append(encode(message))
        self._send(self._standing[-1])

    def send(self, message: Any, request_id: int = 0) -> None:
        """Send a message; on a broken connection it is lost, and with it whoever wanted to know."""
        self._send(encode(message, request_id))

    def receive(self) -> Envelope:
        """Wait for the next message, however long that takes; a connection that breaks is made again.

        Raises:
            HandshakeRefusedError: another supervisor does not want this process.
            SupervisorLostError: there is none any more.
        """
        while not self._received:
            self._read_or_rejoin()
        return self._received.popleft()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def forget(self) -> None:
        """Close, and let go of all that was received or sent: a fork inherits the orders for other processes, too."""
        self.close()
        self._standing.clear()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._decoder = Decoder()
        self._received.clear()

    def _shake_hands(self) -> Optional[Welcome]:
        """None where nobody listens."""
        self.close()
        self._socket = self.address.reach()
        if self._socket is None:
            return None
        self._begin_anew()
        self._socket.settimeout(HANDSHAKE_TIMEOUT)
        self._socket.sendall(encode(self.address.hello()))
        while not self._received:
            self._read()
        self._socket.settimeout(None)
        return judge(self._received.popleft().message)

    def _read_or_rejoin(self) -> None:
        try:
            self._read()
        except (OSError, WireError):
            self.join()
            for frame in self._standing:
                self._send(frame)

    def _read(self) -> None:
        data = self._socket.recv(_CHUNK) if self._socket else b""
        if not data:
            raise ConnectionResetError("the supervisor closed it")
        self._received.extend(self._decoder.feed(data))

    def _send(self, frame: bytes) -> None:
        try:
            if self._socket is not None:
                self._socket.sendall(frame)
        except OSError:
            return  # the next read finds it broken, too
