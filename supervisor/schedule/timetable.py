"""Which jobs are due: the entries of all jobs, and what becomes of them when time passes, or jumps. Pure.

Time is a Reading of two clocks: the wall clock, which people set and NTP corrects, and the monotonic one, which nobody
sets. Intervals go by the second, cron and dates by the first. The rules:

- A moment that has come is told once: as Firing, or as Miss if it is noticed later than misfire_grace_time (at least
  PUNCTUAL, which is the event loop's) allows. Whatever else was due until now is passed over: never a burst. Then the
  trigger's next moment counts; if that has passed as well, its next from now on. So an interval keeps its beat, and
  begins anew where a whole one was lost.
- Jitter puts a run off by a share of its length that chance draws, but never up to the next moment.
- The wall clock is set forward: what it skips is late by that much. Nothing else changes.
- It is set back by STEP at most: cron and dates wait for it; a correction of a second runs nothing twice.
- It is set back further: cron with "*" hours goes by the new time at once. With fixed hours it does so after more than
  CORRECTION; up to that, hours that come again are not run again, as in cron(8). A date does not come twice, unless
  xcore was restarted in between: that it has been is not stored.
- The machine was suspended: the monotonic clock stood still, so it looks as if the wall clock had been set forward.
  Intervals count the time that the machine was awake; what cron had meanwhile is late.
- A stored moment that has passed counts, so that a restart fires or misses it. One still to come counts if at most the
  one moment before it could be a repetition; otherwise the wall clock was set back in between, and the trigger's next
  counts. The stored moment of an interval is never more than one interval away.
- A pause forgets the moment to come; afterwards the trigger's next counts, and an interval begins anew.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from supervisor.errors import UnknownNameError
from supervisor.schedule.job_spec import JobSpec
from supervisor.schedule.triggers import Cron, Interval, Trigger

PUNCTUAL = 0.1
"""Seconds that a run may be late whatever its misfire_grace_time: turns of the event loop take time."""
STEP = 60.0
"""Seconds that the wall clock is set back and nothing follows."""
CORRECTION = 3 * 3600.0
"""Seconds that it is set back and named hours do not come again; cron(8) has the same."""
JITTER_MARGIN = 1.0
"""Seconds before the next moment at which the latest run of the one before begins."""


@dataclass(frozen=True)
class Reading:
    """What both clocks show at one moment, in seconds."""

    wall: float
    """Since the epoch."""
    elapsed: float
    """Of the monotonic clock."""


@dataclass(frozen=True)
class Firing:
    """A job is to be run. ``due``: seconds since the epoch, by its trigger."""

    job: JobSpec
    due: float


@dataclass(frozen=True)
class Miss:
    """A job was due, and that was noticed too late; it is not run. ``late``: by so many seconds."""

    job: JobSpec
    due: float
    late: float


@dataclass(frozen=True)
class Entry:
    """When a job is due next, in seconds since the epoch. None: paused, not activated, or never again."""

    spec: JobSpec
    paused: bool
    due: float | None
    """By the trigger."""
    starts: float | None
    """With jitter."""


@dataclass(frozen=True)
class Findings:
    """Of one look at the clocks. ``changed``: ids of jobs whose next moment is another one now."""

    due: tuple[Firing | Miss, ...]
    changed: tuple[str, ...]


@dataclass(slots=True)
class _Slot:
    """A job and its next moment, on the clock that its trigger goes by."""

    spec: JobSpec
    paused: bool = False
    due: float | None = None
    starts: float | None = None
    told: float | None = None
    """The moment that was told last."""

    @property
    def counts(self) -> bool:
        """Goes by the monotonic clock."""
        return isinstance(self.spec.trigger, Interval)

    def clock(self, now: Reading) -> float:
        return now.elapsed if self.counts else now.wall

    def offset(self, now: Reading) -> float:
        """From its clock to the wall clock."""
        return now.wall - now.elapsed if self.counts else 0.0

    def entry(self, now: Reading) -> Entry:
        offset = self.offset(now)
        due, starts = (None if moment is None else moment + offset for moment in (self.due, self.starts))
        return Entry(self.spec, self.paused, due, starts)


class Timetable:
    """Owns the entries. Knows no clock: every call is told what the clocks show."""

    def __init__(self, chance: Callable[[], float]) -> None:
        """``chance``: a random number in [0, 1)."""
        self._chance = chance
        self._slots: dict[str, _Slot] = {}
        self._last: Reading | None = None

    def __contains__(self, job: object) -> bool:
        return job in self._slots

    def __iter__(self) -> Iterator[str]:
        return iter(self._slots)

    def __len__(self) -> int:
        return len(self._slots)

    def entry(self, job: str, now: Reading) -> Entry:
        """The entry of a job.

        Raises:
            UnknownNameError: there is none.
        """
        return self._slot(job).entry(now)

    def declare(self, spec: JobSpec, now: Reading, *, paused: bool = False, next_run: float | None = None) -> None:
        """Enter a job, or change it; with an equal trigger it keeps its next moment.

        ``next_run``: when it was due next, by what was stored of a job with an equal trigger.
        """
        self._last = self._last or now
        slot, before = _Slot(spec, paused), self._slots.get(spec.id)
        if before is not None and before.spec.trigger != spec.trigger:
            before = None
        if before is not None:
            slot.told = before.told
        if not paused and spec.activate:
            if before is None or before.due is None:
                self._set(slot, _first(slot, now, next_run))
            elif before.spec.jitter == spec.jitter:
                slot.due, slot.starts = before.due, before.starts
            else:
                self._set(slot, before.due)
        self._slots[spec.id] = slot

    def withdraw(self, job: str) -> None:
        """Strike out a job.

        Raises:
            UnknownNameError: it is not there.
        """
        self._slot(job)
        del self._slots[job]

    def pause(self, job: str) -> None:
        """Have a job not due until it is resumed; as ``withdraw`` raises."""
        slot = self._slot(job)
        slot.paused = True
        self._set(slot, None)

    def resume(self, job: str, now: Reading) -> None:
        """Let a paused job go on; as ``withdraw`` raises."""
        slot = self._slot(job)
        if slot.paused:
            slot.paused = False
            self._set(slot, _first(slot, now, None) if slot.spec.activate else None)

    def look(self, now: Reading) -> Findings:
        """What has come since the last look, the earliest first. To be called again within a second or two."""
        changed = dict.fromkeys(self._follow_wall_clock(now))
        come = [slot for slot in self._slots.values() if slot.starts is not None and slot.starts <= slot.clock(now)]
        due = [self._tell(slot, now) for slot in come]
        changed.update(dict.fromkeys(slot.spec.id for slot in come))
        return Findings(tuple(sorted(due, key=lambda told: told.due)), tuple(changed))

    def wait(self, now: Reading, most: float) -> float:
        """Seconds until a job is due if no clock is set, at most ``most``."""
        for slot in self._slots.values():
            if slot.starts is not None:
                most = min(most, slot.starts - slot.clock(now))
        return max(0.0, most)

    def _slot(self, job: str) -> _Slot:
        try:
            return self._slots[job]
        except KeyError:
            raise UnknownNameError("job", job, list(self._slots)) from None

    def _tell(self, slot: _Slot, now: Reading) -> Firing | Miss:
        spec, time, due, starts = slot.spec, slot.clock(now), slot.due, slot.starts
        if due is None or starts is None:
            raise ValueError(f"job {spec.id!r} is not due")
        slot.told = due
        following = spec.trigger.next_after(due)
        if following is not None and following <= time:
            following = spec.trigger.next_after(time)
        self._set(slot, following)
        grace, late, moment = spec.misfire_grace_time, time - starts, due + slot.offset(now)
        if grace is None or late <= max(grace, PUNCTUAL):
            return Firing(spec, moment)
        return Miss(spec, moment, late)

    def _set(self, slot: _Slot, due: float | None) -> None:
        slot.due = slot.starts = due
        if due is not None and slot.spec.jitter:
            following = slot.spec.trigger.next_after(due)
            room = slot.spec.jitter if following is None else min(slot.spec.jitter, following - due - JITTER_MARGIN)
            slot.starts = due + max(0.0, room) * self._chance()

    def _follow_wall_clock(self, now: Reading) -> list[str]:
        """Ids of the jobs that are due at another moment because the wall clock was set."""
        last, self._last = self._last or now, now
        step = (now.wall - last.wall) - (now.elapsed - last.elapsed)
        if abs(step) <= STEP:
            return []
        moved = []
        for job, slot in self._slots.items():
            before = slot.due
            if _comes_again(slot, -step):
                due = slot.spec.trigger.next_after(now.wall)
                if due != before:
                    self._set(slot, due)
            if slot.due != before or (slot.counts and before is not None):
                moved.append(job)
        return moved


def _comes_again(slot: _Slot, back: float) -> bool:
    """Whether the wall clock, set back by so many seconds, brings moments of the job that have been."""
    return slot.spec.activate and not slot.paused and back > _shadow(slot.spec.trigger)


def _shadow(trigger: Trigger) -> float:
    """Seconds that the wall clock may be set back without bringing again what has been."""
    if isinstance(trigger, Cron):
        return CORRECTION if trigger.fixed_hours else STEP
    return math.inf


def _first(slot: _Slot, now: Reading, stored: float | None) -> float | None:
    """When a job is due that was not scheduled until now, on its own clock."""
    time, trigger = slot.clock(now), slot.spec.trigger
    if stored is None:
        return trigger.next_after(_past(slot, time))
    stored -= slot.offset(now)
    if stored <= time:
        return stored
    following = trigger.next_after(time)
    if following is None or following >= stored:
        return stored if slot.counts else following
    is_last = following - time <= _shadow(trigger) and trigger.next_after(following) == stored
    return stored if is_last and not slot.counts else following


def _past(slot: _Slot, time: float) -> float:
    """``time``, or the moment that was told last if the clock was set back and should not bring it again."""
    if slot.told is None or not 0 < slot.told - time <= _shadow(slot.spec.trigger):
        return time
    return slot.told
