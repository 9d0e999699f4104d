"""How punctual jobs are, and what scheduling costs: 1,000 jobs each minute, and 20 that are due in the same second.

    .venv/bin/python bench/schedule.py [--windows 6] [--jobs 1000] [--runs-in process] [--json FILE]

Compares xcore with APScheduler in a process of its own: both start an interpreter for each run ("process"), and both
run the function where the schedule or the service is ("thread"). Every run notes the moment at which its function
began; how late that is follows from the schedule alone. One side after the other, in windows of ten seconds; medians
over the windows. Everything listens on loopback or nowhere, and all that was started is ended.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

BURST = 20
"""Jobs due in the same second."""
WINDOW = 10
"""Seconds of one sample, and from one burst to the next."""
MINUTE = 60
START_TIMEOUT = 300.0
"""Seconds; xcore builds the base environment first."""
STOP_TIMEOUT = 60.0

_NOTE = """
import os
import time


def note(name):
    now = time.time()
    file = os.open("{notes}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{{name}} {{now!r}}\\n".encode())
    os.close(file)
"""

_TASK = (
    _NOTE
    + """

def steady(second):
    def run():
        note(f"steady {{second}}")

    return run


def burst():
    note("burst 0")


def service_main(service):
    service.wait(1e9)


metadata = {{"type": "service", "moduleDir": "core", "description": "bench", "version": "1", "author": "bench", "con": [
    *({{"func": steady(i % 60), "name": f"steady{{i}}", "interval": "cron", "cron_params": {{"second": i % 60}},
        "misfire_grace_time": None, "shared": {shared}}} for i in range({jobs})),
    *({{"func": burst, "name": f"burst{{i}}", "interval": "cron", "cron_params": {{"second": "*/{period}"}},
        "misfire_grace_time": None, "shared": {shared}}} for i in range({burst})),
]}}
"""
)

_WORK = _NOTE + "\n\nif __name__ == '__main__':\n    import sys\n    note(sys.argv[1])\n"

_PEER = """
import subprocess
import sys

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.blocking import BlockingScheduler

import work


def spawn(name):
    subprocess.run([sys.executable, "-I", work.__file__, name], check=True)


run = work.note if {shared} else spawn
scheduler = BlockingScheduler(executors={{"default": ThreadPoolExecutor(64)}})
for i in range({jobs}):
    scheduler.add_job(run, "cron", args=[f"steady {{i % 60}}"], second=i % 60, misfire_grace_time=None)
for i in range({burst}):
    scheduler.add_job(run, "cron", args=["burst 0"], second="*/{period}", misfire_grace_time=None)
scheduler.start()
"""


@dataclass(frozen=True)
class Sample:
    """One window of one side: seconds late, how many of the runs that were due began, CPU seconds."""

    median: float
    p99: float
    most: float
    begun: int
    due: int
    scheduler_cpu: float
    """Of the process that schedules alone."""
    all_cpu: float
    """With all that it started and that has ended."""


@dataclass(frozen=True)
class Side:
    """``ours``: xcore, else APScheduler; ``shared``: runs in a thread of a process that is there."""

    ours: bool
    shared: bool

    @property
    def name(self) -> str:
        return f"{'xcore' if self.ours else 'APScheduler'}, {'thread' if self.shared else 'process'}"


SIDES = (Side(True, False), Side(False, False), Side(True, True), Side(False, True))


@contextmanager
def running(side: Side, jobs: int, burst: int) -> Iterator[tuple[psutil.Process, Path]]:
    """Start a side; give its scheduling process and the file of notes."""
    folder = Path(tempfile.mkdtemp(prefix="xcore-bench-"))
    notes = folder / "notes"
    values = {"jobs": jobs, "burst": burst, "period": WINDOW, "shared": side.shared, "notes": notes}
    if side.ours:
        (folder / "plugins").mkdir()
        (folder / "backgroundtask").mkdir()
        (folder / "backgroundtask" / "bench.py").write_text(_TASK.format(**values))
        (folder / "config.json").write_text(json.dumps({"gateway": {"port": 0}}))
        command = [Path(sys.executable).with_name("xcore"), "up"]
    else:
        (folder / "work.py").write_text(_WORK.format(**values))
        (folder / "peer.py").write_text(_PEER.format(**values))
        command = [sys.executable, folder / "peer.py"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(word) for word in command], cwd=folder, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not notes.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"cannot start {side.name}:\n{(folder / 'log').read_text()}")
            time.sleep(0.1)
        yield psutil.Process(process.pid), notes
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def windows(side: Side, jobs: int, burst: int, count: int) -> list[Sample]:
    """Measure ``count`` whole windows of one load."""
    with running(side, jobs, burst) as (scheduler, notes):
        samples = []
        _sleep_to_next_window()
        _sleep_to_next_window()  # the first one suffers from the start
        for _ in range(count):
            start = round(time.time() / WINDOW) * WINDOW
            begun, before = notes.stat().st_size, scheduler.cpu_times()
            _sleep_to_next_window()
            after = scheduler.cpu_times()
            with notes.open("rb") as file:
                file.seek(begun)
                lines = file.read().decode().splitlines()
            late = sorted(_late(*line.split()) for line in lines)
            own = after.user + after.system - before.user - before.system
            children = after.children_user + after.children_system - before.children_user - before.children_system
            seconds = {(start + second) % MINUTE for second in range(WINDOW)}
            due = sum(number % MINUTE in seconds for number in range(jobs)) + burst
            samples.append(
                Sample(statistics.median(late), _quantile(late, 0.99), late[-1], len(late), due, own, own + children)
            )
            print(f"  {side.name}: {samples[-1]}", file=sys.stderr)
        return samples


def _late(name: str, second: str, moment: str) -> float:
    """Of a run that was due at ``second`` of every minute, or at every WINDOW."""
    return (float(moment) - float(second)) % (WINDOW if name == "burst" else MINUTE)


def _quantile(ascending: list[float], share: float) -> float:
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]


def _sleep_to_next_window() -> None:
    """Half a second before it: most of what was due in the one before has begun, nothing of the next has."""
    now = time.time() + 0.5
    time.sleep(WINDOW - now % WINDOW)


def table(results: dict[str, dict[str, list[Sample]]]) -> str:
    lines = ["| | runs begun of due | late, median | late, p99 | late, most | CPU, scheduler | CPU, all |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for load, sides in results.items():
        for side, samples in sides.items():
            figures = {key: statistics.median(getattr(sample, key) for sample in samples) for key in asdict(samples[0])}
            lines.append(
                f"| {load}: {side} | {figures['begun']:.0f} of {figures['due']:.0f} |"
                f" {figures['median'] * 1000:.0f} ms | {figures['p99'] * 1000:.0f} ms |"
                f" {figures['most'] * 1000:.0f} ms | {figures['scheduler_cpu']:.2f} s | {figures['all_cpu']:.2f} s |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=6)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--runs-in", choices=("process", "thread"), help="only these sides")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    sides = [side for side in SIDES if given.runs_in in {None, "thread" if side.shared else "process"}]
    loads = {f"{given.jobs} each minute": (given.jobs, 0), f"{BURST} at once": (0, BURST)}
    results = {
        load: {side.name: windows(side, jobs, burst, given.windows) for side in sides}
        for load, (jobs, burst) in loads.items()
    }
    print(table(results))
    if given.json:
        plain = {
            load: {side: [asdict(s) for s in samples] for side, samples in sides.items()}
            for load, sides in results.items()
        }
        given.json.write_text(json.dumps(plain, indent=2))


if __name__ == "__main__":
    main()
