"""Large bodies, both ways, in bounded memory."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.integration.project import Project

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

MIB = 2**20
SIZE = 64
"""MiB."""
GROWTH = 16
"""MiB that a process may grow by meanwhile."""


@pytest.fixture(scope="module")
def system(shared_project: Project) -> Iterator[Project]:
    shared_project.add_app("bench", "workbench")
    shared_project.up()
    # What is allocated once and kept is not what these tests are about.
    shared_project.http.post("/bench/sink", content=b"x" * MIB)
    shared_project.http.get("/bench/stream", params={"mib": 1})
    return shared_project


class Growth:
    """How much the memory of gateway and worker has grown at its peak; the kernel keeps the mark."""

    def __init__(self, system: Project) -> None:
        processes = system.admin.get("/admin/processes").json()
        self._pids = {view["id"]: view["pid"] for view in processes if view["kind"] in {"gateway", "worker"}}
        for pid in self._pids.values():
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # resets VmHWM to VmRSS
        self._before = self._peaks()

    def _peaks(self) -> dict[str, float]:
        return {id_: _peak_mib(pid) for id_, pid in self._pids.items()}

    @property
    def mebibytes(self) -> dict[str, float]:
        return {id_: peak - self._before[id_] for id_, peak in self._peaks().items()}


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)[1]) / 1024


def assert_bounded(growth: Growth) -> None:
    assert len(growth.mebibytes) == 2
    for id_, grown in growth.mebibytes.items():
        assert grown < GROWTH, f"{id_} grew by {grown:.1f} MiB"


def test_a_large_upload_is_streamed(system):
    """Neither gateway nor worker ever holds more than a window of it."""

    def body():
        for _ in range(SIZE):
            yield b"u" * MIB

    growth = Growth(system)
    assert system.http.post("/bench/sink", content=body()).json() == SIZE * MIB
    assert_bounded(growth)


def test_a_large_response_is_streamed(system):
    """The same the other way, and every byte is where it was."""
    growth, size = Growth(system), 0
    expected = bytes(range(256)) * 256
    with system.http.stream("GET", "/bench/stream", params={"mib": SIZE}) as response:
        assert int(response.headers["content-length"]) == SIZE * MIB
        for chunk in response.iter_raw(len(expected)):
            assert chunk == expected
            size += len(chunk)
    assert size == SIZE * MIB
    assert_bounded(growth)


def test_a_reader_that_does_not_read_holds_back_the_app(system):
    """What nobody takes is not produced; the same client gets all of it when it reads on."""
    growth = Growth(system)
    address = urlsplit(system.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(b"GET /bench/stream?mib=%d HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % SIZE)
        received = len(connection.recv(65536))
        # Others are served meanwhile, by the same worker over the same link.
        for _ in range(20):
            assert system.http.get("/bench/pid").status_code == 200
        assert_bounded(growth)
        while data := connection.recv(MIB):
            received += len(data)
    assert received > SIZE * MIB
    assert_bounded(growth)


def test_memory_is_given_back_when_an_upload_breaks_off(system):
    """A client that vanishes in mid-upload leaves nothing behind, and the worker goes on."""
    pid = system.http.get("/bench/pid").json()
    growth = Growth(system)
    address = urlsplit(system.url)
    for _ in range(5):
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            head = b"POST /bench/sink HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (SIZE * MIB)
            connection.sendall(head + b"x" * (4 * MIB))
    system.wait_until(
        lambda: system.plugin("bench")["instances"][0]["in_flight"] == 0, "the worker knows that they are over"
    )
    assert_bounded(growth)
    assert system.http.get("/bench/pid").json() == pid
