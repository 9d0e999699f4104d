"""What is done by itself: nothing of it fails unseen, and nothing of it outlives its owner."""

import asyncio
import logging

import pytest

from supervisor.errors import ConflictError
from supervisor.works import Works


async def fails(error):
    raise error


def said(caplog):
    return [(record.levelno, record.getMessage(), record.exc_info is not None) for record in caplog.records]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConflictError("cannot do it", hint="wait"), (logging.ERROR, "cannot do it; wait", False)),
        (ZeroDivisionError("by zero"), (logging.ERROR, "divide failed inside xcore", True)),
    ],
    ids=["a sentence", "a mistake of ours"],
)
def test_a_failure_is_logged_once_whether_somebody_waits_or_not(caplog, error, line):
    """The operator reads a sentence; what nobody has foreseen comes with its traceback."""

    async def scenario():
        works = Works()
        works.begin(fails(error), "divide")
        await works.wait_done()
        assert not works
        assert said(caplog) == [line]
        with pytest.raises(type(error)):
            await works.begin(fails(error), "divide")
        assert said(caplog) == [line, line]

    asyncio.run(scenario())


def test_what_is_given_up_ends_without_a_word(caplog):
    """Close waits for the last words of each: what it works on is there until then."""
    ended = []

    async def works_on():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    async def scenario():
        works = Works()
        for number in range(2):
            works.begin(works_on(), f"work-{number}")
        await asyncio.sleep(0)
        assert works
        await works.close()
        assert (bool(works), ended) == (False, [True, True])

    asyncio.run(scenario())
    assert said(caplog) == []


def test_nothing_is_begun_once_it_is_closed(caplog):
    """What is given up may still hand on work in its last steps; whoever would end that has been here already."""
    begun = []

    async def begins(works):
        try:
            await asyncio.Event().wait()
        finally:
            await works.begin(begins_not(), "late")

    async def begins_not():
        begun.append(True)

    async def scenario():
        works = Works()
        works.begin(begins(works), "early")
        await asyncio.sleep(0)
        await works.close()
        with pytest.raises(asyncio.CancelledError):
            await works.begin(begins_not(), "later")
        assert (bool(works), begun) == (False, [])

    asyncio.run(scenario())
    assert said(caplog) == []
