"""The door of the local side, by which plugins, tasks and jobs reach plugins: docs/reference/plugin-calls.md.

Who calls is proven by a key, so that a caller is believed whom it serves: only here. What it says of that goes on as
state of the link's request, never as a header field.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import unquote

from gateway.callers import Callers
from gateway.dispatch import Dispatcher
from gateway.door import check_target
from gateway.errors import (
    BadRequestError,
    CallLoopError,
    GatewayError,
    NotFoundError,
    NotRoutedError,
    StoppingError,
    UnknownCallerError,
    UnknownNameError,
    WebSocketRefusedError,
    render,
)
from gateway.headers import Field, Sifter
from gateway.routes import CORE, encoded
from gateway.upstreams import Pool, Upstreams
from gateway.visit import DisconnectWatch, Receive, Scope, Send, Visit, response_messages
from plugin_runtime.call_protocol import HOPS_FIELD, KEY_FIELD, LOCAL_HOST, MOST_HOPS, NAME_MARK, USER_FIELD
from plugin_runtime.framing import RequestHead
from plugin_runtime.protocol import Caller

_MARK = NAME_MARK.encode()
_KEY, _USER, _HOPS = KEY_FIELD.encode(), USER_FIELD.encode(), HOPS_FIELD.encode()
_SERVER = (LOCAL_HOST, 80)
_MOST_FACTS = 32
"""Members of a user; there are three."""
_MOST_DIGITS = 9
_SCALARS = (str, int, float, type(None))


class LocalDoor:
    """The ASGI application that uvicorn calls for the local side."""

    def __init__(self, upstreams: Upstreams, dispatcher: Dispatcher, sifter: Sifter, callers: Callers) -> None:
        self._upstreams = upstreams
        self._dispatcher = dispatcher
        self._sifter = sifter
        self._callers = callers
        self._watch = DisconnectWatch()
        self._calls: set[asyncio.Task[Any]] = set()
        """Those in flight, by the tasks that carry them out: each inquires who calls, or visits a plugin."""
        self._inquiries: set[asyncio.Timeout] = set()
        self._visits: set[Visit] = set()

    async def close(self, patience: float) -> None:
        """Wait at most so many seconds for the calls in flight, and break off what is left."""
        if self._calls:
            await asyncio.wait(self._calls, timeout=patience)
        for inquiry in self._inquiries:
            inquiry.reschedule(asyncio.get_running_loop().time())
        for visit in self._visits:
            visit.abort(StoppingError())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = cast("asyncio.Task[Any]", asyncio.current_task())  # uvicorn makes one for each request
        self._calls.add(task)
        try:
            await self._carry_out(scope, receive, send)
        finally:
            self._calls.discard(task)

    async def _carry_out(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            pool, head, has_body = await self._admit(scope)
        except GatewayError as error:
            for message in response_messages(render(error)):
                await send(message)
            return
        visit = Visit(receive, send)
        self._visits.add(visit)
        try:
            await visit.run(self._dispatcher, pool, head, self._watch, has_body=has_body)
        finally:
            self._visits.discard(visit)

    async def _admit(self, scope: Scope) -> tuple[Pool, RequestHead, bool]:
        """Return whose it is, the call as it goes on, and whether a body follows.

        Raises:
            GatewayError: it does not go on.
        """
        state = await self._state(scope["headers"])
        check_target(scope)
        pool, raw_path = self._route(scope["raw_path"])
        forwarded = self._sifter.request(scope["headers"], None, "http", scope["http_version"])
        if forwarded.websocket:
            raise WebSocketRefusedError(pool.route.plugin)
        head = RequestHead(
            scope["method"],
            raw_path,
            scope["query_string"],
            scope["http_version"],
            "http",
            None,
            _SERVER,
            forwarded.headers,
            {**state, "request_id": forwarded.request_id},
        )
        return pool, head, forwarded.has_body

    async def _state(self, fields: list[Field]) -> dict[str, Any]:
        """What the called plugin is told of the caller.

        Raises:
            UnknownCallerError, SupervisorAwayError, StoppingError, BadRequestError, CallLoopError
        """
        said = dict(fields)
        key = said.get(_KEY, b"")
        caller = self._callers.find(key) or await self._inquire(key)
        if caller is None:
            raise UnknownCallerError
        hops = _hops(said.get(_HOPS, b"1"))
        if hops > MOST_HOPS:
            raise CallLoopError(caller.plugin, MOST_HOPS)
        user = _user(said[_USER]) if _USER in said else None
        return {"user": user, "caller": caller.plugin, "hops": hops}

    async def _inquire(self, key: bytes) -> Caller | None:
        """Ask whose key it is.

        Raises:
            SupervisorAwayError, StoppingError
        """
        inquiry = asyncio.timeout(None)  # until ``close``
        self._inquiries.add(inquiry)
        try:
            async with inquiry:
                return await self._callers.inquire(key)
        except TimeoutError:
            raise StoppingError from None
        finally:
            self._inquiries.discard(inquiry)

    def _route(self, target: bytes) -> tuple[Pool, bytes]:
        """Return the plugin's pool, and the path as it is outside.

        Raises:
            BadRequestError, NotFoundError, NotRoutedError, UnknownNameError
        """
        if not self._upstreams.routed.is_set():
            raise NotRoutedError
        if not target.startswith(_MARK):
            pool = self._upstreams.find(target)
            if pool is None or pool is CORE:
                raise NotFoundError(target.decode("latin-1"))
            return pool, target
        name, slash, rest = target.removeprefix(_MARK).partition(b"/")
        plugin = unquote(name.decode("latin-1"))
        named = self._upstreams.named(plugin)
        if named is None:
            raise UnknownNameError(plugin, self._upstreams.names)
        return named, encoded(named.route.prefix) + slash + rest or b"/"


def _hops(value: bytes) -> int:
    if not value.isdigit() or len(value) > _MOST_DIGITS:
        raise BadRequestError(f"field {HOPS_FIELD} is no number of calls")
    return int(value)


def _user(value: bytes) -> Mapping[str, Any] | None:
    """Read the user that a caller serves: a flat object.

    Raises:
        BadRequestError: it is something else.
    """
    try:
        user = json.loads(value)
    except (ValueError, RecursionError):
        user = ()
    if user is None:
        return None
    if not isinstance(user, dict) or len(user) > _MOST_FACTS or not all(isinstance(v, _SCALARS) for v in user.values()):
        raise BadRequestError(f"field {USER_FIELD} is no JSON object of names and values")
    return user
