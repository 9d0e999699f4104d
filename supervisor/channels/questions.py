"""Questions to a child over its control channel, each with the id that ties its answer to it."""

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any

from plugin_runtime.protocol import Call
from plugin_runtime.wire import Envelope


class NoAnswerError(Exception):
    """The child is not connected, went away, or did not answer in time."""


class Questions:
    """Those to one child that wait for their answers."""

    def __init__(self) -> None:
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    async def ask(self, send: Callable[[object, int], None], question: object, timeout: float) -> Any:
        """Return the answer to ``question``, which ``send`` sends with an id.

        Raises:
            NoAnswerError: none came within ``timeout`` seconds.
        """
        number = next(self._ids)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            send(question, number)
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            raise NoAnswerError(f"no answer to {type(question).__name__} within {timeout:g} s") from None
        finally:
            self._waiting.pop(number, None)

    def answer(self, envelope: Envelope) -> bool:
        """Take what a child said, if it answers a question; a Call has an id of the child's own counting."""
        waiting = self._waiting.get(envelope.id)
        if waiting is None or isinstance(envelope.message, Call):
            return False
        if not waiting.done():
            waiting.set_result(envelope.message)
        return True

    def abandon(self) -> None:
        """The connection closed: nobody will answer."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(NoAnswerError("the connection closed"))
