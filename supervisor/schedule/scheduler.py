"""The schedule at work: a timer of the event loop that looks at both clocks, and tells what is due.

The rules are those of schedule/timetable.py. A timer cannot be set to a moment of the wall clock: nothing wakes us when
that is set, and the monotonic clock stands still while the machine is suspended. So it looks at least once a second.
"""

import asyncio
import logging
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import tzlocal

from supervisor.clock import Clock
from supervisor.schedule.job_spec import JobSpec
from supervisor.schedule.timetable import Entry, Findings, Firing, Miss, Reading, Timetable

__all__ = ["Entry", "Firing", "Miss", "Scheduler", "machine_zone"]

logger = logging.getLogger(__name__)

LONGEST_SLEEP = 1.0
"""Seconds between two looks; so late is noticed that the wall clock was set."""

Due = Callable[[Sequence[Firing | Miss]], None]


def machine_zone() -> ZoneInfo:
    """The time zone that the machine is set to; UTC where it cannot be found out, which is logged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # tzlocal guesses, with a warning
            return tzlocal.get_localzone()
    except (ZoneInfoNotFoundError, ValueError, OSError, Warning) as error:
        logger.warning("Cannot find out the machine's time zone, jobs that name none go by UTC: %s", error)
        return ZoneInfo("UTC")


class _Entries(Mapping[str, Entry]):
    """The entries by id, each made when it is asked for."""

    def __init__(self, timetable: Timetable, read: Callable[[], Reading]) -> None:
        self._timetable = timetable
        self._read = read

    def __getitem__(self, job: str) -> Entry:
        if job not in self._timetable:
            raise KeyError(job)
        return self._timetable.entry(job, self._read())

    def __iter__(self) -> Iterator[str]:
        return iter(self._timetable)

    def __len__(self) -> int:
        return len(self._timetable)


class Scheduler:
    """Owns the timetable and the timer. Used in the event loop's thread."""

    def __init__(self, clock: Clock, due: Due, chance: Callable[[], float] = random.random) -> None:
        """``due``: called with what is due, the earliest first, never more than one of a job.

        ``chance``: a random number in [0, 1), for jitter.
        """
        self._clock = clock
        self._due = due
        self._timetable = Timetable(chance)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.entries: Mapping[str, Entry] = _Entries(self._timetable, self._read)
        """What is declared, as of now."""
        self.changed: Callable[[Entry], None] = lambda _entry: None
        """Called when a job is due at another moment than before, always before ``due`` is."""

    def start(self) -> None:
        """Begin to fire, in the running event loop. Until then moments come and wait."""
        self._loop = asyncio.get_running_loop()
        self._arm()

    def close(self) -> None:
        """Fire no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop = self._timer = None

    def declare(self, spec: JobSpec, *, paused: bool = False, next_run: float | None = None) -> None:
        """Schedule a job, or change it; with an equal trigger it keeps its next moment.

        ``next_run``: seconds since the epoch, as stored of a job with an equal trigger; it may have passed.
        """
        self._timetable.declare(spec, self._read(), paused=paused, next_run=next_run)
        self._has_changed(spec.id)

    def withdraw(self, job: str) -> None:
        """Schedule a job no longer.

        Raises:
            UnknownNameError: no such job.
        """
        self._timetable.withdraw(job)

    def pause(self, job: str) -> None:
        """Have a job not due until it is resumed; nothing of that time is made up for, nor counts as missed.

        Raises:
            UnknownNameError: no such job.
        """
        self._timetable.pause(job)
        self._has_changed(job)

    def resume(self, job: str) -> None:
        """Let a paused job go on.

        Raises:
            UnknownNameError: no such job.
        """
        self._timetable.resume(job, self._read())
        self._has_changed(job)

    def _read(self) -> Reading:
        return Reading(self._clock.time(), self._clock.monotonic())

    def _has_changed(self, job: str) -> None:
        entry = self.entries[job]
        self._arm(entry)
        self.changed(entry)

    def _arm(self, entry: Entry | None = None) -> None:
        """Set the timer, or set it earlier for one entry, lest declaring a thousand jobs look at a million."""
        if self._loop is None:
            return
        now = self._read()
        if entry is None or self._timer is None:
            wait = self._timetable.wait(now, LONGEST_SLEEP)
        else:
            wait = self._timer.when() - self._loop.time()
            if entry.starts is None or entry.starts - now.wall >= wait:
                return
            wait = max(0.0, entry.starts - now.wall)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(wait, self._look)

    def _look(self) -> None:
        try:  # whatever raises in here: the event loop logs it, and the schedule goes on
            self._tell(self._timetable.look(self._read()))
        finally:
            self._arm()

    def _tell(self, findings: Findings) -> None:
        try:
            for entry in filter(None, map(self.entries.get, findings.changed)):
                self.changed(entry)
        finally:
            if findings.due:
                self._due(findings.due)
