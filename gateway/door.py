"""The ASGI door: what uvicorn received goes to a plugin's worker or to the gateway's own application."""

from functools import partial

from gateway.development import Development
from gateway.dispatch import Dispatcher
from gateway.errors import (
    BadRequestError,
    BodyTooLargeError,
    GatewayError,
    NotFoundError,
    NotRoutedError,
    Response,
    WebSocketRefusedError,
    render,
)
from gateway.headers import Forwarded, Sifter
from gateway.identity import Tokens, user_of
from gateway.routes import CORE, check_path
from gateway.upstreams import Pool, Upstreams
from gateway.visit import Application, DisconnectWatch, Message, Receive, Render, Scope, Send, Visit, response_messages
from plugin_runtime.framing import RequestHead

POLICY_VIOLATION = 1008
"""RFC 6455, 7.4.1."""
MAX_CORE_BODY = 1024 * 1024
"""Bytes of a request's body that the gateway's own application takes."""
_REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})
_MAX_TARGET = 16 * 1024
"""Bytes of path and query."""


class Door:
    """The ASGI application that uvicorn calls."""

    def __init__(
        self,
        core: Application,
        upstreams: Upstreams,
        dispatcher: Dispatcher,
        sifter: Sifter,
        tokens: Tokens,
        development: Development | None = None,
    ) -> None:
        """``development``: what knows more of failures than clients are told otherwise."""
        self._development = development
        self._core = core
        self._upstreams = upstreams
        self._dispatcher = dispatcher
        self._sifter = sifter
        self._tokens = tokens
        self._watch = DisconnectWatch()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._refuse_websocket(scope, receive, send)
        else:
            await self._core(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            pool = self._route(scope)
            forwarded = self._sifter.request(scope["headers"], scope["client"], scope["scheme"], scope["http_version"])
            if pool is None:
                await self._core(scope, _limited(receive) if forwarded.has_body else receive, send)
                return
            if forwarded.websocket:
                raise WebSocketRefusedError(pool.route.plugin)
        except GatewayError as error:
            await _send_response(render(error), send)
            return
        if self._development is not None:
            watched = self._development.watched(scope["headers"], pool)
            if watched is not None:
                await _send_response(watched, send)
                return
        visit = Visit(receive, send, self._renderer(scope, pool))
        head = self._head(scope, forwarded)
        if self._development is not None:
            head = self._development.asking(head, scope["headers"])
        await visit.run(self._dispatcher, pool, head, self._watch, has_body=forwarded.has_body)

    def _renderer(self, scope: Scope, pool: Pool) -> Render:
        if self._development is None:
            return render
        return partial(self._development.render, method=scope["method"], fields=scope["headers"], pool=pool)

    def _route(self, scope: Scope) -> Pool | None:
        """Return the plugin's pool, None for the gateway's own application.

        Raises:
            BadRequestError, NotFoundError, NotRoutedError
        """
        check_target(scope)
        raw_path: bytes = scope["raw_path"]
        target = self._upstreams.find(raw_path)
        if target is None:
            if not self._upstreams.routed.is_set():
                raise NotRoutedError
            raise NotFoundError(raw_path.decode("latin-1"))
        return None if target is CORE else target

    def _head(self, scope: Scope, forwarded: Forwarded) -> RequestHead:
        user = None
        fields = forwarded.headers
        if forwarded.authorization is not None:
            record = self._tokens.of_authorization(forwarded.authorization.decode("latin-1"))
            if record is not None:
                user = user_of(record)
                fields = [field for field in fields if field[0] != b"authorization"]
        return RequestHead(
            scope["method"],
            scope["raw_path"],
            scope["query_string"],
            scope["http_version"],
            forwarded.scheme,
            forwarded.client,
            scope["server"],
            fields,
            {"user": user, "request_id": forwarded.request_id},
        )

    async def _refuse_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Never handed to the application below: authorisation there is for HTTP."""
        try:
            pool = self._route({**scope, "method": "GET"})
            reason = "no WebSocket is served here" if pool is None else WebSocketRefusedError(pool.route.plugin).message
        except GatewayError as error:
            reason = error.message
        await receive()
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": reason[:120]})


def check_target(scope: Scope) -> None:
    """Refuse methods and targets that nobody serves.

    Raises:
        BadRequestError
    """
    raw_path: bytes = scope["raw_path"]
    if scope["method"] in _REFUSED_METHODS:
        raise BadRequestError(f"method {scope['method']} is not served", status=405)
    if len(raw_path) + len(scope["query_string"]) > _MAX_TARGET:
        raise BadRequestError(f"the request's target is over {_MAX_TARGET} bytes", status=414)
    check_path(raw_path)


def _limited(receive: Receive) -> Receive:
    """The gateway's own application reads a body whole before it knows who sent it, so that must not be long."""
    size = 0

    async def limited() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_CORE_BODY:
            raise BodyTooLargeError(MAX_CORE_BODY)
        return message

    return limited


async def _send_response(response: Response, send: Send) -> None:
    for message in response_messages(response):
        await send(message)
