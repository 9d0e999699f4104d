"""What a ``kill -9`` of the only worker costs: time to the next right answer, and requests that fail meanwhile.

    .venv/bin/python bench/recovery.py [--rounds 7] [--only xcore --only gunicorn] [--peers FOLDER] [--json FILE]

xcore, supervisord, circus, gunicorn, gunicorn --preload and pm2, each as its documentation has it, keep one process
with the same FastAPI application running. The peers are installed with pip and npm into a folder that is removed
afterwards, unless ``--peers`` names one to keep. One side after the other; all listen on loopback only, and all that
was started is ended.
"""

import argparse
import asyncio
import json
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import peers
import psutil
import report
from peers import Peers, started
from sides import Side, SideError, Xcore

REQUESTS = 3
"""Before each kill: what the first requests import is imported."""
PAUSE = 2.0
"""Seconds between an answer and the next kill: longer than what any side takes for a stable run."""
RATE = 200
"""Requests per second while the worker is killed."""
LOADED = 5.0
"""Seconds of that, the kill after the first; longer than the slowest side needs."""
ANSWER_TIMEOUT = 10.0
RETRY = 0.001
"""Seconds from a request that failed to the next."""
RIGHT = b'{"message":"Hello, world."}'
TARGET = 0.5
"""Of gunicorn --preload's time."""


@dataclass
class Recovery:
    """``first``: ms from each kill to the first right answer; ``failed``: requests of ``sent`` under load."""

    first: list[float] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    sent: int = 0

    @property
    def median(self) -> float:
        return statistics.median(self.first)


class KeptXcore(Xcore):
    """A worker counts as stable after a second, as with supervisord and pm2: each kill is the first."""

    def configuration(self) -> dict[str, object]:
        return {**super().configuration(), "supervisor": {"restart": {"stable": 1.0}}}

    def find_processes(self) -> list[psutil.Process]:
        return self._listed("worker")


async def ask(url: str) -> bool:
    """Whether a new connection to the side gets the right answer."""
    return await answer(url) == RIGHT


async def answer(url: str) -> bytes | None:
    """Ask over a new connection for a greeting; the body, None where it is not answered, or not with 200."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                head = f"GET {parts.path}/hello/world HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                writer.write(head.encode())
                received = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    head, _, body = received.partition(b"\r\n\r\n")
    return body if head.startswith(b"HTTP/1.1 200 ") else None


async def right_answer(url: str) -> None:
    """Ask until it comes."""
    while not await ask(url):  # noqa: ASYNC110 - another program gives no sign
        await asyncio.sleep(RETRY)


async def first_answer(side: Side) -> float:
    """Kill the worker and return the milliseconds to the first right answer."""
    for _ in range(REQUESTS):
        await ask(side.url)
    (worker,) = side.find_processes()
    await asyncio.sleep(PAUSE)
    began = time.perf_counter()
    worker.send_signal(signal.SIGKILL)
    await right_answer(side.url)
    return 1000 * (time.perf_counter() - began)


async def failures(side: Side) -> tuple[int, int]:
    """Kill the worker under load; return how many requests got no right answer, and how many there were."""
    (worker,) = side.find_processes()
    loop = asyncio.get_running_loop()
    began, sent = loop.time(), []
    for number in range(int(LOADED * RATE)):
        await asyncio.sleep(max(0.0, began + number / RATE - loop.time()))
        if number == RATE:
            worker.send_signal(signal.SIGKILL)
        sent.append(asyncio.create_task(ask(side.url)))
    answers = await asyncio.gather(*sent)
    return answers.count(False), len(answers)


async def measure(side: Side, rounds: int, loaded: int) -> Recovery:
    found = Recovery()
    for _ in range(rounds):
        found.first.append(await first_answer(side))
    for _ in range(loaded):
        await asyncio.sleep(PAUSE)
        failed, sent = await failures(side)
        found.failed.append(failed)
        found.sent += sent
    return found


SIDES: dict[str, Callable[[Path, Peers], Side]] = {
    "xcore": lambda folder, _: KeptXcore(folder),
    "supervisord": peers.Supervisord,
    "circus": peers.Circus,
    "gunicorn": peers.Gunicorn,
    "gunicorn --preload": peers.GunicornPreload,
    "pm2": peers.Pm2,
}


def table(results: dict[str, Recovery]) -> str:
    return report.table(
        ("first right answer, median", "least - most", "failed requests"),
        (
            (
                name,
                report.median(found.first, "ms"),
                report.spread(found.first, "ms"),
                f"{sum(found.failed)} of {found.sent}",
            )
            for name, found in results.items()
        ),
    )


def verdict(results: dict[str, Recovery]) -> str:
    ours, peer = results.get("xcore"), results.get("gunicorn --preload")
    if ours is None or peer is None:
        return "no verdict: it takes xcore and gunicorn --preload"
    ratio, failed = ours.median / peer.median, sum(ours.failed)
    reached = "reached" if ratio <= TARGET and failed == 0 else "missed"
    return f"{ratio:.2f} of gunicorn --preload, wanted {TARGET}; {failed} failed requests, wanted 0: {reached}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="kills of an idle worker")
    parser.add_argument("--loaded", type=int, default=2, help="kills under load")
    parser.add_argument("--only", action="append", choices=list(SIDES), help="only this side; may be repeated")
    peers.add_options(parser)
    options = parser.parse_args()
    wanted = options.only or [name for name in SIDES if name != "pm2" or shutil.which("npm")]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as ^C: whatever ends this run ends what it has started
    machine, results = report.facts(), {}
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            installed = peers.install(options.peers or Path(folder, "peers"), report.pinned(), pm2="pm2" in wanted)
            machine.update(installed.versions())
            for name in wanted:
                print(name, file=sys.stderr)
                with started(SIDES[name](Path(folder), installed)) as side:
                    results[name] = asyncio.run(measure(side, options.rounds, options.loaded))
    except SideError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(f"{name}: {value}" for name, value in machine.items()))
    print(f"{options.rounds} kills each\n\n{table(results)}\n\n{verdict(results)}")
    if options.json:
        document = {"machine": machine, "results": {name: asdict(found) for name, found in results.items()}}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
