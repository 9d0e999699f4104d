"""Learns of deaths, ends what the dead left behind, and reaps.

A dead process stays a zombie, and its pid its own, until it is reaped. Everything that signals by pid or group
therefore happens before reaping, and only this module reaps. Deaths of our children arrive through pidfds in the event
loop.

The supervisor is a subreaper: a process whose parents died becomes its child. So does what a template forks, which is
announced before (``birth``); any other was started by a plugin that left it behind: such an orphan is killed. It cannot
be told from our own children by its parent, but by its session: every process of ours has one of its own, inherited by
all of its descendants, and nobody can join the session of another. A child in the session of the supervisor itself was
therefore started by the supervisor or a library of it (or by whoever was the supervisor before exec), and somebody
waits for it: it is left alone.
"""

import asyncio
import ctypes
import logging
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from plugin_runtime.protocol import ENV_CHILD
from supervisor.processes.foreign_exit import foreign_exit
from supervisor.processes.process_stat import ProcessStat, read_process_stat
from supervisor.processes.spawn import Process
from supervisor.spec import ExitStatus

logger = logging.getLogger(__name__)

SWEEP_INTERVAL = 1.0
"""Seconds between looks for orphans; a plugin's daemon outlives it by no more."""
KILLED_INTERVAL = 0.02
"""Seconds until the next look when something was just killed, doubling from there: its children become orphans only
when it is dead. Not SIGCHLD, which uvloop keeps for itself."""

_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Orphan:
    """A process that was re-parented to us and killed."""

    pid: int
    name: str
    child: str
    """Id of the child it descends from; "" where it hides that."""

    def __str__(self) -> str:
        origin = f"of {self.child}" if self.child else "of unknown origin"
        return f"{self.name!r} (pid {self.pid}) {origin}"


def become_subreaper() -> None:
    """Let descendants whose parents died become our children instead of init's.

    Raises:
        OSError: prctl(2) failed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"cannot become a subreaper: {os.strerror(code)}")


class Reaper:
    """Owns the waiting for all children. To be used in the event loop's thread only."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sweep_interval: float = SWEEP_INTERVAL,
        spared: Callable[[], Collection[int]] = frozenset,
        bereaved: Callable[[], None] = lambda: None,
    ) -> None:
        """``spared``: pids that are handed to ``watch`` later, and are no orphans meanwhile.

        ``bereaved``: called when one is dead that was not our child, and what it leaves behind not ours, either.
        """
        self._loop = loop
        self._spared = spared
        self._bereaved = bereaved
        self._sweep_interval = sweep_interval
        self._watched: dict[int, tuple[Process, Callable[[ExitStatus], None]]] = {}
        self._killed: set[int] = set()
        self._births: list[int] = []
        """When each birth under way began, in clock ticks since boot."""
        self._interval = sweep_interval
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look for orphans now and regularly."""
        self._sweep_and_log()

    def close(self) -> None:
        """Stop watching; processes that still run are left as they are."""
        if self._timer is not None:
            self._timer.cancel()
        for process, _ in self._watched.values():
            self._loop.remove_reader(process.pidfd)
        self._watched.clear()

    def watch(self, process: Process, exited: Callable[[ExitStatus], None]) -> None:
        """Call ``exited`` once, when the process is dead, its group killed, and itself reaped and released."""
        self._watched[process.pid] = (process, exited)
        self._loop.add_reader(process.pidfd, self._readable, process.pid)

    def watches(self, pid: int) -> bool:
        """Whether a process with this pid is known here, which therefore is no other one's."""
        return pid in self._watched

    @contextmanager
    def birth(self) -> Iterator[None]:
        """Spare what is younger than this: the kernel will give us a process before it is handed to ``watch``."""
        began = ticks_now()
        self._births.append(began)
        try:
            yield
        finally:
            self._births.remove(began)

    def sweep(self) -> list[Orphan]:
        """Kill the orphans that live, reap those that are dead; return what was killed and had not been before."""
        orphans = self._orphans()
        living = {pid: stat for pid, stat in orphans.items() if not stat.is_zombie}
        self._killed &= living.keys()
        found = [Orphan(pid, stat.name, _child_of(pid)) for pid, stat in living.items() if pid not in self._killed]
        for pid, stat in living.items():
            _kill(pid, stat.group, orphans)
        self._killed |= living.keys()
        # After the killing: a zombie that leads a group keeps the group's number from being given away.
        for pid in orphans.keys() - living.keys():
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        return found

    def _orphans(self) -> dict[int, ProcessStat]:
        own_session = os.getsid(0)
        oldest_birth = min(self._births, default=None)
        stats = {pid: read_process_stat(pid) for pid in _own_children().difference(self._watched, self._spared())}
        return {
            pid: stat
            for pid, stat in stats.items()
            if stat and stat.session != own_session and (oldest_birth is None or stat.start_ticks < oldest_birth)
        }

    def _sweep_and_log(self) -> None:
        found = []
        try:
            found = self.sweep()
        except OSError as error:  # no descriptor left, most likely; a death must be reported all the same
            logger.warning("Cannot look for orphans: %s; trying again", error)
        for orphan in found:
            logger.info("Killed %s: it was left behind by its parents", orphan)
        self._interval = KILLED_INTERVAL if found else min(2 * self._interval, self._sweep_interval)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._interval, self._sweep_and_log)

    def _readable(self, pid: int) -> None:
        process, exited = self._watched[pid]
        if not _is_waitable(pid):
            return
        self._loop.remove_reader(process.pidfd)
        process.signal_group(signal.SIGKILL)
        status = _reap(process)
        process.release()
        del self._watched[pid]
        self._sweep_and_log()
        if process.is_foreign:
            self._bereaved()
        exited(status)


def ticks_now() -> int:
    """In the unit of ProcessStat.start_ticks, and not after the moment itself."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")) - 1


def _is_waitable(pid: int) -> bool:
    """Whether the process is dead, without reaping it. True also where it is not ours to reap."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    except ChildProcessError:
        return True


def _reap(process: Process) -> ExitStatus:
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except ChildProcessError:  # taken over from another supervisor, or somebody else waited for it
        process.reaped(0)
        return foreign_exit(process.pid, process.start_ticks, process.pidfd)
    code = os.waitstatus_to_exitcode(status)
    process.reaped(code)
    cpu_seconds = usage.ru_utime + usage.ru_stime
    if code < 0:
        return ExitStatus(signal=-code, cpu_seconds=cpu_seconds)
    return ExitStatus(exit_code=code, cpu_seconds=cpu_seconds)


def _own_children() -> set[int]:
    """Pids of all children, zombies too.

    From the lists that the kernel keeps per thread (CONFIG_PROC_CHILDREN): looking at every process of the machine once
    a second would cost more than the rest of an idle supervisor. A list may miss an entry that another one's exit moves
    meanwhile; the next look finds it.
    """
    pids: set[int] = set()
    for thread in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            pids.update(map(int, (thread / "children").read_bytes().split()))
    return pids


def _kill(pid: int, group: int, orphans: dict[int, ProcessStat]) -> None:
    """Kill an orphan, and all of its group at once, so that a group that forks on cannot outrun us.

    Not the group, though, while its leader lives and is no orphan: then it belongs to a child that is well, or to a
    process of that child's. The pid cannot be another's: only we could reap the orphan.
    """
    with suppress(ProcessLookupError, PermissionError):  # it may run as another user by now (sudo)
        os.kill(pid, signal.SIGKILL)
    leader = read_process_stat(group)
    if group in orphans or leader is None or leader.is_zombie:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def _child_of(pid: int) -> str:
    """The id that the supervisor put into the environment of the orphan's ancestor."""
    prefix = f"{ENV_CHILD}=".encode()
    with suppress(OSError):
        for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if variable.startswith(prefix):
                return variable.removeprefix(prefix).decode(errors="backslashreplace")
    return ""
