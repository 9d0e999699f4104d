"""One HTTP/1.1 connection that tells exactly how a request failed, and sends nothing twice."""

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Any

_JSON = "Content-Type: application/json\r\n"
TIMEOUT = 25.0
"""Seconds for one answer; longer than any fault lasts that an answer has to wait for."""


class NoAnswerError(Exception):
    """``what``: refused, broken, incomplete, timeout; see observed.Failure."""

    def __init__(self, what: str, reason: object = "") -> None:
        super().__init__(f"{what}: {reason}")
        self.what = what
        self.reason = str(reason)


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class HttpClient:
    """Keeps its connection as long as both ends want it."""

    def __init__(self, port: int, token: str = "") -> None:
        self._port = port
        self._fields = f"Host: 127.0.0.1:{port}\r\n" + (f"Authorization: Bearer {token}\r\n" if token else "")
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.reused = False
        """The last request went over a connection that had been used."""

    async def request(self, method: str, path: str, body: bytes = b"", *, timeout: float = TIMEOUT) -> Answer:
        """Ask once.

        Raises:
            NoAnswerError: there was no complete answer.
        """
        head = f"{method} {path} HTTP/1.1\r\n{self._fields}Content-Length: {len(body)}\r\n{_JSON}\r\n"
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await self._connect()
                return await self._exchange(reader, writer, head.encode() + body)
        except TimeoutError:
            self.close()
            raise NoAnswerError("timeout") from None
        except NoAnswerError:
            self.close()
            raise

    def close(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and (self._streams[0].at_eof() or self._streams[0].exception()):
            self.close()
        self.reused = self._streams is not None
        if self._streams is None:
            try:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError as error:
                raise NoAnswerError("refused", error) from error
        return self._streams

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> Answer:
        begun = False
        try:
            writer.write(data)
            first = await reader.read(1)
            begun = bool(first)
            if not begun:
                raise NoAnswerError("broken", "closed")
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            size = int(head.partition("content-length:")[2].partition("\r\n")[0] or 0)
            body = await reader.readexactly(size)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise NoAnswerError("incomplete" if begun else "broken", error) from error
        if "\r\nconnection: close\r\n" in head:
            self.close()
        return Answer(int(head.split(" ", 2)[1]), body)


async def ask(client: HttpClient, path: str, timeout: float = 5.0) -> Any:
    """Return what a GET answers with 200, parsed; None where it does not."""
    with contextlib.suppress(NoAnswerError):
        answer = await client.request("GET", path, timeout=timeout)
        if answer.status == 200:
            return answer.json
    return None
