"""A transport whose writes of one turn of the event loop leave together.

uvicorn writes a response's head and its body apart, and uvloop gives every write to the kernel at once: two system
calls, two segments and two wake-ups of the client for each small response.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

_JOIN_SIZE = 16 * 1024
"""Bytes; below it, one copy costs less than handing over the pieces."""
_BATCH_SIZE = 64 * 1024
"""Bytes that do not wait for the end of the turn: flow control counts only what the transport below has."""


class JoiningTransport(asyncio.Transport):
    """What an HTTP protocol of uvicorn asks of its transport, and no more."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._batch: list[Any] = []
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._batch:
            self._loop.call_soon(self._flush)
        self._batch.append(data)
        self._size += len(data)
        if self._size >= _BATCH_SIZE:
            self._flush()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        for data in list_of_data:
            self.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def _flush(self) -> None:
        batch, size = self._batch, self._size
        self._batch, self._size = [], 0
        if not batch or self._transport.is_closing():
            return
        if size <= _JOIN_SIZE:
            self._transport.write(b"".join(batch))
        else:
            self._transport.writelines(batch)
