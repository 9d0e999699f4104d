"""uvicorn as this gateway runs it: on an inherited socket, with signals and the end in our hands."""

import asyncio
import contextlib
import logging
import math
import socket
from collections.abc import Callable, Generator

import uvicorn

from gateway.http_protocol import Connections, HttpProtocol
from gateway.settings import GatewayOptions
from gateway.visit import Application

logger = logging.getLogger(__name__)

EXPECTED = frozenset(
    {
        # How the door breaks a response off; it has said why itself.
        "ASGI callable returned without completing response.",
        # Answered with an error; a client that sends such things must not fill the log.
        "Invalid HTTP request received.",
        "Unsupported upgrade request.",
    }
)
"""Messages of uvicorn that tell nothing new here."""
TICK = 1.0
"""Seconds; the field ``date`` of answers is as exact as this."""
LOOK = 0.01
"""Seconds between two looks whether the last connection is closed."""


class Server(uvicorn.Server):
    """uvicorn without its own ideas of signals and waiting.

    It would raise SIGTERM again after a clean stop, look ten times a second whether it shall end, at rest, too, and
    wait a tenth of a second at each step of an end that has nothing to wait for.
    """

    def __init__(self, config: uvicorn.Config, *, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self.server_state: Connections = Connections()
        self._announce = listening
        self._told_to_end = asyncio.Event()
        self._patience = 0.0

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self._told_to_end.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(self._patience):
                await self._all_closed()
        except TimeoutError:
            logger.warning("Breaking off %d requests: they took too long", len(self.server_state.tasks))
            for task in self.server_state.tasks:
                task.cancel()

    async def _all_closed(self) -> None:
        await asyncio.sleep(LOOK)  # what was accepted before the end is a connection only in the loop's next round
        state = self.server_state
        while (state.connections or state.tasks) and not self.force_exit:  # noqa: ASYNC110 - uvicorn's sets tell nobody
            await asyncio.sleep(LOOK)

    def drain(self, seconds: float, *, linger: float = 0.0) -> None:
        """Stop accepting, finish what is in flight for at most ``seconds``, end. Asked again: end now.

        ``linger``: seconds that idle connections stay open; what comes over them meanwhile is answered.
        """
        if self.should_exit:
            self.force_exit = True
        self.server_state.draining = True
        self.server_state.linger = linger
        self._patience = seconds
        self.should_exit = True
        self._told_to_end.set()


def create_server(app: Application, options: GatewayOptions, *, listening: Callable[[], None] = lambda: None) -> Server:
    """Make the server of one door.

    Raises:
        OSError: certificate or key cannot be read, or do not fit.
    """
    config = uvicorn.Config(
        app,
        loop="none",
        http=HttpProtocol,
        ws="none",
        # The admin app needs none, and uvicorn would log a traceback where the end is hurried.
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # X-Forwarded-* is ours to judge: gateway/headers.py.
        proxy_headers=False,
        timeout_keep_alive=math.ceil(options.idle_timeout),
        ssl_certfile=options.ssl_certfile or None,
        ssl_keyfile=options.ssl_keyfile or None,
    )
    config.load()
    return Server(config, listening=listening)


def quiet(record: logging.LogRecord) -> bool:
    """Log filter: drop what is in EXPECTED, and uvicorn's advice to install a WebSocket library."""
    message = record.getMessage()
    return message not in EXPECTED and not message.startswith("No supported WebSocket library")
