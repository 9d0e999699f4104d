"""Wire form of the link between a gateway and a worker: ASGI events as frames on one byte stream.

A frame is a prefix of 8 bytes (two big-endian 32-bit numbers: length of the header, length of the body), a header (the
msgpack array ``[type, stream, ...fields]``) and the body, raw. Headers are packed, bodies never are, so that large ones
are not copied around.

Here: frame types, limits, encoding, decoding, checking. Not here: what an end does with a frame, and I/O of any kind.
Change together: FrameType, _SHAPES, the encoder of the type, docs/reference/link.md. A type that is not in _SHAPES
closes the link, so a new one needs a new PROTOCOL_VERSION as well.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple, Optional

import msgpack

MAX_HEADER = 128 * 1024
"""Bytes of a header. Unpacked, the worst of them takes 64 times as much for a moment: 8 MiB."""
MAX_BODY = 64 * 1024
"""Bytes of the body of one frame; senders split larger chunks, so that streams take turns."""
MAX_ITEMS = 1024
"""Items of one array or map in a header; also the most header fields of a message."""
MAX_CREDIT = 2**31 - 1
"""Bytes of credit that one frame may give."""
WINDOW = 256 * 1024
"""Body bytes per stream that our ends take before they give credit again."""

EXPLAIN = "explain"
"""Member of a request's ``state`` in development mode: the gateway may tell its client what the app raises. No app
sees it."""

IDEMPOTENT_METHODS = frozenset(
    {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "PROPFIND", "REPORT", "SEARCH", "QUERY"}
)
"""Requests that may be sent again whatever became of the first try: the worker does not say that it accepted them."""

Fields = tuple[tuple[bytes, bytes], ...]
Header = tuple[Any, ...]

_PREFIX = struct.Struct(">II")
# The largest frame fits with room to spare, so one fixed buffer is always enough.
_BUFFER_SIZE = 256 * 1024


class FrameType(IntEnum):
    """What a frame is. 1-7 concern the connection and carry stream 0. Kept free: 16-23 WebSocket, 24-31 HTTP extras."""

    HELLO = 1  # gateway: version, secret, gateway id, window
    WELCOME = 2  # worker: version, window
    CLOSE = 3  # either end: reason; the connection ends after it
    DRAINING = 4  # worker: send me no new requests
    REQUEST = 8  # gateway: a RequestHead and whether the body ends here; body: its first chunk
    ACCEPTED = 9  # worker: the app is called next; not sent for idempotent methods
    BODY = 10  # either end: whether the body ends here; body: a chunk
    RESPONSE = 11  # worker: status, header fields, whether the body ends here; body: its first chunk
    CREDIT = 12  # either end: so many more body bytes are welcome
    CANCEL = 13  # gateway: reason; nobody waits for the response any more
    FAILED = 14  # worker: reason; the response will not be completed; body: more of it, for who asked with EXPLAIN


# Members of an IntEnum are slow to look up before Python 3.12; these are used for every request.
_REQUEST = FrameType.REQUEST.value
_BODY = FrameType.BODY.value
_RESPONSE = FrameType.RESPONSE.value
_FIRST_STREAM_TYPE = _REQUEST
_WITH_BODY = frozenset({_REQUEST, _BODY, _RESPONSE, FrameType.FAILED.value})


class FramingError(ValueError):
    """The peer broke the rules of the link; the connection cannot go on."""


class FrameTooLargeError(ValueError):
    """What should be sent is over MAX_HEADER; sending it would cost us the connection."""

    def __init__(self, size: int) -> None:
        super().__init__(f"cannot send a frame header of {size} bytes: the limit is {MAX_HEADER}")


class RequestHead(NamedTuple):
    """A request without its body, as the gateway parsed it; ``state`` becomes ``scope["state"]["xcore"]``."""

    method: str
    raw_path: bytes
    query: bytes
    http_version: str
    scheme: str
    client: Optional[tuple[str, int]]
    server: Optional[tuple[str, Optional[int]]]
    headers: Sequence[tuple[bytes, bytes]]
    state: Mapping[str, Any]

    @property
    def idempotent(self) -> bool:
        return self.method in IDEMPOTENT_METHODS


class Frame(NamedTuple):
    """A checked frame: ``header`` is (type, stream, ...fields) with the fields as _SHAPES has them."""

    header: Header
    body: bytes


# --- encoding: each function returns prefix and header; the caller sends the body bytes after them ----------


_packer = msgpack.Packer(use_bin_type=True, autoreset=True, unicode_errors="backslashreplace")


def _frame(header: Sequence[Any], body_length: int = 0) -> bytes:
    packed: bytes = _packer.pack(header)
    if len(packed) > MAX_HEADER:
        raise FrameTooLargeError(len(packed))
    return _PREFIX.pack(len(packed), body_length) + packed


def hello(version: int, secret: bytes, gateway: str, window: int) -> bytes:
    return _frame((FrameType.HELLO, 0, version, secret, gateway, window))


def welcome(version: int, window: int) -> bytes:
    return _frame((FrameType.WELCOME, 0, version, window))


def close(reason: str) -> bytes:
    return _frame((FrameType.CLOSE, 0, reason[:MAX_ITEMS]))


def draining() -> bytes:
    return _frame((FrameType.DRAINING, 0))


def request(stream: int, head: RequestHead, *, end: bool, body_length: int) -> bytes:
    """Raises FrameTooLargeError, which the gateway's limits on a head rule out."""
    return _frame((_REQUEST, stream, *head, end), body_length)


def accepted(stream: int) -> bytes:
    return _frame((FrameType.ACCEPTED, stream))


def body(stream: int, *, end: bool, body_length: int) -> bytes:
    return _frame((_BODY, stream, end), body_length)


def response(stream: int, status: int, headers: Sequence[tuple[bytes, bytes]], *, end: bool, body_length: int) -> bytes:
    """Raises FrameTooLargeError."""
    return _frame((_RESPONSE, stream, status, headers, end), body_length)


def credit(stream: int, count: int) -> bytes:
    return _frame((FrameType.CREDIT, stream, count))


def cancel(stream: int, reason: str) -> bytes:
    return _frame((FrameType.CANCEL, stream, reason[:MAX_ITEMS]))


def failed(stream: int, reason: str, *, body_length: int = 0) -> bytes:
    return _frame((FrameType.FAILED, stream, reason[:MAX_ITEMS]), body_length)


# --- decoding -----------------------------------------------------------------------------------------------


def _request_shapes() -> frozenset[tuple[type, ...]]:
    addresses: tuple[type, ...] = (tuple, type(None))
    return frozenset(
        (int, int, str, bytes, bytes, str, str, client, server, tuple, dict, bool)
        for client, server in itertools.product(addresses, addresses)
    )


# The exact types of all items of a header: comparing them costs one pass in C.
_SHAPES: dict[int, frozenset[tuple[type, ...]]] = {
    FrameType.HELLO: frozenset({(int, int, int, bytes, str, int)}),
    FrameType.WELCOME: frozenset({(int, int, int, int)}),
    FrameType.CLOSE: frozenset({(int, int, str)}),
    FrameType.DRAINING: frozenset({(int, int)}),
    FrameType.REQUEST: _request_shapes(),
    FrameType.ACCEPTED: frozenset({(int, int)}),
    FrameType.BODY: frozenset({(int, int, bool)}),
    FrameType.RESPONSE: frozenset({(int, int, int, tuple, bool)}),
    FrameType.CREDIT: frozenset({(int, int, int)}),
    FrameType.CANCEL: frozenset({(int, int, str)}),
    FrameType.FAILED: frozenset({(int, int, str)}),
}

_TUPLES = frozenset({tuple})
_PAIRS = frozenset({2})
_BYTES = frozenset({bytes})
_ADDRESSES = frozenset({(str, int), (str, type(None))})


def _check_fields(fields: Fields) -> None:
    right = (
        _TUPLES.issuperset(map(type, fields))
        and _PAIRS.issuperset(map(len, fields))
        and _BYTES.issuperset(map(type, itertools.chain.from_iterable(fields)))
    )
    if not right:
        raise FramingError("header fields that are not pairs of bytes")


def _check_address(address: Optional[tuple[Any, ...]]) -> None:
    if address is not None and tuple(map(type, address)) not in _ADDRESSES:
        raise FramingError("an address that is not host and port")


def _check_request(header: Header) -> None:
    _check_address(header[7])
    _check_address(header[8])
    _check_fields(header[9])


def _check_response(header: Header) -> None:
    # An interim status would make the client wait for another response that never comes.
    if not 200 <= header[2] <= 999:  # noqa: PLR2004  # bounds of RFC 9110's final status codes
        raise FramingError(f"status {header[2]} is not that of a final response")
    _check_fields(header[3])


def _check_window(header: Header) -> None:
    if not MAX_BODY <= header[-1] <= MAX_CREDIT:
        raise FramingError(f"window of {header[-1]} bytes")


def _check_credit(header: Header) -> None:
    if not 1 <= header[-1] <= MAX_CREDIT:
        raise FramingError(f"credit of {header[-1]} bytes")


_CHECKS: dict[int, Callable[[Header], None]] = {
    FrameType.HELLO: _check_window,
    FrameType.WELCOME: _check_window,
    FrameType.REQUEST: _check_request,
    FrameType.RESPONSE: _check_response,
    FrameType.CREDIT: _check_credit,
}


def _unpack(data: memoryview) -> Any:
    try:
        return msgpack.unpackb(
            data, raw=False, use_list=False, max_array_len=MAX_ITEMS, max_map_len=MAX_ITEMS, max_ext_len=0
        )
    except Exception as error:  # msgpack documents no common base of what its unpacker raises
        raise FramingError(f"a header that is not msgpack: {type(error).__name__}") from error


def _decode_header(data: memoryview) -> Header:
    header = _unpack(data)
    if type(header) is not tuple or not header or type(header[0]) is not int:
        raise FramingError("a header that is not an array with a frame type")
    kind = header[0]
    if kind not in _SHAPES:
        raise FramingError(f"unknown frame type {kind}")
    if tuple(map(type, header)) not in _SHAPES[kind]:
        raise FramingError(f"{FrameType(kind).name} with fields that do not fit")
    if (header[1] > 0) is not (kind >= _FIRST_STREAM_TYPE):
        raise FramingError(f"{FrameType(kind).name} on stream {header[1]}")
    check = _CHECKS.get(kind)
    if check is not None:
        check(header)
    return header


class Decoder:
    """Cuts a byte stream into frames inside one buffer of fixed size, so that no peer can make it grow."""

    def __init__(self) -> None:
        self._view = memoryview(bytearray(_BUFFER_SIZE))  # untouched pages of it take no memory
        self._start = 0
        self._end = 0

    def get_buffer(self) -> memoryview:
        """Where the next bytes go; never empty once next_frame() has returned None."""
        if self._start:
            self._view[: self._end - self._start] = self._view[self._start : self._end]
            self._end -= self._start
            self._start = 0
        return self._view[self._end :] if self._end else self._view

    def received(self, count: int) -> None:
        """``count`` bytes were written into the buffer."""
        self._end += count

    def next_frame(self) -> Optional[Frame]:
        """The next whole frame, if there is one.

        Raises:
            FramingError: the stream is broken for good; the decoder must not be used again.
        """
        start = self._start + _PREFIX.size
        if start > self._end:
            return None
        header_length, body_length = _PREFIX.unpack_from(self._view, self._start)
        if header_length > MAX_HEADER or body_length > MAX_BODY:
            raise FramingError(f"a frame of {header_length} + {body_length} bytes is over the limit")
        middle = start + header_length
        end = middle + body_length
        if end > self._end:
            return None
        header = _decode_header(self._view[start:middle])
        if body_length and header[0] not in _WITH_BODY:
            raise FramingError(f"{FrameType(header[0]).name} with a body")
        self._start = end
        return Frame(header, bytes(self._view[middle:end]))
