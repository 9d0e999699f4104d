"""Waiting for a condition that events make true."""

import asyncio

import pytest

from supervisor.changes import Changes, within
from supervisor.errors import ConflictError, TookTooLongError
from tests.fakes.waiting import DEADLINE, settle


def test_a_condition_that_holds_is_not_waited_for():
    """No change has to come first."""
    asyncio.run(asyncio.wait_for(Changes().until(lambda: True), DEADLINE))


def test_everybody_looks_for_themselves_after_each_change():
    """A change that is not the one waited for wakes nobody for good."""

    async def main():
        changes, seen = Changes(), []
        waiting = {n: asyncio.create_task(changes.until(lambda n=n: len(seen) >= n)) for n in (1, 2)}
        await settle()
        seen.append(1)
        changes.notify()
        await settle()
        assert [n for n, task in waiting.items() if task.done()] == [1]
        seen.append(2)
        changes.notify()
        changes.notify()  # nobody waits in this moment
        await asyncio.wait_for(waiting[2], DEADLINE)

    asyncio.run(main())


def test_one_that_gives_up_does_not_end_the_waiting_of_others():
    """They share one future."""

    async def main():
        changes, seen = Changes(), []
        impatient = asyncio.create_task(changes.until(lambda: False))
        patient = asyncio.create_task(changes.until(lambda: seen))
        await settle()
        impatient.cancel()
        await settle()
        assert not patient.done()
        seen.append(1)
        changes.notify()
        await asyncio.wait_for(patient, DEADLINE)

    asyncio.run(main())


def test_within_returns_when_the_step_is_done_or_says_what_became_of_it():
    """In time, too late, failed, given up."""

    async def main():
        done = asyncio.create_task(asyncio.sleep(0))
        await within(DEADLINE, done, "the restart")

        gate = asyncio.Event()
        slow = asyncio.create_task(gate.wait())
        with pytest.raises(TookTooLongError, match=r"the restart is not done after 0\.01 s"):
            await within(0.01, slow, "the restart")
        assert not slow.done()  # only the waiting is over
        slow.cancel()
        with pytest.raises(ConflictError, match="the restart was given up: another order came, or xcore is stopping"):
            await within(DEADLINE, slow, "the restart")

        async def fail():
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await within(DEADLINE, asyncio.create_task(fail()), "the restart")

    asyncio.run(main())
