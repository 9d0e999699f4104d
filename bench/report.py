"""From samples to tables: medians with their spread, and our ratio to the peer."""

import importlib.metadata
import os
import platform
import re
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from load import Sample

OURS, PEER, ALONE = range(3)
"""Order of the sides in a round."""
PACKAGES = ("uvicorn", "uvloop", "httptools", "fastapi", "starlette", "pydantic", "msgpack")


@dataclass(frozen=True)
class Result:
    """One kind of load; ``rounds``: a sample of each side, per round."""

    load: str
    unit: str
    units: str
    rounds: list[tuple[Sample, Sample, Sample]]

    def medians(self, figure: Callable[[Sample], float]) -> list[float]:
        """The median of each side."""
        return [statistics.median(figure(samples[side]) for samples in self.rounds) for side in (OURS, PEER, ALONE)]

    def ratios(self, figure: Callable[[Sample], float]) -> list[float]:
        """Ours to the peer's, round by round, ascending: what disturbs the machine disturbs both of a round."""
        return sorted(figure(samples[OURS]) / figure(samples[PEER]) for samples in self.rounds)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown; the column before ``columns``, of what each row is about, has no name."""
    lines = (("", *columns), ("---",) * (len(columns) + 1), *rows)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def median(values: Sequence[float], unit: str, digits: int = 0) -> str:
    return f"{statistics.median(values):.{digits}f} {unit}"


def spread(values: Sequence[float], unit: str, digits: int = 0) -> str:
    """Least - most."""
    return f"{min(values):.{digits}f} - {max(values):.{digits}f} {unit}"


def ratios(results: list[Result]) -> str:
    """A table with a row for each load and figure."""
    rows = [_row(f"{result.load}: CPU us per {result.unit}", result, lambda sample: sample.cpu) for result in results]
    rows += [
        _row(f"{result.load}: {result.units} per second", result, lambda sample: sample.rate) for result in results
    ]
    return table(("xcore", "nginx + uvicorn", "ratio (least - most)", "uvicorn alone"), rows)


def _row(title: str, result: Result, figure: Callable[[Sample], float]) -> tuple[str, ...]:
    ours, peer, alone = (f"{median:.0f}" for median in result.medians(figure))
    found = result.ratios(figure)
    return title, ours, peer, f"**{statistics.median(found):.2f}** ({found[0]:.2f} - {found[-1]:.2f})", alone


def pinned() -> dict[str, str]:
    """Versions that are to be the same on all sides."""
    names = ("uvicorn", "uvloop", "httptools", "fastapi", "starlette", "pydantic", "pydantic-core")
    return {name: importlib.metadata.version(name) for name in names}


def facts() -> dict[str, str]:
    """What the numbers depend on."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "machine": f"{os.cpu_count()} cores ({_processor()}), {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **versions,
        "nginx": _version_of("nginx", "-v"),
        "wrk": _version_of("wrk", "-v"),
        "load": f"{os.getloadavg()[0]:.2f} at the start",
    }


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def _version_of(program: str, option: str) -> str:
    """The first thing that looks like a version; wrk shows its own only with an error."""
    if shutil.which(program) is None:
        return "not installed"
    shown = subprocess.run((program, option), capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+[\w.]*", shown.stdout + shown.stderr)
    return found[0] if found else "unknown"


def document(results: list[Result], machine: dict[str, str]) -> dict[str, Any]:
    """Everything that was measured, for programs."""
    return {"machine": machine, "results": [asdict(result) for result in results]}
