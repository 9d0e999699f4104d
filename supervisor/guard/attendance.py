"""The guard while its supervisor lives: it says so on the control channel, and keeps an eye on the children."""

import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from plugin_runtime.protocol import Beat, ExitCode, Ready, Refused, Stop, Welcome
from plugin_runtime.task_protocol import ListThreads, ThreadFacts, Threads
from plugin_runtime.wire import Envelope
from supervisor.guard.channel import GuardChannel
from supervisor.guard.process_table import identify
from supervisor.guard.selection import Identity

BEAT_INTERVAL = 1.0
"""Seconds between two beats."""
RECONNECT_INTERVAL = 0.1
"""Seconds between two tries to reach a supervisor that lives."""


def open_pidfd(supervisor: Identity) -> int | None:
    """A descriptor that can be read when the process is dead; None where it is already."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(supervisor.pid)
        if identify(supervisor.pid) == supervisor:
            return descriptor
        os.close(descriptor)
    return None


class Attendance:
    """One supervisor, and the connection to it."""

    def __init__(self, pidfd: int, channel: GuardChannel, every_beat: Callable[[], None]) -> None:
        """``every_beat``: called about once a second."""
        self._pidfd = pidfd
        self._channel = channel
        self._every_beat = every_beat
        self._has_joined = False
        self._is_refused = False
        self._next_beat = 0.0

    def attend(self) -> ExitCode | None:
        """Return what to exit with when the supervisor says that this guard is to go; None when it is dead itself.

        Refused it stays, and only watches: the process is another supervisor by now, which was executed in the place of
        the one before, and tells this guard to leave when its own is ready.
        """
        while not self._wait():
            for envelope in self._channel.receive():
                code = self._take(envelope)
                if code is not None:
                    return code
            self._beat()
        return None

    def _wait(self) -> bool:
        """Wait for a message or the next beat; whether the supervisor is dead."""
        if self._channel.descriptor is None:
            self._has_joined = False
            if not self._is_refused:
                self._channel.connect()
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if self._channel.descriptor is not None:
            poll.register(self._channel.descriptor, select.POLLIN)
        due = max(0.0, self._next_beat - time.monotonic())
        tries_again = self._channel.descriptor is None and not self._is_refused
        patience = min(due, RECONNECT_INTERVAL) if tries_again else due
        # Rounded up: rounded down, it would turn in this loop for the last millisecond.
        return any(descriptor == self._pidfd for descriptor, _ in poll.poll(int(patience * 1000) + 1))

    def _take(self, envelope: Envelope) -> ExitCode | None:
        match envelope.message:
            case Welcome():
                self._has_joined = True
                self._channel.send(Ready())
            case ListThreads():
                self._channel.send(Threads([_only_thread()]), envelope.id)
            case Stop():
                return ExitCode.OK
            case Refused():
                self._is_refused = True
                self._channel.close()
        return None

    def _beat(self) -> None:
        if time.monotonic() < self._next_beat:
            return
        self._next_beat = time.monotonic() + BEAT_INTERVAL
        self._every_beat()
        if self._has_joined:
            self._channel.send(Beat(loop_age=0.0))


def _only_thread() -> ThreadFacts:
    thread = threading.main_thread()
    return ThreadFacts(thread.ident or 0, thread.name, alive=True, daemon=False, native=thread.native_id)
