"""A supervisor that is killed: nothing of it outlives the grace unless another one comes, whatever it has become."""

import os
import signal
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.project import Project, is_alive

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

GRACE = 2.0
PATIENCE = GRACE + 10
"""Seconds for everything to be gone: the grace, two for SIGTERM, and a loaded machine."""

HOLDS_THE_GIL = """
import re

async def app(scope, receive, send):
    if scope["type"] == "http":
        if scope["path"].endswith("/hang"):
            print("hanging", flush=True)
            re.match(r"(a+)+$", "a" * 64 + "b")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"here"})
"""
LEAVES_EVERYTHING = """
import os, subprocess, sys

# Its parents die, its session is its own, its output is nobody's, and its environment says nothing.
SCRIPT = '''
import subprocess, sys
daemon = subprocess.Popen(
    ["/usr/bin/env", "-i", sys.executable, "-I", "-S", "-c", "import time; time.sleep(3600)"],
    start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
)
print(daemon.pid, flush=True)
'''

async def app(scope, receive, send):
    if scope["type"] == "http":
        found = subprocess.run([sys.executable, "-I", "-S", "-c", SCRIPT], capture_output=True, check=True)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": found.stdout})
"""
DEAF_TASK = """
import os, signal, time
from pathlib import Path

def service_main(service):
    while Path("deaf.pid").exists() and service.running:  # the next one listens, so that the test can end
        service.wait(60)
    if not service.running:
        return
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path("deaf.pid").write_text(str(os.getpid()))
    while True:
        time.sleep(3600)

def long():
    Path("long.pid").write_text(str(os.getpid()))
    time.sleep(3600)
"""


def guard_of(project: Project, former: int | None = None) -> int:
    """The pid of its guard, once it is ready and is another one than ``former``."""

    def ready() -> int | None:
        (guard,) = project.admin.get("/admin/processes", params={"kind": "guard"}).raise_for_status().json()
        return guard["pid"] if guard["state"] == "running" and guard["pid"] != former else None

    return project.wait_until(ready, "a guard is ready")


def guard_log(project: Project) -> str:
    path = project.state / "logs" / "guard.log"
    return path.read_text() if path.exists() else ""


def kill_supervisor(project: Project) -> float:
    """Kill it alone; return the moment."""
    project.forget_clients()
    project.process.kill()
    project.process.wait()
    project.process = None
    return time.monotonic()


def wait_until_nothing_is_left(project: Project, killed: float) -> None:
    project.wait_until(lambda: not project.processes(), f"nothing is left\n{guard_log(project)}", within=PATIENCE)
    assert time.monotonic() - killed < PATIENCE
    assert {path.suffix for path in (project.state / "run").iterdir()} <= {".process"}


@pytest.fixture
def short(project: Project) -> Project:
    project.configure(supervisor={"adopt_grace": GRACE})
    return project


def wakeups(pid: int) -> int:
    """How often it has waited for something."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("voluntary_ctxt_switches:")[2].split()[0])


def test_nothing_outlives_a_supervisor_that_is_not_replaced(short):
    """Row 22: not a stopped worker, not one whose C code holds the GIL, no task, no run, no grandchild."""
    short.add_app("bench", "workbench")
    short.add_code("busy", HOLDS_THE_GIL)
    short.add_code("leaver", LEAVES_EVERYTHING)
    short.add_task("deaf", DEAF_TASK, con="[{'func': long, 'name': 'long', 'interval': 'interval', 'hours': 9}]")
    short.up()
    short.wait_for_task("deaf", "running")
    short.wait_until((short.folder / "deaf.pid").exists, "the service runs")
    short.run_job("deaf.long")
    short.wait_until((short.folder / "long.pid").exists, "the run runs")
    children = short.http.post("/bench/grandchildren").raise_for_status().json()
    with socket.create_connection(tuple(short.url.removeprefix("http://").split(":")), timeout=30) as hanging:
        hanging.sendall(b"GET /busy/hang HTTP/1.1\r\nHost: localhost\r\n\r\n")
        short.wait_until(lambda: "hanging" in short.plugin_log("busy"), "C code holds the GIL")
        os.kill(short.pid("bench"), signal.SIGSTOP)
        guard = guard_of(short)
        # Stopped, the supervisor cannot sweep: the daemon is its child until it dies, and a stranger from then on.
        short.process.send_signal(signal.SIGSTOP)
        daemon = int(short.http.get("/leaver/").raise_for_status().text)
        before = wakeups(guard)
        short.wait_until(lambda: wakeups(guard) >= before + 3, "the guard has looked around")
        killed = kill_supervisor(short)

    wait_until_nothing_is_left(short, killed)

    short.wait_until(lambda: not is_alive(daemon), "the daemon with an empty environment is gone", within=1)
    assert not any(is_alive(pid) for pid in children)
    assert "Sending SIGKILL to" in guard_log(short)
    assert "deaf (pid " in guard_log(short)
    assert guard_log(short).endswith("Everything is ended\n")


def test_nothing_outlives_an_installer_that_hangs(short):
    """Its supervisor's death is its own; what it has started goes with the rest."""
    with closing(socket.create_server(("127.0.0.1", 0))) as index:
        url = f"http://127.0.0.1:{index.getsockname()[1]}/simple"
        short.configure(supervisor={"adopt_grace": GRACE, "index_url": url})
        short.add_app("hanging", "workbench")
        manifest = short.plugins / "hanging" / "pyproject.toml"
        manifest.write_text(manifest.read_text().replace("[tool.xcore]", 'dependencies = ["nothing>=1"]\n[tool.xcore]'))
        short.start()
        index.settimeout(60)
        installers = '"id": "hanging.installer"'
        with closing(index.accept()[0]):
            records = short.state / "run"
            found = [path for path in records.glob("*.process") if installers in path.read_text()]
            assert found, short.log
            killed = kill_supervisor(short)
            wait_until_nothing_is_left(short, killed)


def test_a_killed_guard_is_replaced_and_its_successor_guards(short):
    """It is a child like any other: on record with its end, and there again."""
    short.add_app("bench", "workbench")
    short.up()
    first = guard_of(short)
    os.kill(first, signal.SIGKILL)
    assert guard_of(short, former=first) != first
    (record,) = short.wait_until(lambda: short.exits("guard"), "its end is on record")
    assert (record["kind"], record["cause"], record["signal"], record["pid"]) == ("guard", "signal", 9, first)

    def measured() -> list[str]:
        return [row["id"] for row in short.admin.get("/admin/resources").json() if row["kind"] == "guard"]

    assert short.wait_until(measured, "it is measured") == ["guard"]
    threads = short.admin.get("/tasks/threads").json()
    assert [thread["name"] for thread in threads if thread["process"] == "guard"] == ["MainThread"]
    os.kill(short.pid("bench"), signal.SIGSTOP)

    wait_until_nothing_is_left(short, kill_supervisor(short))


def test_a_stopped_guard_is_replaced(project):
    """It beats like a worker: one that hangs could not do its duty."""
    project.configure(supervisor={"heartbeat": {"stalled": 1, "hung": 2}})
    project.up()
    first = guard_of(project)
    os.kill(first, signal.SIGSTOP)
    assert guard_of(project, former=first) != first
    (record,) = project.wait_until(lambda: project.exits("guard"), "its end is on record")
    assert record["cause"] == "hang"


def test_without_supervisor_and_guard_the_guests_end_themselves(short):
    """Both killed at once: who is well ends after the grace, since its channel is gone."""
    short.add_app("bench", "workbench")
    short.up()
    guard = guard_of(short)
    short.process.send_signal(signal.SIGSTOP)
    os.kill(guard, signal.SIGKILL)
    kill_supervisor(short)
    short.wait_until(lambda: not short.processes(), "the guests have ended", within=PATIENCE)
    assert guard_log(short) == ""
    short.gateway_file.unlink()
    short.up()
    assert short.http.get("/bench/pid").status_code == 200
    short.expect_log("Ending: .*supervisor")


def test_a_supervisor_that_comes_within_the_grace_is_left_alone(project):
    """The guard of the dead one sees the lock held, and leaves when the new one's own guard is ready."""
    grace = 6  # seconds; a busy machine needs some of them for the start
    project.configure(supervisor={"adopt_grace": grace})
    project.add_app("bench", "workbench")
    project.up()
    guard = guard_of(project)
    kill_supervisor(project)
    project.gateway_file.unlink()

    project.up()

    project.wait_until(lambda: not is_alive(guard), "the old guard has left")
    assert f"Sending SIGTERM to the guard (pid {guard}) of a supervisor before" in project.log
    worker = project.http.get("/bench/pid").json()
    end = time.monotonic() + grace + 1
    project.wait_until(lambda: time.monotonic() > end, "the grace is over")
    assert project.http.get("/bench/pid").json() == worker
    assert "Sending" not in guard_log(project)
    project.expect_log("Ending: .*supervisor")


def test_a_supervisor_that_comes_too_late_waits_for_the_guard(short):
    """While everything is ended it would find the remains of the one before; it is told what it waits for."""
    short.add_task("deaf", DEAF_TASK)
    short.up()
    short.wait_for_task("deaf", "running")
    first = int(short.wait_for_text(short.folder / "deaf.pid"))
    guard = guard_of(short)
    kill_supervisor(short)
    short.gateway_file.unlink()
    short.wait_until(lambda: "Sending SIGTERM" in guard_log(short), "the guard has begun", within=PATIENCE)
    os.kill(guard, signal.SIGSTOP)  # it would be done before a slow start has come so far

    short.start()
    try:
        short.wait_until(lambda: f"Waiting for the guard (pid {guard})" in short.log, "it is waited for")
    finally:
        os.kill(guard, signal.SIGCONT)
    short.wait_until_up()

    assert not is_alive(first)
    short.wait_for_task("deaf", "running")
    assert guard_log(short).endswith("Everything is ended\n")


JOBS = "[{'func': often, 'name': 'often', 'interval': 'interval', 'hours': 9}]"
HAS_A_JOB = """
def often():
    pass

def service_main(service):
    while service.running:
        service.wait(60)
"""


def test_what_was_acknowledged_is_there_and_wanted_after_a_kill(short):
    """Rows 22 and 23: killed the moment it has answered; the supervisor that comes too late wants the same."""
    short.add_app("bench", "workbench")
    short.add_task("worked", HAS_A_JOB, con=JOBS)
    short.up()
    short.wait_for_task("worked", "running")
    owner = short.admin
    made = owner.post("/admin/tokens", json={"name": "kept", "role": "admin"}).raise_for_status().json()
    owner.post("/admin/jobs/worked.often/pause").raise_for_status()
    owner.post("/tasks/stop", params={"name": "worked"}).raise_for_status()
    owner.post("/admin/plugins/bench/scale", params={"instances": 3}).raise_for_status()
    wait_until_nothing_is_left(short, kill_supervisor(short))
    with closing(sqlite3.connect(short.state / "manager.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    short.gateway_file.unlink(missing_ok=True)

    short.up()

    with short.client(made["token"]) as client:
        assert client.get("/admin/plugins").status_code == 200
    assert short.job("worked.often")["state"] == "paused"
    assert (short.task("worked")["state"], short.task("worked")["enabled"]) == ("disabled", False)
    short.wait_until(lambda: len(short.plugin("bench")["instances"]) == 3, "there are three")
    short.wait_for_state("bench", "running")


def test_sockets_that_the_dead_have_left_are_removed(short):
    """Row 23: with its guard dead, too, nobody has tidied up; what lies in run/ belongs to what runs."""
    short.add_app("bench", "workbench")
    short.up()
    guard = guard_of(short)
    short.process.send_signal(signal.SIGSTOP)
    os.kill(guard, signal.SIGKILL)
    for pid in short.processes():
        os.kill(pid, signal.SIGKILL)
    kill_supervisor(short)
    short.wait_until(lambda: not short.processes(), "all are dead")
    stale = {path for path in (short.state / "run").iterdir() if path.is_socket() or path.is_fifo()}
    assert len(stale) > 4
    short.gateway_file.unlink(missing_ok=True)

    short.up()

    known = {short.state / "run" / name for name in ("control.sock", "command.sock", "local.sock")}
    assert not {path for path in stale - known if path.exists()}
    assert short.http.get("/bench/pid").status_code == 200


def serving(project: Project) -> set[int]:
    """All but templates, which may be renewed at any time."""
    processes = project.admin.get("/admin/processes").raise_for_status().json()
    return {process["pid"] for process in processes if process["kind"] != "template"}


def test_two_projects_side_by_side_do_not_touch_each_other(short, environments: Path):
    """Each guard knows its own by their mark."""
    other = Project(environments)
    try:
        other.configure(supervisor={"adopt_grace": GRACE})
        for project in (short, other):
            project.add_app("bench", "workbench")
            project.up()
        before = serving(other)
        wait_until_nothing_is_left(short, kill_supervisor(short))
        assert serving(other) == before
        assert before <= set(other.processes())
        assert other.http.get("/bench/pid").status_code == 200
    finally:
        other.close()


def test_an_orderly_stop_leaves_the_guard_nothing_to_do(short):
    """It goes last, in order, and says nothing."""
    short.add_app("bench", "workbench")
    short.up()
    short.stop()
    assert guard_log(short) == ""
