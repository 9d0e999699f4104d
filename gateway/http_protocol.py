"""uvicorn's HTTP protocol without its worst habits; private API of uvicorn, pinned to its minor version.

With httptools, uvicorn appends a chunked body's trailers to the header fields of the request, which its application
may be reading at that moment: ``Authorization``, ``X-Forwarded-For`` and ``Host`` among them, past every check that
was made.
"""

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.joining_transport import JoiningTransport


class HttpProtocol(HttpToolsProtocol):
    """Fields end with the head; trailers are dropped, as RFC 9110, 6.5.1 allows."""

    _head_complete = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(JoiningTransport(cast("asyncio.Transport", transport), self.loop))

    def on_message_begin(self) -> None:
        self._head_complete = False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_complete:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_complete = True
        super().on_headers_complete()
