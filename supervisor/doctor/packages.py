"""Names that other packages have, too: supervisord is imported as ``supervisor``."""

import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

from supervisor.doctor.finding import Finding, missing, ok, warning

PACKAGES = ("plugin_runtime", "supervisor", "gateway")
_OURS = Path(__file__).resolve().parents[2]
_SUPERVISORD = "supervisor"


def namesakes() -> Finding:
    return judge_namesakes(list(_others(sys.path, _OURS)), supervisord=_is_installed(_SUPERVISORD))


def judge_namesakes(others: Sequence[Path], *, supervisord: bool) -> Finding:
    """``others``: packages with a name of ours on sys.path; ours is in front, or none of this would run."""
    if supervisord:
        return missing("supervisord is installed in the same environment; its files may replace ours")
    if others:
        return warning(f"{', '.join(map(str, others))} has a name of ours")
    return ok("none with a name of ours")


def _others(path: Sequence[str], ours: Path) -> Iterator[Path]:
    for entry in path:
        for name in PACKAGES:
            spec = PathFinder.find_spec(name, [entry or "."])
            if spec is not None and spec.origin is not None and Path(spec.origin).resolve().parent != ours / name:
                yield Path(spec.origin)


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
