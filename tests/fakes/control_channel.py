"""The guest's control channel without a supervisor: keeps what is sent, and hands over what the test says."""

import contextlib
import signal

from plugin_runtime.interruption import SIGNALS


class FakeChannel:
    """Takes the place of plugin_runtime.control.ControlChannel."""

    def __init__(self):
        self.sent = []
        self.listener = None
        self.loop = None
        self.beats = 0

    def attach(self, listener):
        self.listener = listener
        self.loop = listener.loop

    def watch(self, loop):
        self.loop = loop

    def beat(self):
        self.beats += 1

    def send(self, message, *, standing=False):
        self.sent.append(message)

    def deliver(self):
        """At once."""

    def receive(self, message):
        """What the supervisor says, as the control thread passes it on."""
        self.listener.tell(self.listener.received, message)

    def lose(self, code):
        self.listener.tell(self.listener.lost, code)

    def of(self, kind):
        return [message for message in self.sent if isinstance(message, kind)]


@contextlib.contextmanager
def own_signals():
    """Handlers that the code under test installs are gone after it."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
