"""The supervisor's words on dead workers."""

import asyncio

from gateway.deaths import REMEMBERED, Deaths
from plugin_runtime.protocol import UpstreamDied
from tests.fakes.waiting import settle


def word(incarnation):
    return UpstreamDied("hello.1", incarnation, "signal", resend=True)


def test_a_word_reaches_those_who_wait_and_those_who_come_later():
    """The gateway sees a broken link before or after the supervisor sees the death."""

    async def scenario():
        deaths = Deaths()
        waiting = [asyncio.create_task(deaths.wait("a", 10)) for _ in range(2)]
        await settle()
        deaths.note(word("b"))
        deaths.note(word("a"))
        assert await asyncio.gather(*waiting) == [word("a")] * 2
        assert await deaths.wait("a", 0) == word("a")

    asyncio.run(scenario())


def test_without_a_word_in_time_there_is_none():
    """The supervisor may be away, and a client is waiting."""
    assert asyncio.run(Deaths().wait("a", 0.01)) is None


def test_only_so_many_deaths_are_remembered():
    """A crash loop must not fill the memory."""

    async def scenario():
        deaths = Deaths()
        for number in range(REMEMBERED + 1):
            deaths.note(word(str(number)))
        assert await deaths.wait("0", 0) is None
        assert await deaths.wait("1", 0) == word("1")

    asyncio.run(scenario())
