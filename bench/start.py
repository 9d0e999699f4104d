"""How long it takes until ten applications answer: xcore with ten unchanged plugins, and ten uvicorn processes.

    .venv/bin/python bench/start.py [--rounds 5] [--plugins 10] [--peers FOLDER] [--json FILE]

From the first process that is started to the first right answer of the last application. xcore was started before, so
that environments and copies of the code are there; uvicorn is installed with pip into a folder that is removed
afterwards, and runs as ten processes that are started at once. One side after the other; all listen on loopback only.
"""

import argparse
import asyncio
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import peers
import report
from peers import Peers, UvicornProcesses
from recovery import right_answer
from sides import APPLICATION, PREFIX, SideError, Xcore

LOOK = 0.005
"""Seconds between two looks at applications that do not answer."""
TARGET = 1.0
"""Of the uvicorn processes' time."""


class Many(Xcore):
    """xcore with the application under many names."""

    def __init__(self, folder: Path, plugins: int) -> None:
        super().__init__(folder)
        for number in range(1, plugins + 1):
            plugin = self.folder / "plugins" / f"measured{number}"
            plugin.mkdir(parents=True)
            code = APPLICATION.read_text().replace(f'"{PREFIX}"', f'"{PREFIX}{number}"')
            (plugin / APPLICATION.name).write_text(code)
        self._plugins = plugins
        (self.folder / "config.json").write_text(json.dumps(self.configuration()))

    def start(self) -> None:
        self._spawn(str(Path(sys.executable).with_name("xcore")), "up")

    @property
    def urls(self) -> list[str]:
        """Empty while it does not listen."""
        base = self.url.removesuffix(PREFIX)
        return [f"{base}{PREFIX}{number}" for number in range(1, self._plugins + 1)] if base else []

    def forget_address(self) -> None:
        """What is read of it from now on is the next start's."""
        self._state.gateway_file.unlink(missing_ok=True)


async def all_answer(side: Many | UvicornProcesses) -> None:
    """Ask each until it has answered once."""
    while not side.urls:  # noqa: ASYNC110 - another program gives no sign
        await asyncio.sleep(LOOK)
    await asyncio.gather(*(right_answer(url) for url in side.urls))


def seconds_to_start(side: Many | UvicornProcesses) -> float:
    began = time.perf_counter()
    try:
        side.start()
        asyncio.run(all_answer(side))
        return time.perf_counter() - began
    finally:
        side.stop()


def measure(folder: Path, installed: Peers, plugins: int, rounds: int) -> dict[str, list[float]]:
    ours = Many(folder, plugins)
    seconds_to_start(ours)  # builds the environment
    results: dict[str, list[float]] = {"xcore": [], UvicornProcesses.name: []}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        ours.forget_address()
        results["xcore"].append(seconds_to_start(ours))
        with tempfile.TemporaryDirectory(dir=folder) as own:
            side = UvicornProcesses(Path(own), installed, plugins)
            results[side.name].append(seconds_to_start(side))
    return results


def table(results: dict[str, list[float]]) -> str:
    return report.table(
        ("all answer, median", "least - most"),
        ((name, report.median(found, "s", 2), report.spread(found, "s", 2)) for name, found in results.items()),
    )


def verdict(ours: Sequence[float], peer: Sequence[float]) -> str:
    ratio = statistics.median(ours) / statistics.median(peer)
    return f"{ratio:.2f} of the uvicorn processes, wanted {TARGET}: {'reached' if ratio <= TARGET else 'missed'}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plugins", type=int, default=10)
    peers.add_options(parser)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as ^C: whatever ends this run ends what it has started
    machine = report.facts()
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name)
            installed = peers.install(options.peers or folder / "peers", report.pinned())
            results = measure(folder, installed, options.plugins, options.rounds)
    except SideError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(f"{name}: {value}" for name, value in machine.items()))
    print(f"{options.rounds} rounds, {options.plugins} applications\n")
    print(f"{table(results)}\n\n{verdict(results['xcore'], results[UvicornProcesses.name])}")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
