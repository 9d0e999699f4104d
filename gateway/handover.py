"""The door on request: a supervisor that takes over from a dead one gets the listening socket back from a gateway.

Whoever connects has PATIENCE to send the nonce that this gateway was started with, and a newline; the answer is one
message with the descriptor (SCM_RIGHTS, unix(7)). Anything else is closed without a word.
"""

import asyncio
import contextlib
import hmac
import logging
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

logger = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds for the nonce; a supervisor sends it as soon as it is connected."""
MOST_CALLERS = 16
"""Answered at once; who comes beyond that waits for less than PATIENCE."""
ANSWER = b"door\n"
"""Goes with the descriptors, which cannot travel alone."""
_RETRY_DELAY = 0.1
"""Seconds after an accept that failed, for want of descriptors most likely; who wants to connect waits."""
_UCRED = struct.Struct("3i")


class Handover:
    """Lends ``sockets``, which stay the caller's, as long as ``serve`` runs."""

    def __init__(self, path: str, nonce: str, sockets: Sequence[socket.socket], *, patience: float = PATIENCE) -> None:
        self._path = Path(path)
        self._expected = f"{nonce}\n".encode()
        self._sockets = sockets
        self._patience = patience

    async def serve(self) -> None:
        """Listen until cancelled. Where that is not possible, say so and return: the gateway serves all the same."""
        try:
            with self._listening() as listener:
                await self._accept(listener)
        except OSError as error:
            logger.warning("Cannot listen on %s: %s; no other supervisor will get this door", self._path, error)

    @contextlib.contextmanager
    def _listening(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.setblocking(False)
            listener.bind(str(self._path))
            try:
                self._path.chmod(0o600)  # nobody can connect before listen(2)
                listener.listen(MOST_CALLERS)
                yield listener
            finally:
                self._path.unlink(missing_ok=True)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        room = asyncio.Semaphore(MOST_CALLERS)
        async with asyncio.TaskGroup() as callers:
            while True:
                await room.acquire()
                try:
                    caller, _ = await loop.sock_accept(listener)
                except OSError as error:
                    logger.warning("Cannot accept on %s: %s", self._path, error)
                    room.release()
                    await asyncio.sleep(_RETRY_DELAY)
                    continue
                callers.create_task(self._answer(caller)).add_done_callback(lambda _: room.release())

    async def _answer(self, caller: socket.socket) -> None:
        with caller, contextlib.suppress(OSError, TimeoutError):
            if _uid_of(caller) == os.geteuid() and await self._knows_nonce(caller):
                # Never waits: the buffer of a connection that was sent nothing yet is empty.
                socket.send_fds(caller, [ANSWER], [lent.fileno() for lent in self._sockets])

    async def _knows_nonce(self, caller: socket.socket) -> bool:
        loop, received = asyncio.get_running_loop(), b""
        async with asyncio.timeout(self._patience):
            while len(received) < len(self._expected) and not received.endswith(b"\n"):
                data = await loop.sock_recv(caller, len(self._expected) - len(received))
                if not data:
                    return False
                received += data
        return hmac.compare_digest(received, self._expected)


def _uid_of(caller: socket.socket) -> int:
    """The user of whoever connected; the kernel fills it in (SO_PEERCRED)."""
    credentials = caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, uid, _ = _UCRED.unpack(credentials)
    return int(uid)
