"""One HTTP request whose gateway wants to know what the app raises, for whoever develops it.

A framework that answers for its app sends a bare 500 first and raises the error after it. So that bare answer is held
back until the app's call has ended. Any other answer is the app's own, and leaves as it comes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Optional

from plugin_runtime import framing, wire
from plugin_runtime.failure import exception_line
from plugin_runtime.gateway_protocol import PluginTrouble
from plugin_runtime.http import INTERNAL_ERROR, App, Carrier, Exchange, Message

Explain = Callable[[BaseException], PluginTrouble]

PATIENCE = 1.0
"""Seconds that a bare answer is held back; an app that does more after it has not raised, and its client waits."""

_INTERNAL_SERVER_ERROR = 500
_BARE_LENGTH = (b"content-length", b"%d" % len(INTERNAL_ERROR))


class ExplainedExchange(Exchange):
    """An exchange that tells what the app raised instead of a bare 500."""

    __slots__ = ("_answered", "_explain", "_holds")

    def __init__(
        self, carrier: Carrier, stream: int, scope: dict[str, Any], *, window: int, credit: int, explain: Explain
    ) -> None:
        super().__init__(carrier, stream, scope, window=window, credit=credit)
        self._explain = explain
        self._holds = False  # a bare head waits, and does not leave with its turn
        self._answered = False  # so does its body

    async def run(self, app: App) -> None:
        async def held(scope: Any, receive: Any, send: Any) -> None:
            await app(scope, receive, send)
            self._let_go()

        await super().run(held)

    def release_head(self) -> None:
        if not self._holds:
            super().release_head()

    def _start(self, message: Message) -> None:
        super()._start(message)
        status, fields = self._head
        if status == _INTERNAL_SERVER_ERROR and _BARE_LENGTH in fields:
            self._holds = True
            asyncio.get_running_loop().call_later(PATIENCE, self._let_go)

    async def _send_body(self, body: bytes, *, end: bool) -> None:
        if self._holds and not self._answered and end and body == INTERNAL_ERROR:
            self._answered = True
            return
        if self._answered:
            self._let_go()
        else:
            self._holds = False
            await super()._send_body(body, end=end)

    def _let_go(self) -> None:
        """Let what is held leave as it is."""
        held, self._holds = self._holds, False
        if held and not self.complete:
            self._emit(INTERNAL_ERROR if self._answered and not self._drops_body else b"", end=self._answered)

    def _fail(self, reason: str) -> None:
        self._let_go()
        super()._fail(reason)

    def _answer_instead(self, error: Optional[BaseException]) -> None:
        if error is None or not self._explained(error):
            super()._answer_instead(error)

    def _explained(self, error: BaseException) -> bool:
        try:
            told = wire.encode(self._explain(error))
            frame = framing.failed(self.stream, exception_line(error), body_length=len(told))
        except Exception:  # the boundary to foreign exceptions, which may make anything of being looked at
            logging.getLogger("xcore.http").exception("Cannot tell what the app raised")
            return False
        self._carrier.send(frame, told)
        self._complete()
        return True
