"""Waiting for a condition that only events can make true, without polling and without sleeping."""

import asyncio
from collections.abc import Callable

from supervisor.errors import ConflictError, TookTooLongError


class Changes:
    """Wakes whoever waits, at every change; each then looks for itself whether it is the one it waits for."""

    def __init__(self) -> None:
        self._waiting: asyncio.Future[None] | None = None

    def notify(self) -> None:
        """Something changed."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.set_result(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds, looking now and after each change."""
        while not condition():
            if self._waiting is None:
                self._waiting = asyncio.get_running_loop().create_future()
            # Shielded: all who wait share the future, and one that gives up must not cancel it for the others.
            await asyncio.shield(self._waiting)


async def within(seconds: float, step: "asyncio.Task[None]", what: str, *, see: str = "") -> None:
    """Wait for ``step``, which goes on by itself when the time is over; ``see`` tells how.

    Raises:
        TookTooLongError: it is not done after ``seconds``.
        ConflictError: it was given up.
        Exception: what it failed with.
    """
    done, _ = await asyncio.wait([step], timeout=seconds)
    if not done:
        raise TookTooLongError(what, seconds, see=see)
    if step.cancelled():
        raise ConflictError(f"{what} was given up: another order came, or xcore is stopping")
    step.result()
