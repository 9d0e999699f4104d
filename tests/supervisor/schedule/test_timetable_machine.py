"""The timetable under every order of looks, pauses, restarts and clocks that are set: what must hold in all of them."""

from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from supervisor.schedule.job_spec import JobKind, JobSpec
from supervisor.schedule.timetable import CORRECTION, JITTER_MARGIN, PUNCTUAL, STEP, Firing, Miss, Reading, Timetable
from supervisor.schedule.triggers import Cron, Date, Interval, parse_trigger

BERLIN = ZoneInfo("Europe/Berlin")
HOUR, DAY = 3600.0, 86400.0
BEGIN = datetime(2026, 10, 24, 12, tzinfo=BERLIN).timestamp()  # the clock is set back in the night that follows
TOLERANCE = 1e-4

TRIGGERS = {
    "interval": {"type": "interval", "seconds": 1800},
    "slow": {"type": "interval", "seconds": 100_000},
    "stars": {"type": "cron", "cron_params": "*/20 * * * *"},
    "night": {"type": "cron", "cron_params": "30 2 * * *"},
    "office": {"type": "cron", "cron_params": "0 8-18 * * 1-5"},
    "date": {"type": "date", "date": "2026-10-26T09:00"},
}


class World:
    """Two clocks, a timetable that is thrown away at a restart, and what was told."""

    def __init__(self, jitter: float, grace: float | None) -> None:
        self.wall, self.elapsed = BEGIN, 1000.0
        self.specs = {
            f"t.{name}": JobSpec(
                f"t.{name}", name, "t", JobKind.TASK, name, parse_trigger(data, BERLIN), jitter, 0.0, grace
            )
            for name, data in TRIGGERS.items()
        }
        self.draws = 0
        self.timetable = self.filled({}, set())
        self.latest: dict[str, float] = {}
        """The last moment of each job that was told and may not come again, on the clock that it goes by."""

    @property
    def now(self) -> Reading:
        return Reading(self.wall, self.elapsed)

    def chance(self) -> float:
        self.draws += 1
        return self.draws * 0.37 % 1

    def filled(self, stored: dict[str, float | None], paused: set[str]) -> Timetable:
        timetable = Timetable(self.chance)
        for spec in self.specs.values():
            timetable.declare(spec, self.now, paused=spec.id in paused, next_run=stored.get(spec.id))
        return timetable

    def entries(self):
        return [self.timetable.entry(job, self.now) for job in self.specs]

    def clock(self, spec: JobSpec) -> float:
        return self.elapsed if isinstance(spec.trigger, Interval) else self.wall

    def look(self) -> list[Firing | Miss]:
        told = self.timetable.look(self.now).due
        assert len({one.job.id for one in told}) == len(told), "a burst"
        for one in told:
            self.check(one)
        assert self.timetable.look(self.now).due == (), "told twice"
        return list(told)

    def check(self, told: Firing | Miss) -> None:
        spec = told.job
        late = self.wall - told.due
        assert late >= -TOLERANCE, "told before it was due"
        if isinstance(told, Miss):
            assert spec.misfire_grace_time is not None
            assert told.late > max(spec.misfire_grace_time, PUNCTUAL), "missed too soon"
        elif spec.misfire_grace_time is not None:
            assert late <= max(spec.misfire_grace_time, PUNCTUAL) + spec.jitter + TOLERANCE, "fired too late"
        due = told.due - (self.wall - self.clock(spec))
        if isinstance(spec.trigger, Interval):
            gap = due - self.latest.get(spec.id, -1e12)
            assert gap >= spec.trigger.seconds - TOLERANCE, "two runs within one interval"
        else:
            assert spec.trigger.next_after(due - 0.5) == due, "due when its trigger is not"
            assert due > self.latest.get(spec.id, -1e12), "the same moment twice"
        self.latest[spec.id] = due

    def forget_repetitions(self, back: float) -> None:
        """A clock that was set back so far brings moments again."""
        for spec in self.specs.values():
            if isinstance(spec.trigger, Cron) and back >= (CORRECTION if spec.trigger.fixed_hours else STEP):
                self.latest.pop(spec.id, None)


def is_one_repetition(trigger: Cron, now: float, stored: float | None) -> bool:
    """Of what lies before the stored moment, nothing or one moment that is near may have been before."""
    following = trigger.next_after(now)
    if stored is None or stored <= following:
        return stored is not None
    near = following - now <= (CORRECTION if trigger.fixed_hours else STEP)
    return near and trigger.next_after(following) == stored


class TimetableMachine(RuleBasedStateMachine):
    """Every rule ends with a look, as the shell takes one each second."""

    @initialize(jitter=st.sampled_from([0.0, 30.0, 5000.0]), grace=st.sampled_from([0.0, 30.0, 7200.0, None]))
    def begin(self, jitter, grace):
        self.world = World(jitter, grace)
        self.furthest = self.world.wall
        self.paused = set()

    @rule(hours=st.integers(1, 20))
    def work(self, hours):
        """Awake, and looking in time: every moment of every trigger fires, none is passed over."""
        world = self.world
        before = {entry.spec.id: entry.due for entry in world.entries()}
        until, fired = world.elapsed + hours * HOUR, {job: [] for job in world.specs}
        while world.elapsed < until:
            wait = min(world.timetable.wait(world.now, HOUR), until - world.elapsed) + 0.001
            world.wall += wait
            world.elapsed += wait
            for told in world.look():
                assert isinstance(told, Firing), "missed in spite of looking in time"
                fired[told.job.id].append(told.due)
        for entry in world.entries():
            moments, spec = [*fired[entry.spec.id], entry.due], entry.spec
            assert before[spec.id] is None or moments[0] == pytest.approx(before[spec.id], abs=TOLERANCE)
            for one, following in pairwise(moments):
                assert spec.trigger.next_after(one) == pytest.approx(following, abs=TOLERANCE), "one was lost"

    @rule(seconds=st.floats(0.0, 3 * DAY))
    def be_busy(self, seconds):
        """The supervisor was stopped, or its machine was: no looks."""
        self.world.wall += seconds
        self.world.elapsed += seconds
        self.world.look()

    @rule(seconds=st.floats(-3 * DAY, 3 * DAY) | st.floats(-90, 90) | st.floats(-4 * HOUR, 0))
    def set_the_clock(self, seconds):
        """Also what a suspended machine looks like."""
        world = self.world
        intervals = {e.spec.id: e.due for e in world.entries() if isinstance(e.spec.trigger, Interval)}
        world.wall += seconds
        world.forget_repetitions(-seconds)
        for told in world.look():
            assert not isinstance(told.job.trigger, Interval), "a clock that is set makes no interval due"
            assert seconds > 0, "a clock that is set back makes nothing due"
        for entry in world.entries():
            if entry.spec.id in intervals and entry.due is not None:
                assert entry.due == pytest.approx(intervals[entry.spec.id] + seconds, abs=TOLERANCE)

    @rule(job=st.sampled_from(sorted(TRIGGERS)))
    def pause_or_resume(self, job):
        job = f"t.{job}"
        if job in self.paused:
            self.paused.remove(job)
            self.world.timetable.resume(job, self.world.now)
        else:
            self.paused.add(job)
            self.world.timetable.pause(job)
        assert job not in {told.job.id for told in self.world.look()}

    @rule(down=st.floats(0.0, 2 * DAY), step=st.just(0.0) | st.floats(-2 * DAY, DAY) | st.floats(-90, 0))
    def restart(self, down, step):
        """What was stored is all that is left; the monotonic clock begins anew, the wall clock may have been set."""
        world = self.world
        stored = {entry.spec.id: entry.due for entry in world.entries()}
        world.wall += down + step
        world.elapsed = 50.0
        for spec in world.specs.values():
            if isinstance(spec.trigger, Cron) and not is_one_repetition(spec.trigger, world.wall, stored[spec.id]):
                world.latest.pop(spec.id, None)
            if isinstance(spec.trigger, Interval):
                world.latest.pop(spec.id, None)
        if stored["t.date"] is None:  # the one thing that is not stored: whether a date that comes again has been
            world.latest.pop("t.date", None)
        world.timetable = world.filled(stored, self.paused)
        told = {one.job.id for one in world.look()}
        for job, due in stored.items():
            if due is not None and due + world.specs[job].jitter <= world.wall:
                assert job in told, "a stored moment was lost"

    @invariant()
    def nothing_stands_still(self):
        """However the clocks were set, the next moment is no further away than the rules allow."""
        world = self.world
        self.furthest = max(self.furthest, world.wall)
        for entry in world.entries():
            trigger = entry.spec.trigger
            if entry.paused:
                assert entry.due is entry.starts is None
                continue
            if entry.due is None:
                assert isinstance(trigger, Date)
                continue
            following = trigger.next_after(entry.due)
            most = entry.spec.jitter if following is None else following - entry.due - JITTER_MARGIN
            assert 0 <= entry.starts - entry.due <= max(0.0, min(most, entry.spec.jitter)) + TOLERANCE
            assert entry.starts > world.wall - TOLERANCE
            if isinstance(trigger, Interval):
                assert entry.due <= world.wall + trigger.seconds + TOLERANCE
            elif isinstance(trigger, Cron):
                assert entry.due <= trigger.next_after(self.furthest)
                assert trigger.fixed_hours or entry.due <= trigger.next_after(trigger.next_after(world.wall + STEP))


TestTimetable = pytest.mark.slow(TimetableMachine.TestCase)
TestTimetable.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
