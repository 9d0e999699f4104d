"""``xcore up`` as the first process of a container: nobody above it reaps, starts it again, or passes signals on."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import machine
from tests.integration.project import XCORE, Project, is_alive

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


@pytest.fixture
def container(project: Project) -> Iterator[Project]:
    if os.getuid() != 0 or not shutil.which("unshare"):
        machine.lacks("right to make a PID namespace")
    project.add_app("bench", "workbench")
    yield project.up([*UNSHARE, XCORE, "up"])
    if project.process is not None:
        stop(project)


def stop(project: Project) -> None:
    """As a container's engine does: unshare(1) passes no signal on, but the exit code back."""
    project.forget_clients()
    os.kill(outside(project, 1), signal.SIGTERM)
    project.join()


def inside(pid: int) -> int:
    """The pid that a process has in the innermost namespace it is in; 0 where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(status.partition("NSpid:")[2].partition("\n")[0].split()[-1])


def outside(project: Project, pid: int) -> int:
    """The pid, seen from here, of what is ``pid`` in the project's namespace."""
    (found,) = (seen for seen in project.processes() if seen != project.process.pid and inside(seen) == pid)
    return found


def children(pid: int) -> list[int]:
    """Living and dead."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_as_pid_one_it_serves_and_replaces_a_worker_that_dies(container):
    """Row 28: its own pid is 1, and supervision is as anywhere else."""
    (supervisor,) = container.admin.get("/admin/processes", params={"kind": "supervisor"}).json()
    assert supervisor["pid"] == 1
    pid = container.http.get("/bench/pid").raise_for_status().json()
    os.kill(outside(container, pid), signal.SIGKILL)
    assert container.http.get("/bench/pid").raise_for_status().json() != pid
    record = container.wait_until(lambda: next(iter(container.exits("bench")), None), "its exit is recorded")
    assert (record["pid"], record["cause"], record["signal"]) == (pid, "signal", 9)


def test_as_pid_one_it_ends_and_reaps_what_a_worker_leaves_behind(container):
    """Row 28: init has every orphan, whoever's it was; none of them stays, alive or as a zombie."""
    one = outside(container, 1)
    left = set(container.http.post("/bench/grandchildren").raise_for_status().json())
    os.kill(outside(container, container.pid("bench")), signal.SIGKILL)
    container.wait_until(lambda: left.isdisjoint(map(inside, container.processes())), "they have ended", within=5)
    container.wait_for_state("bench", "running")
    container.wait_until(lambda: all(map(is_alive, children(one))), "no zombie is left", within=5)


def test_as_pid_one_it_stops_in_order(container):
    """Row 28: a PID 1 without a handler would not even get the signal. Exit code 0, and nothing is left."""
    stop(container)
    assert "Stopping (SIGTERM)" in container.log
