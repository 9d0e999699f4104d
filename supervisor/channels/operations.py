"""Everything that can be asked for, by name: one table behind the HTTP interface and the command socket.

An operation is an async function of its arguments; it returns what wire.py can carry (dataclasses of views.py, lists,
maps, scalars) or raises an XcoreError. Who may ask is checked before: by roles at the gateway, by the kernel's word at
the command socket. Those that change something are audited: who asked for what, and what came of it.
"""

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from plugin_runtime.protocol import Call, Error, Result
from plugin_runtime.wire import encode, to_wire
from supervisor.clock import Clock, SystemClock
from supervisor.errors import UnknownNameError, XcoreError
from supervisor.store.audit import AuditEntry
from supervisor.store.audit_facts import audit_facts

logger = logging.getLogger(__name__)

Operation = Callable[..., Awaitable[Any]]
Audit = Callable[[AuditEntry], Awaitable[None]]
"""Puts an entry on record; what is wrong with the database is its own affair."""

AUDITED = frozenset(
    {
        "config.autorestart", "config.reload", "config.update", "jobs.pause", "jobs.reload", "jobs.resume", "jobs.run",
        "plugins.add", "plugins.delete", "plugins.disable", "plugins.enable", "plugins.install", "plugins.reload",
        "plugins.restart", "plugins.rollback", "plugins.scale", "plugins.update", "system.stop", "system.upgrade",
        "tasks.restart", "tasks.start", "tasks.stop",
    }
)  # fmt: skip
"""Operations that change something, beside those that put themselves on record."""

_SUCCEEDED = "succeeded"
_CANCELLED = "cancelled"


async def _nobody(entry: AuditEntry) -> None:
    """Keeps no record."""


class ArgumentsError(XcoreError):
    """The operation is known, but cannot be called like this."""

    status = 422

    def __init__(self, operation: str, problem: str, known: list[str]) -> None:
        super().__init__(f"cannot call {operation}: {problem}", hint=f"it takes {', '.join(known) or 'nothing'}")


class Operations:
    """The table. Handlers are registered by whoever owns the thing that they work on."""

    def __init__(self, audit: Audit = _nobody, clock: Clock | None = None) -> None:
        """``audit``: awaited at the end of each audited operation, before it is answered."""
        self._handlers: dict[str, Operation] = {}
        self._audited: set[str] = set()
        self._audit = audit
        self._clock = clock or SystemClock()

    def register(self, handlers: Mapping[str, Operation], *, audited: Collection[str] = frozenset()) -> None:
        """Add operations by name, "plugins.list". A name is given out once.

        ``audited``: those of them that are put on record, also where they fail or are not done by the end of xcore.
        """
        if unknown := set(audited) - handlers.keys():
            raise ValueError(f"operations audited but not registered: {', '.join(sorted(unknown))}")
        if taken := self._handlers.keys() & handlers.keys():
            raise ValueError(f"operations registered twice: {', '.join(sorted(taken))}")
        self._handlers.update(handlers)
        self._audited.update(audited)

    async def perform(self, call: Call) -> Result | Error:
        """Carry out one call; every failure becomes an Error and is logged once, with its duration."""
        if call.operation not in self._audited:
            return await self._attempt(call)
        asked = self._clock.time()
        try:
            answer = await self._attempt(call)
        except asyncio.CancelledError:
            # Whoever asked is gone, or we are about to be; it may have been done all the same.
            await self._put_on_record(call, asked, _CANCELLED)
            raise
        await self._put_on_record(call, asked, answer.type if isinstance(answer, Error) else _SUCCEEDED)
        return answer

    async def _put_on_record(self, call: Call, asked: float, outcome: str) -> None:
        try:
            target, detail = audit_facts(call.arguments)
            await self._audit(AuditEntry(asked, call.actor, call.operation, target, outcome, detail))
        except Exception:  # the boundary of the record: what is done is done, and is answered as such
            logger.exception("Cannot put %s by %s on record", call.operation, call.actor)

    async def _attempt(self, call: Call) -> Result | Error:
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
