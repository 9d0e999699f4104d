"""The wire form of the link."""

import contextlib
import struct
import tracemalloc
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_runtime import framing
from plugin_runtime.framing import Decoder, Frame, FrameType, FramingError, RequestHead

HEAD = RequestHead(
    method="GET",
    raw_path=b"/app/a%20b",
    query=b"x=1",
    http_version="1.1",
    scheme="http",
    client=("127.0.0.1", 4711),
    server=None,
    headers=((b"host", b"example"), (b"accept", b"*/*")),
    state={"request_id": "r1", "user": None},
)

# One of each: what the encoder makes, and what the decoder must make of it.
SAMPLES = [
    (framing.hello(1, b"secret", "gateway.1", 65536), b"", (1, 0, 1, b"secret", "gateway.1", 65536)),
    (framing.welcome(1, 65536), b"", (2, 0, 1, 65536)),
    (framing.close("enough"), b"", (3, 0, "enough")),
    (framing.draining(), b"", (4, 0)),
    (framing.request(1, HEAD, end=True, body_length=3), b"abc", (8, 1, *HEAD, True)),
    (framing.accepted(2), b"", (9, 2)),
    (framing.body(3, end=False, body_length=2), b"xy", (10, 3, False)),
    (framing.response(4, 200, [(b"a", b"b")], end=True, body_length=1), b"z", (11, 4, 200, ((b"a", b"b"),), True)),
    (framing.credit(5, 1000), b"", (12, 5, 1000)),
    (framing.cancel(6, "client gone"), b"", (13, 6, "client gone")),
    (framing.failed(7, "app"), b"", (14, 7, "app")),
    (framing.failed(7, "app", body_length=3), b"why", (14, 7, "app")),
]


def wire(header: object, body: bytes = b"") -> bytes:
    packed = msgpack.packb(header, use_bin_type=True)
    return struct.pack(">II", len(packed), len(body)) + packed + body


def feed(decoder: Decoder, data: bytes) -> list[Frame]:
    frames = []
    while data:
        room = decoder.get_buffer()
        count = min(len(room), len(data))
        room[:count] = data[:count]
        data = data[count:]
        decoder.received(count)
        while (frame := decoder.next_frame()) is not None:
            frames.append(frame)
    return frames


def request_header(**changes: object) -> tuple[object, ...]:
    return (FrameType.REQUEST, 1, *HEAD._replace(**changes), True)


@pytest.mark.parametrize(
    ("frame", "body", "header"), SAMPLES, ids=lambda value: value[0] if type(value) is tuple else ""
)
def test_every_frame_comes_back_as_it_was_sent(frame, body, header):
    """Encoder and decoder agree on the fields of every type."""
    assert feed(Decoder(), frame + body) == [Frame(header, body)]


def test_every_frame_type_has_a_sample():
    """A new type cannot be forgotten in these tests."""
    assert {header[0] for _, _, header in SAMPLES} == set(FrameType)


def test_every_frame_type_is_documented_with_its_number():
    """docs/reference/link.md is the reference for whoever writes another end."""
    text = (Path(__file__).parents[2] / "docs" / "reference" / "link.md").read_text(encoding="utf-8")
    for kind in FrameType:
        assert f"| `{kind.name}` | {kind.value} |" in text


@given(st.lists(st.integers(1, 60), max_size=60))
def test_frames_do_not_depend_on_how_the_stream_was_cut(cuts):
    """A socket may deliver any number of bytes at a time."""
    data = b"".join(frame + body for frame, body, _ in SAMPLES)
    decoder, frames, start = Decoder(), [], 0
    for cut in [*cuts, len(data)]:
        frames += feed(decoder, data[start : start + cut])
        start += cut
    assert frames == [Frame(header, body) for _, body, header in SAMPLES]


def test_a_long_stream_of_full_frames_fits_the_fixed_buffer():
    """The largest frame allowed never finds the buffer full, wherever in it it begins."""
    chunk = bytes(framing.MAX_BODY)
    head = HEAD._replace(headers=((b"x", bytes(framing.MAX_HEADER - 200)),))
    largest = framing.request(1, head, end=False, body_length=len(chunk)) + chunk
    small = framing.accepted(1)
    frames = feed(Decoder(), (largest + small) * 20)
    assert len(frames) == 40
    assert all(frame.body == chunk for frame in frames[::2])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(8), "not msgpack"),
        (b"\xff" * 8, "over the limit"),
        (struct.pack(">II", framing.MAX_HEADER + 1, 0), "over the limit"),
        (struct.pack(">II", 4, framing.MAX_BODY + 1), "over the limit"),
        (struct.pack(">II", 5, 0) + b"\xdd\xff\xff\xff\xff", "not msgpack"),
        (struct.pack(">II", 3, 0) + b"\x93\x0a\x01", "not msgpack"),
        (struct.pack(">II", 10_000, 0) + b"\x91" * 10_000, "not msgpack"),
        (wire([FrameType.CLOSE, 0, msgpack.ExtType(5, b"x")]), "not msgpack"),
        (wire([FrameType.CLOSE, 0, msgpack.Timestamp(1)]), "not msgpack"),
        (struct.pack(">II", 6, 0) + b"\x93\x03\x00\xa2\xff\xfe", "not msgpack"),
        (wire([FrameType.ACCEPTED, 1])[:8] + b"\xc0\xc0\xc0", "not msgpack"),
        (wire([0] * (framing.MAX_ITEMS + 1)), "not msgpack"),
        (wire({"type": 1}), "not an array"),
        (wire([]), "not an array"),
        (wire(None), "not an array"),
        (wire([True, 0]), "not an array"),
        (wire([[1], 0]), "not an array"),
        (wire([5, 0]), "unknown frame type 5"),
        (wire([16, 1]), "unknown frame type 16"),
        (wire([-1, 1]), "unknown frame type -1"),
        (wire([FrameType.ACCEPTED]), "ACCEPTED with fields"),
        (wire([FrameType.ACCEPTED, 1, 2]), "ACCEPTED with fields"),
        (wire([FrameType.ACCEPTED, "1"]), "ACCEPTED with fields"),
        (wire([FrameType.ACCEPTED, True]), "ACCEPTED with fields"),
        (wire([FrameType.BODY, 1, 1]), "BODY with fields"),
        (wire([FrameType.ACCEPTED, 0]), "ACCEPTED on stream 0"),
        (wire([FrameType.ACCEPTED, -1]), "ACCEPTED on stream -1"),
        (wire([FrameType.DRAINING, 1]), "DRAINING on stream 1"),
        (wire([FrameType.ACCEPTED, 1], b"x"), "ACCEPTED with a body"),
        (wire([FrameType.CREDIT, 1, 0]), "credit of 0"),
        (wire([FrameType.CREDIT, 1, 2**31]), "credit of 2147483648"),
        (wire([FrameType.CREDIT, 1, -5]), "credit of -5"),
        (wire([FrameType.WELCOME, 0, 1, 10]), "window of 10"),
        (wire([FrameType.RESPONSE, 1, 101, [], True]), "status 101"),
        (wire([FrameType.RESPONSE, 1, 1000, [], True]), "status 1000"),
        (wire([FrameType.RESPONSE, 1, 200, [[b"a"]], True]), "pairs of bytes"),
        (wire([FrameType.RESPONSE, 1, 200, [[b"a", "b"]], True]), "pairs of bytes"),
        (wire([FrameType.RESPONSE, 1, 200, [b"ab"], True]), "pairs of bytes"),
        (wire([FrameType.RESPONSE, 1, 200, [1], True]), "pairs of bytes"),
        (wire([FrameType.RESPONSE, 1, 200, [{b"a": b"b", b"c": b"d"}], True]), "pairs of bytes"),
        (wire(request_header(client=["h"])), "host and port"),
        (wire(request_header(server=[1, 2])), "host and port"),
        (wire(request_header(client="h")), "REQUEST with fields"),
        (wire(request_header(headers=[[b"a", None]])), "pairs of bytes"),
        (wire(request_header(method=b"GET")), "REQUEST with fields"),
    ],
)
def test_a_bad_frame_raises_framing_error_with_a_reason(data, reason):
    """Row 68: malformed, unknown and over the limit all end the same way."""
    with pytest.raises(FramingError, match=reason):
        feed(Decoder(), data)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_nothing_but_framing_error(data):
    """Whatever a peer sends costs it its connection, never us the process."""
    with contextlib.suppress(FramingError):
        feed(Decoder(), data)


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(st.sampled_from(FrameType), st.lists(JUNK, max_size=12), st.binary(max_size=20))
def test_arbitrary_fields_raise_nothing_but_framing_error(kind, fields, body):
    """Well-formed msgpack with the wrong things in it."""
    try:
        frames = feed(Decoder(), wire([kind, *fields], body))
    except FramingError:
        return
    assert frames[0].header[0] == kind


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_flipped_byte_raises_nothing_but_framing_error(position, value):
    """Frames that are nearly right reach the deepest checks."""
    data = bytearray(b"".join(frame + body for frame, body, _ in SAMPLES))
    data[position % len(data)] = value
    with contextlib.suppress(FramingError):
        feed(Decoder(), bytes(data))


@pytest.mark.parametrize(
    "packed",
    [
        b"\xdc\x04\x00" + (b"\xdc\x00\x7e" + b"\x80" * 126) * 1024,
        b"\xdc\x04\x00" + (b"\xdc\x00\x3e" + b"\x91\xc0" * 62) * 1024,
    ],
    ids=["empty maps", "one-item arrays"],
)
def test_the_worst_header_takes_less_than_16_mib(packed):
    """Row 68: no peer makes our memory grow, not even while a header is being looked at."""
    data = struct.pack(">II", min(len(packed), framing.MAX_HEADER), 0) + packed[: framing.MAX_HEADER]
    tracemalloc.start()
    try:
        with pytest.raises(FramingError):
            feed(Decoder(), data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * 1024 * 1024


def test_a_frame_that_is_never_finished_holds_only_the_buffer():
    """Row 68: the buffer has a fixed size, and always room for the rest of a lawful frame."""
    decoder = Decoder()
    start = struct.pack(">II", framing.MAX_HEADER, framing.MAX_BODY)
    assert feed(decoder, start + bytes(framing.MAX_HEADER + framing.MAX_BODY - 1)) == []
    assert len(decoder.get_buffer()) > 0


def test_a_header_over_the_limit_is_not_sent():
    """It would cost the sender its connection."""
    head = HEAD._replace(headers=((b"x", bytes(framing.MAX_HEADER)),))
    with pytest.raises(framing.FrameTooLargeError, match="the limit is 131072"):
        framing.request(1, head, end=True, body_length=0)


def test_long_and_unencodable_reasons_are_sent_all_the_same():
    """Reasons are made of what foreign code raised."""
    (frame,) = feed(Decoder(), framing.failed(1, "\udcff" + "x" * 5000))
    assert frame.header[2].startswith("\\udcff")
    assert len(frame.header[2]) < 2000


@pytest.mark.parametrize(
    ("method", "idempotent"), [("GET", True), ("DELETE", True), ("PROPFIND", True), ("POST", False), ("get", False)]
)
def test_only_idempotent_methods_may_be_sent_again(method, idempotent):
    """Methods are case-sensitive; what is not known as idempotent is not."""
    assert HEAD._replace(method=method).idempotent is idempotent
