"""A request's way to a worker and its answer's way back, whatever door it came in by.

Everything here is called back and returns at once, so that a small request costs no task: a door begins an exchange,
the link calls the exchange, the exchange calls the door. Only a request that has to wait, for a worker or for the
supervisor's word on a death, gets a task, which the exchange owns.

An exchange ends exactly once, in ``_finish``; whatever calls it afterwards is too late and does nothing.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Protocol

from gateway import headers
from gateway.deaths import Deaths
from gateway.errors import (
    BodyTooLargeError,
    GatewayError,
    PluginDiedError,
    PluginFailedError,
    PluginOverloadedError,
    PluginTimedOutError,
    PluginUnavailableError,
)
from gateway.link import LinkClosedError, Stream, StreamError, StreamErrorKind
from gateway.parking import Parking, ParkingFullError, ParkingTimeoutError, Place, size_of
from gateway.resending import Delivery, may_resend
from gateway.upstreams import Member, Pool
from plugin_runtime.framing import RequestHead
from plugin_runtime.gateway_protocol import Refusal

logger = logging.getLogger(__name__)

REPLAY_LIMIT = 64 * 1024
"""Bytes of a request's body that are kept so that it can be sent again; a longer one is sent once. And so much of one
is taken from its client while there is no worker to send it to."""
MAX_STATUS = 599
VERDICT_TIMEOUT = 0.5
"""Seconds to wait for the supervisor's word before a request of a dead worker is sent again; its client hears of
failure within a second, so no longer."""


class Client(Protocol):
    """A door's end of one exchange. Called synchronously; none may raise."""

    def response_started(self, status: int, fields: Sequence[headers.Field]) -> None:
        """The head of the plugin's response."""

    def response_body(self, data: bytes, end: bool) -> None:  # noqa: FBT001 - the link's order of arguments
        """A chunk of its body; the door says ``consumed`` when the client has taken it."""

    def refused(self, error: GatewayError) -> None:
        """There will be no response of the plugin; nothing of it has been sent."""

    def broken(self, reason: str) -> None:
        """The response ends in the middle, and must not look complete to the client."""


class Dispatcher:
    """Admits requests to plugins; holds what all exchanges share."""

    def __init__(self, parking: Parking, deaths: Deaths, *, max_body: int = 0) -> None:
        self.parking = parking
        self.deaths = deaths
        self.max_body = max_body

    def admit(self, pool: Pool, head: RequestHead, client: Client) -> "Exchange":
        """Return the exchange of a new request; it is in flight from now on, and has to be begun or cancelled."""
        pool.tally.in_flight += 1
        pool.tally.requests += 1
        return Exchange(self, pool, head, client)


class Exchange:
    """One request and its response. Public methods are the door's first, then the link's."""

    __slots__ = (
        "_body",
        "_client",
        "_dispatcher",
        "_ended",
        "_head",
        "_member",
        "_place",
        "_pool",
        "_replayable",
        "_resent",
        "_room",
        "_started",
        "_stream",
        "_task",
        "_timer",
        "_uploaded",
        "done",
    )

    def __init__(self, dispatcher: Dispatcher, pool: Pool, head: RequestHead, client: Client) -> None:
        self._dispatcher = dispatcher
        self._pool = pool
        self._head = head
        self._client = client
        self._body = b""
        self._uploaded = 0
        self._ended = False
        self._replayable = True
        self._resent = False
        self._started = False
        self._member: Member | None = None
        self._place: Place | None = None
        self._stream: Stream | None = None
        self._room: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.done = False

    # --- for the door ---------------------------------------------------------------------------------------

    def begin(self, body: bytes, *, end: bool) -> None:
        """Send the request on its way. ``body``: what there is of it; ``end``: that is all of it."""
        limit = self._pool.max_in_flight
        if self.done:
            return
        if limit and self._pool.tally.in_flight > limit:
            self._refuse(PluginOverloadedError(self._plugin, limit))
        elif self._take(body, end=end) and not self._send():
            self._wait_or_refuse()

    @property
    def writable(self) -> bool:
        """More of the body may be given to ``upload``."""
        if self._stream is None:
            # Read on as long as that is little: who reads nothing does not notice that its client has gone.
            return self.done or len(self._body) < REPLAY_LIMIT
        return self._stream.writable

    async def wait_writable(self) -> None:
        """Wait until ``writable``."""
        while not self.writable:
            if self._stream is not None:
                await self._stream.wait_writable()
            else:
                self._room = asyncio.get_running_loop().create_future()
                await self._room

    def upload(self, data: bytes, *, end: bool) -> None:
        """Send more of the request's body; dropped if nobody wants it any more."""
        if not self.done and self._take(data, end=end) and self._stream is not None:
            self._stream.send_body(data, end)

    def consumed(self, size: int) -> None:
        """The client has taken so many bytes of the response."""
        if self._stream is not None:
            self._stream.consumed(size)

    def cancel(self, reason: str) -> None:
        """Nobody waits for the response any more."""
        if not self.done:
            self._cancel_stream(reason)
            self._finish()

    def abort(self, error: GatewayError) -> None:
        """End the exchange from our side, before or in the middle of the response, and tell the client."""
        self._cancel_stream(error.message)
        if self._started:
            self._finish()
            self._client.broken(error.message)
        else:
            self._refuse(error)

    # --- for the link (ResponseSink) ------------------------------------------------------------------------

    def response_started(self, status: int, fields: Sequence[headers.Field]) -> None:
        if self.done:
            return
        if status > MAX_STATUS:
            self.abort(PluginFailedError(self._plugin, f"it answered with status {status}, which HTTP does not have"))
            return
        self._started = True
        self._body = b""
        if self._timer is not None:
            self._timer.cancel()
        self._client.response_started(status, headers.response(status, fields))

    def body_received(self, data: bytes, end: bool) -> None:  # noqa: FBT001 - the link's interface
        if self.done:
            return
        if end:
            self._finish()
        self._client.response_body(data, end)

    def failed(self, error: StreamError) -> None:
        """The stream is over without a complete response."""
        if self.done:
            return
        member, stream = self._member, self._stream
        accepted = stream is None or stream.accepted
        self._leave_member()
        if self._started:
            self._finish()
            logger.warning("Response of plugin %r broken off: %s", self._plugin, error.reason)
            self._client.broken(error.reason)
        elif error.kind is StreamErrorKind.APP_FAILED:
            self._refuse(PluginFailedError(self._plugin, error.reason, error.details))
        elif member is not None and may_resend(delivery := self._delivery(accepted=accepted), None):
            self._wait(self._resend(member, delivery, error.reason))
        else:
            self._refuse(PluginDiedError(self._plugin, member.upstream.instance if member else "", error.reason))

    # --- the way there --------------------------------------------------------------------------------------

    @property
    def _plugin(self) -> str:
        return self._pool.route.plugin

    def _take(self, data: bytes, *, end: bool) -> bool:
        """Count a piece of the body and keep it as long as it is small; False where it is too much."""
        self._uploaded += len(data)
        self._ended = self._ended or end
        if self._dispatcher.max_body and self._uploaded > self._dispatcher.max_body:
            self.abort(BodyTooLargeError(self._dispatcher.max_body))
            return False
        if self._replayable and not self._started:
            try:
                if self._place is not None:
                    self._place.grow(len(data))
            except ParkingFullError as full:
                self._refuse_unavailable(full.refusal)
                return False
            self._body += data
            self._forget_long_body()
        return True

    def _forget_long_body(self) -> None:
        """Once it is on its way, a long body is not kept: it would have to be kept whole."""
        if self._stream is not None and self._uploaded > REPLAY_LIMIT:
            self._replayable = False
            self._body = b""

    def _send(self) -> bool:
        """Open a stream to a worker that takes it; False where there is none."""
        while (member := self._pool.choose()) is not None and member.link is not None:
            try:
                self._stream = member.link.open(self._head, self, self._body, self._ended)
            except LinkClosedError:
                self._pool.avoid(member)
                continue
            self._member = member
            member.in_flight += 1
            self._forget_long_body()
            self._arm()
            self._leave_parking()
            self._wake_writer()
            return True
        return False

    def _arm(self) -> None:
        seconds = self._pool.route.request_timeout
        if seconds and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._timed_out, seconds)

    def _timed_out(self, seconds: float) -> None:
        if not self._started:
            self.abort(PluginTimedOutError(self._plugin, seconds))

    def _delivery(self, *, accepted: bool) -> Delivery:
        return Delivery(self._head.idempotent, accepted, self._replayable, self._started, self._resent)

    async def _resend(self, member: Member, delivery: Delivery, reason: str) -> None:
        word = await self._dispatcher.deaths.wait(member.upstream.incarnation, VERDICT_TIMEOUT)
        if word is not None and not may_resend(delivery, word):
            died = f"its worker died ({word.cause}), and this request may be the cause"
            self._refuse(PluginDiedError(self._plugin, member.upstream.instance, died, word.cause))
            return
        logger.info("Sending a request to plugin %r again: %s", self._plugin, reason)
        self._resent = True
        self._pool.tally.resent += 1
        await self._park()

    def _wait_or_refuse(self) -> None:
        if self._pool.expected:
            self._wait(self._park())
        else:
            self._refuse_unavailable(Refusal.UNAVAILABLE)

    async def _park(self) -> None:
        """Wait for a worker; refuse where none is to come, or none comes in time."""
        deadline = self._dispatcher.parking.deadline()
        try:
            # Tried before every wait: a worker may have come since whoever called this looked.
            while not self._send():
                if not self._pool.expected:
                    self._refuse_unavailable(Refusal.UNAVAILABLE)
                    return
                self._pool.wake()
                await self._enter().wait(deadline)
        except ParkingFullError as full:
            self._refuse_unavailable(full.refusal)
        except ParkingTimeoutError:
            self._refuse_unavailable(Refusal.PARKING_SECONDS)

    def _enter(self) -> Place:
        """Take a place, unless it has one from a wait that was in vain. Raises ParkingFullError."""
        if self._place is None:
            size = size_of(self._head) + len(self._body)
            self._place = self._dispatcher.parking.enter(self._plugin, size, self._pool.tally)
        return self._place

    def _leave_parking(self) -> None:
        place, self._place = self._place, None
        if place is not None:
            place.leave()

    def _wait(self, waiting: Coroutine[None, None, None]) -> None:
        self._task = asyncio.create_task(waiting, name=f"request waiting for {self._plugin}")

    # --- the end --------------------------------------------------------------------------------------------

    def _refuse_unavailable(self, refusal: Refusal) -> None:
        route = self._pool.route
        self._refuse(PluginUnavailableError(route.plugin, route.state, refusal, route.retry_after))

    def _refuse(self, error: GatewayError) -> None:
        self._finish()
        if error.refusal is not None:
            self._pool.tally.refused[error.refusal] += 1
        self._client.refused(error)

    def _cancel_stream(self, reason: str) -> None:
        if self._stream is not None:
            self._stream.cancel(reason)

    def _leave_member(self) -> None:
        member, self._member = self._member, None
        self._stream = None
        if member is not None:
            member.release()

    def _wake_writer(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def _finish(self) -> None:
        self.done = True
        self._body = b""
        self._leave_member()
        self._leave_parking()
        self._pool.tally.in_flight -= 1
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None and self._task is not asyncio.current_task():  # which ends by itself
            self._task.cancel()
        self._wake_writer()
