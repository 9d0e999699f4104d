"""Gateways as the supervisor sees them: children that keep what they are told."""

from types import SimpleNamespace

from plugin_runtime.wire import Decoder, Envelope


class FakeGatewayChild:
    """Stands for a Child; give it to Gateways by ``connected``."""

    def __init__(self, number: int = 1):
        self.spec = SimpleNamespace(id=f"gateway.{number}", settings={"url": "x"})
        self.incarnation = object()
        self.sent = []
        self.answers = []

    def __str__(self):
        return self.spec.id

    def send(self, message, request_id=0):
        self.sent.append(message)

    def send_frame(self, frame):
        self.answers += Decoder().feed(frame)

    def of(self, kind):
        return [message for message in self.sent if isinstance(message, kind)]

    def says(self, gateways, message, request_id=0):
        gateways.received(self, Envelope(message, request_id))
