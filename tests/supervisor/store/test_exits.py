"""Records of exits, on both databases."""

from dataclasses import replace

import pytest

from plugin_runtime.views import ExitView
from supervisor.store.settings import StoreSettings

EXIT = ExitView(
    id="e1",
    name="hello",
    instance="hello.1",
    kind="worker",
    cause="signal",
    exit_code=None,
    signal=9,
    actor="operator",
    time=1000.5,
    uptime=3.25,
    log_tail=["one", "<script>\0\x1b[31m"],
    stacks="Thread 1",
    pid=4711,
    generation="abc",
    peak_memory_mb=12.5,
    cpu_seconds=0.5,
    in_flight=3,
    message="killed",
)


@pytest.fixture
def opened(url, scenario):
    with scenario(url, settings=StoreSettings(kept_exits=5)) as (store, run):
        yield store.exits, run


def ids(exits):
    return [view.id for view in exits]


def test_an_exit_comes_back_with_every_field(opened):
    """What is recorded is what `why` explains later."""
    exits, run = opened
    run(exits.add_exits([EXIT]))
    assert run(exits.exits()) == [EXIT]


def test_exits_come_newest_first_even_when_the_clock_was_set_back(opened):
    """Order is that of arrival."""
    exits, run = opened
    run(exits.add_exits([EXIT, replace(EXIT, id="e2", time=5.0)]))
    run(exits.add_exits([replace(EXIT, id="e3", time=500.0)]))
    assert ids(run(exits.exits())) == ["e3", "e2", "e1"]
    assert ids(run(exits.exits(limit=2))) == ["e3", "e2"]


@pytest.mark.parametrize("kind", ["template", "installer", "validator"])
def test_our_own_machinery_is_shown_only_when_asked_for(opened, kind):
    """A failed installer is not why the plugin died."""
    exits, run = opened
    run(exits.add_exits([EXIT, replace(EXIT, id="e2", kind=kind)]))
    assert ids(run(exits.exits())) == ["e1"]
    assert ids(run(exits.exits("hello", kind=kind))) == ["e2"]
    assert run(exits.last_exit("hello")) == EXIT


def test_exits_of_one_name_only(opened):
    """The name is the plugin's, not the instance's."""
    exits, run = opened
    run(exits.add_exits([EXIT, replace(EXIT, id="e2", name="other")]))
    assert ids(run(exits.exits("hello"))) == ["e1"]
    assert run(exits.last_exit("nobody")) is None


def test_an_exit_written_twice_is_stored_once(opened):
    """A connection lost during COMMIT is retried."""
    exits, run = opened
    run(exits.add_exits([EXIT]))
    run(exits.add_exits([EXIT, replace(EXIT, id="e2")]))
    assert ids(run(exits.exits())) == ["e2", "e1"]


def test_the_oldest_exits_beyond_the_limit_go(opened):
    """A crash loop must not fill the disk."""
    exits, run = opened
    for number in range(8):
        run(exits.add_exits([replace(EXIT, id=str(number))]))
    assert ids(run(exits.exits())) == ["7", "6", "5", "4", "3"]


def test_nothing_to_add_is_no_error(opened):
    """An empty batch is what a probe writes."""
    exits, run = opened
    run(exits.add_exits([]))
    assert run(exits.exits()) == []
