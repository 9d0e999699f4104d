"""The lines of a run, as somebody sees them who watches."""

import asyncio

import pytest

from supervisor.jobs.live_log import LiveLog, Tee
from tests.fakes.waiting import settle


def filled(*lines, **settings):
    log = LiveLog(**settings)
    log.append(lines)
    return log


@pytest.mark.parametrize(
    ("after", "expected"),
    [(0, (["a", "b", "c"], 3)), (2, (["c"], 3)), (3, ([], 3)), (9, ([], 9)), (-5, (["a", "b", "c"], 3))],
)
def test_a_reader_gets_what_it_has_not_seen(after, expected):
    """And the number to ask with the next time."""
    assert filled("a", "b", "c").read(after) == expected


def test_memory_is_bounded_and_a_reader_learns_what_it_missed():
    """A run may print for ever."""
    log = filled(*(f"line {number}" for number in range(10_000)), size_limit=1000)
    assert log.size <= 1000
    lines, following = log.read(100)
    assert following == 10_000
    assert lines[0] == f"[{10_000 - 100 - (len(lines) - 1)} lines left out]"
    assert lines[-1] == "line 9999"


def test_empty_lines_count_too():
    """They cost memory as well."""
    assert len(filled(*[""] * 10_000, size_limit=6400).read(0)[0]) == 101


def test_one_long_line_is_kept():
    assert filled("x" * 500, size_limit=100).read(0) == (["x" * 500], 1)


def wait(log, after, seconds, meanwhile):
    async def main():
        waiting = asyncio.create_task(log.wait(after, seconds))
        await settle()
        was_waiting = not waiting.done()
        meanwhile()
        await waiting
        return was_waiting

    return asyncio.run(main())


@pytest.mark.parametrize("event", ["a line", "the end"])
def test_a_reader_waits_for_the_next_line_or_the_end(event):
    """No polling."""
    log = filled("a")
    assert wait(log, 1, 10, lambda: log.append(["b"]) if event == "a line" else log.close())


def test_a_reader_waits_no_longer_than_it_wants_to():
    assert wait(filled("a"), 1, 0.01, lambda: None)


def test_a_reader_does_not_wait_for_what_is_there_or_will_never_come():
    closed = filled("a")
    closed.close()
    assert not wait(filled("a"), 0, 10, lambda: None)
    assert not wait(closed, 1, 10, lambda: None)


def test_lines_go_on_to_where_they_are_kept():
    """Watching is beside the log, not instead of it."""
    written = []

    class Sink:
        def write(self, *arguments):
            written.append(arguments)

    log = LiveLog()
    Tee(log, Sink()).write("reports", "reports.cleanup.1", "err", ["one", "two"])
    assert log.read(0)[0] == ["one", "two"]
    assert written == [("reports", "reports.cleanup.1", "err", ["one", "two"])]
