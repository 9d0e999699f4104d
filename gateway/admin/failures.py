"""One error model for everything that goes wrong: ExceptionResponse."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from gateway.admin.models import ExceptionResponse
from gateway.errors import GatewayError, exception_response

logger = logging.getLogger(__name__)

Responses = dict[int | str, dict[str, Any]]

PROTECTED: Responses = {
    401: {"model": ExceptionResponse, "description": "No token, or one that is not valid"},
    403: {"model": ExceptionResponse, "description": "The token's role is too small"},
    422: {"model": ExceptionResponse, "description": "A parameter or the body is not valid"},
    503: {"model": ExceptionResponse, "description": "The supervisor is away; plugins are served meanwhile"},
}
"""Failures that every protected route can answer with."""
NAMED: Responses = {**PROTECTED, 404: {"model": ExceptionResponse, "description": "Nothing has that name"}}
"""Those of a route that is about one thing."""


def install(app: FastAPI) -> None:
    """Have the application answer every failure in the error model."""
    app.add_exception_handler(GatewayError, _gateway_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ClientDisconnect, _client_left)
    app.add_exception_handler(Exception, _unexpected)


async def _gateway_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, GatewayError)  # noqa: S101 - how it was registered
    return JSONResponse(exception_response(error), error.status, error.headers)


async def _http_exception(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - how it was registered
    name = HTTPStatus(error.status_code).phrase.replace(" ", "")
    return _answer(error.status_code, name, str(error.detail), headers=dict(error.headers or {}))


async def _client_left(_request: Request, _error: Exception) -> Response:
    """It went before its body was read: nobody's fault, and nobody there to be answered."""
    return Response(status_code=HTTPStatus.BAD_REQUEST)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - how it was registered
    # Not the values themselves: a body may hold what is not to be repeated.
    problems = [{"place": [str(part) for part in item["loc"]], "problem": item["msg"]} for item in error.errors()]
    first = problems[0] if problems else {"place": [], "problem": "not valid"}
    message = f"{'.'.join(first['place'])}: {first['problem']}"
    return _answer(HTTPStatus.UNPROCESSABLE_ENTITY, "Validation", message, {"problems": problems})


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    logger.error("%s %s failed: %s", request.method, request.url.path, type(error).__name__)
    return _answer(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal", "the gateway failed; its log has the details")


def _answer(
    status: int,
    name: str,
    message: str,
    extension: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    return JSONResponse({"type": name, "message": message, "extension": extension or {}}, status, headers)
