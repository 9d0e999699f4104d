"""What a save costs: time until the new code answers, and requests that fail meanwhile.

    .venv/bin/python bench/reload.py [--rounds 7] [--only xcore] [--peers FOLDER] [--json FILE]

xcore as it is, ``uvicorn --reload`` and ``granian --reload``, each with the same FastAPI application in a folder of its
own, in which one file is saved as editors do it: another takes its place. The peers are installed with pip into a
folder that is removed afterwards, unless ``--peers`` names one to keep. One side after the other; all on loopback.
"""

import argparse
import asyncio
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path

import peers
import psutil
import report
from peers import Peer, Peers, started
from recovery import answer
from sides import APPLICATION, SideError, Xcore

PAUSE = 1.5
"""Seconds between an answer and the next save: whatever follows a reload is over, and no debounce runs."""
RATE = 100
"""Requests per second while a file is saved."""
LOADED = 6.0
"""Seconds of that, the save after the first; longer than the slowest side needs."""
RETRY = 0.001
"""Seconds from an answer of the old code to the next request."""
TARGET = 0.25
"""Of uvicorn --reload's time."""


@dataclass
class Reloads:
    """``served``: ms from each save to the first answer of its code; ``failed``: requests of ``sent`` under load."""

    served: list[float] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    sent: int = 0


class Saved(Xcore):
    """xcore, with the application in its plugin directory."""

    @property
    def code(self) -> Path:
        return self.folder / "plugins" / "measured" / APPLICATION.name

    def find_processes(self) -> list[psutil.Process]:
        return self._listed("worker")


class Reloading(Peer):
    """A server that restarts when a file below its folder is another one."""

    @property
    def code(self) -> Path:
        return self.folder / "application" / APPLICATION.name

    def start(self) -> None:
        self.code.parent.mkdir()
        self.code.write_bytes(APPLICATION.read_bytes())
        self._spawn(*self.command, folder=self.code.parent)

    @property
    def command(self) -> tuple[str, ...]:
        raise NotImplementedError


class UvicornReload(Reloading):
    """With the watchfiles that uvicorn's documentation advises, which come with granian."""

    name = "uvicorn --reload"

    @property
    def command(self) -> tuple[str, ...]:
        return self.uvicorn("--port", str(self.port), "--reload")


class GranianReload(Reloading):
    """``granian --interface asgi --reload``."""

    name = "granian --reload"

    @property
    def command(self) -> tuple[str, ...]:
        address = ("--host", "127.0.0.1", "--port", str(self.port))
        return (self.peers.program("granian"), "--interface", "asgi", "--reload", *address, "run:app")


def greeting(number: int) -> bytes:
    return f'{{"message":"Hello {number}, world."}}'.encode()


def save(code: Path, number: int) -> None:
    """Save another version of the application."""
    draft = code.with_name(f".{code.name}.swp")
    draft.write_text(APPLICATION.read_text().replace('"Hello, {', f'"Hello {number}, {{'))
    draft.replace(code)


async def seconds_to_serve(side: Saved | Reloading, number: int) -> float:
    await asyncio.sleep(PAUSE)
    began = time.perf_counter()
    save(side.code, number)
    while await answer(side.url) != greeting(number):  # noqa: ASYNC110 - another program gives no sign
        await asyncio.sleep(RETRY)
    return 1000 * (time.perf_counter() - began)


async def failures(side: Saved | Reloading, number: int) -> tuple[int, int]:
    """Save under load; return how many requests got no right answer, of either version, and how many there were."""
    loop = asyncio.get_running_loop()
    began, sent = loop.time(), []
    right = {greeting(number - 1), greeting(number)}
    for request in range(int(LOADED * RATE)):
        await asyncio.sleep(max(0.0, began + request / RATE - loop.time()))
        if request == RATE:
            await asyncio.to_thread(save, side.code, number)
        sent.append(asyncio.create_task(answer(side.url)))
    answers = await asyncio.gather(*sent)
    if answers[-1] != greeting(number):
        raise SideError(f"{side.name} does not serve what was saved {LOADED:g} s before")
    return sum(got not in right for got in answers), len(answers)


async def measure(side: Saved | Reloading, rounds: int, loaded: int) -> Reloads:
    found, numbers = Reloads(), count(1)
    await seconds_to_serve(side, next(numbers))
    for _ in range(rounds):
        found.served.append(await seconds_to_serve(side, next(numbers)))
    for _ in range(loaded):
        await asyncio.sleep(PAUSE)
        failed, sent = await failures(side, next(numbers))
        found.failed.append(failed)
        found.sent += sent
    return found


SIDES: dict[str, Callable[[Path, Peers], Saved | Reloading]] = {
    "xcore": lambda folder, _: Saved(folder),
    UvicornReload.name: UvicornReload,
    GranianReload.name: GranianReload,
}


def table(results: dict[str, Reloads]) -> str:
    return report.table(
        ("new code answers, median", "least - most", "failed requests"),
        (
            (name, report.median(found.served, "ms"), report.spread(found.served, "ms"), _failed(found))
            for name, found in results.items()
        ),
    )


def _failed(found: Reloads) -> str:
    return f"{sum(found.failed)} of {found.sent}"


def verdict(results: dict[str, Reloads]) -> str:
    ours, peer = results.get("xcore"), results.get(UvicornReload.name)
    if ours is None or peer is None:
        return "no verdict: it takes xcore and uvicorn --reload"
    ratio, failed = statistics.median(ours.served) / statistics.median(peer.served), sum(ours.failed)
    reached = "reached" if ratio <= TARGET and failed == 0 else "missed"
    return f"{ratio:.2f} of uvicorn --reload, wanted {TARGET}; {failed} failed requests, wanted 0: {reached}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="saves without load")
    parser.add_argument("--loaded", type=int, default=2, help="saves under load")
    parser.add_argument("--only", action="append", choices=list(SIDES), help="only this side; may be repeated")
    peers.add_options(parser)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as ^C: whatever ends this run ends what it has started
    machine, results = report.facts(), {}
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            installed = peers.install(options.peers or Path(folder, "peers"), report.pinned())
            machine.update(installed.versions())
            for name in options.only or SIDES:
                print(name, file=sys.stderr)
                with started(SIDES[name](Path(folder), installed)) as side:
                    results[name] = asyncio.run(measure(side, options.rounds, options.loaded))
    except SideError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(f"{name}: {value}" for name, value in machine.items()))
    print(f"{options.rounds} saves each\n\n{table(results)}\n\n{verdict(results)}")
    if options.json:
        document = {"machine": machine, "results": {name: asdict(found) for name, found in results.items()}}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
