"""What is known of runs, in memory and in the database."""

import asyncio

import pytest

from plugin_runtime.task_protocol import Outcome
from supervisor.errors import StoreUnavailableError, UnknownNameError
from supervisor.jobs import records as module
from supervisor.jobs.records import RunRecords
from supervisor.jobs.view import unbegun_view
from tests.fakes.jobs import FakeRunHistory, job, request, run_view

CLOSED = ("the supervisor ended before it did", "the supervisor ended before it began")
"""Messages of runs that a supervisor before left open."""


class Scene:
    def __init__(self, *rows, **limits):
        self.history = FakeRunHistory(*rows)
        self.queued = []
        self.records = RunRecords(self.history, self.queued.append, **limits)

    def has(self, asked, *lines, outcome=None, **fields):
        """A run that was asked for, and ended where it has an outcome."""
        self.records.expect(asked)
        self.records.log(asked.id).append(lines)
        if outcome:
            self.records.end(run_view(asked.number, asked.job.id, outcome=outcome, **fields))

    def newest(self, job=None, limit=100):
        return [view.id for view in asyncio.run(self.records.newest(job, limit))]

    def show(self, run):
        return asyncio.run(self.records.show(run))

    def follow(self, run, after=0, wait=0.0):
        return asyncio.run(self.records.follow(run, after, wait))


def ids(*numbers):
    return [f"{number:08x}" for number in numbers]


def test_a_start_closes_what_a_dead_supervisor_left_open_and_knows_the_last_runs():
    """Their output stays where it is."""
    scene = Scene(run_view(1, outcome="failed", traceback="long", log_tail=["long"], exception="ValueError: no"))
    asyncio.run(scene.records.load())
    last = scene.records.last("reports.cleanup")
    assert scene.history.abandoned == (*CLOSED, [])
    assert (last.id, last.outcome, last.exception) == (ids(1)[0], "failed", "ValueError: no")
    assert (last.traceback, last.log_tail) == (None, [])


def test_what_could_not_be_loaded_at_the_start_can_be_later():
    """Runs that were begun or have ended meanwhile are not those of the supervisor before."""
    scene = Scene(run_view(1, "reports.other", outcome="failed"), run_view(2, outcome="failed"))
    scene.history.error = StoreUnavailableError("locked")
    with pytest.raises(StoreUnavailableError):
        asyncio.run(scene.records.load())
    assert scene.records.last("reports.cleanup") is None
    scene.has(request(3), outcome="succeeded")
    scene.has(request(4))
    scene.history.error = None
    asyncio.run(scene.records.load())
    assert scene.history.abandoned == (
        "the supervisor ended before it did",
        "the supervisor ended before it began",
        ids(3, 4),
    )
    assert [scene.records.last(f"reports.{name}").id for name in ("other", "cleanup")] == ids(1, 3)


def test_lists_join_memory_and_database():
    """Newest first; what is under way or has just ended is known here better than there."""
    scene = Scene(run_view(1, outcome="failed"), run_view(2), run_view(3))
    scene.has(request(2))
    scene.has(request(3), outcome="succeeded")
    scene.has(request(4, job("other")))

    views = asyncio.run(scene.records.newest(None, 100))
    assert [view.id for view in views] == ids(4, 3, 2, 1)
    assert [view.outcome for view in views] == [None, "succeeded", None, "failed"]
    assert scene.newest("reports.cleanup") == ids(3, 2, 1)
    assert scene.newest("reports.other") == ids(4)
    assert scene.newest(limit=2) == ids(4, 3)
    assert scene.newest(limit=-1) == []


def test_without_the_database_a_list_has_what_memory_knows_and_says_so():
    """Half of a history must not pass for all of it; and nothing is no history at all."""
    last = [run_view(1, outcome="failed", finished=2.0), run_view(2, "reports.other", outcome="failed", finished=3.0)]
    scene = Scene(*last, kept_runs=1)
    asyncio.run(scene.records.load())
    scene.has(request(3, job("new")), outcome="succeeded")
    scene.has(request(4))
    scene.history.error = StoreUnavailableError("locked")
    views = asyncio.run(scene.records.newest(None, 100))
    assert [(view.id, view.from_memory) for view in views] == [(run, True) for run in ids(4, 3, 2, 1)]
    assert scene.newest("reports.other") == ids(2)
    assert scene.newest(limit=1) == ids(4)
    with pytest.raises(StoreUnavailableError):
        scene.newest("reports.unknown")


def test_a_list_fits_into_one_answer():
    """Older runs go without their output before the newer do."""
    scene = Scene(*(run_view(number, outcome="failed", log_tail=["x" * 100_000]) for number in range(1, 50)))
    views = asyncio.run(scene.records.newest(None, 100))
    assert len(views) == 49
    assert sum(len(line) for view in views for line in view.log_tail) <= 2 * 1024 * 1024
    assert views[0].log_tail
    assert not views[-1].log_tail


def test_one_run_is_shown_from_memory_or_from_the_database():
    """Also while the database is away, if it is not needed."""
    scene = Scene(run_view(1, outcome="failed"))
    scene.has(request(2), outcome="succeeded", log_tail=["done"])
    assert scene.show(ids(1)[0]).outcome == "failed"
    assert scene.show(ids(2)[0]).log_tail == ["done"]
    with pytest.raises(UnknownNameError):
        scene.show("unknown")
    scene.history.error = StoreUnavailableError("locked")
    assert scene.show(ids(2)[0]).outcome == "succeeded"


def test_memory_holds_the_newest_of_those_that_ended():
    """All that are under way, and of the others so many, or so much of them."""
    scene = Scene(kept_runs=2)
    scene.has(request(1))
    for number in (2, 3, 4):
        scene.has(request(number), outcome="succeeded")
    assert scene.newest() == ids(4, 3, 1)

    scene = Scene(kept_size=1000)
    for number in (1, 2, 3):
        scene.has(request(number), "x" * 300, outcome="succeeded", log_tail=["x" * 300])
    assert scene.newest() == ids(3)


def test_who_follows_gets_lines_until_the_end():
    """The last answer has the outcome, and all lines that were written before it."""
    scene = Scene()
    scene.has(request(1), "a", "b")
    first = scene.follow(ids(1)[0])
    assert (first.lines, first.next, first.run.outcome) == (["a", "b"], 2, None)

    scene.records.log(ids(1)[0]).append(["c"])
    scene.records.end(run_view(1, outcome="succeeded", log_tail=["a", "b", "c"]))
    last = scene.follow(ids(1)[0], after=2, wait=10)
    assert (last.lines, last.next, last.run.outcome) == (["c"], 3, "succeeded")


def test_who_follows_waits_for_a_run_that_has_not_begun():
    """Or never begins: its end is an answer."""
    scene = Scene()
    asked = request(1)
    scene.records.expect(asked)

    async def main():
        following = asyncio.create_task(scene.records.follow(asked.id, 0, 10))
        await asyncio.sleep(0)
        assert not following.done()
        scene.records.end(unbegun_view(asked, Outcome.SKIPPED, "xcore is stopping", 1.0))
        return await following

    answer = asyncio.run(main())
    assert (answer.lines, answer.run.outcome) == ([], "skipped")


@pytest.mark.parametrize(
    ("after", "lines", "following"),
    [(0, ["[3 lines left out]", "d", "e"], 5), (4, ["e"], 5), (5, [], 5)],
)
def test_who_follows_is_not_shown_lines_twice_nor_denied_any_when_memory_lets_a_run_go(after, lines, following):
    """What is on record are the last lines, and they keep the numbers that they had."""
    scene = Scene(run_view(1, outcome="succeeded", log_tail=["d", "e"]), kept_runs=1)
    scene.has(request(1), *"abcde", outcome="succeeded", log_tail=["d", "e"])
    scene.has(request(2), outcome="succeeded")
    answer = scene.follow(ids(1)[0], after)
    assert (answer.lines, answer.next, answer.run.outcome) == (lines, following, "succeeded")


def test_only_so_many_numberings_are_remembered(monkeypatch):
    """Memory is bounded, however many runs there are."""
    monkeypatch.setattr(module, "KEPT_COUNTS", 2)
    scene = Scene(kept_runs=0)
    for number in range(1, 5):
        scene.has(request(number), "a", outcome="succeeded")
    assert list(scene.records._counts) == ids(3, 4)


@pytest.mark.parametrize(("after", "lines", "following"), [(0, ["a", "b"], 2), (1, ["b"], 2), (40, [], 40)])
def test_who_follows_too_late_gets_the_last_lines(after, lines, following):
    """Those on record; then nothing more."""
    scene = Scene(run_view(1, outcome="succeeded", log_tail=["a", "b"]))
    answer = scene.follow(ids(1)[0], after, 10)
    assert (answer.lines, answer.next, answer.run.outcome) == (lines, following, "succeeded")
