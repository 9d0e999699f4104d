"""Everything that can be asked for, by name: one table behind the HTTP interface and the command socket.

An operation is an async function of its arguments; it returns what wire.py can carry (dataclasses of views.py, lists,
maps, scalars) or raises an XcoreError. Who may ask is checked before: by roles at the gateway, by the kernel's word at
the command socket.
"""

import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from plugin_runtime.protocol import Call, Error, Result
from plugin_runtime.wire import encode, to_wire
from supervisor.errors import UnknownNameError, XcoreError

logger = logging.getLogger(__name__)

Operation = Callable[..., Awaitable[Any]]


class ArgumentsError(XcoreError):
    """The operation is known, but cannot be called like this."""

    status = 422

    def __init__(self, operation: str, problem: str, known: list[str]) -> None:
        super().__init__(f"cannot call {operation}: {problem}", hint=f"it takes {', '.join(known) or 'nothing'}")


class Operations:
    """The table. Handlers are registered by whoever owns the thing that they work on."""

    def __init__(self) -> None:
        self._handlers: dict[str, Operation] = {}

    def register(self, handlers: Mapping[str, Operation]) -> None:
        """Add operations by name, "plugins.list". A name is given out once."""
        if taken := self._handlers.keys() & handlers.keys():
            raise ValueError(f"operations registered twice: {', '.join(sorted(taken))}")
        self._handlers.update(handlers)

    async def perform(self, call: Call) -> Result | Error:
        """Carry out one call; every failure becomes an Error and is logged once, with its duration."""
        started = time.monotonic()
        try:
            return Result(to_wire(await self._invoke(call)))
        except XcoreError as error:
            answer = error_of(error)
            logger.info("%s by %s failed after %.3f s: %s", call.operation, call.actor, _since(started), error)
        except Exception as error:  # the boundary between our mistakes and the one who asked
            answer = Error(type(error).__name__, f"{call.operation} failed inside xcore; the log has the details")
            logger.exception("%s by %s failed after %.3f s", call.operation, call.actor, _since(started))
        return answer

    async def _invoke(self, call: Call) -> Any:
        handler = self._handlers.get(call.operation)
        if handler is None:
            raise UnknownNameError("operation", call.operation, list(self._handlers))
        signature = inspect.signature(handler)
        arguments = dict(call.arguments)
        if "actor" in signature.parameters:
            arguments["actor"] = call.actor
        try:
            signature.bind(**arguments)
        except TypeError as error:
            raise ArgumentsError(call.operation, str(error), list(signature.parameters)) from error
        return await handler(**arguments)


def error_of(error: XcoreError) -> Error:
    """The error model's form of one of our exceptions."""
    extension: dict[str, Any] = {"hint": error.hint} if error.hint else {}
    name = type(error).__name__.removesuffix("Error")
    return Error(name, str(error), extension, error.status)


def encode_answer(answer: Result | Error, request_id: int) -> bytes:
    """The frame of an answer; one that no frame can hold becomes an Error, so that nobody waits for it in vain."""
    try:
        return encode(answer, request_id)
    except (ValueError, TypeError) as error:  # too large, or of values that msgpack does not know
        logger.error("Cannot send an answer: %s", error)  # noqa: TRY400 - said in one line, and told to who asked
        return encode(Error("NotSendable", f"the answer cannot be sent: {error}"), request_id)


def _since(started: float) -> float:
    return time.monotonic() - started
