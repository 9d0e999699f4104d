"""Workers that die: who notices, what is kept of it, and what their callers see."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import urlsplit

import httpx
import pytest

from tests.integration.project import Project, is_alive

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

MIB = 1024 * 1024
UPLOAD = 30 * MIB
GROWTH = 4 * MIB
"""Bytes by which the gateway's memory may differ for reasons of its own; an upload is many times as much."""


@pytest.fixture(scope="module")
def system(shared_project: Project) -> Iterator[Project]:
    shared_project.add_app("bench", "workbench")
    shared_project.add_app("neighbour", "workbench")
    shared_project.add_app("once", "workbench", restart="on-failure")
    return shared_project.up()


@pytest.fixture(autouse=True)
def _well_again(system):
    """Each test begins with a worker that serves and that the supervisor knows: not with one that was just killed."""
    system.wait_until(lambda: system.http.get("/bench/pid").json() == system.pid("bench"), "the worker serves")


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_a_killed_worker_comes_back_as_another_process(system):
    """kill -9 of the only worker: the next request is answered by its successor, after waiting at most."""
    before = system.http.get("/bench/pid").json()

    kill(before)

    assert system.http.get("/bench/pid").raise_for_status().json() != before


def test_the_exit_record_says_what_killed_it_and_what_it_printed_last(system):
    """An operator reads afterwards what happened: signal 9, no exit code, the last lines."""
    system.http.get("/bench/say", params={"text": "last words"})
    pid = system.pid("bench")

    kill(pid)

    record = system.exit_of("bench", pid)
    assert (record["cause"], record["signal"], record["exit_code"]) == ("signal", 9, None)
    assert (record["instance"], record["kind"]) == ("bench.1", "worker")
    assert any("last words" in line for line in record["log_tail"])
    assert record["uptime"] > 0
    assert abs(record["time"] - time.time()) < 60
    assert system.plugin("bench")["last_exit"]["id"] == record["id"]


def test_no_get_fails_while_the_only_worker_is_killed(system):
    """Idempotent requests around a death wait, whether they were under way or came after it."""
    done, failures = threading.Event(), []

    def get_on_and_on():
        count = 0
        with system.client() as client:
            while not done.is_set():
                response = client.get("/bench/pid")
                count += 1
                if response.status_code != 200:
                    failures.append(response.text)
        return count

    with ThreadPoolExecutor(8) as pool:
        counts = [pool.submit(get_on_and_on) for _ in range(8)]
        for _ in range(3):
            pid = system.pid("bench")
            kill(pid)
            system.wait_until(lambda p=pid: system.pid("bench") not in {None, p}, "another worker is there")
            system.wait_for_state("bench", "running")
        done.set()
    assert failures == []
    assert all(count.result() for count in counts)


def test_a_waiting_get_is_sent_again_to_the_next_worker(system):
    """A GET whose worker died before it answered is answered by the next one."""
    marker = system.data("bench") / "slow"
    marker.unlink(missing_ok=True)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(system.http.get, "/bench/slow", params={"seconds": "0.5"})
        system.wait_until(marker.exists, "the request is under way")
        kill(system.pid("bench"))
        assert answer.result().json() == "slept"


def test_a_neighbour_notices_nothing(system):
    """Another plugin goes on in the same process."""
    neighbour = system.http.get("/neighbour/pid").json()
    before = system.pid("bench")
    kill(before)
    assert system.http.get("/neighbour/pid").json() == neighbour
    system.wait_until(lambda: system.pid("bench") not in {None, before}, "the worker is back")
    assert system.http.get("/neighbour/pid").json() == neighbour
    assert system.plugin("neighbour")["instances"][0]["restarts"] == 0


def test_a_delivered_post_is_never_delivered_twice(system):
    """Its worker dies before it answers: 502 that names the plugin, within a second, and exactly one delivery."""
    deliveries = system.data("bench") / "record"
    deliveries.unlink(missing_ok=True)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(system.http.post, "/bench/record", content=b"once")
        system.wait_for_text(deliveries)
        pid = system.pid("bench")
        killed = time.monotonic()
        kill(pid)
        response = answer.result()
        assert time.monotonic() - killed < 1
    assert response.status_code == 502
    error = response.json()
    assert (error["type"], error["extension"]["plugin"]) == ("PluginDied", "bench")
    assert "bench" in error["message"]
    system.wait_for_state("bench", "running")
    assert system.http.get("/bench/pid").status_code == 200
    assert deliveries.read_text() == "came\n"


def test_a_post_that_its_worker_never_saw_is_sent_to_the_next_one(system):
    """Row 2: undelivered, so delivering it is no second time. Its body goes with it, and it is counted."""
    pid, before = system.pid("bench"), system.plugin("bench")["traffic"]
    os.kill(pid, signal.SIGSTOP)
    with system.client() as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.post, "/bench/sink", content=b"x" * 50_000)
        system.wait_until(lambda: system.plugin("bench")["traffic"]["in_flight"] == 1, "the request is on its way")
        kill(pid)
        assert (answer.result().status_code, answer.result().json()) == (200, 50_000)

    def counted():
        now = system.plugin("bench")["traffic"]
        return (now["resent"] - before["resent"], now["in_flight"], now["parked"]) == (1, 0, 0)

    system.wait_until(counted, "it is counted as sent again")


def test_a_response_that_was_cut_off_looks_cut_off(system):
    """Killed in mid-response: the client must never take the half for the whole."""
    with system.http.stream("GET", "/bench/half") as response:
        parts = response.iter_raw()
        assert next(parts) == b"the first half"
        kill(system.pid("bench"))
        with pytest.raises(httpx.RemoteProtocolError):
            list(parts)


def test_a_chunked_response_that_was_cut_off_has_no_last_chunk(system):
    """What goes over the wire, for clients that look less closely than httpx."""
    address = urlsplit(system.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(b"GET /bench/half HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while b"the first half" not in received:
            received += connection.recv(65536)
        kill(system.pid("bench"))
        while data := connection.recv(65536):
            received += data
    assert b"transfer-encoding: chunked" in received.lower()
    assert not received.endswith(b"0\r\n\r\n")


def test_a_response_of_known_length_that_was_cut_off_is_too_short(system):
    """Row 3: what has come is less than was said, so no client takes it for the whole."""
    with connect(system) as connection:
        connection.sendall(b"GET /bench/stream?mib=64 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
        kill(system.pid("bench"))  # nobody reads, so most of it is not sent yet
        length = len(body)
        while data := connection.recv(MIB):
            length += len(data)
    assert b"content-length: %d" % (64 * MIB) in head.lower()
    assert length < 64 * MIB


@pytest.mark.parametrize("path", ["sink", "record"])
def test_an_upload_that_is_cut_off_is_an_error_and_leaves_nothing_in_the_gateway(system, path):
    """Row 4: 30 MB to an app that reads, and to one that does not; half of it has come when the worker is killed."""
    upload_and_kill(system, path)  # what is allocated once and kept is not what this is about
    (gateway,) = system.admin.get("/admin/processes", params={"kind": "gateway"}).json()
    before = resident(gateway["pid"])
    for _ in range(4):
        assert upload_and_kill(system, path) < 1
    grown = resident(gateway["pid"]) - before
    assert grown < GROWTH, f"the gateway grew by {grown / MIB:.1f} MiB"
    (same,) = system.admin.get("/admin/processes", params={"kind": "gateway"}).json()
    assert same["pid"] == gateway["pid"]


def upload_and_kill(system: Project, path: str) -> float:
    """Kill the worker in mid-upload, which the client goes on with; return the seconds until it is told."""
    system.wait_until(lambda: system.http.get("/bench/pid").json() == system.pid("bench"), "the worker serves")
    head = b"POST /bench/%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (path.encode(), UPLOAD)
    half_sent = threading.Event()

    def send():
        with suppress(OSError):  # it may hear of the end while it sends
            connection.sendall(head + b"u" * (UPLOAD // 2))
            half_sent.set()
            killed.wait()
            connection.sendall(b"u" * (UPLOAD // 2))

    def is_half_way():
        in_flight = system.plugin("bench")["instances"][0]["in_flight"]
        return in_flight == 1 and (half_sent.is_set() or path == "record")

    killed = threading.Event()
    with connect(system) as connection, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send)
        try:
            system.wait_until(is_half_way, "it is half-way")
            pid = system.pid("bench")
            began = time.monotonic()
            kill(pid)
        finally:
            killed.set()
        received = connection.recv(65536)
        took = time.monotonic() - began
        assert received.startswith(b"HTTP/1.1 502 "), received
        connection.shutdown(socket.SHUT_RDWR)
        sending.result()
    return took


def connect(system: Project) -> socket.socket:
    address = urlsplit(system.url)
    return socket.create_connection((address.hostname, address.port), timeout=30)


def resident(pid: int) -> int:
    """Bytes of memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_worker_that_ends_by_itself_is_recorded_as_finished_and_restarted(system):
    """Policy ``always``: exit code 0 is no reason to stay away."""
    pid = system.pid("bench")
    assert system.http.post("/bench/leave", params={"code": "0"}).status_code == 502

    record = system.exit_of("bench", pid)

    assert (record["cause"], record["exit_code"], record["signal"]) == ("finished", 0, None)
    system.wait_for_state("bench", "running")


def test_a_worker_that_exits_with_a_code_is_recorded_as_crashed(system):
    """The code is the plugin's own and is shown."""
    pid = system.pid("bench")
    system.http.post("/bench/leave", params={"code": "3"})
    record = system.exit_of("bench", pid)
    assert (record["cause"], record["exit_code"]) == ("crash", 3)


def test_policy_on_failure_lets_a_finished_worker_rest(system):
    """``restart = "on-failure"``: ended with 0, it stays down, and its callers are told at once."""
    pid = system.pid("once")
    system.http.post("/once/leave", params={"code": "0"})
    record = system.exit_of("once", pid)
    assert record["cause"] == "finished"
    system.wait_for_state("once", "exited")
    assert system.http.get("/once/pid").status_code == 503
    assert system.admin.post("/admin/plugins/once/restart", params={"wait": 30}).status_code == 202
    assert system.http.get("/once/pid").json() not in {None, pid}


def test_an_error_of_the_app_is_answered_and_kills_nobody(system):
    """An exception in the app: 500 as from any server, the traceback in the plugin's log only, the same process."""
    pid = system.pid("bench")
    response = system.http.get("/bench/raise")
    assert response.status_code == 500
    assert response.text == "Internal Server Error"
    system.wait_until(lambda: "RuntimeError: as it was told to" in system.plugin_log("bench"), "the traceback")
    assert system.http.get("/bench/pid").json() == pid


def test_grandchildren_die_with_their_worker(system):
    """Those of its group at once; a daemon that left group, session and parents, within a second of that."""
    child, daemon = system.http.post("/bench/grandchildren").raise_for_status().json()
    assert is_alive(child)
    kill(system.pid("bench"))
    system.wait_until(lambda: not is_alive(child) and not is_alive(daemon), "the grandchildren are gone", within=1.5)


def test_a_grandchild_that_keeps_the_sockets_open_gets_no_request(system):
    """Row 14: the link and its listening socket outlive the worker in it; requests go by the supervisor's word."""
    keeper = system.http.post("/bench/keep-sockets").raise_for_status().json()
    worker = system.pid("bench")
    kill(worker)
    answers = [system.http.get("/bench/pid").raise_for_status().json() for _ in range(20)]
    assert not {worker, keeper} & set(answers)
    system.wait_until(lambda: not is_alive(keeper), "the grandchild is gone", within=1.5)


def test_an_idle_worker_that_is_killed_is_back_at_once(system):
    """Row 1: another process within half a second, and an answer no later than that after a start without faults."""
    began = time.monotonic()
    assert system.admin.post("/admin/plugins/bench/restart", params={"wait": 30}).status_code == 202
    assert system.http.get("/bench/pid").is_success
    fault_free = time.monotonic() - began

    def new_process_and_answer() -> tuple[float, float]:
        pid = system.pid("bench")
        killed = time.monotonic()
        kill(pid)
        system.wait_until(lambda: system.pid("bench") not in {pid, None}, "there is another process")
        there = time.monotonic() - killed
        assert system.http.get("/bench/pid").is_success
        return there, time.monotonic() - killed

    times = [new_process_and_answer() for _ in range(5)]
    assert median(there for there, _ in times) <= 0.5, times
    assert median(back for _, back in times) <= fault_free + 0.5, (fault_free, times)


def test_a_neighbour_is_as_quick_as_ever_while_workers_are_killed(system):
    """Row 1: its slowest requests are no slower than those of a time without deaths."""
    undisturbed = slowest(system)
    done = threading.Event()

    def kill_on_and_on() -> int:
        killed = 0
        while not done.is_set():
            pid = system.pid("bench")
            kill(pid)
            killed += 1
            system.wait_until(lambda former=pid: system.pid("bench") not in {former, None}, "another worker is there")
            done.wait(0.5)
        return killed

    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill_on_and_on)
        try:
            disturbed = slowest(system)
        finally:
            done.set()
        assert killing.result() >= 3
    print(f"p99 {undisturbed * 1000:.1f} ms without deaths, {disturbed * 1000:.1f} ms with them")
    assert disturbed <= 3 * undisturbed + 0.05  # a start takes CPU, which the tests may have little of


def slowest(system: Project) -> float:
    """Seconds within which 99 of 100 requests to the neighbour are answered, at 100 a second."""
    times, pace = [], threading.Event()
    with system.client() as client:
        for _ in range(400):
            began = time.monotonic()
            client.get("/neighbour/pid").raise_for_status()
            times.append(time.monotonic() - began)
            pace.wait(max(0.0, 0.01 - times[-1]))
    return quantiles(times, n=100)[98]


def test_a_hundred_deaths_leave_neither_zombies_nor_what_the_dead_had_started(system):
    """Row 13: each worker has a daemon when it dies; nothing is left of either but a record."""
    supervisor = Path(f"/proc/{system.process.pid}")
    children = supervisor / "task" / supervisor.name / "children"
    system.admin.post("/admin/plugins/bench/scale", params={"instances": 5, "wait": 60}).raise_for_status()
    before = len(children.read_text().split())
    left = set()
    for _ in range(20):
        workers = system.wait_until(lambda: serving(system, 5), "five serve")
        with ThreadPoolExecutor(5) as pool:
            answers = pool.map(lambda _: system.http.post("/bench/grandchildren"), range(5))
            left |= {pid for answer in answers for pid in answer.raise_for_status().json()}
        for pid in workers:
            kill(pid)
        system.wait_until(lambda dead=workers: not any(map(is_alive, dead)), "they are dead")
    system.wait_until(lambda: serving(system, 5), "five serve")
    system.wait_until(lambda: not any(map(is_alive, left)), "what they had started has ended", within=5)
    system.wait_until(lambda: len(children.read_text().split()) == before, "all zombies are reaped", within=5)
    assert all(is_alive(int(pid)) for pid in children.read_text().split())
    system.admin.post("/admin/plugins/bench/scale", params={"instances": 1, "wait": 60}).raise_for_status()
    for pid in workers:
        system.exit_of("bench", pid)


def serving(system: Project, count: int) -> list[int] | None:
    """The pids of all instances of the plugin, where so many run."""
    instances = system.plugin("bench")["instances"]
    pids = [instance["pid"] for instance in instances if instance["state"] == "running"]
    return pids if len(pids) == count == len({pid for pid in pids if is_alive(pid)}) else None


def test_deaths_cost_the_supervisor_no_descriptors_and_leave_no_zombies(system):
    """A plugin may crash for months: nothing is left of each death but its record."""
    supervisor = Path(f"/proc/{system.process.pid}")

    def crash_once():
        pid = system.pid("bench")
        kill(pid)
        system.exit_of("bench", pid)
        system.wait_for_state("bench", "running")

    crash_once()
    before = len(list((supervisor / "fd").iterdir()))
    for _ in range(5):
        crash_once()
    system.wait_until(lambda: len(list((supervisor / "fd").iterdir())) <= before, "its descriptors are closed")
    children = (supervisor / "task" / str(system.process.pid) / "children").read_text().split()
    assert all(is_alive(int(pid)) for pid in children)
    assert len(list((system.state / "run").glob("*.out"))) == len(children)
