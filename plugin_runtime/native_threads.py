"""Threads of numeric libraries: none in a template, as many as usual in what is forked from it."""

from __future__ import annotations

import ctypes
import os
from itertools import product
from pathlib import Path, PurePath

_PREFIXES = ("", "scipy_")
_SUFFIXES = ("", "64_", "_64")
_LIMITS = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")
"""Variables that OpenBLAS goes by, in its order."""


def loaded_openblas() -> list[str]:
    """Paths of the copies of OpenBLAS in this process; wheels bring one each."""
    return _openblas_in(Path("/proc/self/maps").read_text())


def _openblas_in(maps: str) -> list[str]:
    paths = {line.split(maxsplit=5)[-1] for line in maps.splitlines() if "blas" in line}
    return sorted(path for path in paths if "openblas" in PurePath(path).name)


def let_openblas_have_threads(libraries: list[str]) -> None:
    """Undo what ``OPENBLAS_NUM_THREADS=1`` did while the template loaded them; it starts its threads at once."""
    number = _wanted_threads()
    if number == 1:
        return
    for path, prefix, suffix in product(libraries, _PREFIXES, _SUFFIXES):
        set_threads = getattr(ctypes.CDLL(path), f"{prefix}openblas_set_num_threads{suffix}", None)
        if set_threads is not None:
            set_threads(ctypes.c_int(number))


def _wanted_threads() -> int:
    for variable in _LIMITS:
        limit = os.environ.get(variable, "")
        if limit.isdigit() and int(limit) > 0:
            return int(limit)
    return len(os.sched_getaffinity(0))
