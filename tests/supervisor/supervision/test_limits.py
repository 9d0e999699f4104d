"""Limits, in tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_runtime.protocol import Cause
from supervisor.spec import Limits
from supervisor.supervision.child_events import LimitExceeded
from supervisor.supervision.limits import AGE_JITTER, exceeded

KILL = LimitExceeded(Cause.MEMORY_LIMIT, graceful=False)
RECYCLE = LimitExceeded(Cause.RECYCLE, graceful=True)


@pytest.mark.parametrize(
    ("limits", "memory_mb", "requests", "age", "jitter", "expected"),
    [
        pytest.param(Limits(), 1e6, 10**9, 1e9, 0.5, None, id="no limits"),
        pytest.param(Limits(memory_hard_mb=100), 100.0, 0, 0, 0, None, id="as much as it may"),
        pytest.param(Limits(memory_hard_mb=100), 100.1, 0, 0, 0, KILL, id="hard"),
        pytest.param(Limits(memory_soft_mb=100), 100.1, 0, 0, 0, RECYCLE, id="soft"),
        pytest.param(Limits(memory_soft_mb=50, memory_hard_mb=100), 60.0, 0, 0, 0, RECYCLE, id="between both"),
        pytest.param(Limits(memory_soft_mb=50, memory_hard_mb=100), 160.0, 0, 0, 0, KILL, id="the hardest counts"),
        pytest.param(Limits(memory_soft_mb=50, memory_hard_mb=100), None, 0, 0, 0, None, id="not measured"),
        pytest.param(Limits(max_requests=10), None, 9, 0, 0, None, id="one request left"),
        pytest.param(Limits(max_requests=10), None, 10, 0, 0, RECYCLE, id="requests used up"),
        pytest.param(Limits(max_age=100), None, 0, 99.9, 0, None, id="not old enough"),
        pytest.param(Limits(max_age=100), None, 0, 100, 0, RECYCLE, id="too old"),
        pytest.param(Limits(max_age=100), None, 0, 95, 0.9, RECYCLE, id="too old by its jitter"),
        pytest.param(Limits(max_age=100), None, 0, 95, 0.1, None, id="its jitter is small"),
        pytest.param(Limits(max_age=100, memory_hard_mb=10), 11, 0, 200, 0, KILL, id="killed rather than replaced"),
    ],
)
def test_the_hardest_limit_that_is_exceeded_counts(limits, memory_mb, requests, age, jitter, expected):
    """Hard memory limit: killed; everything else: replaced in order. 0 is no limit."""
    assert exceeded(limits, memory_mb=memory_mb, requests=requests, age=age, jitter=jitter) == expected


@given(max_age=st.floats(1.0, 1e6), jitter=st.floats(0.0, 1.0, exclude_max=True))
def test_jitter_only_ever_shortens_and_by_a_bounded_share(max_age, jitter):
    """``max_age`` is a promise; those born together differ by at most AGE_JITTER of it."""
    limits = Limits(max_age=max_age)
    assert exceeded(limits, memory_mb=None, requests=0, age=max_age, jitter=jitter) == RECYCLE
    young = max_age * (1 - AGE_JITTER) * 0.999
    assert exceeded(limits, memory_mb=None, requests=0, age=young, jitter=jitter) is None
