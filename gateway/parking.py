"""Requests that wait for a worker of their plugin: bounded in number, bytes and time.

Waiting is per plugin and first come, first served; whoever changes what a plugin can take calls ``wake``. The bounds
are the gateway's as a whole, so that one plugin's absence cannot take the memory of all.
"""

import asyncio
from collections import defaultdict
from dataclasses import dataclass

from gateway.settings import ParkingLimits


class ParkingFullError(Exception):
    """Number or bytes are used up."""


class ParkingTimeoutError(Exception):
    """No worker came in time."""


@dataclass
class ParkingCounters:
    """``requests`` and ``bytes`` are now, the others since the start."""

    requests: int = 0
    bytes: int = 0
    parked: int = 0
    refused: int = 0
    timed_out: int = 0


class Parking:
    """Owns the waiters; only its own methods change the counters."""

    def __init__(self, limits: ParkingLimits) -> None:
        self._limits = limits
        self._waiters: dict[str, dict[asyncio.Future[None], None]] = defaultdict(dict)
        self.counters = ParkingCounters()

    async def wait(self, plugin: str, size: int, deadline: float) -> None:
        """Wait until the plugin is woken. ``size``: bytes the request holds; ``deadline``: in the loop's time.

        Raises:
            ParkingFullError: no room.
            ParkingTimeoutError: the deadline passed.
        """
        self._enter(size)
        woken = asyncio.get_running_loop().create_future()
        self._waiters[plugin][woken] = None  # a dict, since a set keeps no order
        try:
            async with asyncio.timeout_at(deadline):
                await woken
        except TimeoutError:
            self.counters.timed_out += 1
            raise ParkingTimeoutError from None
        finally:
            self._leave(plugin, woken, size)

    def deadline(self) -> float:
        """Return until when a request that parks now may wait, in the loop's time."""
        return asyncio.get_running_loop().time() + self._limits.seconds

    def wake(self, plugin: str) -> None:
        """Let everybody who waits for the plugin look again."""
        for waiter in self._waiters.get(plugin, ()):
            if not waiter.done():
                waiter.set_result(None)

    def _enter(self, size: int) -> None:
        counters = self.counters
        if counters.requests >= self._limits.requests or counters.bytes + size > self._limits.bytes:
            counters.refused += 1
            raise ParkingFullError
        counters.requests += 1
        counters.bytes += size
        counters.parked += 1

    def _leave(self, plugin: str, woken: asyncio.Future[None], size: int) -> None:
        self.counters.requests -= 1
        self.counters.bytes -= size
        waiters = self._waiters[plugin]
        del waiters[woken]
        if not waiters:
            del self._waiters[plugin]
