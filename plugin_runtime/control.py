"""Control channel of a guest: one thread, so that it speaks while the event loop does not.

The thread owns the socket. It beats every second, whatever the loop does: an old stamp in the beat means that the loop
is blocked, no beat at all that something holds the GIL. When the connection closes the guest goes on working and the
thread knocks again, since the next supervisor may adopt it; after ``adopt_grace`` it asks the guest to end, and ends
it by force where nobody listens.

Names are imported one by one: gevent and eventlet replace the contents of these modules while the plugin is imported,
and this thread must keep the real ones.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from select import POLLIN, POLLOUT, poll
from socket import socket, socketpair
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, Optional, Union

from plugin_runtime.handshake import (
    FIRST_GRACE,
    HANDSHAKE_TIMEOUT,
    RECONNECT_INTERVAL,
    ControlAddress,
    HandshakeRefusedError,
    SupervisorLostError,
    judge,
)
from plugin_runtime.inbox import Inbox, Listener, LoopPulse
from plugin_runtime.outbox import Outbox
from plugin_runtime.process_facts import peak_memory_kb, threads
from plugin_runtime.protocol import Beat, ExitCode, Welcome
from plugin_runtime.task_protocol import ListThreads, Threads
from plugin_runtime.wire import Decoder, Envelope, WireError

if TYPE_CHECKING:  # see inbox.py
    from asyncio import AbstractEventLoop

BEAT_INTERVAL = 1.0
"""Seconds; a tenth of the shortest silence that has a consequence."""
LOST_GRACE = 5.0
"""Seconds for the guest to end in order once the supervisor is lost; then the thread ends the process."""
_CHUNK = 65536


class Connection:
    """One connected socket: frames out, envelopes in. Used by one thread.

    Its methods raise OSError or WireError where the connection cannot go on.
    """

    def __init__(self, connected: socket) -> None:
        self._socket = connected
        self._socket.setblocking(False)
        self._decoder = Decoder()
        self._rest = b""

    def exchange(self, outbox: Outbox, wake: socket, timeout: float) -> list[Envelope]:
        """Send what the kernel takes, wait up to ``timeout`` seconds for something to do, return what has come."""
        self._send(outbox)
        # poll, not select: a plugin may have opened more than 1024 files before we connect again.
        ready = poll()
        ready.register(wake, POLLIN)
        ready.register(self._socket, POLLIN if outbox.is_empty else POLLIN | POLLOUT)
        ready.poll(timeout * 1000)
        return self._receive()

    def close(self) -> None:
        self._socket.close()

    def _send(self, outbox: Outbox) -> None:
        try:
            while frame := self._rest or outbox.first():
                self._rest = frame[self._socket.send(frame) :]
                if not self._rest:
                    outbox.remove_first()
        except BlockingIOError:
            return

    def _receive(self) -> list[Envelope]:
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return []
        if not data:
            raise ConnectionResetError("the supervisor closed it")
        return self._decoder.feed(data)


class ControlChannel:
    """Speaks with the supervisor from a thread of its own; made once, closed at the very end."""

    def __init__(self, address: ControlAddress, *, exit_process: Callable[[int], Any] = os._exit) -> None:
        self._address = address
        self._exit_process = exit_process
        self._grace = FIRST_GRACE
        self._pulse = LoopPulse()
        self._outbox = Outbox()
        self._answer: Union[Welcome, Exception, None] = None
        self._answered = Event()
        self._closing = Event()
        self._inbox = Inbox()
        self._wake_reader, self._wake_writer = socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._thread = Thread(target=self._run, name="xcore-control", daemon=True)

    def connect(self) -> Welcome:
        """Start the thread and wait for the handshake.

        Raises:
            HandshakeRefusedError: the supervisor said no.
            SupervisorLostError: nobody answered within FIRST_GRACE.
        """
        self._thread.start()
        self._answered.wait()
        if isinstance(self._answer, Welcome):
            return self._answer
        raise self._answer or SupervisorLostError(self._address.path, self._grace)

    def attach(self, listener: Listener) -> None:
        """Deliver to this listener, also what came before, and watch its loop. Called in the loop, if it has one."""
        self.watch(listener.loop)
        self._inbox.attach(listener)

    def watch(self, loop: Optional[AbstractEventLoop]) -> None:
        """Let the beats tell of this loop from now on, whoever listens; None: of none. Called in the loop."""
        self._pulse.start(loop)

    def send(self, message: Any, *, standing: bool = False) -> None:
        """Queue a message, from any thread; ``standing`` as in Outbox.

        Raises:
            ValueError: it is too large for a frame.
        """
        self._outbox.put(message, standing=standing)
        self._wake()

    def beat(self) -> None:
        """Say that the loop turns, out of turn. Called in the loop, if there is one.

        To be said before Ready: an import blocks the loop, and the last beat of a long one would make the worker look
        hung from the moment it is watched.
        """
        self._pulse.stamp()
        self.send(self._beat())

    def deliver(self) -> None:
        """Wait until all that was said has been sent; while there is no supervisor, for as long as one may come."""
        self._outbox.wait_empty(self._grace + LOST_GRACE)

    def close(self, timeout: float = 2.0) -> None:
        """Send what is queued, for at most ``timeout`` seconds, and end the thread."""
        self._pulse.stop()
        if self._thread.is_alive():
            self._outbox.wait_empty(timeout)
        self._closing.set()
        self._wake()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _wake(self) -> None:
        try:
            self._wake_writer.send(b"\0")
        except OSError:
            return  # full: reason enough to wake up; closed: there is nobody left to be woken

    def _run(self) -> None:
        try:
            while (connection := self._reach_supervisor()) is not None:
                try:
                    self._converse(connection)
                finally:
                    connection.close()
        finally:
            self._answered.set()
            self._outbox.abandon()
            self._wake_reader.close()
            self._wake_writer.close()

    def _reach_supervisor(self) -> Optional[Connection]:
        """Connect; None when the channel shall end."""
        deadline = monotonic() + self._grace
        while not self._closing.is_set():
            reached = self._address.reach()
            if reached is not None:
                return Connection(reached)
            if monotonic() >= deadline:
                self._lose(SupervisorLostError(self._address.path, self._grace), ExitCode.PARENT_LOST)
            self._closing.wait(RECONNECT_INTERVAL)
        return None

    def _converse(self, connection: Connection) -> None:
        """Speak until the connection or the channel ends; whatever broke it, the remedy is to connect again."""
        try:
            following = self._shake_hands(connection)
            if following is not None:
                self._outbox.begin_connection()
                for envelope in following:
                    self._take(envelope)
                self._serve(connection)
        except (OSError, WireError) as error:
            sys.stderr.write(f"Control channel of {self._address.child} closed: {error}\n")
            # A supervisor that hangs up at once is not to be hammered.
            self._closing.wait(RECONNECT_INTERVAL)

    def _shake_hands(self, connection: Connection) -> Optional[list[Envelope]]:
        """Return what came in one piece with the answer to Hello; None ends the channel."""
        greeting = Outbox()
        greeting.put(self._address.hello())
        deadline = monotonic() + HANDSHAKE_TIMEOUT
        while not self._closing.is_set():
            envelopes = connection.exchange(greeting, self._wake_reader, RECONNECT_INTERVAL)
            if envelopes:
                return envelopes[1:] if self._judge(envelopes[0].message) else None
            self._forget_wakes()
            if monotonic() > deadline:
                raise TimeoutError("the supervisor did not answer the handshake")
        return None

    def _judge(self, answer: Any) -> bool:
        """Take the answer to Hello; False ends the channel."""
        try:
            welcome = judge(answer)
        except HandshakeRefusedError as error:
            self._lose(error, ExitCode.REFUSED)
            return False
        self._grace = float(welcome.settings.get("adopt_grace", self._grace))
        self._answer = self._answer or welcome
        self._answered.set()
        return True

    def _serve(self, connection: Connection) -> None:
        next_beat = monotonic()
        while not self._closing.is_set():
            now = monotonic()
            if now >= next_beat:
                next_beat = now + BEAT_INTERVAL
                # While the supervisor does not read, beats would pile up and all tell the same.
                if self._outbox.is_empty:
                    self._outbox.put(self._beat())
            for envelope in connection.exchange(self._outbox, self._wake_reader, next_beat - now):
                self._take(envelope)
            self._forget_wakes()

    def _take(self, envelope: Envelope) -> None:
        if isinstance(envelope.message, ListThreads):
            # Answered here, since it is asked most where nothing else answers.
            self._outbox.put(Threads(threads()), request_id=envelope.id)
        else:
            self._inbox.deliver(envelope.message)

    def _beat(self) -> Beat:
        activity = self._inbox.activity()
        return Beat(self._pulse.age, activity.in_flight, activity.requests, peak_memory_kb())

    def _forget_wakes(self) -> None:
        try:
            while self._wake_reader.recv(_CHUNK):
                pass
        except BlockingIOError:
            return

    def _lose(self, error: Exception, code: ExitCode) -> None:
        """End the channel and the guest: before the first handshake by an error, later through its loop or by force."""
        if self._answer is None:
            self._answer = error
        else:
            sys.stderr.write(f"{error}; ending\n")
            self._outbox.abandon()
            # The guest closes the channel when it has come to its end.
            if not (self._inbox.lose(code) and self._closing.wait(LOST_GRACE)):
                self._exit_process(code)
        self._closing.set()
