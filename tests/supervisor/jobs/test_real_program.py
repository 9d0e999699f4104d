"""Runs of a plugin's jobs with the real program of the guest."""

import asyncio

import pytest

from plugin_runtime.protocol import Cause, State
from supervisor.jobs.manager import TaskManager
from supervisor.jobs.plugin_host import PluginJobHost
from supervisor.preparation.worker_spec import Build
from supervisor.schedule.job_spec import JobKind
from supervisor.supervision.child_events import StopRequested
from tests.fakes.builds import build_of
from tests.fakes.guests import write_files
from tests.fakes.jobs import FakeScheduler, FakeStore, ended, job
from tests.fakes.process_table import process_table
from tests.fakes.processes import exists, nothing_left_behind, state_folder
from tests.fakes.waiting import until

pytestmark = [pytest.mark.process, pytest.mark.slow]

CODE = """
import asyncio
import os
import sys
import time
from pathlib import Path

import shared


def succeeds():
    print("working")
    Path("done").write_text(shared.NAME)


async def gentle():
    await asyncio.sleep(0)


def fails():
    raise ValueError("no such report")


def leaves():
    sys.exit(3)


def vanishes():
    os._exit(0)


def takes_long():
    Path("begun").touch()
    try:
        time.sleep(1000)
    finally:
        Path("end").write_text("interrupted")
"""


@pytest.fixture
def run(tmp_path):
    """One run of a function of the plugin "shop" to its end; ``meanwhile`` is awaited while it goes on."""

    def run(function, meanwhile=None, **fields):
        async def main():
            async with process_table(state_folder(tmp_path)) as table:
                store = FakeStore()
                exits = []
                manager = TaskManager(store, table.around, table.tree, exits.append, scheduler=FakeScheduler)
                await manager.start()
                spec = job("cleanup", "shop", kind=JobKind.PLUGIN, entry=f"jobs:{function}", **fields)
                assert manager.declare(PluginJobHost(plugin(tmp_path), adopt_grace=1.0), [spec]) == []
                await manager.run_job("shop.cleanup", "operator")
                if meanwhile is not None:
                    await meanwhile(table)
                (view,) = await ended(store)
                await manager.close()
                return view, exits[0]

        with nothing_left_behind():
            return asyncio.run(main())

    return run


def plugin(root):
    """A build of this environment; its code is in the generation's copy only."""
    played = build_of(root, "shop", app="main:app", stop_timeout=5.0)
    write_files(played.generation.source, {"jobs.py": CODE, "shared.py": "NAME = 'of the generation'"})
    return Build(**vars(played))


def test_a_run_that_succeeds(run, tmp_path):
    """Imports beside it work, its folder is where it works, its lines are kept."""
    view, record = run("succeeds")
    assert (view.outcome, view.exception, view.log_tail) == ("succeeded", None, ["working"])
    assert (tmp_path / "plugins" / "shop" / "done").read_text() == "of the generation"
    assert (record.cause, record.exit_code, record.kind) == ("finished", 0, "job")
    assert view.peak_memory_mb > 1


def test_an_async_run_that_succeeds(run):
    assert run("gentle")[0].outcome == "succeeded"


def test_a_run_that_raises(run):
    """With the exception, and where in its own code."""
    view, record = run("fails")
    assert (view.outcome, view.exception) == ("failed", "ValueError: no such report")
    assert "in fails" in view.traceback
    assert record.exit_code == 1


@pytest.mark.parametrize(
    ("function", "outcome", "text"),
    [("leaves", "failed", "3"), ("vanishes", "crashed", "exit code 0"), ("misspelt", "failed", "misspelt")],
)
def test_a_run_that_ends_otherwise(run, function, outcome, text):
    view, _ = run(function)
    assert view.outcome == outcome
    assert text in (view.exception or view.message)


def test_a_run_over_its_timeout_is_interrupted(run, tmp_path):
    """Its ``finally`` runs."""
    view, record = run("takes_long", timeout=2.0)
    assert (view.outcome, record.cause) == ("timed_out", "job_timeout")
    assert (tmp_path / "plugins" / "shop" / "end").read_text() == "interrupted"
    assert not exists(view.pid)


def test_a_run_is_interrupted_when_everything_stops(run, tmp_path):
    """In order, and on record."""

    async def stop(table):
        await until((tmp_path / "plugins" / "shop" / "begun").exists, "it works", deadline=10)
        (child,) = table.tree.children
        await until(lambda: child.state is State.RUNNING, "it is known to be ready", deadline=10)
        child.post(StopRequested(Cause.SHUTDOWN, "supervisor"))

    view, record = run("takes_long", stop)
    assert (view.outcome, view.message, record.cause) == ("killed", "xcore was stopped", "shutdown")
    assert (tmp_path / "plugins" / "shop" / "end").read_text() == "interrupted"
