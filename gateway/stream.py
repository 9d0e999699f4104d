"""One request on a link, as the gateway sees it: its upload, its response, and the credit of both."""

import asyncio
from enum import Enum
from typing import Protocol

from plugin_runtime import framing
from plugin_runtime.frame_connection import Buffer
from plugin_runtime.framing import FramingError

Fields = list[tuple[bytes, bytes]]


class StreamErrorKind(Enum):
    """How a response was lost."""

    LINK_LOST_BEFORE_HEAD = "link lost before head"  # Stream.accepted says whether the app may have seen the request
    LINK_LOST_AFTER_HEAD = "link lost after head"
    APP_FAILED = "app failed"  # the worker lives; Stream.response_started says whether part of a response came


class StreamError(Exception):
    """A response that will not come, or not be completed; ``reason`` is a sentence for people.

    ``details``: what the worker told besides, since it was asked to explain.
    """

    def __init__(self, kind: StreamErrorKind, reason: str, details: bytes = b"") -> None:
        super().__init__(f"{kind.value}: {reason}")
        self.kind = kind
        self.reason = reason
        self.details = details


class ResponseSink(Protocol):
    """Where a response goes. Called out of the link's callbacks: must neither block nor raise.

    After ``body_received(..., end=True)``, ``failed()`` or Stream.cancel() it is not called any more.
    """

    def response_started(self, status: int, fields: Fields, /) -> None:
        """The head. Where its frame carries body or end, body_received() follows before control returns to the loop."""

    def body_received(self, data: bytes, end: bool, /) -> None:  # noqa: FBT001  # a position: this is the hot path
        """A chunk, empty only at the end. Stream.consumed() gives its credit back, now or later."""

    def failed(self, error: StreamError, /) -> None:
        """No more of this response will come."""


class Carrier(Protocol):
    """What a stream needs of its link."""

    paused: bool

    def send(self, frame: bytes, body: Buffer = b"") -> None:
        """Add a frame to the batch of this turn."""

    def forget(self, stream: "Stream") -> None:
        """The stream is over."""


class Stream:
    """One request on a link, made by Link.open()."""

    __slots__ = (
        "_allowed",
        "_consumed",
        "_credit",
        "_link",
        "_pending",
        "_upload_ended",
        "_writers",
        "accepted",
        "id",
        "open",
        "response_started",
        "sink",
    )

    def __init__(self, link: Carrier, stream: int, sink: ResponseSink, credit: int, *, upload_ended: bool) -> None:
        self._link = link
        self._credit = credit
        self._allowed = framing.WINDOW
        self._consumed = 0
        self._pending: list[memoryview] = []
        self._upload_ended = upload_ended
        self._writers: list[asyncio.Future[None]] = []
        self.id = stream
        self.sink = sink
        self.open = True
        self.accepted = False
        self.response_started = False

    # --- upload ---

    @property
    def writable(self) -> bool:
        """Whether more of the upload may come. True as well once nobody wants it any more: it is dropped then."""
        return not self.open or (self._credit > 0 and not self._pending and not self._link.paused)

    async def wait_writable(self) -> None:
        """Wait until ``writable``."""
        while not self.writable:
            writer = asyncio.get_running_loop().create_future()
            self._writers.append(writer)
            await writer

    def send_body(self, data: Buffer, end: bool) -> None:  # noqa: FBT001  # a position: this is the hot path
        """Send a chunk of the upload, or keep it until there is credit: ask ``writable`` before taking more."""
        if not self.open or self._upload_ended:
            return
        self._upload_ended = end
        self._pending.append(memoryview(data))
        self._pump()

    def _pump(self) -> None:
        link, pending = self._link, self._pending
        while pending and not link.paused:
            chunk = pending[0]
            piece = chunk[: min(self._credit, framing.MAX_BODY)]
            if not piece and chunk:
                return
            rest = chunk[len(piece) :]
            pending[:1] = [rest] if rest else []
            self._credit -= len(piece)
            end = self._upload_ended and not pending
            link.send(framing.body(self.id, end=end, body_length=len(piece)), piece)

    def resume_upload(self) -> None:
        """The link's call: there is credit again, or room in the kernel."""
        if self._pending:
            self._pump()
        if self._writers and self.writable:
            self._wake_writers()

    def _wake_writers(self) -> None:
        writers, self._writers = self._writers, []
        for writer in writers:
            if not writer.done():
                writer.set_result(None)

    def credit_received(self, count: int) -> None:
        """The link's call."""
        self._credit += count
        self.resume_upload()

    # --- response ---

    def take(self, size: int) -> None:
        """The link's call: ``size`` bytes of the response have come. Raises FramingError where that was too many."""
        self._allowed -= size
        if self._allowed < 0:
            raise FramingError("more body than the credit given")

    def consumed(self, size: int) -> None:
        """``size`` bytes of the response have gone on their way; the worker may send as many more."""
        self._consumed += size
        if self._consumed >= framing.WINDOW // 2 and self.open:
            self._link.send(framing.credit(self.id, self._consumed))
            self._allowed += self._consumed
            self._consumed = 0

    # --- ending ---

    def cancel(self, reason: str) -> None:
        """Nobody waits for the response any more; the app sees http.disconnect."""
        if self.open:
            self._link.send(framing.cancel(self.id, reason))
            self._link.forget(self)

    def lost(self, reason: str) -> StreamError:
        """What the loss of the link means to this stream."""
        if self.response_started:
            return StreamError(StreamErrorKind.LINK_LOST_AFTER_HEAD, reason)
        return StreamError(StreamErrorKind.LINK_LOST_BEFORE_HEAD, reason)

    def end(self) -> None:
        """The link's call: nothing more comes, nothing more is sent."""
        self.open = False
        self._pending = []
        self._wake_writers()
