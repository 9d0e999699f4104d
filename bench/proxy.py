"""What the way through xcore costs, against nginx + uvicorn on the same application, in one run on one machine.

    .venv/bin/python bench/proxy.py [--rounds 5] [--seconds 3] [--json FILE]

Every round measures one side after the other, so that what disturbs the machine disturbs all of them. Needs nginx and
wrk, which it never installs. Listens on loopback only and ends all it has started.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import load
import report
from load import LoadError, Sample
from report import Result
from sides import Side, SideError, running

CONNECTIONS = (1, 32, 128)
MIB = 100
"""Of a long body."""
WARM_UP = 1
"""Seconds of load before anything is measured."""
MISSING = """cannot compare without {missing}. On Debian or Ubuntu:

    apt-get update && apt-get install -y --no-install-recommends nginx-light wrk

nginx need not run as a service; where it does after that: systemctl disable --now nginx"""


@dataclass(frozen=True)
class Load:
    """One thing to measure of each side, and how its results are named."""

    name: str
    unit: str
    units: str
    sample: Callable[[Side], Sample]


def loads(seconds: int) -> list[Load]:
    return [
        *(_small_requests(connections, seconds) for connections in CONNECTIONS),
        Load(f"{MIB} MiB download", "MiB", "MiB", lambda side: load.download(side, MIB)),
        Load(f"{MIB} MiB upload", "MiB", "MiB", lambda side: load.upload(side, MIB)),
    ]


def measure(sides: list[Side], rounds: int, seconds: int) -> list[Result]:
    """Raises LoadError."""
    for side in sides:
        load.small_requests(side, CONNECTIONS[1], WARM_UP)
    results = [(kind, Result(kind.name, kind.unit, kind.units, [])) for kind in loads(seconds)]
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for kind, result in results:
            ours, peer, alone = (kind.sample(side) for side in sides)
            result.rounds.append((ours, peer, alone))
    return [result for _, result in results]


def _small_requests(connections: int, seconds: int) -> Load:
    name = f"{connections} connection{'s' if connections > 1 else ''}"
    return Load(name, "request", "requests", lambda side: load.small_requests(side, connections, seconds))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each run of wrk")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to this file as well")
    options = parser.parse_args()
    missing = [program for program in ("nginx", "wrk") if shutil.which(program) is None]
    if missing:
        print(MISSING.format(missing=" and ".join(missing)), file=sys.stderr)
        return 1
    # As ^C: whatever ends this run ends what it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    machine = report.facts()
    try:
        # A short path: those of Unix sockets end at 107 bytes.
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, running(Path(folder)) as sides:
            results = measure(sides, options.rounds, options.seconds)
    except (SideError, LoadError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(f"{name}: {value}" for name, value in machine.items()))
    print(f"{options.rounds} rounds of {options.seconds} s, medians\n\n{report.ratios(results)}")
    if options.json:
        options.json.write_text(json.dumps(report.document(results, machine), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
