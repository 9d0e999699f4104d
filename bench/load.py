"""What is measured of a side: many small requests by wrk, and one long body in either direction."""

import re
import socket
import subprocess
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from sides import Side

MIB = 1024 * 1024
TIMEOUT = "30s"
"""On a busy machine an answer may take long; it is wrong only if it never comes."""
_CHUNK = 256 * 1024
_FIELDS = "Host: localhost\r\nConnection: close\r\n"


class LoadError(Exception):
    """A measurement that says nothing: something was not answered, or not as it should be."""


@dataclass(frozen=True)
class Sample:
    """One measurement: ``rate`` in requests or MiB per second, ``cpu`` in microseconds per request or MiB."""

    rate: float
    cpu: float


def small_requests(side: Side, connections: int, seconds: int) -> Sample:
    """Run wrk against the side.

    Raises:
        LoadError: a request failed.
    """
    url = f"{side.url}/hello/world?excited=true"
    command = ("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", TIMEOUT, url)
    before = _cpu(side)
    output = subprocess.check_output(command, text=True)
    used = _cpu(side) - before
    found = re.search(r"(\d+) requests in ", output)
    rate = re.search(r"Requests/sec: *([\d.]+)", output)
    if not found or not rate or "Non-2xx" in output or "Socket errors" in output:
        raise LoadError(f"cannot measure {side.name}: {output}")
    return Sample(float(rate[1]), 1e6 * used / int(found[1]))


def download(side: Side, mib: int) -> Sample:
    """Receive one long response.

    Raises:
        LoadError: it was not complete.
    """
    return _transfer(side, mib, f"GET {{}}/download?mib={mib} HTTP/1.1\r\n{_FIELDS}\r\n", upload=0)


def upload(side: Side, mib: int) -> Sample:
    """Send one long request.

    Raises:
        LoadError: it did not arrive complete.
    """
    size = mib * MIB
    head = f"POST {{}}/upload HTTP/1.1\r\n{_FIELDS}Content-Length: {size}\r\n\r\n"
    return _transfer(side, mib, head, upload=size)


def _transfer(side: Side, mib: int, head: str, *, upload: int) -> Sample:
    url = urlsplit(side.url)
    before, start = _cpu(side), time.perf_counter()
    with socket.create_connection((url.hostname, url.port), timeout=60) as connection:
        connection.sendall(head.format(url.path).encode())
        _send(connection, upload)
        first, received = _receive(connection)
    elapsed, used = time.perf_counter() - start, _cpu(side) - before
    complete = f'"received":{upload}'.encode() in first if upload else received > mib * MIB
    if b" 200 OK" not in first[:20] or not complete:
        raise LoadError(f"cannot measure {side.name}: {received} bytes came, beginning with {first[:500]!r}")
    return Sample(mib / elapsed, 1e6 * used / mib)


def _send(connection: socket.socket, size: int) -> None:
    chunk = memoryview(bytes(_CHUNK))
    for sent in range(0, size, _CHUNK):
        connection.sendall(chunk[: size - sent])


def _receive(connection: socket.socket) -> tuple[bytes, int]:
    """Read to the end; return the first bytes, and how many there were."""
    first, received = b"", 0
    buffer = memoryview(bytearray(_CHUNK))
    while count := connection.recv_into(buffer):
        if len(first) < _CHUNK:
            first += buffer[:count]
        received += count
    return first, received


def _cpu(side: Side) -> float:
    """Seconds of user and system time of the side's processes.

    The sum of what /proc/<pid>/stat shows in hundredths of a second, but exact: a long body takes only ten of them.
    """
    return sum(time.clock_gettime(_cpu_clock(process.pid)) for process in side.processes)


def _cpu_clock(pid: int) -> int:
    """What clock_getcpuclockid(3) returns, which Python does not offer: the clock of all threads of a process."""
    return ~pid << 3 | 2
