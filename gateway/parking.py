"""Requests that wait for a worker of their plugin: bounded in number, bytes and time.

Waiting is per plugin and first come, first served; whoever changes what a plugin can take calls ``wake``. The bounds
are the gateway's as a whole, so that one plugin's absence cannot take the memory of all.
"""

import asyncio
from collections import defaultdict

from gateway.settings import ParkingLimits
from gateway.traffic import Tally
from plugin_runtime.framing import RequestHead
from plugin_runtime.gateway_protocol import Refusal


class ParkingFullError(Exception):
    """Number or bytes are used up; ``refusal`` says which."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


class ParkingTimeoutError(Exception):
    """No worker came in time."""


class Parking:
    """Owns the waiters and the bounds; places change what is used of these."""

    def __init__(self, limits: ParkingLimits) -> None:
        self._limits = limits
        self._waiters: dict[str, dict[asyncio.Future[None], None]] = defaultdict(dict)
        self.requests = 0
        self.bytes = 0

    def enter(self, plugin: str, size: int, tally: Tally) -> "Place":
        """Park a request of ``size`` bytes, head and body; ``tally``: its plugin's.

        Raises:
            ParkingFullError: no room.
        """
        if self.requests >= self._limits.requests:
            raise ParkingFullError(Refusal.PARKING_REQUESTS)
        self.take(size)
        self.requests += 1
        tally.parked += 1
        tally.parked_total += 1
        return Place(self, plugin, size, tally)

    def take(self, size: int) -> None:
        """A place's call: it holds so many bytes more. Raises ParkingFullError."""
        if self.bytes + size > self._limits.bytes:
            raise ParkingFullError(Refusal.PARKING_BYTES)
        self.bytes += size

    def free(self, size: int) -> None:
        """A place's call: it is left."""
        self.requests -= 1
        self.bytes -= size

    def deadline(self) -> float:
        """Return until when a request that parks now may wait, in the loop's time."""
        return asyncio.get_running_loop().time() + self._limits.seconds

    def wake(self, plugin: str) -> None:
        """Let everybody who waits for the plugin look again."""
        for waiter in self._waiters.get(plugin, ()):
            if not waiter.done():
                waiter.set_result(None)

    def is_waited_for(self, plugin: str) -> bool:
        return plugin in self._waiters

    async def wait(self, plugin: str, deadline: float) -> None:
        """A place's call: wait until the plugin is woken. Raises ParkingTimeoutError."""
        woken = asyncio.get_running_loop().create_future()
        self._waiters[plugin][woken] = None  # a dict, since a set keeps no order
        try:
            async with asyncio.timeout_at(deadline):
                await woken
        except TimeoutError:
            raise ParkingTimeoutError from None
        finally:
            waiters = self._waiters[plugin]
            del waiters[woken]
            if not waiters:
                del self._waiters[plugin]


class Place:
    """What one parked request takes of the bounds, from ``Parking.enter`` to ``leave``."""

    __slots__ = ("_parking", "_plugin", "_size", "_tally")

    def __init__(self, parking: Parking, plugin: str, size: int, tally: Tally) -> None:
        self._parking = parking
        self._plugin = plugin
        self._size = size
        self._tally = tally

    def grow(self, size: int) -> None:
        """More of its body has come.

        Raises:
            ParkingFullError: there is no room for that; the place is held as it was.
        """
        self._parking.take(size)
        self._size += size

    async def wait(self, deadline: float) -> None:
        """Wait until the plugin is woken; any number of times. ``deadline``: in the loop's time.

        Raises:
            ParkingTimeoutError: the deadline passed.
        """
        await self._parking.wait(self._plugin, deadline)

    def leave(self) -> None:
        """To be called once."""
        self._parking.free(self._size)
        self._tally.parked -= 1


def size_of(head: RequestHead) -> int:
    """Bytes that the head of a request holds."""
    fields = sum(len(name) + len(value) for name, value in head.headers)
    return len(head.method) + len(head.raw_path) + len(head.query) + fields
