"""Plugins that stop when nobody asks for them, and what their callers notice of that: nothing but a moment."""

import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.project import Project

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

IDLE_STOP = 0.5
"""Seconds."""
CLIENTS = 5
PACE = 0.1
"""Seconds between two requests of one client: together 50 a second."""

JOB = '[{"func": tell, "name": "tell", "minutes": 1000}]'
FAILING = """
import pathlib

if pathlib.Path("{broken}").exists():
    raise RuntimeError("broken meanwhile")


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({{"type": "http.response.start", "status": 200, "headers": []}})
        await send({{"type": "http.response.body", "body": b"ok"}})
"""


@pytest.fixture(scope="module")
def system(shared_project: Project) -> Iterator[Project]:
    shared_project.configure(
        gateway={"processes": 2, "parking": {"seconds": 10}}, plugins={"bench": {"idle_stop": IDLE_STOP}}
    )
    shared_project.add_app("bench", "workbench")
    shared_project.add_code(
        "failing", FAILING.format(broken=shared_project.folder / "broken"), idle_stop=IDLE_STOP, start_timeout=5
    )
    return shared_project.up()


def idle(system, name="bench"):
    """Wait until it is idle and its worker gone; return it."""
    system.wait_for_state(name, "idle")
    return system.wait_until(
        lambda: (
            (view := system.plugin(name))["state"] == "idle"
            and all(instance["pid"] is None for instance in view["instances"])
            and view
        ),
        f"{name} has no process",
    )


def template(system, owner="bench"):
    processes = system.admin.get("/admin/processes").raise_for_status().json()
    return next(process for process in processes if process["id"] == system.plugin(owner)["template"])


def test_a_plugin_that_nobody_asks_for_stops_and_the_next_request_wakes_it(system):
    """Its template stays, health is ok, the exit says why; its caller waits for a moment and gets its answer."""
    view = idle(system)
    assert (view["wanted"], view["error"]) == (1, None)
    health = system.wait_until(  # the other gateway may be told a moment later
        lambda: (found := system.health())["plugins"]["bench"]["state"] == "idle" and found, "its health says so"
    )
    assert health["status"] == "ok"
    assert template(system)["state"] == "running"
    record = system.wait_until(lambda: system.exits("bench") and system.exits("bench")[0], "its exit is recorded")
    assert (record["cause"], record["exit_code"], record["actor"]) == ("idle", 0, "supervisor")

    parked = view["traffic"]["parked_total"]
    started = time.monotonic()
    with system.client() as slow, slow.stream("GET", "/bench/stream", params={"mib": 32}) as response:
        assert next(response.iter_raw())  # under way it keeps the plugin awake
        assert time.monotonic() - started < 5
        assert system.http.get("/bench/pid").raise_for_status().json() == system.pid("bench")
        assert system.plugin("bench")["state"] == "running"
        system.wait_until(
            lambda: system.plugin("bench")["traffic"]["parked_total"] == parked + 1, "its wait is counted"
        )
        assert system.plugin("bench")["instances"][0]["restarts"] == 0


class Load:
    """50 requests a second, begun and ended when the test says; ``failures``: what was answered but 200."""

    def __init__(self, system):
        self._system = system
        self._done = threading.Event()
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._answered = [0] * CLIENTS
        self.failures = []

    def __enter__(self):
        self._clients = [self._pool.submit(self._go_on, number) for number in range(CLIENTS)]
        return self

    def _go_on(self, number):
        with self._system.client() as client:
            while not self._done.is_set():
                response = client.get("/bench/pid")
                if response.status_code != 200:
                    self.failures.append((response.status_code, response.text))
                self._answered[number] += 1
                self._done.wait(PACE)

    def wait_for_answers(self):
        """Wait until each client has had three."""
        enough = [count + 3 for count in self._answered]
        self._system.wait_until(
            lambda: all(count >= least for count, least in zip(self._answered, enough, strict=True)),
            "requests are answered",
        )

    def __exit__(self, *_):
        self._done.set()
        for client in self._clients:
            client.result()
        self._pool.shutdown()


def stops(system):
    """How often it was told to stop for want of requests."""
    return system.log.count("Plugin bench is idle")


def test_no_request_fails_that_comes_in_the_moment_of_going_idle(system):
    """Row 29 for a plugin that goes idle: 50 requests a second begin as its worker is told to stop."""
    for _ in range(3):
        before = stops(system)
        system.http.get("/bench/pid").raise_for_status()
        system.wait_until(lambda n=before: stops(system) > n, "it is told to stop")
        with Load(system) as load:
            load.wait_for_answers()
        assert load.failures == []


def test_no_request_fails_while_it_is_found_out_whether_it_is_idle(system):
    """Between the last sign of quiet and the stop there are moments of all kinds: requests begin in all of them."""
    for tenths in range(5, 26, 4):
        quiet = time.monotonic()
        system.wait_until(lambda q=quiet, t=tenths: time.monotonic() - q > t / 10, "that moment comes")
        with Load(system) as load:
            load.wait_for_answers()
        assert load.failures == []


def test_what_takes_long_is_no_idleness(system):
    """A request in flight, and a response that goes on: its worker is not stopped under it, however long that takes."""
    system.http.get("/bench/pid")
    pid, before = system.pid("bench"), stops(system)
    with system.client() as slow, slow.stream("GET", "/bench/stream", params={"mib": 32}) as response:
        parts = response.iter_raw()
        size = len(next(parts))
        assert system.http.get("/bench/slow", params={"seconds": 6 * IDLE_STOP}).json() == "slept"
        quiet = time.monotonic()
        system.wait_until(lambda: time.monotonic() - quiet > 6 * IDLE_STOP, "it would have stopped by now")
        assert (system.pid("bench"), stops(system)) == (pid, before)
        assert size + sum(map(len, parts)) == 32 * 1024 * 1024
    idle(system)


def test_a_request_with_a_body_wakes_it_and_is_delivered_once(system):
    """A POST is parked like any other; that it waited makes no second one of it."""
    idle(system)
    deliveries = system.data("bench") / "record"
    deliveries.unlink(missing_ok=True)
    with system.client() as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.post, "/bench/record", content=b"x" * 10_000)
        system.wait_for_text(deliveries)
        os.kill(system.pid("bench"), signal.SIGKILL)
        assert answer.result().status_code == 502
    system.wait_for_state("bench", "running", "idle")
    assert deliveries.read_text() == "came\n"
    assert system.http.post("/bench/sink", content=b"x" * 10_000).json() == 10_000


def test_a_restart_starts_an_idle_plugin(system):
    """What an operator does about a plugin is done at once."""
    idle(system)
    answer = system.admin.post("/admin/plugins/bench/restart", params={"wait": 30})
    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    idle(system)
    assert system.xcore("plugin", "restart", "bench").returncode == 0


def test_scaling_wakes_an_idle_plugin_and_all_instances_sleep_and_wake_together(system):
    """``wanted`` is what is configured, whether they run or not."""
    idle(system)
    answer = system.admin.post("/admin/plugins/bench/scale", params={"instances": 2, "wait": 30})
    assert (answer.status_code, answer.json()["state"], answer.json()["wanted"]) == (202, "running", 2)
    view = idle(system)
    assert (view["wanted"], len(view["instances"])) == (2, 2)
    asleep = {"state": "idle", "ready": 0, "wanted": 2, "restarts": 0}
    system.wait_until(lambda: system.health()["plugins"]["bench"] == asleep, "each gateway is told")

    def both_are_there() -> bool:
        system.http.get("/bench/pid").raise_for_status()  # on and on, or the first may sleep before the second is up
        return system.health()["plugins"]["bench"]["ready"] == 2

    system.wait_until(both_are_there, "both are there")
    assert system.admin.post("/admin/plugins/bench/scale", params={"instances": 1, "wait": 30}).status_code == 202


def test_idle_stop_is_followed_as_soon_as_the_configuration_is_read_anew(system):
    """0 means that it runs, so one that is idle is woken; and the other way round."""
    idle(system)
    config = json.loads((system.folder / "config.json").read_text())

    config["plugins"]["bench"]["idle_stop"] = 0
    (system.folder / "config.json").write_text(json.dumps(config))
    reload = system.admin.post("/tasks/reload").raise_for_status().json()
    assert (reload["changed"], reload["needs_restart"]) == (["plugins.bench.idle_stop"], [])
    system.wait_for_state("bench", "running")

    config["plugins"]["bench"]["idle_stop"] = IDLE_STOP
    (system.folder / "config.json").write_text(json.dumps(config))
    system.admin.post("/tasks/reload").raise_for_status()
    idle(system)


def test_a_job_of_an_idle_plugin_runs_and_wakes_nobody(system):
    """Runs are no requests: they have processes of their own, forked from the template that stays."""
    system.add_task("belonging", "def tell():\n    print('told')\n", con=JOB, moduleDir="plugins/bench")
    system.wait_for_task("belonging", "idle")
    idle(system)
    before = stops(system)
    assert system.finished(system.run_job("belonging.tell"))["outcome"] == "succeeded"
    assert (system.plugin("bench")["state"], stops(system)) == ("idle", before)


def test_a_wake_that_fails_is_answered_like_any_failed_start(system):
    """The plugin is not idle then, but what it is; mended, it serves and goes idle again."""
    idle(system, "failing")
    broken = system.folder / "broken"
    broken.touch()
    system.expect_log("failing")
    response = system.http.get("/failing/")
    assert (response.status_code, response.json()["type"]) == (503, "PluginUnavailable")
    assert response.json()["extension"]["plugin"] == "failing"
    system.wait_until(lambda: system.plugin("failing")["state"] in {"failed", "backoff"}, "it waits for its next try")
    assert system.plugin("failing")["error"]["type"] == "RuntimeError"
    broken.unlink()
    assert system.admin.post("/admin/plugins/failing/restart", params={"wait": 30}).status_code == 202
    assert system.http.get("/failing/").text == "ok"
    idle(system, "failing")


def test_the_first_answer_comes_soon(system):
    """From a template: in tens of milliseconds. Not measured under load, so generous."""
    took = []
    for _ in range(5):
        idle(system)
        started = time.monotonic()
        system.http.get("/bench/pid").raise_for_status()
        took.append(time.monotonic() - started)
    print(f"first answers after waking: {[round(1000 * seconds) for seconds in took]} ms")
    assert statistics.median(took) < 1
