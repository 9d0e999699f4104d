"""What one more instance of an application costs in memory: PSS, which counts shared pages in parts.

    .venv/bin/python bench/memory.py [--rounds 5] [--instances 4] [--peers FOLDER] [--json FILE]

uvicorn processes, uvicorn --workers, gunicorn --preload and xcore serve the same FastAPI application with one instance
and with several; the difference of all of their processes together is divided by the instances that were added. Every
instance has answered requests before. The peers are installed with pip into a folder that is removed afterwards.
"""

import argparse
import asyncio
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
import peers
import report
from peers import Peer, Peers, UvicornProcesses, started
from recovery import ask
from sides import PREFIX, Side, SideError, Xcore

REQUESTS = 40
"""Per instance, one connection each: whoever shares connections out, every instance gets some."""
SETTLED = 1.0
"""Seconds after the requests: what the first ones have imported may renew a template, and with it nothing else."""
WAIT = 60.0
TARGET = 0.25
"""Of one more uvicorn process."""
PEERS: tuple[type[Peer], ...] = (UvicornProcesses, peers.UvicornWorkers, peers.GunicornPreload)


@dataclass
class Memory:
    """MB of PSS: of all processes with one instance, and of each that was added; one of both per round."""

    one: list[float] = field(default_factory=list)
    extra: list[float] = field(default_factory=list)


class ScaledXcore(Xcore):
    """xcore with as many workers as wanted."""

    def scale(self, instances: int) -> None:
        """Have so many, and wait until they are ready.

        Raises:
            SideError: they do not get ready.
        """
        base, name = self.url.removesuffix(PREFIX), PREFIX.rpartition("/")[2]
        headers = {"Authorization": f"Bearer {self._state.admin_token.read_text().strip()}"}
        params = {"instances": instances, "wait": WAIT}
        httpx.post(f"{base}/admin/plugins/{name}/scale", params=params, headers=headers, timeout=2 * WAIT)
        ready = len(self._listed("worker"))
        if ready != instances:
            raise SideError(f"cannot scale {self.name} to {instances} instances: it has {ready}")


def pss(side: Side) -> float:
    """MB of all processes that the side has started, and of theirs."""
    every = [found for first in side.started_processes for found in (first, *first.children(recursive=True))]
    return sum(process.memory_full_info().pss for process in every) / 2**20


def use(side: Side, instances: int) -> None:
    """Have every instance answer."""

    async def requests() -> None:
        urls = side.urls if isinstance(side, UvicornProcesses) else [side.url] * instances
        for _ in range(REQUESTS):
            for url in urls:
                await ask(url)

    asyncio.run(requests())
    time.sleep(SETTLED)


def measure_peer(kind: type[Peer], folder: Path, installed: Peers, instances: int, found: Memory) -> None:
    used = []
    for number in (1, instances):
        with tempfile.TemporaryDirectory(dir=folder) as own, started(kind(Path(own), installed, number)) as side:
            use(side, number)
            used.append(pss(side))
    found.one.append(used[0])
    found.extra.append((used[1] - used[0]) / (instances - 1))


def measure_xcore(side: ScaledXcore, instances: int, found: Memory) -> None:
    used = []
    for number in (1, instances):
        side.scale(number)
        use(side, number)
        used.append(pss(side))
    found.one.append(used[0])
    found.extra.append((used[1] - used[0]) / (instances - 1))


def table(results: dict[str, Memory]) -> str:
    return report.table(
        ("all processes, one instance", "each more, median", "least - most"),
        (
            (
                name,
                *(report.median(used, "MB", 1) for used in (found.one, found.extra)),
                report.spread(found.extra, "MB", 1),
            )
            for name, found in results.items()
        ),
    )


def verdict(results: dict[str, Memory]) -> str:
    ours, peer = (statistics.median(results[name].extra) for name in ("xcore", UvicornProcesses.name))
    reached = "reached" if ours / peer <= TARGET else "missed"
    return f"{ours / peer:.2f} of one more uvicorn process, wanted {TARGET}: {reached}"


@contextmanager
def xcore(folder: Path) -> Iterator[ScaledXcore]:
    side = ScaledXcore(folder)
    with started(side):
        yield side


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--instances", type=int, default=4)
    peers.add_options(parser)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as ^C: whatever ends this run ends what it has started
    machine = report.facts()
    results = {name: Memory() for name in (*(kind.name for kind in PEERS), "xcore")}
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name)
            installed = peers.install(options.peers or folder / "peers", report.pinned())
            machine.update(installed.versions())
            with xcore(folder) as side:
                use(side, 1)
                for number in range(options.rounds):
                    print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
                    measure_xcore(side, options.instances, results["xcore"])
                    for kind in PEERS:
                        measure_peer(kind, folder, installed, options.instances, results[kind.name])
    except SideError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(f"{name}: {value}" for name, value in machine.items()))
    print(f"{options.rounds} rounds, {options.instances} instances\n\n{table(results)}\n\n{verdict(results)}")
    if options.json:
        document = {"machine": machine, "results": {name: asdict(found) for name, found in results.items()}}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
