"""How a plugin is shown: views for people, a route for gateways."""

from types import SimpleNamespace

import pytest

from plugin_runtime.gateway_protocol import PluginTrouble
from plugin_runtime.protocol import Beat, Description, Failed, PluginState, State, Upstream
from plugin_runtime.views import ExitView, PluginError, TrafficView
from plugin_runtime.wire import encode
from supervisor.monitoring.sampler import Sample
from supervisor.plugins.view import (
    error_of_exit,
    error_of_failure,
    instance_view,
    plugin_view,
    route_of,
    trouble_of,
)
from supervisor.plugins.worker_link import Link
from supervisor.preparation.preparation import Prepared
from tests.fakes.builds import build_of

SAMPLE = Sample(1.0, 33.333, 1.0, 12.345, 3, 4, None)


def child(number=1, state=State.RUNNING, pid=100, beat=None):
    return SimpleNamespace(
        spec=SimpleNamespace(id=f"hello.{number}"),
        state=state,
        pid=pid,
        uptime=1.23456,
        record=SimpleNamespace(restarts=2),
        incarnation=SimpleNamespace(beat=beat),
    )


def link(number):
    return Link(f"t{number}", f"/run/t{number}.link", b"secret")


def route(children, **fields):
    defaults = {
        "state": PluginState.RUNNING,
        "expected": False,
        "error": "",
        "request_timeout": 5.0,
        "max_in_flight": 7,
    }
    workers = [(one, link(number)) for number, one in enumerate(children, 1)]
    return route_of("hello", "/app/hello", workers, **{**defaults, **fields})


@pytest.mark.parametrize("state", State)
def test_only_ready_workers_take_requests(state):
    """Stalled ones are marked; whoever starts, drains or is dead gets none."""
    upstreams = route([child(state=state)]).upstreams
    expected = [Upstream("hello.1", "t1", "/run/t1.link", b"secret", stalled=state is State.STALLED)]
    assert upstreams == (expected if state in {State.RUNNING, State.STALLED} else [])


def test_a_route_tells_what_callers_are_told():
    """State, error and limits; one that is coming may be tried again soon, a failed one later."""
    coming = route([], expected=True, state=PluginState.STARTING)
    failed = route([], state=PluginState.FAILED, error="no module named flask")
    assert (coming.state, coming.retry_after, coming.request_timeout, coming.max_in_flight) == ("starting", 1.0, 5.0, 7)
    assert (failed.state, failed.retry_after, failed.error) == ("failed", 30.0, "no module named flask")


def test_an_instance_shows_null_where_nothing_is_known():
    """Not 0, which would be a lie; a sample of a dead process is not its successor's."""
    fresh = instance_view(child(), None)
    assert (fresh.cpu_percent, fresh.memory_mb, fresh.in_flight, fresh.requests) == (None, None, 0, 0)
    dead = instance_view(child(state=State.BACKOFF, pid=None), SAMPLE)
    assert (dead.pid, dead.memory_mb, dead.state) == (None, None, "backoff")
    known = instance_view(child(beat=Beat(0.0, in_flight=3, requests=9)), SAMPLE)
    assert (known.cpu_percent, known.memory_mb, known.in_flight, known.requests) == (12.35, 33.33, 3, 9)
    assert (known.uptime, known.restarts) == (1.235, 2)


def shown(**fields):
    defaults = {
        "name": "hello",
        "prefix": "",
        "active": True,
        "prepared": None,
        "record": None,
        "instances": [],
        "error": None,
        "notes": [],
        "template": "",
        "progress": None,
        "last_exit": None,
        "state": PluginState.PENDING,
        "wanted": 1,
    }
    return SimpleNamespace(**{"is_outdated": False, **defaults, **fields})


def test_a_plugin_can_be_shown_before_anything_is_known_of_it():
    """Every folder is listed, whatever is wrong with it."""
    view = plugin_view(
        shown(error=PluginError("manifest", "PluginInvalid", "not valid TOML")), lambda _: None, TrafficView()
    )
    assert (view.name, view.title, view.version, view.generation, view.instances) == ("hello", "hello", "", "", [])
    assert view.error.message == "not valid TOML"


def test_what_its_code_says_goes_before_what_its_manifest_says(tmp_path):
    """And each field for itself."""
    prepared = Prepared(build_of(tmp_path), Description(title="Hello", author="Ada", tags=["a"], trigger=2))
    view = plugin_view(
        shown(prepared=prepared, instances=[child()], state=PluginState.RUNNING),
        lambda _: SAMPLE,
        TrafficView(requests=7),
    )
    assert (view.title, view.version, view.author, view.tags, view.trigger) == ("Hello", "", "Ada", ["a"], 2)
    assert (view.generation, view.instances[0].memory_mb, view.state) == ("abcdef", 33.33, "running")
    assert view.traffic.requests == 7


def test_why_a_worker_cannot_start_is_shown_with_its_last_lines():
    """Its own words, and what it printed."""
    failed = Failed("lifespan", "OSError", "no database", "start it", "Traceback", "run.py:3")
    record = ExitView("1", "hello", "hello.1", "worker", "start_failed", 70, None, "", 1.0, 1.0, ["last line"])
    error = error_of_failure(failed, record)
    assert error == PluginError(
        "lifespan", "OSError", "no database", "start it", "run.py:3", "Traceback", ["last line"]
    )


def test_a_death_without_a_word_says_how_far_it_had_come_and_what_to_do():
    """Cause, phase and last lines are all there is; a timeout is raised, or done without."""
    record = ExitView("1", "hello", "hello.1", "worker", "start_timeout", None, 9, "", 0.0, 60.0, ["waiting"])
    error = error_of_exit(record, "lifespan")
    assert (error.phase, error.type, error.log_tail) == ("lifespan", "start_timeout", ["waiting"])
    assert "start_timeout in its [tool.xcore]" in error.hint


def test_what_gateways_are_told_of_an_error_is_never_long():
    """It goes to each of them at every change, and into one page."""
    error = PluginError(
        "import", "E", "m" * 10**6, "h" * 10**6, "l" * 10**6, "t" * 10**6, ["x" * 10**6] * 1000, ["p" * 10**6] * 1000
    )
    trouble = trouble_of("hello", error, ["y" * 10**6] * 20)
    assert len(encode(trouble)) < 100 * 1024
    assert trouble_of("hello", None, []) == PluginTrouble("hello")
