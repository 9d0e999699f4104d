"""Several gateways behind one door: replaced, killed, stopped, asked for it, while clients come and go."""

import http.client
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from supervisor.gateways.door import ask_for_doors
from tests.integration.project import DEADLINE, is_alive

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

IMPATIENT = {"stalled": 1, "hung": 2, "hang_cpu_limit": 4}
MOST_CONNECTIONS = 200
"""Until each gateway has one; whoever wakes first accepts."""


@pytest.fixture
def running(project):
    """A project that runs with so many gateways, and an app under /bench."""

    def running(processes, **sections):
        project.add_app("bench", "workbench")
        project.configure(gateway={"port": 0, "processes": processes}, **sections)
        project.up()
        project.wait_until(lambda: len(pids(project)) == processes, "all gateways serve, not only the first")
        return project

    return running


def reconfigure(project, **keys):
    """Write other keys of section gateway and have them read."""
    project.configure(gateway={"port": 0, **keys})
    project.process.send_signal(signal.SIGHUP)


def gateways(project):
    return project.admin.get("/admin/processes", params={"kind": "gateway"}).raise_for_status().json()


def pids(project):
    """Of gateways that serve, by number."""
    return [process["pid"] for process in gateways(project) if process["state"] == "running"]


def wait_for_others(project, before, count):
    """Wait until there are ``count`` gateways, all of them serve, and none of ``before`` is left."""

    def others():
        found = gateways(project)
        serving = [process["pid"] for process in found if process["state"] == "running"]
        return len(found) == len(serving) == count and not set(before) & set(serving) and serving

    return project.wait_until(others, f"{count} other gateways serve")


def assert_all_is_well(project, worker):
    """The worker has not noticed anything, and nothing is said to be wrong."""
    assert project.health()["status"] == "ok"
    assert project.http.get("/bench/pid").json() == worker == project.pid("bench")
    assert project.plugin("bench")["instances"][0]["restarts"] == 0


# --- clients ------------------------------------------------------------------------------------------------


class Load:
    """``clients`` that ask 25 times a second each, on one connection as long as the server lets them, or on many."""

    def __init__(self, url, clients=4):
        self.address = urlsplit(url).netloc
        self.clients = clients
        self.failures = []
        self.answers = Counter()
        self._done = threading.Event()

    def _ask_on_and_on(self, *, keep_alive):
        # http.client connects anew where an answer said that it is the last one, and only there.
        client = http.client.HTTPConnection(self.address, timeout=DEADLINE)
        while not self._done.wait(0.04):
            try:
                client.request("GET", "/bench/pid", headers={} if keep_alive else {"Connection": "close"})
                answer = client.getresponse()
                answer.read()
                self.answers[answer.status] += 1
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                client.close()
        client.close()

    @contextmanager
    def running(self) -> Iterator["Load"]:
        kinds = [True] * self.clients + [False] * self.clients
        threads = [threading.Thread(target=self._ask_on_and_on, kwargs={"keep_alive": kind}) for kind in kinds]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._done.set()
            for thread in threads:
                thread.join()


class HeldRequest:
    """A request under way until ``release``, on a connection of its own."""

    def __init__(self, url):
        address = urlsplit(url)
        self.socket = socket.create_connection((address.hostname, address.port), timeout=DEADLINE)
        self.port = self.socket.getsockname()[1]
        self.socket.sendall(b"GET /bench/held HTTP/1.1\r\nHost: test\r\n\r\n")

    def gateway(self, project, candidates):
        """Pid of the gateway that has accepted it."""

        def owner():
            return next((pid for pid in candidates if self.port in _peers(pid)), None)

        return project.wait_until(owner, "the connection is accepted")

    def answer(self):
        """Its status; None where the connection broke."""
        with self.socket:
            response = http.client.HTTPResponse(self.socket)
            try:
                response.begin()
                assert response.read() == b'"released"'
            except (OSError, http.client.HTTPException):
                return None
            return response.status


def _peers(pid):
    """Ports at the other ends of a process's connections."""
    return {connection.raddr.port for connection in psutil.Process(pid).net_connections("tcp") if connection.raddr}


def release(project):
    """Let all held requests be answered."""
    (project.data("bench") / "go-on").touch()


def held_requests_on_each(project, candidates):
    """Requests under way by gateway, so many that each has one, and the worker all of them."""
    found = {pid: [] for pid in candidates}
    for number in range(1, MOST_CONNECTIONS):
        request = HeldRequest(project.url)
        found[request.gateway(project, candidates)].append(request)
        if all(found.values()):
            wait_until_in_flight(project, number)
            return found
    raise AssertionError(f"one of the gateways accepts nothing: {found}")


def wait_until_in_flight(project, count):
    def in_flight():
        return project.plugin("bench")["instances"][0]["in_flight"] == count

    project.wait_until(in_flight, f"the worker has {count} requests")


# --- replaced -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [1, 2])
def test_no_request_fails_while_gateways_are_replaced(running, processes):
    """A change of their keys, under 200 requests a second, on lasting connections and on new ones."""
    project = running(processes)
    worker, before = project.pid("bench"), pids(project)
    with Load(project.url).running() as load:
        reconfigure(project, processes=processes, idle_timeout=60)
        project.wait_until(lambda: sum(load.answers.values()) > 100, "the load runs")
        after = wait_for_others(project, before, processes)
        assert len(after) == processes
        answered = sum(load.answers.values())
        project.wait_until(lambda: sum(load.answers.values()) > answered + 100, "the load goes on")
    assert load.failures == []
    assert set(load.answers) == {200}
    for pid in before:
        record = project.exit_of("gateway", pid)
        assert (record["cause"], record["exit_code"]) == ("reload", 0)
    assert_all_is_well(project, worker)


def test_a_request_under_way_is_finished_by_the_gateway_that_has_begun_it(running):
    """It drains meanwhile, and is shown so beside its successor."""
    project = running(1)
    (before,) = pids(project)
    (request,) = held_requests_on_each(project, [before])[before]
    reconfigure(project, idle_timeout=60)
    project.wait_until(
        lambda: [process["state"] for process in gateways(project)] == ["draining", "running"], "it drains"
    )
    assert is_alive(before)
    assert project.http.get("/bench/pid").status_code == 200
    assert project.health()["status"] == "ok"
    release(project)
    assert request.answer() == 200
    wait_for_others(project, [before], 1)


def test_the_number_of_gateways_follows_the_configuration(running):
    """More, then fewer, under load."""
    project = running(1)
    with Load(project.url, clients=2).running() as load:
        reconfigure(project, processes=3)
        project.wait_until(lambda: len(pids(project)) == 3, "there are three")
        project.wait_until(lambda: len(gateways(project)) == 3, "and no other")
        reconfigure(project, processes=1)
        project.wait_until(lambda: len(gateways(project)) == 1, "there is one")
    assert load.failures == []
    assert set(load.answers) == {200}


# --- killed -------------------------------------------------------------------------------------------------


def test_the_only_gateway_is_replaced_at_once_when_it_is_killed(running):
    """Who comes meanwhile waits in the backlog of the door; workers notice nothing."""
    project = running(1)
    worker, (before,) = project.pid("bench"), pids(project)
    (request,) = held_requests_on_each(project, [before])[before]
    os.kill(before, signal.SIGKILL)
    assert request.answer() is None
    release(project)
    assert httpx.get(f"{project.url}/bench/pid", timeout=DEADLINE).json() == worker
    project.forget_clients()
    record = project.exit_of("gateway", before)
    assert (record["cause"], record["signal"], record["instance"]) == ("signal", 9, "gateway.1")
    (process,) = gateways(project)
    assert (process["state"], process["restarts"]) == ("running", 1)
    assert_all_is_well(project, worker)


def test_with_two_gateways_only_the_requests_of_the_killed_one_fail(running):
    """The other one has its own, and takes all that come."""
    project = running(2)
    worker, before = project.pid("bench"), pids(project)
    requests = held_requests_on_each(project, before)
    killed, other = before
    project.forget_clients()
    os.kill(killed, signal.SIGKILL)
    assert {request.answer() for request in requests[killed]} == {None}
    with Load(project.url).running() as load:
        release(project)
        assert {request.answer() for request in requests[other]} == {200}
        project.wait_until(lambda: len(pids(project)) == 2, "there are two again")
    assert load.failures == []
    assert set(load.answers) == {200}
    assert other in pids(project)
    assert_all_is_well(project, worker)


def test_with_all_gateways_killed_requests_wait_for_the_next_ones(running):
    """None is refused: the door is the supervisor's."""
    project = running(2)
    worker, before = project.pid("bench"), pids(project)
    project.forget_clients()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: httpx.get(f"{project.url}/bench/pid", timeout=DEADLINE), range(8)))
    assert [answer.json() for answer in answers] == [worker] * 8
    wait_for_others(project, before, 2)
    assert_all_is_well(project, worker)


def test_a_gateway_may_die_while_another_one_drains(running):
    """The one that drains finishes what it has; what comes is served by the rest."""
    project = running(2)
    worker, before = project.pid("bench"), pids(project)
    requests = held_requests_on_each(project, before)
    reconfigure(project, processes=2, idle_timeout=60)

    def successors():
        found = gateways(project)
        is_done = sorted(process["state"] for process in found) == ["draining"] * 2 + ["running"] * 2
        return is_done and [process["pid"] for process in found if process["state"] == "running"]

    after = project.wait_until(successors, "both drain")
    project.forget_clients()
    os.kill(after[0], signal.SIGKILL)
    assert httpx.get(f"{project.url}/bench/pid", timeout=DEADLINE).json() == worker
    release(project)
    assert {request.answer() for pid in before for request in requests[pid]} == {200}
    wait_for_others(project, [*before, after[0]], 2)
    assert after[1] in pids(project)
    assert_all_is_well(project, worker)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_gateway_that_hangs_is_replaced_and_connections_that_nobody_has_accepted_are_not_lost(running, processes):
    """A stopped process accepts nothing: with two, the other one does; with one, they wait for its successor."""
    project = running(processes, supervisor={"heartbeat": IMPATIENT})
    worker, before = project.pid("bench"), pids(project)
    project.forget_clients()
    os.kill(before[0], signal.SIGSTOP)
    with Load(project.url).running() as load:
        project.wait_until(lambda: not is_alive(before[0]), "it is killed")
        record = project.exit_of("gateway", before[0])
        project.wait_until(lambda: len(pids(project)) == processes, "it is replaced")
    assert (record["cause"], record["signal"]) == ("hang", 9)
    assert load.failures == []
    assert set(load.answers) == {200}
    assert before[1:] == pids(project)[1:]
    assert_all_is_well(project, worker)


# --- the end ------------------------------------------------------------------------------------------------


def is_refused(url):
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname, address.port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_sigterm_drains_every_gateway(running):
    """What each has begun is finished, new connections are refused, the exit code is 0."""
    project = running(2)
    url, before = project.url, pids(project)
    requests = held_requests_on_each(project, before)
    project.process.send_signal(signal.SIGTERM)
    project.wait_until(lambda: is_refused(url), "new connections are refused", within=2)
    assert all(is_alive(pid) for pid in before)
    release(project)
    assert {request.answer() for pid in before for request in requests[pid]} == {200}
    project.forget_clients()
    project.join()


# --- asked for the door -------------------------------------------------------------------------------------


def nonce_of(pid):
    """What a process was started with; it has removed it from its own view since."""
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(entry for entry in variables if entry.startswith(b"XCORE_NONCE=")).partition(b"=")[2].decode()


def test_every_gateway_hands_the_door_over_to_who_knows_its_nonce(running):
    """As a supervisor asks that takes over; the files go with their gateways."""
    project = running(2)
    doors = list((project.state / "run").glob("*.door"))
    assert len(doors) == 2
    ports = []
    for path in doors:
        for nonce in map(nonce_of, pids(project)):
            try:
                with closing(ask_for_doors(path, nonce, DEADLINE)) as handed:
                    ports.append(handed.public.getsockname()[1])
                    assert handed.local.getsockname() == str(project.state / "run" / "local.sock")
            except OSError:
                continue
    assert ports == [urlsplit(project.url).port] * 2
    before = pids(project)
    project.forget_clients()
    os.kill(before[0], signal.SIGKILL)
    project.exit_of("gateway", before[0])
    project.wait_until(lambda: len(pids(project)) == 2, "there are two again")
    now = list((project.state / "run").glob("*.door"))
    assert (len(now), len(set(now) & set(doors))) == (2, 1)
