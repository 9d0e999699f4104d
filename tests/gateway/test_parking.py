"""Requests that wait for a worker."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.parking import Parking, ParkingFullError, ParkingTimeoutError, size_of
from gateway.settings import MIB, ParkingLimits
from gateway.traffic import Tally
from plugin_runtime.gateway_protocol import Refusal
from tests.fakes.links import head
from tests.fakes.waiting import settle, until


async def park(parking, plugin="hello", size=0):
    """The way of an exchange."""
    place = parking.enter(plugin, size, Tally())
    try:
        await place.wait(parking.deadline())
    finally:
        place.leave()


def parked(parking, plugin="hello", size=0):
    return asyncio.create_task(park(parking, plugin, size))


def test_waking_a_plugin_wakes_its_requests_in_order_and_no_others():
    """First come, first served; a neighbour's restart is not ours."""

    async def scenario():
        parking = Parking(ParkingLimits())
        order = []
        tasks = [parked(parking) for _ in range(3)]
        for number, task in enumerate(tasks):
            task.add_done_callback(lambda _, number=number: order.append(number))
        other = parked(parking, "other")
        await until(lambda: parking.requests == 4)
        parking.wake("hello")
        await asyncio.gather(*tasks)
        await settle()
        assert order == [0, 1, 2]
        assert not other.done()
        assert parking.requests == 1
        assert (parking.is_waited_for("hello"), parking.is_waited_for("other")) == (False, True)
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)
        assert parking.requests == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("limits", "sizes", "refusal"),
    [
        (ParkingLimits(requests=2), [0, 0], Refusal.PARKING_REQUESTS),
        (ParkingLimits(mb=1), [MIB // 2, MIB // 2], Refusal.PARKING_BYTES),
    ],
)
def test_a_full_parking_refuses_and_has_room_again_when_one_leaves(limits, sizes, refusal):
    """Bounded in number and in bytes, whatever arrives."""

    async def scenario():
        parking = Parking(limits)
        tasks = [parked(parking, size=size) for size in sizes]
        await until(lambda: parking.requests == len(sizes))
        with pytest.raises(ParkingFullError) as full:
            parking.enter("hello", 1, Tally())
        assert full.value.refusal is refusal
        tasks[0].cancel()
        await asyncio.gather(tasks[0], return_exceptions=True)
        late = parked(parking, size=1)
        await until(lambda: parking.requests == len(sizes))
        parking.wake("hello")
        await asyncio.gather(late, *tasks[1:])
        assert (parking.requests, parking.bytes) == (0, 0)

    asyncio.run(scenario())


def test_nobody_waits_longer_than_the_limit():
    """The client gets an answer in the end."""

    async def scenario():
        parking = Parking(ParkingLimits(seconds=0.02))
        with pytest.raises(ParkingTimeoutError):
            await park(parking, size=5)
        assert (parking.requests, parking.bytes, parking.is_waited_for("hello")) == (0, 0, False)

    asyncio.run(scenario())


def test_a_head_counts_with_all_that_its_client_chose():
    """Fields of 64 KiB and no body are 64 KiB."""
    request = head("POST", b"/hello")._replace(query=b"a=1", headers=[(b"x-long", b"y" * 1000)])
    assert size_of(request) == len(b"POST" + b"/hello" + b"a=1" + b"x-long") + 1000


STEPS = st.tuples(st.sampled_from(["enter", "grow", "leave"]), st.integers(0, MIB))


@given(st.lists(STEPS))
def test_whatever_comes_and_goes_the_bounds_hold_and_nothing_is_forgotten(steps):
    """What is used is what the places hold, never more than may be, and a refusal changes nothing."""
    parking = Parking(ParkingLimits(requests=3, mb=2))
    held = []
    for step, size in steps:
        if step == "enter":
            expected = refusal_of(requests=len(held) + 1, size=parking.bytes + size)
            assert refused(lambda size=size: held.append([parking.enter("hello", size, Tally()), size])) is expected
        elif held and step == "grow":
            expected = refusal_of(requests=len(held), size=parking.bytes + size)
            assert refused(lambda size=size: held[-1][0].grow(size)) is expected
            held[-1][1] += 0 if expected else size
        elif held:
            held.pop(0)[0].leave()
        assert (parking.requests, parking.bytes) == (len(held), sum(size for _, size in held))
    for place, _ in held:
        place.leave()
    assert (parking.requests, parking.bytes) == (0, 0)


def refusal_of(requests, size):
    if requests > 3:
        return Refusal.PARKING_REQUESTS
    return Refusal.PARKING_BYTES if size > 2 * MIB else None


def refused(step):
    try:
        step()
    except ParkingFullError as full:
        return full.refusal
    return None
