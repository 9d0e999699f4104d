"""Questions and orders that concern everything."""

import asyncio
import os
from types import SimpleNamespace

from plugin_runtime.protocol import Health, Kind, State
from supervisor.state_folder import StateFolder
from supervisor.system import MOST_EXITS, System
from tests.fakes.moved_clock import MovedClock


class FakeExits:
    async def exits(self, name, limit, kind):
        return [(name, limit, kind)]


class FakeTasks:
    async def list_tasks(self):
        return []


class FakePlugins:
    async def list_plugins(self):
        return []


def child(id_, kind):
    return SimpleNamespace(
        spec=SimpleNamespace(id=id_, kind=kind, name="hello", generation="abc"),
        pid=7,
        state=State.RUNNING,
        uptime=1.23456,
        record=SimpleNamespace(restarts=3),
        python="3.12.1",
    )


def make_system(tmp_path, clock=None):
    tree = SimpleNamespace(children=[child("hello.1", Kind.WORKER), child("gateway.1", Kind.GATEWAY)])
    resources = SimpleNamespace(views=lambda: ["view"])
    folder = StateFolder(tmp_path)
    return System(
        tree, FakePlugins(), FakeTasks(), resources, FakeExits(), clock or MovedClock(), folder, lambda: Health("ok")
    )


def test_status_is_what_the_cli_shows_first(tmp_path):
    """Where it runs, since when, and how it is."""
    clock = MovedClock()
    system = make_system(tmp_path, clock)
    clock.advance(5.0)
    status = asyncio.run(system.status())
    assert (status["status"], status["pid"], status["uptime"], status["url"]) == ("ok", os.getpid(), 5.0, "")
    assert status["state_dir"] == str(tmp_path)


def test_every_process_is_listed_with_ourselves_first(tmp_path):
    """Or those of one kind."""
    system = make_system(tmp_path)
    views = asyncio.run(system.list_processes())
    assert [(view.id, view.kind) for view in views] == [
        ("supervisor", "supervisor"),
        ("hello.1", "worker"),
        ("gateway.1", "gateway"),
    ]
    assert (views[1].uptime, views[1].restarts, views[1].python, views[1].generation) == (1.235, 3, "3.12.1", "abc")
    assert [view.id for view in asyncio.run(system.list_processes(kind="gateway"))] == ["gateway.1"]


def test_no_answer_is_without_bounds(tmp_path):
    """However many are asked for."""
    system = make_system(tmp_path)
    assert asyncio.run(system.list_exits("hello", 10**9, "installer")) == [("hello", MOST_EXITS, "installer")]
    assert asyncio.run(system.list_exits(limit=-1)) == [(None, 0, None)]


def test_stop_is_answered_before_it_happens(tmp_path):
    """With the pid to wait for; who asked is known."""
    system, asked = make_system(tmp_path), []
    system.request_stop = asked.append
    assert asyncio.run(system.stop("operator")) == {"pid": os.getpid()}
    assert asked == ["operator"]


def test_operations_have_the_names_that_gateway_and_cli_use(tmp_path):
    """Each is a coroutine function of this object."""
    system = make_system(tmp_path)
    assert sorted(system.operations) == [
        "exits.list",
        "processes.list",
        "resources.list",
        "system.status",
        "system.stop",
    ]
    assert asyncio.run(system.operations["resources.list"]()) == ["view"]
