"""ASGI lifespan: the start-up and shutdown of an app."""

from __future__ import annotations

import asyncio
import sys
import traceback
from typing import Any, Optional

_UNWIND_TIME = 1.0
"""Seconds that an app which said startup.failed gets to raise what made it fail."""


class LifespanFailedError(RuntimeError):
    """The app said startup.failed, or did not answer in time; ``__cause__`` is what it raised, if it raised."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.hint = hint


class Lifespan:
    """Drives one app through its lifespan, in a task of its own; used once.

    Apps that do not know the protocol are served without it: that is what raising or returning before an answer
    means, as other servers take it.
    """

    def __init__(self, app: Any) -> None:
        self.state: dict[str, Any] = {}
        """What the app put there at start-up; each request's scope gets a copy."""
        self._app = app
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answer: Optional[asyncio.Future[dict[str, Any]]] = None
        self._task: Optional[asyncio.Task[None]] = None
        self._raised: Optional[BaseException] = None
        self._supported = False

    async def startup(self, timeout: float) -> None:
        """Start the app.

        Raises:
            LifespanFailedError: it failed, or took longer than ``timeout`` seconds.
        """
        self._task = asyncio.create_task(self._run(), name="lifespan")
        try:
            answer = await self._ask("lifespan.startup", timeout)
        except asyncio.TimeoutError:
            await self._cancel()
            hint = "it has four fifths of start_timeout: have it do less, or raise that in its [tool.xcore]"
            raise LifespanFailedError(f"lifespan start-up took longer than {timeout:g} s", hint) from None
        except asyncio.CancelledError:
            await self._cancel()
            raise
        if answer is None:
            self._tell_why_unsupported()
        elif answer["type"] == "lifespan.startup.complete":
            self._supported = True
        else:
            raise await self._failure(answer)

    async def shutdown(self, timeout: float) -> None:
        """Shut the app down; what goes wrong is told on stderr, since nothing more depends on it."""
        if self._task is None:
            return
        if self._supported:
            await self._shut_down(timeout)
        await self._cancel()

    async def _shut_down(self, timeout: float) -> None:
        try:
            answer = await self._ask("lifespan.shutdown", timeout)
        except asyncio.TimeoutError:
            sys.stderr.write(f"Lifespan shutdown took longer than {timeout:g} s; given up\n")
            return
        if answer is not None and answer["type"] == "lifespan.shutdown.failed":
            sys.stderr.write(f"Lifespan shutdown failed: {answer.get('message', '')}\n")
        elif self._raised is not None:
            self._print_raised()

    async def _ask(self, event: str, timeout: float) -> Optional[dict[str, Any]]:
        """The app's answer to an event; None where it ends without one."""
        assert self._task is not None  # noqa: S101 - startup() made it
        answer = self._answer = asyncio.get_running_loop().create_future()
        self._events.put_nowait({"type": event})
        done, _ = await asyncio.wait({answer, self._task}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            raise asyncio.TimeoutError
        return answer.result() if answer.done() else None

    async def _failure(self, answer: dict[str, Any]) -> LifespanFailedError:
        assert self._task is not None  # noqa: S101 - startup() made it
        await asyncio.wait({self._task}, timeout=_UNWIND_TIME)
        await self._cancel()
        # Starlette's message is a whole traceback; its last line says what happened.
        lines = str(answer.get("message", "")).strip().splitlines() or ["the app said lifespan.startup.failed"]
        failure = LifespanFailedError(lines[-1])
        failure.__cause__ = self._raised
        return failure

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._events.get, self._send)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - boundary to the app; a SystemExit in a task would end the loop
            self._raised = error

    async def _send(self, message: dict[str, Any]) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(message)

    def _tell_why_unsupported(self) -> None:
        # Raised before it took the event: the app knows HTTP only. After it: perhaps a start-up that failed.
        if self._raised is not None and self._events.empty():
            sys.stderr.write("The app raised at lifespan start-up; served without lifespan:\n")
            self._print_raised()

    def _print_raised(self) -> None:
        if self._raised is not None:
            traceback.print_exception(type(self._raised), self._raised, self._raised.__traceback__)

    async def _cancel(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_UNWIND_TIME)
