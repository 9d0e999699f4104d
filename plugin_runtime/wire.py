"""Wire form of the control channel and the command socket: one message of the contract per frame.

A frame is a 4-byte big-endian length and a msgpack array ``[type, id, fields]``: the message class's name in snake
case, the request id (0: no answer is wanted), its fields as a map. Unknown fields are ignored and missing ones take
their defaults, so that versions N and N-1 understand each other; anything else that does not fit raises WireError.
Pure: no I/O.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import struct
import typing
from typing import Any, Optional, TypeVar, Union

import msgpack

from plugin_runtime import gateway_protocol, protocol, task_protocol, template_protocol

T = TypeVar("T")

_LENGTH = struct.Struct(">I")


class WireError(ValueError):
    """The peer sent something that is not a message; the connection cannot go on."""


@dataclasses.dataclass(frozen=True)
class Envelope:
    """One message and the id that ties a request to its answer."""

    message: Any
    id: int = 0


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


MESSAGES: dict[str, type] = {
    _snake(cls.__name__): cls
    for module in (protocol, gateway_protocol, task_protocol, template_protocol)
    for cls in vars(module).values()
    if isinstance(cls, type) and dataclasses.is_dataclass(cls)
}
"""Every message class by its name on the wire."""

_NAMES = {cls: name for name, cls in MESSAGES.items()}


def to_wire(value: Any) -> Any:
    """Turn a dataclass into plain maps, lists and scalars."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_wire(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: to_wire(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_wire(item) for item in value]
    return value


def from_wire(cls: type[T], data: Any) -> T:
    """Build ``cls`` from its wire form, checking every value against its annotation.

    Raises:
        WireError: a value of the wrong type or a missing field, named by its path.
    """
    value: T = _convert(cls, data, cls.__name__)
    return value


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _convert(annotation: Any, data: Any, path: str) -> Any:
    origin = typing.get_origin(annotation)
    if annotation is Any:
        return data
    if origin is Union:
        if data is None:
            return None
        (inner,) = (a for a in typing.get_args(annotation) if a is not type(None))
        return _convert(inner, data, path)
    if origin is list:
        (item,) = typing.get_args(annotation)
        return [_convert(item, v, path) for v in _checked(list, data, path)]
    if origin is dict:
        _, item = typing.get_args(annotation)
        return {_checked(str, k, path): _convert(item, v, path) for k, v in _checked(dict, data, path).items()}
    if dataclasses.is_dataclass(annotation):
        return _build(annotation, _checked(dict, data, path), path)
    if annotation is float and type(data) is int:
        return float(data)
    return _checked(annotation, data, path)


def _checked(expected: Any, data: Any, path: str) -> Any:
    # bool is an int to isinstance, but not to us.
    if not isinstance(data, expected) or (isinstance(data, bool) and expected is not bool):
        raise WireError(f"{path}: expected {expected.__name__}, got {type(data).__name__}")
    return data


def _build(cls: Any, data: dict[str, Any], path: str) -> Any:
    hints = _hints(cls)
    values = {f.name: _convert(hints[f.name], data[f.name], f"{path}.{f.name}") for f in _present(cls, data)}
    try:
        return cls(**values)
    except TypeError as error:
        raise WireError(f"{path}: {error}") from error


def _present(cls: Any, data: dict[str, Any]) -> list[Any]:
    return [f for f in dataclasses.fields(cls) if f.name in data]


def encode(message: Any, request_id: int = 0) -> bytes:
    """One whole frame.

    Raises:
        ValueError: the message is larger than MAX_CONTROL_FRAME; sending it would cost us the connection.
    """
    body: bytes = msgpack.packb([_NAMES[type(message)], request_id, to_wire(message)], use_bin_type=True)
    if len(body) > protocol.MAX_CONTROL_FRAME:
        raise ValueError(f"{type(message).__name__} of {len(body)} bytes is over {protocol.MAX_CONTROL_FRAME}")
    return _LENGTH.pack(len(body)) + body


class Decoder:
    """Cuts a byte stream into messages. Holds at most one unfinished frame."""

    def __init__(self, limit: int = protocol.MAX_CONTROL_FRAME) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> list[Envelope]:
        """Take bytes as they come, return the messages they complete.

        Raises:
            WireError: the stream is broken for good; the decoder must not be fed again.
        """
        self._buffer += data
        messages = []
        while (frame := self._next_frame()) is not None:
            messages.append(decode(frame))
        return messages

    def _next_frame(self) -> Optional[bytes]:
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > self._limit:
            raise WireError(f"frame of {length} bytes is over the limit of {self._limit}")
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        frame = bytes(self._buffer[_LENGTH.size : end])
        del self._buffer[:end]
        return frame


def decode(frame: bytes) -> Envelope:
    """Decode the body of one frame.

    Raises:
        WireError: not msgpack, not an envelope, an unknown type or a field that does not fit.
    """
    try:
        # msgpack limits nesting and, by the length of the input, the size of every container.
        data = msgpack.unpackb(frame, raw=False, strict_map_key=True, max_ext_len=0)
    except Exception as error:  # msgpack documents no common base of what its unpacker raises
        raise WireError(f"not msgpack: {type(error).__name__}") from error
    if not (isinstance(data, list) and len(data) == 3 and isinstance(data[0], str) and type(data[1]) is int):  # noqa: PLR2004
        raise WireError("not an envelope of type, id and fields")
    name, request_id, fields = data
    if name not in MESSAGES:
        raise WireError(f"unknown message {name!r}")
    return Envelope(from_wire(MESSAGES[name], fields), request_id)
