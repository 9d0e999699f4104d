"""Who we are on this machine, its first process, and its clock."""

import ctypes
import os
import time

import psutil

from supervisor.doctor.finding import Finding, missing, ok, warning
from supervisor.processes.process_stat import read_process_stat

OLDEST_YEAR = 2025
"""No release of xcore is older: before it, the clock is wrong."""
LATEST_YEAR = 2100

_TIMEX_SIZE = 256
"""Bytes; struct timex of adjtimex(2) has 208 or fewer."""
_TIME_ERROR = 5
_READS = 1_000_000
"""Of a clock that counts nanoseconds; two in a row rarely give the same."""
_REAPED_WITHIN = 2.0
"""Seconds that an init may take over what has just died."""
_PAUSE = 0.1
"""Seconds between two looks; there is nobody to tell us that it has reaped."""


# --- user -----------------------------------------------------------------------------------------------------


def user() -> Finding:
    return judge_user(os.geteuid())


def judge_user(number: int) -> Finding:
    return ok(f"user {number}") if number else warning("root")


# --- process 1 ------------------------------------------------------------------------------------------------


def first_process() -> Finding:
    """Count what process 1 does not reap."""
    stat = read_process_stat(1)
    if stat is None:
        return ok("not to be seen from here")
    zombies = _zombies_of_first()
    deadline = time.monotonic() + _REAPED_WITHIN
    while zombies and time.monotonic() < deadline:
        time.sleep(_PAUSE)
        zombies &= _zombies_of_first()
    return judge_first_process(stat.name, len(zombies), is_ours=os.getpid() == 1)


def judge_first_process(name: str, zombies: int, *, is_ours: bool) -> Finding:
    """``zombies``: dead children that it has not reaped."""
    if is_ours:
        return ok("we are, and reap what is left to us")
    return warning(f"{name} does not reap; zombies: {zombies}") if zombies else ok(f"{name} has left no zombies")


def _zombies_of_first() -> set[int]:
    stats = {pid: read_process_stat(pid) for pid in psutil.pids()}
    return {pid for pid, stat in stats.items() if stat is not None and stat.is_zombie and stat.parent == 1}


# --- clock ----------------------------------------------------------------------------------------------------


def clock() -> Finding:
    start = time.monotonic_ns()
    moves = any(time.monotonic_ns() > start for _ in range(_READS))
    return judge_clock(time.gmtime().tm_year, moves=moves, synchronised=_is_synchronised())


def judge_clock(year: int, *, moves: bool, synchronised: bool | None) -> Finding:
    """``moves``: the monotonic clock goes on; ``synchronised``: None where the kernel does not tell."""
    if not moves:
        return missing("the monotonic clock stands still")
    if not OLDEST_YEAR <= year < LATEST_YEAR:
        return missing(f"the clock says it is {year}")
    if synchronised is False:
        return warning("not synchronised")
    return ok("synchronised" if synchronised else "goes")


def _is_synchronised() -> bool | None:
    """What adjtimex(2) says when it is asked to change nothing."""
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX_SIZE))
    return None if state < 0 else state != _TIME_ERROR
