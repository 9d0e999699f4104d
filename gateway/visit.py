"""One request between uvicorn and an exchange: a call of the door, in the task that uvicorn made for it.

A small request without a body stays in that task; one with a body gets a second task that reads it, since an
application may answer before it has read everything, and so does one that takes longer than a moment, to notice that
its client has gone.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from gateway.dispatch import Dispatcher, Exchange
from gateway.errors import GatewayError, Response, render
from gateway.headers import BODILESS, Field
from gateway.upstreams import Pool
from plugin_runtime.framing import RequestHead

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Render = Callable[[GatewayError], Response]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

WATCH_INTERVAL = 0.03
"""Seconds. A request is watched for its client's going after one or two of them; its worker is to know within 0.1 s."""


class Visit:
    """One request between uvicorn and an exchange; the exchange's Client.

    What the exchange says is put down in ``_messages`` and sent by ``run``, at the client's pace.
    """

    __slots__ = (
        "_begun",
        "_bodiless",
        "_ended",
        "_exchange",
        "_messages",
        "_reader",
        "_receive",
        "_render",
        "_send",
        "_waiter",
        "over",
    )

    def __init__(self, receive: Receive, send: Send, render: Render = render) -> None:
        """``render``: makes the answer where there is none of the plugin."""
        self._render = render
        self._receive = receive
        self._send = send
        self._messages: list[Message | None] = []
        self._waiter: asyncio.Future[None] | None = None
        self._exchange: Exchange
        self._reader: asyncio.Task[None] | None = None
        self._bodiless = False
        self._begun = False
        self._ended = False
        self.over = False

    async def run(
        self, dispatcher: Dispatcher, pool: Pool, head: RequestHead, watch: "DisconnectWatch", *, has_body: bool
    ) -> None:
        """Carry the request to the plugin and its response to the client."""
        self._exchange = exchange = dispatcher.admit(pool, head, self)
        try:
            if has_body:
                self.read()
                # One turn of the loop: a body that came with the head goes to the worker with it, in one frame.
                await asyncio.sleep(0)
            if not self._begun:
                self._begin(b"", end=not has_body)
            watch.add(self)
            await self._deliver(exchange)
        finally:
            self.over = True
            watch.remove(self)
            exchange.cancel("the client has gone")
            if self._reader is not None:
                self._reader.cancel()
            # Both know this visit: left so, every request would be work for the garbage collector.
            del self._exchange
            self._reader = None

    def read(self) -> None:
        """Begin to read the body, and to notice when the client goes."""
        if self._reader is None and not self.over:
            self._reader = asyncio.create_task(self._read(), name="request body")

    def abort(self, error: GatewayError) -> None:
        """End it from our side, unless its response is complete and on its way to the client."""
        if not self._exchange.done:
            self._exchange.abort(error)

    # --- what the exchange calls ----------------------------------------------------------------------------

    def response_started(self, status: int, fields: Sequence[Field]) -> None:
        self._bodiless = status in BODILESS
        self._put({"type": "http.response.start", "status": status, "headers": fields})

    def response_body(self, data: bytes, end: bool) -> None:  # noqa: FBT001 - the exchange's interface
        # A body where none may be would be read as the start of the next response.
        self._put({"type": "http.response.body", "body": b"" if self._bodiless else data, "more_body": not end})

    def refused(self, error: GatewayError) -> None:
        start, body = response_messages(self._render(error))
        self._messages.append(start)
        self._put(body)

    def broken(self, reason: str) -> None:
        logger.debug("Closing the client's connection: %s", reason)
        self._put(None)

    def _put(self, message: Message | None) -> None:
        self._messages.append(message)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # --- the response ---------------------------------------------------------------------------------------

    async def _deliver(self, exchange: Exchange) -> None:
        """Send what comes until it is complete, broken, or nobody is there to take it."""
        while True:
            if not self._messages:
                if exchange.done:
                    return
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
            messages, self._messages = self._messages, []
            for message in messages:
                if message is None or not await self._pass_on(message, exchange):
                    return

    async def _pass_on(self, message: Message, exchange: Exchange) -> bool:
        """Send one message; False where nothing may follow it.

        uvicorn closes the connection of an application that returns in the middle of a response without a clean end:
        just what a broken response needs.
        """
        try:
            await self._send(message)
        except RuntimeError as error:
            # uvicorn's word for what HTTP forbids: a body over or under its Content-Length, a malformed field.
            logger.warning("Response broken off: %s", error)
            return False
        if message["type"] == "http.response.start":
            return True
        exchange.consumed(len(message["body"]))
        return bool(message["more_body"])

    # --- the request's body ---------------------------------------------------------------------------------

    def _begin(self, data: bytes, *, end: bool) -> None:
        self._begun = True
        self._ended = end
        self._exchange.begin(data, end=end)

    async def _read(self) -> None:
        """Pass the body on at the plugin's pace; then wait for the client to go, which cancels the exchange."""
        ended = False
        while not ended:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._gone()
                return
            ended = not message.get("more_body", False)
            self._arrived(message.get("body", b""), end=ended)
            if not ended:
                await self._exchange.wait_writable()
        # Nothing else can come: uvicorn says it as well when the response is complete, and then nobody listens.
        await self._receive()
        self._gone()

    def _arrived(self, data: bytes, *, end: bool) -> None:
        if not self._begun:
            self._begin(data, end=end)
        elif not self._ended:
            self._ended = end
            self._exchange.upload(data, end=end)

    def _gone(self) -> None:
        self._exchange.cancel("the client has gone")
        self._put(None)


class DisconnectWatch:
    """Lets requests that take longer than a moment watch for their client's going.

    One timer for all of them, and only while there are any: a timer each would cost every small request more than the
    rest of its way through the gateway's loop.
    """

    def __init__(self) -> None:
        self._fresh: set[Visit] = set()
        self._older: set[Visit] = set()
        self._armed = False

    def add(self, visit: Visit) -> None:
        """Watch the request from the next but one tick on, if it is still there."""
        self._fresh.add(visit)
        if not self._armed:
            self._arm()

    def remove(self, visit: Visit) -> None:
        """The request is over: kept here, it would outlive the garbage collector's young generations."""
        self._fresh.discard(visit)
        self._older.discard(visit)

    def _arm(self) -> None:
        self._armed = True
        asyncio.get_running_loop().call_later(WATCH_INTERVAL, self._tick)

    def _tick(self) -> None:
        due, self._older, self._fresh = self._older, self._fresh, set()
        for visit in due:
            visit.read()
        self._armed = False
        if self._older:
            self._arm()


def response_messages(response: Response) -> tuple[Message, Message]:
    """Return a whole answer as uvicorn takes it."""
    status, fields, body = response
    return (
        {"type": "http.response.start", "status": status, "headers": fields},
        {"type": "http.response.body", "body": body, "more_body": False},
    )
