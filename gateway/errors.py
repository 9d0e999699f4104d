"""Errors of the gateway.

    GatewayError
    +-- BadRequestError         the client's request cannot be taken as it is
    +-- NotFoundError           nothing lies under that path
    +-- UnknownNameError        a call is for a plugin that is not there
    +-- UnknownCallerError      whoever calls on the local side is no process that may
    +-- StoppingError           a call on the local side is broken off, since everything ends
    +-- CallLoopError           plugins call each other in a circle
    +-- NotRoutedError          the first routing table has not come yet
    +-- BodyTooLargeError       over gateway.max_body_mb
    +-- UnauthorizedError       no token, or one that is not valid
    +-- ForbiddenError          a valid token of too small a role
    +-- RequestFailedError      a plugin did not answer; says which
    |   +-- PluginUnavailableError   it has no worker now
    |   +-- PluginOverloadedError    it has as many requests in flight as it may
    |   +-- PluginDiedError          its worker died under the request
    |   +-- PluginFailedError        its application raised instead of answering
    |   +-- PluginTimedOutError      over its request_timeout
    |   +-- WebSocketRefusedError    its WebSockets are not served
    +-- OperationFailedError    the supervisor refused or failed; carries its words
    +-- SupervisorAwayError     nobody there to ask
    +-- HandshakeRefusedError   the supervisor does not want this gateway

Each knows the HTTP status that fits and renders as ExceptionResponse: {"type", "message", "extension"}.
"""

import json
import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from plugin_runtime.gateway_protocol import Refusal
from plugin_runtime.protocol import PluginState

Headers = list[tuple[bytes, bytes]]
Response = tuple[int, Headers, bytes]
"""Status, header fields and body."""


class GatewayError(Exception):
    """Root; ``extension`` holds what programs want to read without parsing the message."""

    status: int = HTTPStatus.INTERNAL_SERVER_ERROR
    refusal: Refusal | None = None
    """What a request that is answered with it counts as; None where it counts for no plugin."""

    def __init__(self, message: str, **extension: Any) -> None:
        super().__init__(message)
        self.message = message
        self.extension = extension

    @property
    def type(self) -> str:
        return type(self).__name__.removesuffix("Error")

    @property
    def headers(self) -> dict[str, str]:
        """Fields of the answer besides those of its body."""
        return {}


class BadRequestError(GatewayError):
    """``status`` may be another of the 4xx where one fits better."""

    def __init__(self, message: str, status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.status = status


class NotFoundError(GatewayError):
    status = HTTPStatus.NOT_FOUND

    def __init__(self, path: str) -> None:
        super().__init__(f"nothing is served under {path!r}", path=path)


class UnknownNameError(GatewayError):
    """``known``: the names that there are."""

    status = HTTPStatus.NOT_FOUND

    def __init__(self, plugin: str, known: Iterable[str]) -> None:
        nearest = next(iter(get_close_matches(plugin, known, n=1)), None)
        hint = f"; did you mean {nearest!r}?" if nearest else ""
        message = f"cannot call plugin {plugin!r}: no plugin of that name is served{hint}"
        super().__init__(message, plugin=plugin, nearest=nearest)


class UnknownCallerError(GatewayError):
    """Says nothing of what it lacked."""

    status = HTTPStatus.FORBIDDEN

    def __init__(self) -> None:
        who = "only plugins, tasks and jobs may"
        super().__init__(f"cannot tell who calls: {who}; use plugin_runtime.client in one of them")


class CallLoopError(GatewayError):
    status = HTTPStatus.LOOP_DETECTED

    def __init__(self, caller: str, most: int) -> None:
        message = f"cannot carry out a call by {caller!r}: more than {most} calls led here; do they go in a circle?"
        super().__init__(message, caller=caller, limit=most)


class StoppingError(GatewayError):
    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self) -> None:
        super().__init__("cannot finish the call: xcore is stopping")


class NotRoutedError(GatewayError):
    """Whether anything lies there is not known yet."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self) -> None:
        super().__init__("plugins are not served yet: the system starts")

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "1"}


class BodyTooLargeError(GatewayError):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    refusal = Refusal.BODY_TOO_LARGE

    def __init__(self, limit: int) -> None:
        super().__init__(f"the request's body is over the limit of {limit} bytes", limit=limit)


class UnauthorizedError(GatewayError):
    status = HTTPStatus.UNAUTHORIZED

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class ForbiddenError(GatewayError):
    status = HTTPStatus.FORBIDDEN

    def __init__(self, role: str, needed: str) -> None:
        super().__init__(f"role {role!r} may not do this: it takes {needed}", role=role)


class RequestFailedError(GatewayError):
    """``retry_after``: seconds after which another try makes sense; 0 = the client decides."""

    def __init__(self, plugin: str, message: str, *, retry_after: float = 0.0, **extension: Any) -> None:
        super().__init__(message, plugin=plugin, **extension)
        self.plugin = plugin
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(max(1, math.ceil(self.retry_after)))} if self.retry_after else {}


_UNAVAILABLE = {
    Refusal.PARKING_REQUESTS: "as many requests as may are waiting for a worker already",
    Refusal.PARKING_BYTES: "the requests that are waiting for a worker hold as much as they may",
    Refusal.PARKING_SECONDS: "no worker of it became ready in time",
}
"""Why a request could not wait, or not any longer."""


class PluginUnavailableError(RequestFailedError):
    """Says the plugin's state, but not its error: that may hold what is not for everyone."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, plugin: str, state: str, refusal: Refusal, retry_after: float) -> None:
        cause = _UNAVAILABLE.get(refusal, f"it is {state}")
        if state == PluginState.INSTALLING.value and refusal in {Refusal.UNAVAILABLE, Refusal.PARKING_SECONDS}:
            cause = "it is being installed"
        message = f"plugin {plugin!r} is not available: {cause}"
        super().__init__(plugin, message, retry_after=max(retry_after, 1.0), state=state, reason=refusal.value)
        self.refusal = refusal


class PluginOverloadedError(RequestFailedError):
    status = HTTPStatus.SERVICE_UNAVAILABLE
    refusal = Refusal.OVERLOADED

    def __init__(self, plugin: str, limit: int) -> None:
        message = f"plugin {plugin!r} has {limit} requests in flight, as many as it may"
        super().__init__(plugin, message, retry_after=1.0, limit=limit)


class PluginDiedError(RequestFailedError):
    status = HTTPStatus.BAD_GATEWAY
    refusal = Refusal.DIED

    def __init__(self, plugin: str, instance: str, reason: str, cause: str = "") -> None:
        message = f"plugin {plugin!r} gave no answer: {reason}"
        super().__init__(plugin, message, instance=instance, cause=cause or None)


class PluginFailedError(RequestFailedError):
    """The traceback is in the plugin's log, and in ``details`` where the worker was asked to explain.

    What is in them is for a developer on this machine, never part of the plain answer.
    """

    refusal = Refusal.FAILED

    def __init__(self, plugin: str, reason: str, details: bytes = b"") -> None:
        super().__init__(plugin, f"plugin {plugin!r} failed: {reason}")
        self.details = details


class PluginTimedOutError(RequestFailedError):
    status = HTTPStatus.GATEWAY_TIMEOUT
    refusal = Refusal.TIMED_OUT

    def __init__(self, plugin: str, seconds: float) -> None:
        super().__init__(plugin, f"plugin {plugin!r} did not answer within {seconds:g} s", timeout=seconds)


class WebSocketRefusedError(RequestFailedError):
    status = HTTPStatus.FORBIDDEN

    def __init__(self, plugin: str) -> None:
        super().__init__(plugin, f"cannot open a WebSocket to plugin {plugin!r}: this gateway serves HTTP only")


class OperationFailedError(GatewayError):
    """An answer of the supervisor that says no."""

    def __init__(self, kind: str, message: str, extension: dict[str, Any], status: int) -> None:
        super().__init__(message, **extension)
        self._kind = kind
        self.status = status

    @property
    def type(self) -> str:
        return self._kind


class SupervisorAwayError(GatewayError):
    """Plugins are served on; only what needs the supervisor has to wait."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, operation: str, cause: str) -> None:
        super().__init__(f"cannot carry out {operation!r}: {cause}; plugins are served meanwhile", operation=operation)

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "1"}


class HandshakeRefusedError(GatewayError):
    """``reason``: the supervisor's own sentence."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"cannot join the supervisor: {reason}")


def exception_response(error: GatewayError, more: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Return the body of the answer, before it is made JSON. ``more``: goes into the extension as well."""
    return {"type": error.type, "message": error.message, "extension": {**error.extension, **more}}


def render(error: GatewayError, more: Mapping[str, Any] = MappingProxyType({})) -> Response:
    """Return the whole answer. ``more``: goes into the extension as well."""
    body = json.dumps(exception_response(error, more)).encode()
    return response(error, body, [(b"content-type", b"application/json")])


def response(error: GatewayError, body: bytes, fields: Headers) -> Response:
    """Return the whole answer with this body, which ``fields`` tell about."""
    own = [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    return int(error.status), [*fields, (b"content-length", b"%d" % len(body)), *own], body
