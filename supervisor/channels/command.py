"""The command socket's server: the operator's way in, for the CLI on this machine."""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from plugin_runtime.protocol import Call, Error, Result
from plugin_runtime.wire import Decoder, Envelope, WireError
from supervisor.channels.operations import encode_answer
from supervisor.channels.peer import descends_from_us, peer_credentials

logger = logging.getLogger(__name__)

Perform = Callable[[Call], Awaitable[Result | Error]]


LAST_ANSWERS = 1.0
"""Seconds that operations under way get to be answered at the end: the order to stop is one of them."""


class CommandServer:
    """Whoever may open the socket is the operator, except what we run ourselves: plugins are not operators."""

    def __init__(self, path: Path, perform: Perform, is_ours: Callable[[int], bool] = descends_from_us) -> None:
        """``is_ours``: whether a pid is that of something that we run, or that it has started."""
        self._path = path
        self._is_ours = is_ours
        self._perform = perform
        self._server: asyncio.Server | None = None
        self._conversations: set[asyncio.Task[None]] = set()
        self._answering: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._accept, str(self._path))
        self._path.chmod(0o600)

    async def close(self) -> None:
        """Stop listening and end the conversations, also those that wait for an operation longer than LAST_ANSWERS."""
        if self._server is not None:
            self._server.close()
        if self._answering:
            await asyncio.wait(self._answering, timeout=LAST_ANSWERS)
        for task in list(self._conversations):
            task.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._converse(reader, writer), name="command-conversation")
        self._conversations.add(task)
        task.add_done_callback(self._conversations.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            refusal = _refusal(writer.get_extra_info("socket"), self._is_ours)
            decoder = Decoder()
            while data := await reader.read(65536):
                for envelope in decoder.feed(data):
                    reply = asyncio.create_task(self._reply(envelope, refusal, writer), name="command-reply")
                    self._answering.add(reply)
                    reply.add_done_callback(self._answering.discard)
                    await reply
        except (WireError, ConnectionError) as error:
            logger.warning("Closing a connection of the command socket: %s", error)
        finally:
            writer.close()

    async def _answer(self, envelope: Envelope) -> Result | Error:
        if not isinstance(envelope.message, Call):
            raise WireError(f"expected call, got {type(envelope.message).__name__}")
        return await self._perform(envelope.message)

    async def _reply(self, envelope: Envelope, refusal: str, writer: asyncio.StreamWriter) -> None:
        answer = Error("Refused", refusal, status=403) if refusal else await self._answer(envelope)
        writer.write(encode_answer(answer, envelope.id))
        await writer.drain()


def _refusal(sock: socket.socket, is_ours: Callable[[int], bool]) -> str:
    """Why this peer is no operator, or nothing."""
    peer = peer_credentials(sock)
    if peer.uid not in {0, os.geteuid()}:
        return f"user {peer.uid} is not the one this supervisor runs as"
    if peer.pid != os.getpid() and is_ours(peer.pid):
        return "processes that xcore runs cannot command it; use the HTTP interface with a token"
    return ""
