"""How much of everything this process may have, against what the plugins and tasks of a project need."""

import ctypes
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from supervisor.doctor.finding import Finding, missing, ok, warning

FILES = 64
"""Descriptors of a supervisor or gateway before the first plugin: libraries, sockets, database, logs."""
FILES_PER_PROCESS = 5
"""Descriptors that the supervisor holds for each process: two FIFOs, pidfd, control channel, log file."""
CONNECTIONS = 500
"""Clients at one time that a gateway should have descriptors for; it is started with the supervisor's limit."""
THREADS_PER_PROCESS = 4
"""Threads of a worker that does little: the kernel counts them all as processes."""
WATCHES = 8192
"""inotify watches that a machine should allow for; editors on it want some, too."""

_INOTIFY = ("/proc/sys/fs/inotify/max_user_{}", "/proc/sys/user/max_inotify_{}")
"""Of the machine, and of the user namespace that this process is in; the lower one holds. inotify(7), namespaces(7)"""


# --- open files -----------------------------------------------------------------------------------------------


def open_files(processes: int) -> Finding:
    """``processes``: that the supervisor will have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return judge_open_files(_finite(soft), _finite(hard), processes)


def judge_open_files(soft: int | None, hard: int | None, processes: int) -> Finding:
    """None: no limit."""
    needed = FILES + FILES_PER_PROCESS * processes
    wanted = needed + CONNECTIONS
    if soft is None or soft >= wanted:
        return ok(f"{_shown(soft)} (at most {_shown(hard)}); about {needed} needed for {processes} processes")
    raised = f"ulimit -n {wanted}, or LimitNOFILE={wanted} in a systemd unit"
    if hard is not None and hard < wanted:
        raised += f"; root must first raise the hard limit of {hard} (nofile in /etc/security/limits.conf)"
    found = f"{soft}; about {needed} needed for {processes} processes, and one for each client of a gateway"
    if soft < needed:
        return missing(found, advice=raised)
    return warning(found, f"gateways refuse clients beyond some {soft - needed} at one time", raised)


# --- processes ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Allowance:
    """A limit on processes, threads included, and how many there are. ``what``: name of the limit."""

    what: str
    most: int
    used: int

    @property
    def room(self) -> int:
        return self.most - self.used


def process_count(processes: int) -> Finding:
    """``processes``: that the supervisor will have."""
    return judge_process_count(list(_allowances()), processes)


def judge_process_count(allowances: list[Allowance], processes: int) -> Finding:
    wanted = processes * THREADS_PER_PROCESS
    if not allowances:
        return ok("no limit")
    least = min(allowances, key=lambda allowance: allowance.room)
    found = f"{least.used} of {least.most} ({least.what})"
    if least.room >= wanted:
        return ok(found)
    found += f"; {processes} processes with their threads need about {wanted}"
    return missing(found) if least.room < processes else warning(found)


def _allowances() -> Iterator[Allowance]:
    most = _finite(resource.getrlimit(resource.RLIMIT_NPROC)[0])
    if most is not None and os.geteuid() != 0:  # root is not held to it, setrlimit(2)
        yield Allowance("ulimit -u", most, _threads_of(os.getuid()))
    for folder in _control_groups(Path("/proc/self/cgroup").read_text(encoding="utf-8")):
        most = _number(folder / "pids.max")
        used = _number(folder / "pids.current")
        if most is not None and used is not None:
            yield Allowance(f"pids.max of {folder.name or folder}", most, used)


def _threads_of(user: int) -> int:
    threads = 0
    for process in psutil.process_iter(["uids", "num_threads"]):
        if process.info["uids"] is not None and process.info["uids"].real == user:
            threads += process.info["num_threads"] or 1
    return threads


def _control_groups(text: str) -> Iterator[Path]:
    """Folders of our control group and of those it is in; ``text``: as in cgroups(7), version 2 and 1."""
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in {"", "pids"}:
            top = Path("/sys/fs/cgroup", controllers)
            own = top / path.lstrip("/")
            yield own
            yield from (parent for parent in own.parents if parent.is_relative_to(top))


# --- inotify --------------------------------------------------------------------------------------------------


def inotify(folder: Path, interval: float) -> Finding:
    """Watch ``folder`` for a moment; ``interval``: seconds between two looks at it without events."""
    return judge_inotify(_allowed("instances"), _allowed("watches"), _trouble_watching(folder), interval)


def judge_inotify(instances: int | None, watches: int | None, trouble: str, interval: float) -> Finding:
    """``trouble``: why watching failed, "" where it did not."""
    allowed = f"{_shown(instances)} instances, {_shown(watches)} watches"
    meaning = f"changed files are noticed by looking every {interval:g} s, which costs CPU, instead of at once"
    if trouble:
        return warning(f"{trouble}; the user may have {allowed}", meaning)
    if watches is not None and watches < WATCHES:
        return warning(f"works; the user may have {allowed}", f"with many plugins and editors {meaning}")
    return ok(allowed)


def _allowed(what: str) -> int | None:
    limits = (_number(Path(place.format(what))) for place in _INOTIFY)
    return min((limit for limit in limits if limit is not None), default=None)


def _trouble_watching(folder: Path) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_CLOEXEC)
    if fd < 0:
        return os.strerror(ctypes.get_errno())
    try:
        in_modify = 2
        return os.strerror(ctypes.get_errno()) if libc.inotify_add_watch(fd, os.fsencode(folder), in_modify) < 0 else ""
    finally:
        os.close(fd)


# --- numbers --------------------------------------------------------------------------------------------------


def _finite(limit: int) -> int | None:
    return None if limit == resource.RLIM_INFINITY else limit


def _shown(limit: int | None) -> str:
    return "unlimited" if limit is None else str(limit)


def _number(file: Path) -> int | None:
    """None where there is no such file, or "max" in it."""
    try:
        text = file.read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
