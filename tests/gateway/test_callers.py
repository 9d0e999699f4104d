"""Whose keys the local side takes."""

import asyncio

import pytest

from gateway.callers import PATIENCE, PAUSE, Callers
from gateway.errors import SupervisorAwayError
from plugin_runtime.protocol import Caller
from tests.fakes.virtual_time import VirtualClock, run_virtually

SHOP = Caller("shop", "t1:secret")
RUN = Caller("job:shop.clean", "t9:young")


class Supervisor:
    """Away so many times, then it tells of RUN as well."""

    def __init__(self, away=0):
        self.away = away
        self.asked = 0
        self.callers = Callers(self.ask)
        self.callers.replace([SHOP, Caller("other", "t2:another")])

    async def ask(self):
        self.asked += 1
        if self.asked <= self.away:
            raise SupervisorAwayError("callers.tell", "it is away")
        self.callers.replace([SHOP, RUN])


@pytest.fixture
def callers():
    return Supervisor().callers


def test_a_key_names_whose_it_is(callers):
    """The called plugin is told who calls, not the key."""
    assert callers.find(b"t1:secret") == SHOP


@pytest.mark.parametrize(
    "key", [b"", b":", b"t1", b"t1:", b"t1:secre", b"t1:secrets", b"t1:another", b"t3:secret", b"\xff"]
)
def test_any_other_is_nobodys(callers, key):
    """Also one that is right in part, and also when the supervisor is asked."""
    assert callers.find(key) is None
    assert asyncio.run(callers.inquire(key)) is None


def test_what_is_not_told_again_is_forgotten(callers):
    """A dead process's key is worth nothing."""
    callers.replace([])
    assert callers.find(b"t1:secret") is None


def test_a_worker_without_a_key_opens_nothing(callers):
    """One that a former version has started: no key must not become a key."""
    callers.replace([Caller("shop", "")])
    assert callers.find(b"") is None
    assert asyncio.run(callers.inquire(b"")) is None


def test_a_process_that_has_just_begun_is_asked_for():
    """It may be quicker than the news of it."""
    at = Supervisor()
    assert at.callers.find(b"t9:young") is None
    assert asyncio.run(at.callers.inquire(b"t9:young")) == RUN
    assert at.asked == 1


@pytest.mark.parametrize("key", [b"", b"t1", b"t1:guess"])
def test_nobody_is_asked_for_what_cannot_become_a_key(key):
    """No key at all, and a wrong one of an incarnation that is known."""
    at = Supervisor()
    assert asyncio.run(at.callers.inquire(key)) is None
    assert at.asked == 0


def test_while_a_supervisor_takes_over_a_caller_waits_for_it():
    """It has begun processes before it speaks to the gateways."""
    at, clock = Supervisor(away=50), VirtualClock()
    begun = clock.monotonic()

    async def main():
        assert await at.callers.inquire(b"t9:young") == RUN

    run_virtually(clock, main())
    assert clock.monotonic() - begun == pytest.approx(50 * PAUSE)


def test_where_no_supervisor_comes_that_is_said():
    """Not that the key is wrong, which nobody knows."""
    at, clock = Supervisor(away=10**6), VirtualClock()
    begun = clock.monotonic()

    async def main():
        with pytest.raises(SupervisorAwayError):
            await at.callers.inquire(b"t9:young")

    run_virtually(clock, main())
    assert clock.monotonic() - begun == pytest.approx(PATIENCE, abs=2 * PAUSE)


def test_one_that_does_not_answer_is_no_supervisor():
    """It hangs, and says nothing for longer than a caller should wait."""
    clock = VirtualClock()
    begun = clock.monotonic()

    async def ask():
        await asyncio.sleep(PATIENCE - 1)
        raise SupervisorAwayError("callers.tell", "the supervisor did not answer")

    async def main():
        with pytest.raises(SupervisorAwayError, match="no supervisor has answered for 30 s"):
            await Callers(ask).inquire(b"t9:young")

    run_virtually(clock, main())
    assert clock.monotonic() - begun == pytest.approx(PATIENCE)
