"""Who follows the configuration, and what they say of it."""

import pytest

from supervisor.config.live import LiveConfiguration
from supervisor.config.source import load


@pytest.fixture
def configurations(tmp_path):
    """Two that differ."""
    path = tmp_path / "config.json"
    path.write_text("{}")
    return load(path, {}), load(path, {"XCORE__MANAGER__TASKS__MAX_RETRIES": "7"})


def test_subscribers_are_told_of_both_in_the_order_of_subscription(configurations):
    """When they are asked for the one in force, it is the new one already."""
    before, after = configurations
    live, told = LiveConfiguration(before), []

    def follower(name):
        def applied(old, new):
            told.append((name, old is before, new == after, live.current is new))
            return ()

        return applied

    live.subscribe(follower("first"))
    live.subscribe(follower("second"))
    assert live.current is before
    assert live.replace(after) == []
    assert told == [("first", True, True, True), ("second", True, True, True)]


def test_what_is_restarted_is_collected(configurations):
    """Each task once, whoever restarts it."""
    before, after = configurations
    live = LiveConfiguration(before)
    for restarted in (["sweep", "mail"], (), {"sweep"}):
        live.subscribe(lambda *_, restarted=restarted: restarted)
    assert live.replace(after) == ["mail", "sweep"]


def test_a_subscriber_that_fails_keeps_nobody_else_from_it(configurations, caplog):
    """Half of the system with the old values and half with the new ones would be worse than its mistake."""
    before, after = configurations
    live, told = LiveConfiguration(before), []

    def fails(_before, _after):
        raise RuntimeError("a mistake of ours")

    live.subscribe(fails)
    live.subscribe(lambda _before, new: told.append(new) or ["sweep"])
    assert live.replace(after) == ["sweep"]
    assert (live.current, told) == (after, [after])
    assert "a mistake of ours" in caplog.text


def test_who_subscribes_while_others_are_told_is_told_of_the_next_change(configurations):
    """A task that the new configuration brings up has it already."""
    before, after = configurations
    live, told = LiveConfiguration(before), []

    def brings_another(_before, _after):
        live.subscribe(lambda *_: told.append("late") or ())
        return ()

    live.subscribe(brings_another)
    live.replace(after)
    assert told == []
    live.replace(before)
    assert told == ["late"]
