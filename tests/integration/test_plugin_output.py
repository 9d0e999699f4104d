"""What plugins print: at any speed, of any bytes."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.integration.project import Project

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

MIB = 2**20
LOG_BUDGET = 5 * 10 * MIB
"""What the rotation leaves of one log."""


@pytest.fixture(scope="module")
def system(shared_project: Project) -> Iterator[Project]:
    shared_project.add_app("bench", "workbench")
    return shared_project.up()


def written(system: Project, data: bytes, last: str) -> str:
    """The log of the plugin once it printed ``data``, which must end with a line that holds ``last``."""
    system.http.get("/bench/write", params={"hex": data.hex()}).raise_for_status()
    return system.wait_until(lambda: log if last in (log := system.plugin_log("bench")) else "", f"{last} is logged")


NASTY = {
    "a NUL": (b"a\0b", "a\\x00b"),
    "invalid UTF-8": (b"caf\xe9", "caf\\xe9"),
    "an escape sequence": (b"\x1b[31mred\x1b[2J", "\\x1b[31mred\\x1b[2J"),
    "a carriage return": (b"real\rfake", "real\\rfake"),
    "a C1 control": ("\x9b2J".encode(), "\\x9b2J"),
    "a change of direction": ("\u202eevil".encode(), "\\u202eevil"),
    "a line separator": ("one\u2028two".encode(), "one\\u2028two"),
}


@pytest.mark.parametrize("name", NASTY)
def test_whatever_could_do_harm_is_escaped(system, name):
    """Neither a terminal nor a log viewer nor JSON is ever fed what a plugin likes."""
    data, shown = NASTY[name]
    log = written(system, b"begin " + data + b" end of " + name.encode() + b"\n", f"end of {name}")
    assert f"begin {shown} end of {name}" in log
    lines = system.admin.get("/admin/plugins/bench/logs", params={"tail": 1}).raise_for_status().json()
    assert lines[0].endswith(f"begin {shown} end of {name}")


def test_markup_is_kept_as_text(system):
    """Escaping for HTML is the business of who shows it in HTML."""
    assert "<script>alert(1)</script>" in written(system, b"<script>alert(1)</script>\n", "<script>")


def test_a_plugin_cannot_write_lines_in_the_name_of_another(system):
    """Each line of the file begins with what we wrote: time, instance, stream."""
    written(system, b"2026-01-01T00:00:00.000Z other.1 out forged\nlast of the forged\n", "last of the forged")
    for line in system.plugin_log("bench").splitlines():
        assert line.split()[1] in {"bench.1", "bench.validator", "installer", "..."}, line


@pytest.mark.parametrize("byte", ["78", "00", "ff"], ids=["text", "NUL", "invalid"])
def test_a_line_without_end_is_cut(system, byte):
    """Memory is bounded though no newline ever comes, and though every byte takes four to be shown."""
    supervisor = psutil.Process(system.process.pid)
    before = supervisor.memory_info().rss
    for _ in range(4):
        system.http.get("/bench/write", params={"hex": byte, "times": 2 * MIB}).raise_for_status()
    log = written(system, b"\nafter the long line\n", "after the long line")
    assert "[cut]" in log
    assert max(map(len, log.splitlines())) < 4 * 66_000
    assert supervisor.memory_info().rss - before < 64 * MIB


def seconds_to_answer(system: Project) -> float:
    started = time.monotonic()
    assert system.admin.get("/admin/plugins").status_code == 200
    return time.monotonic() - started


def test_a_flood_costs_bounded_memory_and_disk_and_holds_up_nobody(system):
    """As fast as it can for 5 s: memory and log stay bounded, drops are counted, the admin interface answers."""
    supervisor = psutil.Process(system.process.pid)
    before = supervisor.memory_info().rss
    peak, latencies, done = [before], [], threading.Event()

    def watch_memory():
        while not done.wait(0.05):
            peak.append(supervisor.memory_info().rss)

    with ThreadPoolExecutor(2) as pool:
        pool.submit(watch_memory)
        flood = pool.submit(system.http.get, "/bench/flood", params={"seconds": "5"})
        try:
            while not flood.done():
                latencies.append(seconds_to_answer(system))
        finally:
            done.set()
        assert flood.result().json() == "flooded"
    assert max(peak) - before < 64 * MIB
    assert len(latencies) > 20
    assert sorted(latencies)[int(len(latencies) * 0.9)] < 0.2
    assert "the flood is over" in written(system, b"the flood is over\n", "the flood is over")
    logs = [path.stat().st_size for path in (system.state / "logs").glob("bench.log*")]
    assert len(logs) > 1
    assert sum(logs) <= LOG_BUDGET + MIB
