"""Workers that are used up are replaced one at a time, and a failure is no reason for haste."""

import asyncio
import logging
from types import SimpleNamespace

import pytest

from plugin_runtime.protocol import Cause, State
from supervisor.errors import ReplacementError
from supervisor.plugins.recycling import PAUSE, Recycling
from supervisor.works import Works
from tests.fakes.moved_clock import MovedClock
from tests.fakes.waiting import settle

FAILURE = ReplacementError("a worker of plugin 'hello'", "no database")


class FakeWorker:
    """Serves."""

    def __init__(self, number):
        self.spec = SimpleNamespace(id=f"hello.{number}")
        self.state = State.RUNNING


class Scene:
    """Workers by number; a replacement lasts until ``finish``."""

    def __init__(self):
        self.clock = MovedClock()
        self.works = Works()
        self.replacing = asyncio.Lock()
        self.recycling = Recycling(self.clock, self.works, self.replacing, self._replace)
        self.workers = [FakeWorker(number) for number in (1, 2, 3)]
        self.begun = []
        self.under_way = asyncio.Queue()

    async def _replace(self, child, cause):
        self.begun.append((child.spec.id, cause.value))
        end = asyncio.get_running_loop().create_future()
        self.under_way.put_nowait(end)
        await end

    async def used_up(self, *numbers, cause=Cause.RECYCLE):
        for number in numbers:
            self.recycling.used_up(self.workers[number - 1], cause)
        await settle()

    async def finish(self, error=None):
        """End the replacement that has been under way for the longest time."""
        end = self.under_way.get_nowait()
        if error is None:
            end.set_result(None)
        else:
            end.set_exception(error)
        await settle()

    @property
    def names(self):
        return [name for name, _ in self.begun]


@pytest.fixture
def run():
    def run(scenario):
        async def main():
            at = Scene()
            await scenario(at)
            await at.works.close()

        asyncio.run(main())

    return run


def test_one_is_replaced_at_a_time(run):
    """So that no more than one worker's memory and start come on top of what there is."""

    async def scenario(at):
        for number in (1, 2, 3):
            at.recycling.used_up(at.workers[number - 1], Cause.MEMORY_LIMIT if number == 2 else Cause.RECYCLE)
        await settle()
        assert at.begun == [("hello.1", "recycle")]
        await at.finish()
        assert at.begun == [("hello.1", "recycle"), ("hello.2", "memory_limit")]
        await at.finish()
        await at.finish()
        assert at.names == ["hello.1", "hello.2", "hello.3"]
        assert not at.works

    run(scenario)


def test_one_that_says_so_again_is_replaced_once(run):
    """It does so every second, as long as it serves."""

    async def scenario(at):
        await at.used_up(1, 1)
        await at.used_up(1)
        await at.finish()
        assert (at.names, bool(at.works)) == (["hello.1"], False)
        await at.used_up(1)
        assert at.names == ["hello.1", "hello.1"]

    run(scenario)


def test_none_begins_while_somebody_else_replaces_some(run):
    """A restart by hand replaces it anyway; it says so again if not."""

    async def scenario(at):
        async with at.replacing:
            await at.used_up(1)
            assert not at.works
        await at.used_up(1)
        assert at.names == ["hello.1"]

    run(scenario)


def test_after_a_failure_there_is_a_pause_for_all_of_them(run):
    """Also for one that waited for its turn: what kept the first from starting will keep the second, too."""

    async def scenario(at):
        at.recycling.used_up(at.workers[0], Cause.RECYCLE)
        at.recycling.used_up(at.workers[1], Cause.RECYCLE)
        await settle()
        await at.finish(FAILURE)
        assert (at.names, bool(at.works)) == (["hello.1"], False)
        at.clock.advance(PAUSE - 1)
        await at.used_up(1, 2)
        assert (at.names, bool(at.works)) == (["hello.1"], False)
        at.clock.advance(1)
        await at.used_up(2)
        assert at.names == ["hello.1", "hello.2"]

    run(scenario)


@pytest.mark.parametrize(("state", "is_said"), [(State.RUNNING, True), (State.STALLED, True), (State.STOPPING, False)])
def test_a_failure_is_said_unless_the_old_one_is_being_stopped_as_well(run, caplog, state, is_said):
    """A stop of everything is no failure of anybody."""

    async def scenario(at):
        await at.used_up(1)
        at.workers[0].state = state
        await at.finish(FAILURE)
        assert at.recycling.resumes_at == at.clock.monotonic() + PAUSE

    run(scenario)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert said == ([str(FAILURE)] if is_said else [])


def test_a_mistake_of_ours_does_not_keep_a_worker_from_its_next_turn(run, caplog):
    """It is logged with its traceback by who owns the works."""

    async def scenario(at):
        await at.used_up(1)
        await at.finish(ZeroDivisionError())
        assert not at.replacing.locked()
        await at.used_up(1)
        assert at.names == ["hello.1", "hello.1"]

    run(scenario)
    assert "recycle-hello.1 failed inside xcore" in caplog.text


def test_nothing_begins_after_the_close_whatever_ends_then(run):
    """Not the one that waits, none that is used up later, and not when the pause of a last failure is over."""

    async def scenario(at):
        at.recycling.used_up(at.workers[0], Cause.RECYCLE)
        at.recycling.used_up(at.workers[1], Cause.RECYCLE)
        await settle()
        at.recycling.close()
        await at.finish(FAILURE)
        at.clock.advance(2 * PAUSE)
        await at.used_up(3)
        assert (at.names, bool(at.works)) == (["hello.1"], False)

    run(scenario)
