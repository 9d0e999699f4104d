"""A machine on which nothing can be started any more: no process, no thread (RLIMIT_NPROC)."""

import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests import machine
from tests.integration.project import XCORE, Project

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

USER = "64999"
"""Nobody's: the kernel does not hold root to the limit, and counts all that a user runs."""
AS_USER = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
MAY_OPEN_FILES = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
"""The interpreter and the environments of the tests are root's."""


MOST = str(resource.getrlimit(resource.RLIMIT_NPROC)[0])


@pytest.fixture
def system(project: Project) -> Project:
    project.add_app("bench", "workbench")
    project.add_app("neighbour", "workbench")
    program = [XCORE, "up"]
    if os.getuid() == 0:
        if not shutil.which("setpriv"):
            machine.lacks("setpriv, to run as another user than root")
        shutil.chown(project.folder, int(USER))
        for path in project.folder.rglob("*"):
            os.chown(path, int(USER), int(USER), follow_symlinks=False)
        program = [*AS_USER, *MAY_OPEN_FILES, *program]
    return project.up(program)


@contextmanager
def nothing_can_be_started(project: Project) -> Iterator[None]:
    """For each process of the project, forked or not, one process of its user is one too many."""
    limited = list(project.processes())
    try:
        for pid in limited:
            set_limit(pid, "1")
        yield
    finally:
        for pid in limited:
            set_limit(pid, MOST)


def set_limit(pid: int, most: str) -> None:
    """As its user, who may do that to processes of its own; there may be no such process any more."""
    prefix = AS_USER if os.getuid() == 0 else ()
    subprocess.run([*prefix, "prlimit", "--pid", str(pid), f"--nproc={most}:"], capture_output=True)


def test_a_worker_that_cannot_be_started_is_tried_again_until_it_can(system):
    """Row 33: each attempt is on record with its cause, and waits longer; others serve meanwhile."""
    with nothing_can_be_started(system):
        os.kill(system.pid("bench"), signal.SIGKILL)

        def refused():
            return [record for record in system.exits("bench") if record["cause"] == "start_failed"]

        system.wait_until(lambda: len(refused()) >= 3, "several attempts are on record")
        assert all("Resource temporarily unavailable" in record["message"] for record in refused()), refused()
        assert system.plugin("bench")["state"] in {"backoff", "starting"}
        assert system.http.get("/neighbour/pid").raise_for_status().json() == system.pid("neighbour")
        # Everybody who operates it sees what is wrong, though no thread can be started, either.
        assert system.admin.get("/admin/plugins/bench/logs").is_success
        assert "Resource temporarily unavailable" in system.xcore("plugin", "list", "--json").stdout
        assert system.admin.post("/tasks/reload").is_success
    system.wait_for_state("bench", "running")
    assert system.http.get("/bench/pid").status_code == 200
