"""What the supervisor said about dead workers: whether their requests may be sent again.

A link breaks when its worker dies, and the gateway often sees that before the supervisor has told why. Whoever has to
decide waits here, for a bounded time.
"""

import asyncio
from collections import defaultdict

from plugin_runtime.protocol import UpstreamDied

REMEMBERED = 256
"""Deaths kept; the oldest go first. A decision comes within a second of the death."""


class Deaths:
    """Owns the supervisor's words and those who wait for them."""

    def __init__(self) -> None:
        self._known: dict[str, UpstreamDied] = {}
        self._waiters: dict[str, set[asyncio.Future[UpstreamDied]]] = defaultdict(set)

    def note(self, died: UpstreamDied) -> None:
        """Remember a death and tell those who wait for it."""
        self._known[died.incarnation] = died
        while len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        for waiter in self._waiters.pop(died.incarnation, ()):
            if not waiter.done():
                waiter.set_result(died)

    async def wait(self, incarnation: str, timeout: float) -> UpstreamDied | None:
        """Return the supervisor's word on an incarnation, or None if there is none within ``timeout`` seconds."""
        if incarnation in self._known:
            return self._known[incarnation]
        waiter: asyncio.Future[UpstreamDied] = asyncio.get_running_loop().create_future()
        self._waiters[incarnation].add(waiter)
        try:
            async with asyncio.timeout(timeout):
                return await waiter
        except TimeoutError:
            return None
        finally:
            self._forget(incarnation, waiter)

    def _forget(self, incarnation: str, waiter: asyncio.Future[UpstreamDied]) -> None:
        waiters = self._waiters.get(incarnation)
        if waiters is not None:
            waiters.discard(waiter)
            if not waiters:
                del self._waiters[incarnation]
