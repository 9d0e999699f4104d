"""Gateway's end of the link: one connection to one worker incarnation, with all its requests on it.

Nothing here awaits once the link is up, and no request needs a task: what the worker says goes to a request's sink out
of the connection's own callback.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Self

from gateway.stream import Fields, ResponseSink, Stream, StreamError, StreamErrorKind
from plugin_runtime import framing, protocol
from plugin_runtime.frame_connection import Buffer, FrameConnection
from plugin_runtime.framing import FrameType, FramingError, Header, RequestHead

__all__ = [
    "Fields",
    "Link",
    "LinkClosedError",
    "LinkError",
    "RequestHead",
    "ResponseSink",
    "Stream",
    "StreamError",
    "StreamErrorKind",
]

CONNECT_TIMEOUT = 5.0
"""Seconds for connection and handshake; a worker that says it is ready answers in milliseconds."""

logger = logging.getLogger(__name__)


class LinkError(ConnectionError):
    """A link cannot be made."""

    def __init__(self, instance: str, cause: object) -> None:
        super().__init__(f"cannot link worker {instance!r}: {cause}")
        self.instance = instance


class LinkClosedError(LinkError):
    """The link is gone, or going: the request was not sent."""


class Link(FrameConnection):
    """A connection to one worker incarnation, made by connect().

    It ends once: closed(link, reason) is called then, and after it failed() of every sink that still waits, so that
    these find the link gone already.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, instance: str, closed: Callable[["Link", str], None]) -> None:
        super().__init__(loop)
        self.instance = instance
        self.draining = False
        self._closed = closed
        self._credit = 0  # what the worker takes of each upload unasked
        self._last_stream = 0
        self._streams: dict[int, Stream] = {}
        self._welcomed: asyncio.Future[None] = loop.create_future()
        self._established = False  # connect() has returned us

    @classmethod
    async def connect(
        cls,
        upstream: protocol.Upstream,
        gateway: str,
        *,
        closed: Callable[["Link", str], None],
        timeout: float = CONNECT_TIMEOUT,
    ) -> Self:
        """Connect and shake hands; ``gateway``: our own id, for the worker's log.

        Raises:
            LinkError: nobody listens, the worker refused us, or was silent for ``timeout`` seconds.
        """
        link = cls(asyncio.get_running_loop(), upstream.instance, closed)
        try:
            async with asyncio.timeout(timeout):
                await link._shake_hands(upstream, gateway)
        except TimeoutError as error:
            raise LinkError(upstream.instance, f"no answer within {timeout:g} s") from error
        except OSError as error:
            raise LinkError(upstream.instance, error.strerror or error) from error
        finally:
            if not link._established:
                link._welcomed.cancel()
                link.abort()
        return link

    async def _shake_hands(self, upstream: protocol.Upstream, gateway: str) -> None:
        await self._loop.create_unix_connection(lambda: self, upstream.path)
        self.send(framing.hello(protocol.PROTOCOL_VERSION, upstream.secret, gateway, framing.WINDOW))
        await self._welcomed
        if self.closing:
            raise ConnectionError(self._reason)
        self._established = True

    @property
    def in_flight(self) -> int:
        return len(self._streams)

    def open(self, head: RequestHead, sink: ResponseSink, body: bytes = b"", end: bool = True) -> Stream:  # noqa: FBT001, FBT002  # positions: this is the hot path
        """Send a request; ``body``: what has come of its upload, ``end``: that was all.

        Raises:
            LinkClosedError: nothing was sent.
            FrameTooLargeError: the head is over the limits of the link.
        """
        if self.closing:
            raise LinkClosedError(self.instance, self._reason or "the link is closed")
        first: Buffer = body if len(body) <= framing.MAX_BODY else memoryview(body)[: framing.MAX_BODY]
        size = len(first)  # always within the credit: windows are not smaller than one frame
        whole = size == len(body)
        number = self._last_stream + 1
        self.send(framing.request(number, head, end=end and whole, body_length=size), first)
        self._last_stream = number
        stream = Stream(self, number, sink, self._credit - size, upload_ended=end and whole)
        self._streams[number] = stream
        if not whole:
            stream.send_body(memoryview(body)[size:], end)
        return stream

    def close(self, reason: str) -> None:
        """End the link without waiting for a worker that does not read; open streams fail in a later turn."""
        super().close(reason)
        if self.paused:
            self.abort()

    def forget(self, stream: Stream) -> None:
        """A stream's call: it is over."""
        del self._streams[stream.id]
        stream.end()

    # --- frames ---

    def frame_received(self, header: Header, body: bytes) -> None:
        handler = _HANDLERS.get(header[0])
        if handler is None:
            raise FramingError(f"{FrameType(header[0]).name} from a worker")
        if not self._credit and header[0] != FrameType.WELCOME:
            raise FramingError("a frame before WELCOME")
        self._shielded(header[1], handler, self, header, body)

    def _shielded(self, number: int, call: Callable[..., None], *arguments: object) -> None:
        """The boundary between requests: a sink that raises must not end its neighbours."""
        try:
            call(*arguments)
        except FramingError:
            raise
        except Exception:
            logger.exception("Cannot pass on what worker %s answered", self.instance)
            if stream := self._streams.get(number):
                stream.cancel("the gateway failed")

    def welcome_received(self, header: Header, body: bytes) -> None:
        _, _, version, window = header
        if self._credit or version not in protocol.ACCEPTED_VERSIONS:
            raise FramingError(f"WELCOME twice, or with a version not spoken here: {version}")
        self._credit = window
        if not self._welcomed.done():
            self._welcomed.set_result(None)

    def draining_received(self, header: Header, body: bytes) -> None:
        self.draining = True

    def accepted_received(self, header: Header, body: bytes) -> None:
        if stream := self._find(header[1]):
            stream.accepted = True

    def response_received(self, header: Header, body: bytes) -> None:
        _, number, status, headers, end = header
        stream = self._find(number)
        if stream is None:
            return
        if stream.response_started:
            raise FramingError("a second RESPONSE")
        stream.response_started = True
        stream.sink.response_started(status, list(headers))
        if stream.open and (body or end):
            self._pass_on(stream, body, end=end)

    def body_received(self, header: Header, body: bytes) -> None:
        _, number, end = header
        stream = self._find(number)
        if stream is None:
            return
        if not stream.response_started:
            raise FramingError("BODY before RESPONSE")
        if body or end:
            self._pass_on(stream, body, end=end)

    def _pass_on(self, stream: Stream, body: bytes, *, end: bool) -> None:
        stream.take(len(body))
        if end:
            self.forget(stream)
        stream.sink.body_received(body, end)

    def credit_received(self, header: Header, body: bytes) -> None:
        if stream := self._find(header[1]):
            stream.credit_received(header[2])

    def failed_received(self, header: Header, body: bytes) -> None:
        if stream := self._find(header[1]):
            self.forget(stream)
            stream.sink.failed(StreamError(StreamErrorKind.APP_FAILED, header[2], body))

    def _find(self, number: int) -> Stream | None:
        # What comes for a stream that is over was on its way when it ended: not an error, and dropped.
        if number > self._last_stream:
            raise FramingError(f"stream {number} was never opened")
        return self._streams.get(number)

    # --- FrameConnection ---

    def writing_resumed(self) -> None:
        for stream in list(self._streams.values()):
            stream.resume_upload()

    def connection_ended(self, reason: str) -> None:
        if not self._established:
            if not self._welcomed.done():
                self._welcomed.set_exception(ConnectionError(reason))
            return
        self._closed(self, reason)
        for stream in list(self._streams.values()):
            # A sink that failed may have cancelled another stream.
            if stream.open:
                self.forget(stream)
                self._shielded(stream.id, stream.sink.failed, stream.lost(reason))


_HANDLERS: dict[int, Callable[[Link, Header, bytes], None]] = {
    FrameType.WELCOME: Link.welcome_received,
    FrameType.DRAINING: Link.draining_received,
    FrameType.ACCEPTED: Link.accepted_received,
    FrameType.BODY: Link.body_received,
    FrameType.RESPONSE: Link.response_received,
    FrameType.CREDIT: Link.credit_received,
    FrameType.FAILED: Link.failed_received,
}
