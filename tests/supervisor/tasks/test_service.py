"""The process of a task's service: what it says, and how it ends."""

import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest

from plugin_runtime.task_protocol import RunFinished, RunJob
from plugin_runtime.wire import Envelope
from tests.fakes.processes import DEADLINE
from tests.fakes.task_scene import WAITS
from tests.fakes.waiting import until

pytestmark = [pytest.mark.process, pytest.mark.slow]

SHARED = "[{'func': 'work', 'name': 'work', 'minutes': 5, 'shared': True}]"


def test_a_shared_run_is_reported_by_the_service(run):
    """What it says of runs goes to whoever asked for them; and that it has died, too."""

    async def scenario(at):
        at.write("steady", WAITS + "def work():\n    raise ValueError('no luck')\n", SHARED)
        await at.discover()
        task = await at.reaches("steady", "running")
        task.service.send(RunJob("3f2a91c0", "work"))
        await until(lambda: at.jobs.finished_runs, "it is reported", DEADLINE)
        (word,) = at.jobs.finished_runs
        assert (word.run, word.outcome, word.exception) == ("3f2a91c0", "failed", "ValueError: no luck")
        os.kill(at.pid("steady"), signal.SIGKILL)
        await until(lambda: at.jobs.ended == [("steady", "signal")], "its death is told", DEADLINE)

    run(scenario)


def test_a_shared_run_whose_end_was_lost_with_the_connection_is_reported_when_asked_for_again(run):
    """The job would be running for ever, and no other run of it begin; it is not run twice for that."""
    counts = "number = 0\ndef work():\n    global number\n    number += 1\n    raise ValueError(number)\n"

    async def scenario(at):
        at.write("steady", WAITS + counts, SHARED)
        await at.discover()
        task = await at.reaches("steady", "running")
        task.service.send(RunJob("3f2a91c0", "work"))
        await until(lambda: at.jobs.finished_runs, "it is reported", DEADLINE)
        task.service.incarnation.connection.close()
        await until(lambda: at.jobs.connected == ["steady"] * 2, "it is back", DEADLINE)
        task.service.send(RunJob("3f2a91c0", "work"))
        await until(lambda: len(at.jobs.finished_runs) == 2, "it is reported again", DEADLINE)
        assert [word.exception for word in at.jobs.finished_runs] == ["ValueError: 1"] * 2

    run(scenario)


def test_a_service_that_cannot_start_shows_its_own_words(run):
    """Imported well when it was described, and not a moment later: failed, with the last lines."""
    fails = """
import os, sys
from pathlib import Path
if Path("described").exists():
    print("disk on fire")
    raise ImportError("no database")
Path("described").touch()
"""

    async def scenario(at):
        at.write("moody", fails + WAITS)
        await at.discover()
        task = await at.reaches("moody", "failed")
        assert "no database" in task.error.message
        assert "disk on fire" in task.error.log_tail
        assert set(at.causes("moody")) == {"start_failed"}
        (at.root / "described").unlink()
        await at.manager.start("moody", "operator")
        await at.reaches("moody", "running")
        assert task.error is None

    run(scenario)


def test_a_process_that_says_what_it_should_not_is_heard_and_logged(run, caplog):
    """Whatever a foreign process sends."""

    async def scenario(at):
        at.write("steady")
        await at.discover()
        task = await at.reaches("steady", "running")
        task._service.received(task.service, Envelope(RunJob("1", "x")))
        assert at.jobs.finished_runs == []
        task._service.received(task.service, Envelope(RunFinished("1", "succeeded")))
        assert len(at.jobs.finished_runs) == 1

    run(scenario)
    assert "sent an unexpected RunJob" in caplog.text


def test_a_view_shows_what_its_process_uses(run):
    """As of the last sample; nothing of a process that is gone."""

    async def scenario(at):
        at.write("steady")
        await at.discover()
        await at.reaches("steady", "running")
        at.latest["steady"] = SimpleNamespace(cpu_percent=1.234, cpu_seconds=0.5678, memory_mb=20.001)
        view = await at.view("steady")
        assert (view.cpu_percent, view.cpu_seconds, view.memory_mb) == (1.23, 0.57, 20.0)
        assert view.uptime > 0
        view = await at.manager.stop("steady", "operator")
        assert (view.cpu_percent, view.memory_mb, view.uptime, view.last_exit.cause) == (None, None, 0.0, "operator")

    run(scenario)


def test_what_was_stored_is_shown_of_a_task_that_cannot_be_read(run):
    """Title and version of an earlier life."""

    async def scenario(at):
        at.repository.knows("broken")
        at.repository.rows["broken"] = replace(at.repository.rows["broken"], title="Old hand", version="7")
        at.write("broken", "import nothing_like_this\n")
        await at.discover()
        await at.reaches("broken", "failed")
        view = await at.view("broken")
        assert (view.id, view.title, view.version, view.state) == ("id-broken", "Old hand", "7", "failed")

    run(scenario)
