"""A generation that could not take over is tried again as a crashed process would be, and only where that may help."""

import pytest

from plugin_runtime.views import PluginError
from supervisor.spec import RestartPolicy
from supervisor.supervision.retries import SPEECHLESS, Retries

POLICY = RestartPolicy(delay=1.0, max_delay=4.0, jitter=0.0, limit=5, window=100.0, probe=60.0)


def error(phase, kind="RuntimeError"):
    return PluginError(phase, kind, "it failed")


def delay(retries, now):
    """Seconds until the next try, to a quarter."""
    return next((step / 4 for step in range(400) if retries.is_due(now + step / 4)), None)


def test_the_first_one_comes_at_once_and_the_next_ones_later_and_later():
    """As with a process that crashes; then it is only probed."""
    retries, now, seen = Retries(POLICY), 1000.0, []
    for _ in range(6):
        retries.failed(error("lifespan"), now, 0.0)
        seen.append(delay(retries, now))
        retries.begun()
    assert seen == [0.0, 1.0, 2.0, 4.0, 60.0, 60.0]


def test_other_code_has_a_full_budget():
    """What was wrong with the one before says nothing of it."""
    retries = Retries(POLICY)
    for _ in range(3):
        retries.failed(error("ready"), 1000.0, 0.0)
    retries.renewed()
    retries.failed(error("ready"), 1000.0, 0.0)
    assert retries.is_due(1000.0)


@pytest.mark.parametrize("phase", ["manifest", "environment", "import"])
def test_what_only_a_change_can_heal_is_not_tried_again(phase):
    """The next save is the next try."""
    retries = Retries(POLICY)
    retries.failed(error(phase), 1000.0, 0.0)
    assert not retries.is_due(1e9)


@pytest.mark.parametrize("kind", ["BuildInterrupted", "DiskFull", "OutOfResources"])
def test_a_build_that_somebody_else_is_to_blame_for_is_tried_again(kind):
    """A signal, a disk that was full, a network that was away."""
    retries = Retries(POLICY)
    retries.failed(error("environment", kind), 1000.0, 0.0)
    assert retries.is_due(1000.0)


def test_a_mistake_of_ours_is_tried_again():
    """Its author can do nothing about it; what led to it may be another moment's."""
    retries = Retries(POLICY)
    retries.failed(error("internal", "ValueError"), 1000.0, 0.0)
    assert retries.is_due(1000.0)


def test_an_environment_is_wanted_anew_until_it_is_there_or_cannot_be_had():
    """A kill changes nothing of what somebody has asked for; new code, or an error that stays, does."""
    retries = Retries(POLICY)
    retries.renewed(anew=True)
    retries.failed(error("environment", "BuildInterrupted"), 1000.0, 0.0)
    retries.begun()
    assert retries.anew
    retries.failed(error("environment", "EnvironmentBuild"), 1000.0, 0.0)
    assert not retries.anew
    retries.renewed(anew=True)
    retries.renewed()
    assert not retries.anew


def test_a_try_under_way_is_not_begun_a_second_time():
    """Whoever asked for it."""
    retries = Retries(POLICY)
    retries.failed(error("import", SPEECHLESS), 1000.0, 0.0)
    retries.begun()
    assert not retries.is_due(1e9)
