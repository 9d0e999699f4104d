"""The control channel's wire form."""

import contextlib
import struct

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_runtime import protocol, wire

SNAPSHOT = protocol.RoutingSnapshot(
    3, [protocol.Route("shop", "/shop", [protocol.Upstream("shop.1", "a1", "run/x.link", b"secret")], expected=True)]
)


def frame(body: object) -> bytes:
    packed = msgpack.packb(body)
    return struct.pack(">I", len(packed)) + packed


@pytest.mark.parametrize("cut", [0, 1, 3, 4, 5, 40])
def test_a_message_arrives_whole_however_the_bytes_are_cut(cut: int) -> None:
    data = wire.encode(SNAPSHOT, 7)
    decoder = wire.Decoder()
    assert [*decoder.feed(data[:cut]), *decoder.feed(data[cut:])] == [wire.Envelope(SNAPSHOT, 7)]


def test_several_messages_in_one_read_come_in_order() -> None:
    data = wire.encode(protocol.Progress("import")) + wire.encode(protocol.Ready("fastapi 1"))
    assert [e.message for e in wire.Decoder().feed(data)] == [protocol.Progress("import"), protocol.Ready("fastapi 1")]


def test_unknown_fields_are_ignored_and_missing_ones_take_their_defaults() -> None:
    """Versions N and N-1 talk to each other during an upgrade."""
    assert wire.Decoder().feed(frame(["ready", 0, {"later": 1}])) == [wire.Envelope(protocol.Ready())]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (["no_such", 0, {}], "unknown message 'no_such'"),
        (["ready", 0], "not an envelope"),
        (["ready", True, {}], "not an envelope"),
        ("ready", "not an envelope"),
        (["hello", 0, {}], "missing"),
        (["ready", 0, []], "Ready: expected dict, got list"),
        (["routing_ack", 0, {"version": "3"}], "RoutingAck.version: expected int, got str"),
        (["routing_ack", 0, {"version": True}], "RoutingAck.version: expected int, got bool"),
        (["routing_snapshot", 0, {"version": 1, "routes": [{"plugin": 1}]}], "routes.plugin: expected str, got int"),
    ],
)
def test_what_is_no_message_is_refused_by_name(body: object, says: str) -> None:
    with pytest.raises(wire.WireError, match=says.replace("[", r"\[")):
        wire.Decoder().feed(frame(body))


def test_an_announced_length_over_the_limit_is_refused_before_anything_is_buffered() -> None:
    with pytest.raises(wire.WireError, match="over the limit"):
        wire.Decoder().feed(struct.pack(">I", 2**32 - 1))


def test_a_claim_of_four_billion_items_allocates_nothing() -> None:
    with pytest.raises(wire.WireError, match="not msgpack"):
        wire.Decoder().feed(struct.pack(">I", 5) + b"\xdd\xff\xff\xff\xff")


def test_ten_thousand_levels_are_refused() -> None:
    with pytest.raises(wire.WireError, match="not msgpack"):
        wire.decode(b"\x91" * 10_000)


def test_a_message_that_the_peer_would_refuse_is_never_sent() -> None:
    with pytest.raises(ValueError, match="is over"):
        wire.encode(protocol.Schema("h", bytes(protocol.MAX_CONTROL_FRAME)))


@given(st.binary(max_size=200))
def test_whatever_comes_in_a_decoder_raises_nothing_but_wire_errors(data: bytes) -> None:
    decoder = wire.Decoder(limit=128)
    with contextlib.suppress(wire.WireError):
        decoder.feed(data)


@given(st.builds(protocol.Failed), st.integers(0, 2**31))
def test_what_is_encoded_decodes_to_the_same(message: protocol.Failed, request_id: int) -> None:
    assert wire.Decoder().feed(wire.encode(message, request_id)) == [wire.Envelope(message, request_id)]
