"""What a change of the configuration does to tasks that run."""

import os
import signal

import pytest

from tests.fakes.task_scene import FAILS, WAITS
from tests.fakes.waiting import DEADLINE, until

pytestmark = [pytest.mark.process, pytest.mark.slow]


def test_auto_restart_takes_effect_at_once_and_restarts_nobody(run):
    """For those that run, and for one that waits for its next try."""

    async def scenario(at):
        at.write("steady")
        at.write("raises", FAILS)
        await at.discover()
        await at.reaches("steady", "running")
        await at.reaches("raises", "failed", "backoff")
        first = at.pid("steady")
        assert at.configure(manager={"tasks": {"auto_restart": False}}) == []
        assert at.pid("steady") == first
        os.kill(first, signal.SIGKILL)
        await at.reaches("steady", "failed")
        assert at.causes("steady") == ["signal"]
        at.configure(manager={"tasks": {"auto_restart": True}})
        await at.manager.start("steady", "operator")
        await at.reaches("steady", "running")
        os.kill(at.pid("steady"), signal.SIGKILL)
        await until(lambda: len(at.causes("steady")) == 2, "it died once more", DEADLINE)
        await at.reaches("steady", "running")

    run(scenario)


def test_a_task_that_waits_for_its_next_start_does_not_get_it_without_auto_restart(run):
    """Nobody wants it any more; started by hand it may try again."""

    async def scenario(at):
        at.write("raises", FAILS)
        await at.discover()
        await at.reaches("raises", "backoff")
        at.configure(manager={"tasks": {"auto_restart": False}})
        assert at.state("raises") == "exited"
        tried = len(at.causes("raises"))
        await at.manager.start("raises", "operator")
        await at.reaches("raises", "failed")
        assert len(at.causes("raises")) == tried + 1

    run(scenario)


def test_max_retries_holds_from_the_next_crash_on(run):
    """Crashes without a stable run between them."""

    async def scenario(at):
        at.write("raises", FAILS)
        await at.discover()
        await at.reaches("raises", "failed")
        assert len(at.causes("raises")) == 4
        at.configure(manager={"tasks": {"max_retries": 0}})
        await at.manager.start("raises", "operator")
        await until(lambda: len(at.causes("raises")) == 5, "it is tried once more", DEADLINE)
        await at.reaches("raises", "failed")

    run(scenario)


def test_keys_of_one_task_restart_that_one_alone(run, tmp_path):
    """With its new environment variables; a stopped one is not started by it."""
    tells = f"""
import os
from pathlib import Path
Path({str(tmp_path)!r}, "mode").write_text(os.environ.get("MODE", ""))
{WAITS}"""

    async def scenario(at):
        at.write("one", tells)
        at.write("two")
        at.write("stopped")
        at.repository.knows("stopped", enabled=False)
        await at.discover()
        for name in ("one", "two"):
            await at.reaches(name, "running")
        first, second = at.pid("one"), at.pid("two")
        keys = {"one": {"env": {"MODE": "fast"}}, "stopped": {"stop_timeout": 3}}
        assert at.configure(tasks=keys) == ["one"]
        await until(
            lambda: at.pid("one") not in {first, None} and at.state("one") == "running", "it is replaced", DEADLINE
        )
        assert (tmp_path / "mode").read_text() == "fast"
        assert (at.pid("two"), at.causes("one"), at.state("stopped")) == (second, ["reload"], "disabled")

    run(scenario)


def test_the_interval_can_be_changed_while_running(run):
    """Links are followed by looking: a target elsewhere has no events."""

    async def scenario(at):
        target = at.write("linked").rename(at.root / "elsewhere.py")
        (at.directory / "linked.py").symlink_to(target)
        await at.discover()
        await at.reaches("linked", "running")
        at.configure(manager={"tasks": {"interval": 0.05}})
        assert at.watch.interval == 0.05
        target.write_text(target.read_text() + "# another line\n")
        await until(lambda: at.causes("linked") == ["reload"], "the change is noticed", DEADLINE)

    run(scenario, manager={"tasks": {"interval": 600}})


def test_keys_for_a_task_that_is_not_there_are_warned_of(run, caplog):
    """At the start, and when they are changed; once each."""

    async def scenario(at):
        at.write("steady")
        await at.discover()
        await at.reaches("steady", "running")
        assert caplog.text.count("tasks.stedy has no effect") == 1
        assert "did you mean 'steady'?" in caplog.text
        at.configure(tasks={"stedy": {"memory_hard_mb": 100}}, manager={"tasks": {"max_retries": 1}})
        assert caplog.text.count("tasks.stedy has no effect") == 1
        at.configure(tasks={"steady": {}, "stead": {}})
        assert caplog.text.count("tasks.stead has no effect") == 1

    run(scenario, tasks={"stedy": {"memory_hard_mb": 100}})
