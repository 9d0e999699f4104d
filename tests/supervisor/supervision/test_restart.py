"""Budget and back-off as sums: no child, no clock."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_runtime.protocol import Cause
from supervisor.spec import RestartPolicy, RestartWhen
from supervisor.supervision.restart import Budget, backoff_delay, restarts_after, spend

POLICY = RestartPolicy()
CHANCE = st.floats(0, 1, exclude_max=True)


def spent_at(*times: float, policy: RestartPolicy = POLICY) -> Budget:
    budget = Budget()
    for time in times:
        budget = spend(budget, policy, time)
    return budget


def test_the_limit_counts_the_crash_that_reaches_it():
    """8 crashes in 5 minutes: failed."""
    assert not spent_at(*range(7)).exhausted
    assert spent_at(*range(8)).exhausted


def test_crashes_outside_the_window_count_no_more():
    """A window slides; what fell out of it is not kept."""
    budget = spent_at(0, 1, 2, 3, 4, 5, 6, 300.5)
    assert not budget.exhausted
    assert budget.deaths == (1, 2, 3, 4, 5, 6, 300.5)


def test_a_crash_exactly_one_window_ago_is_outside():
    """The window is half open."""
    assert spent_at(0, 300).deaths == (300,)


def test_an_exhausted_budget_stays_exhausted():
    """After a failure each probe is one attempt, not eight, however much later it comes."""
    budget = spend(spent_at(*range(8)), POLICY, 10_000)
    assert budget.exhausted
    assert budget.deaths == (10_000,)


def test_an_endless_window_counts_retries_in_a_row():
    """How max_retries of tasks is expressed: limit = retries + 1, and nothing ever falls out."""
    policy = RestartPolicy(limit=4, window=math.inf)
    assert not spent_at(0, 1e6, 2e6, policy=policy).exhausted
    assert spent_at(0, 1e6, 2e6, 3e6, policy=policy).exhausted


def test_the_first_crash_waits_for_nothing():
    """Users wait; most crashes do not come back."""
    assert backoff_delay(POLICY, 1, 0.9) == 0.0


def test_later_crashes_double_up_to_the_cap():
    """0.5 s, doubling, at most 30 s."""
    assert [backoff_delay(POLICY, streak, 0.0) for streak in range(2, 10)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


@given(st.integers(0, 10**6), CHANCE)
def test_the_delay_stays_between_nothing_and_the_cap(streak, chance):
    """However long the streak: no overflow, no negative wait."""
    assert 0 <= backoff_delay(POLICY, streak, chance) <= POLICY.max_delay


@given(st.integers(1, 100), CHANCE)
def test_the_delay_never_shrinks_by_more_than_its_jitter(streak, chance):
    """Back-off grows."""
    longer, shorter = backoff_delay(POLICY, streak + 1, chance), backoff_delay(POLICY, streak, 0.0)
    assert longer >= shorter * (1 - POLICY.jitter)


def test_jitter_tells_apart_what_reached_the_cap():
    """200 plugins that wait for one database must not come back in the same moment."""
    assert backoff_delay(POLICY, 50, 0.5) == pytest.approx(28.5)


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=30).map(sorted))
def test_the_streak_counts_all_and_the_window_only_the_recent(times):
    """Two counters, two meanings; monotonic time never goes back."""
    budget = spent_at(*times)
    assert budget.streak == len(times)
    assert budget.deaths == tuple(time for time in times if times[-1] - time < POLICY.window)


@pytest.mark.parametrize(
    ("when", "after_finish", "after_crash"),
    [(RestartWhen.ALWAYS, True, True), (RestartWhen.ON_FAILURE, False, True), (RestartWhen.NEVER, False, False)],
)
def test_the_manifest_says_when_to_restart(when, after_finish, after_crash):
    """Manifest key restart."""
    policy = RestartPolicy(when=when)
    assert restarts_after(policy, Cause.FINISHED) is after_finish
    assert all(restarts_after(policy, cause) is after_crash for cause in Cause if cause is not Cause.FINISHED)
