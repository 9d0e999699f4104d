"""Which worker takes the next request."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.balance import choose


@dataclass(frozen=True)
class Worker:
    name: str
    in_flight: int = 0
    stalled: bool = False


def test_nobody_is_chosen_where_there_is_nobody():
    """The caller parks or refuses."""
    assert choose([], 0) is None


@pytest.mark.parametrize("turn", range(4))
def test_the_least_busy_worker_is_chosen_whoever_is_in_turn(turn):
    """Requests in flight are the best measure of load that we have."""
    assert choose([Worker("a", 3), Worker("b", 1), Worker("c", 2)], turn).name == "b"


@pytest.mark.parametrize("turn", range(4))
def test_a_stalled_worker_comes_last_however_idle(turn):
    """What it is given waits at least until its loop turns again."""
    assert choose([Worker("a", stalled=True), Worker("b", 50)], turn).name == "b"


def test_a_stalled_worker_is_better_than_none():
    """It may go on in a moment."""
    assert choose([Worker("a", stalled=True)], 0).name == "a"


def test_equals_take_turns():
    """Otherwise the first instance would get everything while load is low."""
    workers = [Worker("a"), Worker("b"), Worker("c")]
    assert [choose(workers, turn).name for turn in range(6)] == ["a", "b", "c", "a", "b", "c"]


@given(st.lists(st.builds(Worker, st.text(), st.integers(0, 5), st.booleans()), min_size=1), st.integers(0, 100))
def test_nobody_better_is_passed_over(workers, turn):
    """Stalled or not first, then requests in flight."""
    chosen = choose(workers, turn)
    assert (chosen.stalled, chosen.in_flight) == min((worker.stalled, worker.in_flight) for worker in workers)
