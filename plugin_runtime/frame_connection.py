"""One connection that carries frames, whichever end of the link it is.

How it saves system calls: everything sent in one turn of the event loop leaves in one write when the turn is over. The
transport's high-water mark is zero, so ``paused`` means exactly "the kernel has not taken all that was written";
meanwhile frames wait here, and the ends send no bodies. Not here: what frames mean, and the handshake.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Optional, Union, cast

from plugin_runtime import framing

Buffer = Union[bytes, memoryview]

BATCH_SIZE = 256 * 1024
"""Bytes after which a batch leaves before its turn has ended: about what a Unix socket takes at once."""
_JOIN_SIZE = 64 * 1024  # below it, one copy costs less than handing over the pieces
_SEND_BUFFER = 512 * 1024
"""Bytes that the kernel is asked to take. Its usual 208 KiB are less than a window, so every window of a long body
would have to wait for the peer; where the machine's limit is lower, it does."""
_CLOSE = framing.FrameType.CLOSE.value


class FrameConnection(asyncio.BufferedProtocol):
    """Base of both ends. Owns the transport; subclasses override the methods that say so."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: Optional[asyncio.Transport] = None
        self._decoder = framing.Decoder()
        self._batch: list[Buffer] = []
        self._batch_size = 0
        self._flush_scheduled = False
        self._reason = ""
        self.paused = False
        self.closing = False
        self.faulty = False
        """Whether the peer broke the rules of the link."""

    @property
    def unsent(self) -> int:
        """Bytes that wait for the kernel to take them."""
        waiting = self._transport.get_write_buffer_size() if self._transport else 0
        return self._batch_size + waiting

    # --- overridden by the ends ---

    def frame_received(self, header: framing.Header, body: bytes) -> None:
        """Called for every frame; a FramingError out of it closes the connection."""
        raise NotImplementedError

    def batch_received(self) -> None:
        """Called after all frames of one read."""

    def writing_resumed(self) -> None:
        """Called when the kernel has taken everything and bodies may be sent again."""

    def connection_ended(self, reason: str) -> None:
        """Called once, when the connection is gone."""
        raise NotImplementedError

    # --- writing ---

    def send(self, frame: bytes, body: Buffer = b"") -> None:
        """Add a frame to the batch of this turn; dropped while closing."""
        if self.closing:
            return
        self._batch.append(frame)
        if body:
            self._batch.append(body)
        self._batch_size += len(frame) + len(body)
        if self._batch_size >= BATCH_SIZE:
            self.flush()
        elif not self._flush_scheduled:
            self.schedule_flush()

    def schedule_flush(self) -> None:
        """Have flush() called at the end of this turn."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._scheduled_flush)

    def _scheduled_flush(self) -> None:
        self._flush_scheduled = False
        self.flush()

    def flush(self) -> None:
        """Write the batch now, unless the kernel still has to take the one before."""
        if self._batch and not self.paused:
            self._write_batch()

    def _write_batch(self) -> None:
        batch, size = self._batch, self._batch_size
        self._batch, self._batch_size = [], 0
        if self._transport is None:
            return
        if size > _JOIN_SIZE:
            self._transport.writelines(batch)
        else:
            self._transport.write(batch[0] if len(batch) == 1 else b"".join(batch))

    # --- ending ---

    def close(self, reason: str) -> None:
        """Tell the peer why, send what waits, end the connection. Without effect on a closing one."""
        if self.closing:
            return
        self.send(framing.close(reason))
        if self._batch:
            self._write_batch()
        self._end(reason)

    def drop(self, reason: str) -> None:
        """Like close(), but never waits for a peer that does not read."""
        self.close(reason)
        if self.paused:
            self.abort()

    def abort(self) -> None:
        """End the connection now, whatever waits to be sent."""
        if self._transport is not None:
            self._transport.abort()

    def _end(self, reason: str) -> None:
        self.closing = True
        self._reason = self._reason or reason
        if self._transport is not None:
            self._transport.close()

    # --- asyncio.BufferedProtocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)

    def get_buffer(self, sizehint: int) -> Any:
        return self._decoder.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        self._decoder.received(nbytes)
        try:
            while not self.closing and (frame := self._decoder.next_frame()) is not None:
                self._dispatch(*frame)
        except framing.FramingError as error:
            self.faulty = True
            self.drop(f"broken link: {error}")
        self.batch_received()

    def _dispatch(self, header: framing.Header, body: bytes) -> None:
        if header[0] == _CLOSE:
            self._end(header[2])
        else:
            self.frame_received(header, body)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.flush()
        if not self.paused:
            self.writing_resumed()

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self.closing = True
        self._transport = None
        self._batch, self._batch_size = [], 0
        self.connection_ended(self._reason or (f"connection lost: {exc}" if exc else "connection closed by the peer"))
