"""What signals and a lost terminal do to ``xcore up``, with everything real."""

import os
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.project import XCORE, Project

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]


@pytest.fixture
def logging_to_file(project: Project) -> Project:
    """Its log is where it is looked for, though stderr is not a file."""
    project.configure(manager={"log": {"file": "up.log", "console": True}})
    project.add_app("bench", "workbench")
    return project


def start_on(project: Project, *program: str, stdin: int, output: int) -> None:
    project.process = subprocess.Popen(
        [*program, XCORE, "up"], cwd=project.folder, env=project.environment, stdin=stdin, stdout=output, stderr=output
    )
    project.wait_until(project.gateway_file.exists, "the gateway is announced")
    project.wait_until(project._is_settled, "all plugins are settled")


def assert_serves(project: Project, worker: int) -> None:
    """The same worker as ever, and the supervisor answers."""
    assert project.http.get("/bench/pid").raise_for_status().json() == worker == project.pid("bench")


def test_signals_without_a_meaning_end_nothing(project):
    """Row 27: SIGUSR1 and SIGUSR2 end a process by default; a stray one is logged, and everything goes on."""
    project.add_app("bench", "workbench")
    project.up()
    worker = project.pid("bench")
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE):
        project.process.send_signal(number)
    project.wait_until(lambda: "SIGUSR1" in project.log and "SIGUSR2" in project.log, "it says so")
    assert_serves(project, worker)


def test_a_plugin_has_its_signals_as_by_default(project):
    """What the supervisor passes over is not passed over by what it starts: ignored signals outlive an exec."""
    project.add_app("bench", "workbench")
    project.up()
    pid = project.pid("bench")
    os.kill(pid, signal.SIGUSR1)
    record = project.wait_until(lambda: next(iter(project.exits("bench")), None), "its exit is recorded")
    assert (record["pid"], record["cause"], record["signal"]) == (pid, "signal", signal.SIGUSR1)


def test_a_lost_terminal_ends_nothing(logging_to_file):
    """Row 27: SIGHUP from the kernel has it read its configuration anew; writing to stderr fails from then on."""
    project = logging_to_file
    ours, its = os.openpty()
    try:
        start_on(project, "setsid", "--ctty", stdin=its, output=its)
        worker = project.pid("bench")
    finally:
        os.close(its)
        os.close(ours)
    project.wait_until(lambda: "Configuration reloaded (SIGHUP)" in project.log, "it has heard of it")
    assert_serves(project, worker)
    assert project.admin.post("/admin/plugins/bench/restart", params={"wait": 30}).status_code == 202
    project.stop()


def test_a_reader_of_its_log_that_ends_takes_nothing_along(logging_to_file):
    """Row 27: ``xcore up 2>&1 | head``: SIGPIPE does nothing, and what cannot be written there is in the file."""
    project = logging_to_file
    ours, its = os.pipe()
    try:
        start_on(project, stdin=subprocess.DEVNULL, output=its)
        worker = project.pid("bench")
    finally:
        os.close(its)
        os.close(ours)
    project.process.send_signal(signal.SIGHUP)
    project.wait_until(lambda: "Configuration reloaded (SIGHUP)" in project.log, "it has written something")
    assert_serves(project, worker)
    project.stop()


def test_signals_during_an_upgrade_wait_for_the_version_that_comes(project):
    """Row 27: between the old program's end and the new one's handlers, SIGHUP would end what all depends on."""
    project.add_app("bench", "workbench")
    project.up()
    worker, supervisor, done = project.pid("bench"), project.process.pid, threading.Event()

    def signal_on_and_on() -> None:
        while not done.wait(0.02):
            os.kill(supervisor, signal.SIGHUP)
            os.kill(supervisor, signal.SIGUSR1)

    with ThreadPoolExecutor(1) as pool:
        signalling = pool.submit(signal_on_and_on)
        try:
            upgraded = project.xcore("upgrade")
        finally:
            done.set()
        signalling.result()
    assert upgraded.returncode == 0, f"{upgraded.stderr}\n{project.log}"
    project.wait_until(lambda: project.pid("bench") == worker, "the worker is taken over")
    assert_serves(project, worker)
