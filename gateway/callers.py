"""Who may call on the local side: processes that live, known by their keys.

The supervisor tells of them now and then, and of one that has just begun when it is asked. So a key that nobody knows
here may be a good one, most of all where a supervisor takes over: it has begun processes before it speaks to us.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Iterable

from gateway.errors import SupervisorAwayError
from plugin_runtime.call_protocol import TELL_CALLERS
from plugin_runtime.protocol import Caller

PATIENCE = 30.0
"""Seconds for a supervisor to come and answer; unless that was changed, what it runs lives no longer without one."""
PAUSE = 0.1
"""Seconds until it is looked for again."""


class Callers:
    """Empty until the first routing snapshot."""

    def __init__(self, ask: Callable[[], Awaitable[None]]) -> None:
        """``ask``: returns when ``replace`` was called with all that the supervisor knows, or it knows no more.

        It raises SupervisorAwayError.
        """
        self._ask = ask
        self._callers: dict[bytes, tuple[bytes, Caller]] = {}
        """Keys and whose they are, by incarnation."""

    def replace(self, callers: Iterable[Caller]) -> None:
        """Know these and no others."""
        keys = [(caller.key.encode(), caller) for caller in callers if caller.key]  # a worker of before may have none
        self._callers = {_incarnation(key): (key, caller) for key, caller in keys}

    def find(self, key: bytes) -> Caller | None:
        """Return whose key it is, None where it is nobody's that is known."""
        # Which incarnations there are is no secret; what comes after the colon is.
        expected, caller = self._callers.get(_incarnation(key), (b"", None))
        return caller if hmac.compare_digest(expected, key) else None

    async def inquire(self, key: bytes) -> Caller | None:
        """Ask whose it is, and return it, None where it is nobody's.

        Raises:
            SupervisorAwayError: nobody has answered for PATIENCE seconds.
        """
        if b":" not in key or _incarnation(key) in self._callers:
            return None
        try:
            async with asyncio.timeout(PATIENCE):
                await self._ask_until_answered()
        except TimeoutError:
            raise SupervisorAwayError(TELL_CALLERS, f"no supervisor has answered for {PATIENCE:g} s") from None
        return self.find(key)

    async def _ask_until_answered(self) -> None:
        while True:
            try:
                return await self._ask()
            except SupervisorAwayError:
                await asyncio.sleep(PAUSE)


def _incarnation(key: bytes) -> bytes:
    return key.partition(b":")[0]
