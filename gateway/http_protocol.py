"""uvicorn's HTTP protocol without its worst habits; private API of uvicorn, pinned to its minor version.

With httptools, uvicorn appends a chunked body's trailers to the header fields of the request, which its application
may be reading at that moment: ``Authorization``, ``X-Forwarded-For`` and ``Host`` among them, past every check that
was made.

At the end uvicorn closes every connection that waits for a request, also one whose request is on its way: the client
sees an error. Where others accept in our place, connections are left open until an answer has said that it is the last
one, or until they have been idle for a while.
"""

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway.joining_transport import JoiningTransport


class Connections(ServerState):
    """What all connections of a server have in common."""

    def __init__(self) -> None:
        super().__init__()
        self.draining = False
        """Every answer that begins is the last one of its connection, and says so."""
        self.linger = 0.0
        """Seconds that an idle connection stays open while draining."""


class HttpProtocol(HttpToolsProtocol):
    """Fields end with the head; trailers are dropped, as RFC 9110, 6.5.1 allows."""

    server_state: Connections
    _head_complete = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(JoiningTransport(cast("asyncio.Transport", transport), self.loop))
        if self.server_state.draining:  # accepted before the end and made after it
            self.shutdown()

    def on_message_begin(self) -> None:
        self._head_complete = False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_complete:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_complete = True
        super().on_headers_complete()
        if self.server_state.draining:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Draining has begun."""
        linger = self.server_state.linger
        if not linger:
            super().shutdown()
            return
        # For a connection whose answer has begun without saying that it is the last one.
        self.timeout_keep_alive = linger  # type: ignore[assignment]
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first request
        if cycle is None or cycle.response_complete:
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(linger, self.timeout_keep_alive_handler)
        elif not cycle.response_started:
            cycle.keep_alive = False
