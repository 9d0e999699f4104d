"""Requests that wait for a worker."""

import asyncio

import pytest

from gateway.parking import Parking, ParkingFullError, ParkingTimeoutError
from gateway.settings import MIB, ParkingLimits
from tests.fakes.waiting import settle, until


def parked(parking, plugin="hello", size=0):
    return asyncio.create_task(parking.wait(plugin, size, parking.deadline()))


def test_waking_a_plugin_wakes_its_requests_in_order_and_no_others():
    """First come, first served; a neighbour's restart is not ours."""

    async def scenario():
        parking = Parking(ParkingLimits())
        order = []
        tasks = [parked(parking) for _ in range(3)]
        for number, task in enumerate(tasks):
            task.add_done_callback(lambda _, number=number: order.append(number))
        other = parked(parking, "other")
        await until(lambda: parking.counters.requests == 4)
        parking.wake("hello")
        await asyncio.gather(*tasks)
        await settle()
        assert order == [0, 1, 2]
        assert not other.done()
        assert parking.counters.requests == 1
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)
        assert (parking.counters.requests, parking.counters.parked) == (0, 4)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("limits", "sizes"), [(ParkingLimits(requests=2), [0, 0]), (ParkingLimits(mb=1), [MIB // 2, MIB // 2])]
)
def test_a_full_parking_refuses_and_has_room_again_when_one_leaves(limits, sizes):
    """Bounded in number and in bytes, whatever arrives."""

    async def scenario():
        parking = Parking(limits)
        tasks = [parked(parking, size=size) for size in sizes]
        await until(lambda: parking.counters.requests == len(sizes))
        with pytest.raises(ParkingFullError):
            await parking.wait("hello", 1, parking.deadline())
        assert parking.counters.refused == 1
        tasks[0].cancel()
        await asyncio.gather(tasks[0], return_exceptions=True)
        late = parked(parking, size=1)
        await until(lambda: parking.counters.requests == len(sizes))
        parking.wake("hello")
        await asyncio.gather(late, *tasks[1:])
        assert (parking.counters.requests, parking.counters.bytes) == (0, 0)

    asyncio.run(scenario())


def test_nobody_waits_longer_than_the_limit():
    """The client gets an answer in the end."""

    async def scenario():
        parking = Parking(ParkingLimits(seconds=0.02))
        with pytest.raises(ParkingTimeoutError):
            await parking.wait("hello", 5, parking.deadline())
        assert (parking.counters.timed_out, parking.counters.requests, parking.counters.bytes) == (1, 0, 0)

    asyncio.run(scenario())
