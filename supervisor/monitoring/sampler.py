"""What our processes use: one pass over /proc for all of them, and the memory of the last day.

psutil stays behind this module. Processes vanish, become zombies or belong to another user between any two of its
calls; none of that ends a pass.
"""

import math
from array import array
from collections.abc import Callable, Collection, Mapping
from dataclasses import astuple, dataclass, replace
from typing import TypeVar

import psutil

from supervisor.clock import Clock

T = TypeVar("T")

USS_INTERVAL = 60.0
"""Seconds between measurements of USS: it walks all pages of a process and costs fifteen times all the rest."""
FULL_RATE_SPAN = 3600.0
"""Seconds for which every sample is kept."""
MINUTE = 60.0
MINUTES_KEPT = 24 * 60

_MIB = 1024 * 1024


@dataclass(frozen=True)
class Sample:
    """What one process used at one moment. None: not known yet, or not ours to know."""

    time: float
    """Seconds since the epoch."""
    memory_mb: float
    """Resident set size."""
    cpu_seconds: float
    """User and system time since the process started."""
    cpu_percent: float | None
    """Of one CPU, since the sample before."""
    threads: int
    open_files: int | None
    uss_mb: float | None
    """What would be free if the process were gone; measured less often than the rest."""


class Sampler:
    """Owns the rings. Call it from one thread.

    ``processes`` returns the pid of every id, None while an id has no process: its history is kept. The history of an
    id that is missing is forgotten.
    """

    def __init__(self, processes: Callable[[], Mapping[str, int | None]], clock: Clock, interval: float = 5.0) -> None:
        """``interval``: seconds between passes, for the size of the rings."""
        self._processes = processes
        self._clock = clock
        self._capacity = math.ceil(FULL_RATE_SPAN / interval)
        self._probes: dict[str, _Probe] = {}
        self._histories: dict[str, _History] = {}

    def sample(self, exact: Collection[str] = ()) -> dict[str, Sample]:
        """Measure every process once; those that cannot be measured are missing. About 0.1 ms each.

        ``exact``: ids whose USS is wanted in this pass, whenever it was measured last (1.4 ms each).
        """
        pids = self._processes()
        self._forget_all_but(pids)
        samples = {}
        for id_, pid in pids.items():
            sample = self._measure(id_, pid, exact=id_ in exact) if pid is not None else None
            if sample is not None:
                samples[id_] = sample
                self._histories.setdefault(id_, _History(self._capacity)).add(sample, self._clock.monotonic())
        return samples

    def memory_of(self, pid: int) -> float | None:
        """USS of one process now, in MiB, of which nothing is remembered; None: it is gone, or not ours to know."""
        try:
            return _uss_of(psutil.Process(pid))
        except (psutil.Error, OSError, ValueError):
            return None

    def history(self, id_: str, minutes: float) -> list[Sample]:
        """Samples of the last ``minutes``, oldest first: by the minute, for the last hour all of them."""
        history = self._histories.get(id_)
        if history is None:
            return []
        since = self._clock.time() - minutes * 60
        return [sample for sample in history.samples() if sample.time >= since]

    def _forget_all_but(self, pids: Mapping[str, int | None]) -> None:
        for id_ in self._histories.keys() - pids.keys():
            del self._histories[id_]
        for id_ in [id_ for id_, probe in self._probes.items() if pids.get(id_) != probe.pid]:
            del self._probes[id_]

    def _measure(self, id_: str, pid: int, *, exact: bool) -> Sample | None:
        try:
            probe = self._probes.get(id_) or self._probes.setdefault(id_, _Probe(pid))
            return probe.measure(self._clock, exact=exact)
        except (psutil.Error, OSError, ValueError):
            # psutil lets OSError (ESRCH in mid-read) and ValueError (a half-empty file of a dying process) through.
            self._probes.pop(id_, None)
            return None


class _Probe:
    """Measures one process; remembers what the next measurement is compared with."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._process = psutil.Process(pid)
        self._cpu: tuple[float, float] | None = None  # (monotonic time, CPU seconds)
        self._uss: tuple[float, float | None] | None = None  # (monotonic time, MiB)

    def measure(self, clock: Clock, *, exact: bool) -> Sample:
        now = clock.monotonic()
        with self._process.oneshot():
            if self._process.status() == psutil.STATUS_ZOMBIE:
                raise psutil.ZombieProcess(self.pid)  # it could be read, and would look like a process without memory
            times = self._process.cpu_times()
            return Sample(
                time=clock.time(),
                memory_mb=self._process.memory_info().rss / _MIB,
                cpu_seconds=times.user + times.system,
                cpu_percent=self._cpu_percent(now, times.user + times.system),
                threads=self._process.num_threads(),
                open_files=_if_permitted(self._process.num_fds),
                uss_mb=self._uss_mb(now, exact=exact),
            )

    def _cpu_percent(self, now: float, cpu_seconds: float) -> float | None:
        before, self._cpu = self._cpu, (now, cpu_seconds)
        if before is None or now <= before[0]:
            return None
        return 100 * (cpu_seconds - before[1]) / (now - before[0])

    def _uss_mb(self, now: float, *, exact: bool) -> float | None:
        if self._uss is None or exact or now - self._uss[0] >= USS_INTERVAL:
            self._uss = (now, _uss_of(self._process))
        return self._uss[1]


def _uss_of(process: psutil.Process) -> float | None:
    full = _if_permitted(process.memory_full_info)
    return full.uss / _MIB if full else None


def _if_permitted(read: Callable[[], T]) -> T | None:
    """Descriptors and page tables of another user's process (sudo) are not ours to see; the rest is."""
    try:
        return read()
    except psutil.AccessDenied:
        return None


class _History:
    """All samples of the last hour, and one a minute of the last day."""

    def __init__(self, capacity: int) -> None:
        self._all = _Ring(capacity)
        self._minutes = _Ring(MINUTES_KEPT)
        self._minute_began: float | None = None
        self._first: Sample | None = None

    def add(self, sample: Sample, now: float) -> None:
        """``now``: monotonic."""
        self._all.append(sample)
        if self._minute_began is None or self._first is None:
            self._minute_began, self._first = now, sample
        elif now - self._minute_began >= MINUTE:
            self._minutes.append(_over_the_minute(self._first, sample, now - self._minute_began))
            self._minute_began, self._first = now, sample

    def samples(self) -> list[Sample]:
        recent = self._all.samples()
        older = [sample for sample in self._minutes.samples() if sample.time < recent[0].time]
        return older + recent


def _over_the_minute(first: Sample, last: Sample, elapsed: float) -> Sample:
    """``last``, with the CPU usage of the whole time and not of its last seconds."""
    used = last.cpu_seconds - first.cpu_seconds
    return replace(last, cpu_percent=100 * used / elapsed) if used >= 0 else last  # less: another process has the id


class _Ring:
    """The last samples, packed into one array: 56 bytes each, where objects would take five times that.

    At 200 processes a full day is 24 MB.
    """

    _WIDTH = 7

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._values = array("d")
        self._next = 0

    def append(self, sample: Sample) -> None:
        packed = array("d", _packed(sample))
        start = self._next * self._WIDTH
        self._values[start : start + self._WIDTH] = packed  # beyond the end: grows
        self._next = (self._next + 1) % self._capacity

    def samples(self) -> list[Sample]:
        """Oldest first."""
        count = len(self._values) // self._WIDTH
        first = self._next if count == self._capacity else 0
        return [self._at((first + offset) % count) for offset in range(count)]

    def _at(self, index: int) -> Sample:
        start = index * self._WIDTH
        return _unpacked(self._values[start : start + self._WIDTH])


def _packed(sample: Sample) -> list[float]:
    return [math.nan if value is None else value for value in astuple(sample)]


def _unpacked(values: "array[float]") -> Sample:
    time, memory_mb, cpu_seconds, cpu_percent, threads, open_files, uss_mb = values
    return Sample(
        time=time,
        memory_mb=memory_mb,
        cpu_seconds=cpu_seconds,
        cpu_percent=None if math.isnan(cpu_percent) else cpu_percent,
        threads=int(threads),
        open_files=None if math.isnan(open_files) else int(open_files),
        uss_mb=None if math.isnan(uss_mb) else uss_mb,
    )
