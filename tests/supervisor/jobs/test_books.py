"""The rules of overlap: one run of a job at a time, and at most one that waits."""

import pytest

from plugin_runtime.task_protocol import Overlap
from supervisor.jobs.books import Books, Decision
from supervisor.schedule.overlap import Verdict
from tests.fakes.jobs import job, request


def books(overlap, count):
    """After so many requests; the requests, and what came of the last."""
    spec = job(overlap=overlap)
    requests = [request(number, spec) for number in range(1, count + 1)]
    kept = Books()
    decisions = [kept.request(asked) for asked in requests]
    return kept, requests, decisions[-1]


@pytest.mark.parametrize(
    ("overlap", "count", "verdict"),
    [
        (Overlap.SKIP, 1, Verdict.BEGIN),
        (Overlap.SKIP, 2, Verdict.SKIP),
        (Overlap.QUEUE, 1, Verdict.BEGIN),
        (Overlap.QUEUE, 2, Verdict.WAIT),
        (Overlap.QUEUE, 3, Verdict.SKIP),
        (Overlap.KILL_OLD, 1, Verdict.BEGIN),
        (Overlap.KILL_OLD, 2, Verdict.REPLACE),
        (Overlap.KILL_OLD, 3, Verdict.REPLACE),
    ],
)
def test_what_a_further_run_means(overlap, count, verdict):
    """By the number of runs that were asked for while the first has not ended."""
    assert books(overlap, count)[2].verdict is verdict


def test_the_newest_takes_the_place_of_one_that_still_waits_for_the_death_of_the_oldest():
    """Of those that would be killed at once, none begins."""
    kept, (_, second, third), decision = books(Overlap.KILL_OLD, 3)
    assert decision == Decision(Verdict.REPLACE, displaced=second)
    assert kept.waiting == [third]


def test_the_end_of_a_run_lets_the_waiting_one_have_its_place():
    kept, (first, second), _ = books(Overlap.QUEUE, 2)
    assert kept.ended(first) == second
    assert (kept.current(second.job.id), kept.waiting) == (second, [])
    assert kept.ended(second) is None
    assert kept.current(second.job.id) is None


def test_jobs_do_not_wait_for_each_other():
    kept = Books()
    verdicts = [kept.request(request(number, job(name))).verdict for number, name in enumerate(("a", "b", "c"))]
    assert verdicts == [Verdict.BEGIN] * 3


def test_a_run_that_ends_twice_is_a_mistake_of_ours():
    """Seen, and not the end of the one that followed."""
    kept, (first, second), _ = books(Overlap.QUEUE, 2)
    kept.ended(first)
    with pytest.raises(ValueError, match="not on the books"):
        kept.ended(first)
    assert kept.current(second.job.id) == second


def test_what_waits_can_be_struck_out():
    kept, (first, second), _ = books(Overlap.QUEUE, 2)
    kept.drop_waiting(second)
    assert kept.ended(first) is None
