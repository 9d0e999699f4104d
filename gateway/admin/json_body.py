"""A body that may be any JSON value, null among them, which FastAPI takes for no body at all."""

import json
from typing import Annotated, Any, Never

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError

from plugin_runtime.protocol import Result
from plugin_runtime.wire import Decoder, WireError, encode

JSON_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"description": "Any JSON value"}}}}
}
"""For ``openapi_extra`` of a route that takes one."""


async def _json_value(request: Request) -> Any:
    try:
        value = json.loads(await request.body(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"no JSON value: {_said_by(error)}") from error
    try:
        # Sent as it is, what the other side cannot read would cost us the connection, and every other caller theirs.
        Decoder().feed(encode(Result(value)))
    except (ValueError, OverflowError, RecursionError, WireError) as error:
        raise _invalid("too deeply nested, a number too large, or half of a surrogate pair") from error
    return value


def _refuse(constant: str) -> Never:
    raise ValueError(f"{constant} is no JSON number")


def _said_by(error: Exception) -> str:
    """Not with what was sent: it may be secret."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno} column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _invalid(problem: str) -> RequestValidationError:
    return RequestValidationError([{"type": "json_invalid", "loc": ("body",), "msg": problem}])


JsonValue = Annotated[Any, Depends(_json_value)]
