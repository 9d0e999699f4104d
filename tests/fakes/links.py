"""Links to workers that do what a test tells them."""

from gateway.link import LinkClosedError, LinkError
from gateway.stream import StreamError, StreamErrorKind
from plugin_runtime.framing import RequestHead
from plugin_runtime.protocol import Route, Upstream


def upstream(incarnation: str = "hello.1:1", *, stalled: bool = False) -> Upstream:
    return Upstream(incarnation.partition(":")[0], incarnation, f"/run/{incarnation}.link", b"secret", stalled)


def route(*upstreams: Upstream, plugin: str = "hello", prefix: str = "/hello", **fields) -> Route:
    return Route(plugin, prefix, list(upstreams), **fields)


def head(method: str = "GET", path: bytes = b"/hello") -> RequestHead:
    return RequestHead(method, path, b"", "1.1", "http", ("127.0.0.1", 1), ("127.0.0.1", 80), [], {})


class FakeStream:
    """What a link would have made; the test speaks for the worker through ``sink``."""

    def __init__(self, link, request, sink, body, end):
        self.link = link
        self.head = request
        self.sink = sink
        self.body = bytes(body)
        self.ended = end
        self.accepted = False
        self.response_started = False
        self.writable = True
        self.credit = 0
        self.cancelled = None

    def send_body(self, data, end):
        self.body += data
        self.ended = end

    def consumed(self, size):
        self.credit += size

    def cancel(self, reason):
        self.cancelled = reason
        self.link.streams.remove(self)

    async def wait_writable(self):
        assert self.writable, "this fake never becomes writable by itself"

    def answer(self, body: bytes = b"ok", status: int = 200, fields=()):
        """A whole response."""
        self.start(status, fields)
        self.link.streams.remove(self)
        self.sink.body_received(body, True)

    def start(self, status: int = 200, fields=()):
        self.response_started = True
        self.sink.response_started(status, list(fields))

    def fail(self, reason: str = "it raised"):
        """The app failed; the worker lives."""
        self.link.streams.remove(self)
        self.sink.failed(StreamError(StreamErrorKind.APP_FAILED, reason))


class FakeLink:
    """One link; ``streams`` are those in flight, ``opened`` all there ever were."""

    def __init__(self, target, closed):
        self.upstream = target
        self.streams = []
        self.opened = []
        self.draining = False
        self.closed = None
        self._told = closed

    @property
    def in_flight(self):
        return len(self.streams)

    def open(self, request, sink, body=b"", end=True):
        if self.closed is not None:
            raise LinkClosedError(self.upstream.instance, self.closed)
        stream = FakeStream(self, request, sink, body, end)
        self.streams.append(stream)
        self.opened.append(stream)
        return stream

    def close(self, reason):
        if self.closed is None:
            self.closed = reason

    def die(self, reason="connection closed by the peer"):
        """The worker is gone: the link is closed first, its streams fail after."""
        self.closed = reason
        self._told(self, reason)
        streams, self.streams = self.streams, []
        for stream in streams:
            kind = (
                StreamErrorKind.LINK_LOST_AFTER_HEAD
                if stream.response_started
                else StreamErrorKind.LINK_LOST_BEFORE_HEAD
            )
            stream.sink.failed(StreamError(kind, reason))


class FakeConnector:
    """Link.connect: makes fake links; ``unreachable`` holds incarnations that cannot be linked, ``held`` those that
    are linked only when their event is set."""

    def __init__(self):
        self.links = []
        self.unreachable = set()
        self.held = {}

    async def __call__(self, target, gateway, *, closed):
        if target.incarnation in self.held:
            await self.held[target.incarnation].wait()
        if target.incarnation in self.unreachable:
            raise LinkError(target.instance, "nobody listens")
        link = FakeLink(target, closed)
        self.links.append(link)
        return link

    def to(self, incarnation) -> FakeLink:
        """The latest link to an incarnation."""
        return [link for link in self.links if link.upstream.incarnation == incarnation][-1]


class RecordingClient:
    """A door's end of an exchange that writes down what it is told."""

    def __init__(self):
        self.status = None
        self.fields = []
        self.body = b""
        self.complete = False
        self.error = None
        self.broken_off = None

    def response_started(self, status, fields):
        self.status = status
        self.fields = list(fields)

    def response_body(self, data, end):
        self.body += data
        self.complete = end

    def refused(self, error):
        self.error = error

    def broken(self, reason):
        self.broken_off = reason

    @property
    def over(self):
        return self.complete or self.error is not None or self.broken_off is not None
