"""Templates, replacement by overlap and scaling, as users and operators meet them."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.project import Project, is_alive

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

TASK = """
import time
from pathlib import Path


def tell():
    print(Path("/proc/self/cmdline").read_bytes().split(b"\\0")[-2].decode())


def service_main(service):
    tell()
    while service.running:
        time.sleep(0.05)
"""
"""Its service and its job say how they were started: what is forked keeps the command line of its template."""
JOB = '[{"func": tell, "name": "tell", "minutes": 1000}]'
SEED = """
import os
import sys

from fastapi import APIRouter
{more}

PLUGIN_INFO = {{"name": "{name}", "version": "1", "author": "tests"}}
router = APIRouter(prefix="/app/{name}")


class Plugin:
    def run(self): ...


@router.get("/facts")
def facts():
    return [os.getpid(), "idna" in sys.modules, os.environ["XCORE_DATA_DIR"]]
"""
ALIKE = ("left", "right")
PACE = 0.1
"""Seconds between two requests of one client."""
CLIENTS = 5
"""Together 50 requests a second."""


@pytest.fixture(scope="module")
def system(shared_project: Project) -> Iterator[Project]:
    shared_project.add_app("bench", "workbench", preload=["decimal"])
    shared_project.add_task("core", TASK, con=JOB)
    shared_project.add_task("belonging", TASK, con=JOB, moduleDir="plugins/bench")
    for name in ALIKE:
        shared_project.add_run_py(name, SEED.format(more="", name=name))
    shared_project.add_run_py("odd", SEED.format(more="import idna", name="odd"))
    return shared_project.up()


@pytest.fixture(autouse=True)
def _well(system):
    """Each test begins with one worker that serves, and a template that waits for orders."""
    system.wait_for_state("bench", "running")
    system.wait_until(lambda: template(system)["state"] == "running", "the template is ready")
    system.wait_until(lambda: system.http.get("/bench/pid").json() == system.pid("bench"), "the worker serves")


def template(system, owner="bench"):
    """The template of this plugin, or of the tasks of the core, among the processes that are shown."""
    name = "_base.template" if owner == "_base" else system.plugin(owner)["template"]
    (found,) = [one for one in templates(system) if one["id"] == name]
    return found


def templates(system):
    processes = system.admin.get("/admin/processes").raise_for_status().json()
    return [process for process in processes if process["kind"] == "template"]


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_forked(pid):
    """What is forked keeps the command line of its template."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[-2] == b"template"


def killed(system, number=signal.SIGKILL):
    """Kill the worker; return its pid once another one serves."""
    pid = system.pid("bench")
    os.kill(pid, number)
    system.wait_until(lambda: system.pid("bench") not in {None, pid}, "another worker is there")
    system.wait_for_state("bench", "running")
    return pid


@contextmanager
def load(system):
    """Send 50 requests a second before, meanwhile and after it; none of them may fail."""
    done, answers = threading.Event(), []

    def go_on():
        with system.client() as client:
            while not done.is_set():
                response = client.get("/bench/pid")
                answers.append((response.status_code, response.text))
                done.wait(PACE)

    def wait_for_answers():
        enough = len(answers) + 2 * CLIENTS
        system.wait_until(lambda: len(answers) >= enough or clients_failed(), "requests are answered")

    def clients_failed():
        return any(client.done() for client in clients)

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(go_on) for _ in range(CLIENTS)]
        try:
            wait_for_answers()
            yield
            wait_for_answers()
        finally:
            done.set()
        for client in clients:
            client.result()
    assert [answer for answer in answers if answer[0] != 200] == []


def test_a_killed_worker_is_forked_anew(system):
    """Row 1: its successor is a child of the supervisor's like any other, and the death is on record."""
    before = template(system)["pid"]
    assert is_forked(system.pid("bench"))
    pid = killed(system)
    successor = system.pid("bench")
    assert is_forked(successor)
    assert parent(successor) == system.process.pid
    assert template(system)["pid"] == before
    record = system.wait_until(lambda: next((r for r in system.exits("bench") if r["pid"] == pid), None), "the record")
    assert (record["cause"], record["signal"], record["instance"]) == ("signal", 9, "bench.1")


def test_a_killed_template_is_replaced_and_no_request_fails(system):
    """Nothing depends on it: what it forked serves on."""
    before, worker = template(system)["pid"], system.pid("bench")
    with load(system):
        os.kill(before, signal.SIGKILL)
        system.wait_until(lambda: template(system)["pid"] not in {None, before}, "another template is there")
        system.wait_until(lambda: template(system)["state"] == "running", "it is ready")
    assert system.pid("bench") == worker
    killed(system)
    assert is_forked(system.pid("bench"))


def test_a_stopped_template_costs_time_and_no_requests(system):
    """The next worker is executed, the template is killed as hung and replaced."""
    before = template(system)["pid"]
    with load(system):
        os.kill(before, signal.SIGSTOP)
        killed(system)
    assert not is_forked(system.pid("bench"))
    system.wait_until(lambda: template(system)["pid"] not in {None, before}, "another template is there")

    def recorded():
        exits = system.admin.get("/admin/exits", params={"name": "_plugins", "kind": "template"}).json()
        return next((record for record in exits if record["pid"] == before), None)

    record = system.wait_until(recorded, "its end is on record")
    assert (record["cause"], record["signal"]) == ("hang", 9)
    assert not is_alive(before)


def test_restarts_under_load_fail_no_request(system):
    """Row 29, as the operator does it."""
    seen = {system.pid("bench")}
    with load(system):
        for _ in range(3):
            done = system.xcore("plugin", "restart", "bench")
            assert done.returncode == 0, done.stderr
            seen.add(system.pid("bench"))
    assert len(seen) == 4
    assert not [pid for pid in seen if is_alive(pid) and pid != system.pid("bench")]


def test_scaling_under_load_fails_no_request_and_outlives_xcore(system):
    """Three, also after a restart of xcore; then one again."""
    with load(system):
        done = system.xcore("plugin", "scale", "bench", "3")
        assert done.returncode == 0, done.stderr
    plugin = system.plugin("bench")
    assert (plugin["wanted"], [one["state"] for one in plugin["instances"]]) == (3, ["running"] * 3)
    assert all(is_forked(one["pid"]) for one in plugin["instances"])
    system.stop()
    system.up()
    assert (system.plugin("bench")["wanted"], system.health()["plugins"]["bench"]["ready"]) == (3, 3)
    kept = system.pid("bench")
    with load(system):
        done = system.xcore("plugin", "scale", "bench", "1")
        assert done.returncode == 0, done.stderr
    plugin = system.plugin("bench")
    assert (plugin["wanted"], [one["pid"] for one in plugin["instances"]]) == (1, [kept])


def test_a_number_that_must_not_be_is_refused(system):
    """By the command line as by the admin interface, waiting or not."""
    done = system.xcore("plugin", "scale", "bench", "1000")
    assert done.returncode != 0
    answer = system.admin.post("/admin/plugins/bench/scale", params={"instances": 257})
    assert answer.status_code == 422
    assert system.plugin("bench")["wanted"] == 1


def test_grandchildren_of_a_forked_worker_die_with_it(system):
    """Row 13: those of its group at once, a daemon that left group, session and parents within a second."""
    assert is_forked(system.pid("bench"))
    child, daemon = system.http.post("/bench/grandchildren").raise_for_status().json()
    assert is_alive(child)
    os.kill(system.pid("bench"), signal.SIGKILL)
    died = time.monotonic()
    system.wait_until(lambda: not is_alive(child) and not is_alive(daemon), "the grandchildren are gone", within=1.5)
    assert time.monotonic() - died < 1.5


@pytest.mark.parametrize(("task", "owner"), [("core", "_base"), ("belonging", "bench")])
def test_services_and_runs_are_forked_too(system, task, owner):
    """From the template of the base environment, or of the plugin that they belong to."""
    system.wait_until(lambda: template(system, owner)["state"] == "running", "the template is ready")
    run = system.finished(system.run_job(f"{task}.tell"))
    assert (run["outcome"], run["log_tail"]) == ("succeeded", ["template"])
    pid = system.task(task)["pid"]
    assert is_forked(pid)
    os.kill(pid, signal.SIGKILL)
    system.wait_until(lambda: system.task(task)["pid"] not in {None, pid}, "another service is there")
    successor = system.wait_for_task(task, "running")["pid"]
    assert is_forked(successor)
    assert parent(successor) == system.process.pid
    record = system.wait_until(lambda: [record for record in system.exits(task) if record["pid"] == pid], "recorded")[0]
    assert (record["cause"], record["signal"]) == ("signal", 9)


def shared_template(system):
    """Of those that are alike; ready."""

    def ready():
        found = template(system, "left")
        return found if found["state"] == "running" else None

    for name in ("left", "right", "odd"):
        system.wait_for_state(name, "running")
    return system.wait_until(ready, "the shared template is ready")


def test_plugins_that_are_alike_are_forked_from_one_template(system):
    """Each with its own variables and data. One that imports another package has a template of its own."""
    shared = shared_template(system)
    assert shared["name"] == "_plugins"
    assert system.plugin("right")["template"] == shared["id"]
    assert template(system, "odd")["pid"] != shared["pid"]
    for name in (*ALIKE, "odd"):
        pid, has_package, data = system.http.get(f"/app/{name}/facts").raise_for_status().json()
        assert (pid, is_forked(pid), parent(pid)) == (system.pid(name), True, system.process.pid)
        assert (has_package, Path(data).name) == (name == "odd", name)
    assert len(templates(system)) == 4  # of tasks, of bench, of the two that are alike, of the odd one


def test_a_killed_shared_template_is_replaced_and_forks_for_all_of_them(system):
    """Whoever was forked from it lives on."""
    before = shared_template(system)["pid"]
    pids = {name: system.pid(name) for name in ALIKE}
    os.kill(before, signal.SIGKILL)
    system.wait_until(lambda: template(system, "left")["pid"] not in {None, before}, "another template is there")
    shared = shared_template(system)
    for name in ALIKE:
        done = system.xcore("plugin", "scale", name, "2")
        assert done.returncode == 0, done.stderr
    for name in ALIKE:
        first, second = (one["pid"] for one in system.plugin(name)["instances"])
        assert first == pids[name]
        assert is_forked(second)
        assert system.plugin(name)["template"] == shared["id"]


def test_a_shared_template_stays_until_the_last_one_leaves(system):
    """One of them is stopped: the other goes on being forked, from the same process."""
    shared = shared_template(system)
    assert system.xcore("plugin", "restart", "right").returncode == 0
    assert shared_template(system)["pid"] == shared["pid"]
    assert is_forked(system.pid("right"))
