# ruff: noqa: A005  # reached as plugin_runtime.http only: isolated mode leaves this folder off sys.path
"""One HTTP request on a link: ASGI scope, receive and send.

Upload and response are independent pumps: an app may answer before it has read the request. As with uvicorn, an app is
told of a client that went away but never cancelled for it, and what it sends afterwards goes nowhere.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
from collections.abc import Awaitable, Mapping, MutableMapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Callable, Optional, Protocol, Union
from urllib.parse import unquote_to_bytes

from plugin_runtime import framing
from plugin_runtime.local_side import CURRENT

Message = MutableMapping[str, Any]
App = Callable[
    [dict[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

_NO_BODY_STATUS = frozenset({204, 304})
_FORBIDDEN_IN_FIELDS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_FIELD_OVERHEAD = 16  # bytes that msgpack may add to one header field, rounded up
INTERNAL_ERROR = b"Internal Server Error"
"""Our answer for an app that has none, and that of Starlette and others for theirs."""
_INTERNAL_ERROR_FIELDS = (
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"%d" % len(INTERNAL_ERROR)),
)


@dataclass(frozen=True)
class Mounting:
    """How an app sits below its prefix. ``path_mode``: what it sees as its path, "full" or "stripped"."""

    prefix: str = ""
    path_mode: str = "full"
    lifespan_state: Mapping[str, Any] = field(default_factory=dict)


def build_scope(head: framing.RequestHead, mounting: Mounting) -> dict[str, Any]:
    """The ASGI connection scope of a request."""
    root_path = mounting.prefix.rstrip("/")
    return {
        "type": "http",
        # 2.4 would promise that send() raises once the client is gone.
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head.http_version,
        "method": head.method,
        "scheme": head.scheme,
        "path": _path(head.raw_path, root_path if mounting.path_mode == "stripped" else ""),
        "raw_path": head.raw_path,
        "query_string": head.query,
        "root_path": root_path,
        "headers": list(head.headers),
        "client": head.client,
        "server": head.server,
        "state": {**mounting.lifespan_state, "xcore": head.state},
    }


def _path(raw_path: bytes, strip: str) -> str:
    decoded = unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path
    path = decoded.decode("utf-8", "replace")
    if strip and path.startswith(strip) and path[len(strip) : len(strip) + 1] in ("", "/"):
        return path[len(strip) :] or "/"
    return path


class Carrier(Protocol):
    """What an exchange needs of its connection."""

    paused: bool

    def send(self, frame: bytes, body: Union[bytes, memoryview] = b"") -> None:
        """Add a frame to the batch of this turn."""

    def hold(self, exchange: Exchange) -> None:
        """Call release_head() before the batch of this turn leaves."""

    def completed(self, exchange: Exchange) -> None:
        """The exchange sends no more frames and wants none."""

    def returned(self, exchange: Exchange) -> None:
        """The app's call has ended."""


class Signal:
    """Wakes all who wait for it at that moment; makes an asyncio.Event only when somebody waits."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event: Optional[asyncio.Event] = None

    def wake(self) -> None:
        if self._event is not None:
            self._event.set()
            self._event = None

    async def wait(self) -> None:
        if self._event is None:
            self._event = asyncio.Event()
        await self._event.wait()


class Upload:
    """The request body on its way to the app; never holds more than the window."""

    __slots__ = ("_allowed", "_chunks", "_consumed", "_window", "arrived", "ended", "taken")

    def __init__(self, window: int) -> None:
        self._window = window
        self._allowed = window
        self._chunks: list[bytes] = []
        self._consumed = 0
        self.ended = False
        self.taken = False
        self.arrived = Signal()

    @property
    def ready(self) -> bool:
        """Whether there is something that the app has not been told."""
        return bool(self._chunks) or (self.ended and not self.taken)

    def received(self, data: bytes, *, end: bool) -> None:
        """Raises FramingError where the gateway sends more than it may."""
        self._allowed -= len(data)
        if self._allowed < 0 or self.ended:
            raise framing.FramingError("more body than the credit given" if not self.ended else "body after its end")
        if data:
            self._chunks.append(data)
        self.ended = end
        self.arrived.wake()

    def take(self) -> bytes:
        """All that is there."""
        chunks, self._chunks = self._chunks, []
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._consumed += len(data)
        self.taken = self.ended
        return data

    def credit(self) -> int:
        """Credit to give now: nothing until half the window is free, so that credit costs few frames."""
        if self.ended or self._consumed < self._window // 2:
            return 0
        count, self._consumed = self._consumed, 0
        self._allowed += count
        return count


class Stage(Enum):
    """How far the response has come."""

    NO_HEAD = "no head"  # the app has not started it
    HEAD_HELD = "head held"  # started; the head waits for the first chunk until the end of the turn
    BODY = "body"  # the head has left
    COMPLETE = "complete"  # nothing more to send, be it that all is said or that nobody listens


class Exchange:
    """One request and its response, from the first frame to the return of the app. Owned by its connection."""

    __slots__ = ("_carrier", "_credit", "_expected", "_head", "_stage", "_writable", "scope", "stream", "upload")

    def __init__(self, carrier: Carrier, stream: int, scope: dict[str, Any], *, window: int, credit: int) -> None:
        self._carrier = carrier
        self._credit = credit
        self._expected: Optional[int] = None  # bytes that content-length still promises
        self._head: tuple[int, list[tuple[bytes, bytes]]] = (0, [])
        self._stage = Stage.NO_HEAD
        self._writable = Signal()
        self.scope = scope
        self.stream = stream
        self.upload = Upload(window)

    @property
    def complete(self) -> bool:
        return self._stage is Stage.COMPLETE

    # --- from the link ---

    def credit_received(self, count: int) -> None:
        self._credit += count
        self._writable.wake()

    def writing_resumed(self) -> None:
        self._writable.wake()

    def disconnect(self) -> None:
        """Nobody waits for the response any more."""
        self._stage = Stage.COMPLETE
        self.upload.arrived.wake()
        self._writable.wake()

    def release_head(self) -> None:
        """The turn ends and the first chunk has not come: the head leaves alone."""
        if self._stage is Stage.HEAD_HELD:
            self._emit(b"", end=False)

    # --- the app's call ---

    async def run(self, app: App) -> None:
        """Call the app and answer for it where it does not. Runs in a task, whose context is this request's alone."""
        CURRENT.set((self.scope["headers"], self.scope["state"]["xcore"]))
        try:
            await app(self.scope, self.receive, self.send)
        except (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt):
            self._fail("the worker stopped before the app had answered")
            raise
        except BaseException as error:  # noqa: BLE001  # the boundary to foreign code; sys.exit() ends no worker here
            self._app_failed(f"{type(error).__name__} in the app", error)
        else:
            if not self.complete:
                self._app_failed("the app returned without completing its response")
        finally:
            self._carrier.returned(self)

    async def receive(self) -> Message:
        """Serve the app as its ``receive``."""
        upload = self.upload
        while not self.complete:
            if upload.ready:
                data = upload.take()
                if credit := upload.credit():
                    self._carrier.send(framing.credit(self.stream, credit))
                return {"type": "http.request", "body": data, "more_body": not upload.ended}
            await upload.arrived.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Serve the app as its ``send``; waits while there is no credit or the kernel takes no more.

        Raises:
            RuntimeError: a message out of order, or a body that is not as long as content-length said.
        """
        while self._carrier.paused and not self.complete:
            await self._writable.wait()
        kind = message["type"]
        if self.complete:
            return
        if kind != ("http.response.start" if self._stage is Stage.NO_HEAD else "http.response.body"):
            raise RuntimeError(f"unexpected ASGI message {kind!r}: the response has {self._stage.value}")
        if self._stage is Stage.NO_HEAD:
            self._start(message)
        else:
            body = message.get("body", b"")
            if type(body) is not bytes:
                body = memoryview(body).tobytes()  # of what the app may change, or no bytes at all
            await self._send_body(body, end=not message.get("more_body", False))

    def _start(self, message: Message) -> None:
        status = int(message["status"])
        headers = [(name.lower(), value) for name, value in message.get("headers", ())]
        _check_head(status, headers)
        if self.scope["method"] != "HEAD" and status not in _NO_BODY_STATUS:
            self._expected = next((int(value) for name, value in headers if name == b"content-length"), None)
        self._head = (status, headers)
        self._stage = Stage.HEAD_HELD
        self._carrier.hold(self)

    async def _send_body(self, body: bytes, *, end: bool) -> None:
        if self._drops_body:
            body = b""
        elif self._expected is not None:
            self._expected = _left(self._expected, len(body), end=end)
        if len(body) <= self._credit and len(body) <= framing.MAX_BODY:
            self._emit(body, end=end)
        else:
            await self._send_in_pieces(memoryview(body), end=end)

    @property
    def _drops_body(self) -> bool:
        return self.scope["method"] == "HEAD" or self._head[0] in _NO_BODY_STATUS

    async def _send_in_pieces(self, rest: memoryview, *, end: bool) -> None:
        while rest:
            while not self.complete and (self._carrier.paused or not self._credit):
                await self._writable.wait()
            if self.complete:
                return
            size = min(len(rest), self._credit, framing.MAX_BODY)
            piece, rest = rest[:size], rest[size:]
            self._emit(piece, end=end and not rest)

    def _emit(self, body: Union[bytes, memoryview], *, end: bool) -> None:
        size = len(body)
        self._credit -= size
        if self._stage is Stage.HEAD_HELD:
            status, headers = self._head
            self._stage = Stage.BODY
            frame = framing.response(self.stream, status, headers, end=end, body_length=size)
        elif size or end:
            frame = framing.body(self.stream, end=end, body_length=size)
        else:
            return
        self._carrier.send(frame, body)
        if end:
            self._complete()

    def _complete(self) -> None:
        self._stage = Stage.COMPLETE
        self.upload.arrived.wake()
        self._carrier.completed(self)

    # --- when the app does not answer ---

    def _app_failed(self, reason: str, error: Optional[BaseException] = None) -> None:
        # Fetched here and not at import: logging.config disables the loggers that exist when a plugin calls it.
        logging.getLogger("xcore.http").error(
            "%s: %s %s", reason, self.scope["method"], self.scope["raw_path"].decode("latin-1"), exc_info=error
        )
        if self._stage in (Stage.NO_HEAD, Stage.HEAD_HELD):
            self._answer_instead(error)
        else:
            self._fail(reason)

    def _answer_instead(self, error: Optional[BaseException]) -> None:
        """Answer for an app of which nothing has left; ``error``: what it raised, if anything."""
        self._head = (500, list(_INTERNAL_ERROR_FIELDS))
        self._stage = Stage.HEAD_HELD
        self._emit(b"" if self.scope["method"] == "HEAD" else INTERNAL_ERROR, end=True)

    def _fail(self, reason: str) -> None:
        if not self.complete:
            self._carrier.send(framing.failed(self.stream, reason))
            self._complete()


def _left(expected: int, length: int, *, end: bool) -> int:
    left = expected - length
    if left < 0:
        raise RuntimeError("the response body is longer than its content-length")
    if end and left:
        raise RuntimeError("the response body is shorter than its content-length")
    return left


def _check_head(status: int, headers: list[tuple[bytes, bytes]]) -> None:
    # What the link would be closed for, or a client be fooled with, must stop here.
    joined = b"".join(itertools.chain.from_iterable(headers))
    if not 200 <= status <= 999:  # noqa: PLR2004  # bounds of RFC 9110's final status codes
        raise RuntimeError(f"status {status} is not that of a final response")
    if _FORBIDDEN_IN_FIELDS.search(joined):
        raise RuntimeError("control characters in a header field")
    size = len(joined) + _FIELD_OVERHEAD * (len(headers) + 4)
    if len(headers) > framing.MAX_ITEMS or size > framing.MAX_HEADER:
        raise RuntimeError(f"a response head of {len(headers)} fields, {size} bytes is over the limit")
