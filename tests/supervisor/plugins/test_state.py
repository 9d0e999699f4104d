"""What a plugin and the whole system look like from outside, in tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_runtime.protocol import PluginHealth, PluginState, State
from supervisor.plugins.state import health_of, state_of_instances

R, S, B, F = State.RUNNING, State.STALLED, State.BACKOFF, State.FAILED


@pytest.mark.parametrize(
    ("states", "wanted", "expected"),
    [
        ([R], 1, PluginState.RUNNING),
        ([R, R], 2, PluginState.RUNNING),
        ([R, S], 2, PluginState.RUNNING),
        ([R, B], 2, PluginState.DEGRADED),
        ([S, F], 2, PluginState.DEGRADED),
        ([S], 1, PluginState.STALLED),
        ([S, S], 2, PluginState.STALLED),
        ([State.STARTING], 1, PluginState.STARTING),
        ([State.STARTING, B, F], 3, PluginState.STARTING),
        ([State.PENDING], 1, PluginState.PENDING),
        ([B], 1, PluginState.BACKOFF),
        ([B, F], 2, PluginState.BACKOFF),
        ([State.STOPPING, F], 2, PluginState.STOPPING),
        ([State.DRAINING], 1, PluginState.DRAINING),
        ([F], 1, PluginState.FAILED),
        ([F, State.EXITED], 2, PluginState.FAILED),
        ([State.EXITED], 1, PluginState.EXITED),
        ([], 0, PluginState.EXITED),
    ],
)
def test_the_state_of_a_plugin_is_made_of_those_of_its_instances(states, wanted, expected):
    """Serving counts first, then what promises most."""
    assert state_of_instances(states, wanted) is expected


@given(st.lists(st.sampled_from(State), max_size=5), st.randoms())
def test_the_order_of_instances_does_not_matter(states, random):
    """Instance 1 is no better than instance 2."""
    shuffled = states.copy()
    random.shuffle(shuffled)
    assert state_of_instances(states, len(states)) is state_of_instances(shuffled, len(states))


def health(*states, **options):
    plugins = {f"p{i}": PluginHealth(state.value, 1, 1, 0) for i, state in enumerate(states)}
    return health_of(plugins, **{"draining": False, "database_ok": True, **options})


@pytest.mark.parametrize("state", PluginState)
def test_one_plugin_in_trouble_degrades_the_whole(state):
    """Only those that shall serve and do not: a disabled, idle or starting one is no trouble."""
    troubled = {PluginState.DEGRADED, PluginState.BACKOFF, PluginState.FAILED, PluginState.REFUSED}
    assert health(PluginState.RUNNING, state).status == ("degraded" if state in troubled else "ok")


def test_health_of_the_rest():
    """A database in trouble degrades; draining is down, whatever the plugins are; no plugin at all is fine."""
    assert health().status == "ok"
    assert health(PluginState.RUNNING, database_ok=False).status == "degraded"
    drained = health(PluginState.RUNNING, PluginState.FAILED, draining=True)
    assert (drained.status, sorted(drained.plugins)) == ("down", ["p0", "p1"])
