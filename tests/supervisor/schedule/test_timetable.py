"""The timetable: what is told when, after late looks, restarts, pauses, and clocks that are set."""

import time
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from supervisor.errors import UnknownNameError
from supervisor.schedule.job_spec import JobKind, JobSpec
from supervisor.schedule.timetable import Firing, Miss, Reading, Timetable
from supervisor.schedule.triggers import parse_trigger

UTC = ZoneInfo("UTC")
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()

EVERY_10_MINUTES = {"type": "interval", "seconds": 600}
EVERY_FULL_HOUR = {"type": "cron", "cron_params": "0 * * * *"}
EVERY_NIGHT = {"type": "cron", "cron_params": "30 2 * * *"}


def job(trigger=EVERY_10_MINUTES, name="work", **settings) -> JobSpec:
    return JobSpec(f"task.{name}", name, "task", JobKind.TASK, name, parse_trigger(trigger, UTC), **settings)


class Table:
    """A timetable and two clocks."""

    def __init__(self, *specs: JobSpec, chance=lambda: 0.0, wall=NOON) -> None:
        self.wall, self.elapsed = wall, 1000.0
        self.timetable = Timetable(chance)
        for spec in specs:
            self.declare(spec)

    @property
    def now(self) -> Reading:
        return Reading(self.wall, self.elapsed)

    def declare(self, spec, **known):
        self.timetable.declare(spec, self.now, **known)

    def entry(self, name="work"):
        return self.timetable.entry(f"task.{name}", self.now)

    def due(self, name="work"):
        return self.entry(name).due

    def set_clock(self, by):
        """And look, as happens within a second."""
        self.wall += by
        return self.look()

    def look(self, after=0.0):
        self.wall += after
        self.elapsed += after
        return list(self.timetable.look(self.now).due)


# --- in good time ---------------------------------------------------------------------------------------------


def test_a_job_fires_when_it_is_due_and_then_waits_for_its_next_moment():
    """Once, however often one looks."""
    spec = job()
    table = Table(spec)
    assert table.look(599) == []
    assert table.look(1) == [Firing(spec, NOON + 600)]
    assert table.look() == []
    assert table.due() == NOON + 1200


def test_the_earliest_is_told_first():
    """Those that share a second share nothing else."""
    table = Table(job(EVERY_FULL_HOUR, "b", misfire_grace_time=None), job(name="a", misfire_grace_time=None))
    assert [told.job.name for told in table.look(HOUR)] == ["a", "b"]


def test_the_next_moments_are_known_before_what_is_due_is_told():
    """They are stored before the runs begin."""
    table = Table(job(), job(EVERY_FULL_HOUR, "other"))
    table.wall += 600
    table.elapsed += 600
    findings = table.timetable.look(table.now)
    assert findings.changed == ("task.work",)
    assert table.due() == NOON + 1200


def test_an_interval_keeps_its_beat():
    """A turn of the event loop is a little late; that must not add up."""
    table = Table(job())
    for number in range(1, 50):
        assert table.look(600.01 if number == 1 else 600) == [Firing(job(), pytest.approx(NOON + number * 600))]


def test_a_job_that_is_not_activated_is_never_due():
    """Nor after a pause."""
    table = Table(job(activate=False))
    table.timetable.pause("task.work")
    table.timetable.resume("task.work", table.now)
    assert table.due() is None
    assert table.look(DAY) == []


def test_the_wait_is_for_the_next_moment_and_never_negative():
    """What a timer is set to."""
    table = Table(job(), job(EVERY_FULL_HOUR, "other"))
    assert table.timetable.wait(table.now, 1e9) == 600
    assert table.timetable.wait(table.now, 1.0) == 1.0
    table.elapsed += 700
    assert table.timetable.wait(table.now, 1.0) == 0.0
    assert Table().timetable.wait(table.now, 1.0) == 1.0


def test_unknown_jobs_are_errors():
    """With the name, and those that are known."""
    table = Table(job())
    for call in (
        lambda: table.timetable.withdraw("task.wrok"),
        lambda: table.timetable.pause("task.wrok"),
        lambda: table.timetable.resume("task.wrok", table.now),
        lambda: table.timetable.entry("task.wrok", table.now),
    ):
        with pytest.raises(UnknownNameError, match=r"no job named 'task\.wrok'; known: task\.work"):
            call()


def test_a_withdrawn_job_is_gone():
    """It is neither told nor listed."""
    table = Table(job())
    table.timetable.withdraw("task.work")
    assert list(table.timetable) == []
    assert table.look(DAY) == []


# --- late -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grace", "late", "fires"),
    [(30.0, 30.0, True), (30.0, 30.5, False), (0.0, 0.05, True), (0.0, 0.5, False), (None, 100 * DAY, True)],
)
@pytest.mark.parametrize("trigger", [EVERY_10_MINUTES, EVERY_FULL_HOUR], ids=["interval", "cron"])
def test_a_late_run_fires_within_its_grace(trigger, grace, late, fires):
    """Nothing is quite punctual: a grace of nothing leaves the event loop its turn."""
    spec = job(trigger, misfire_grace_time=grace)
    table = Table(spec)
    due = table.due()
    assert table.look(due - NOON + late) == [Firing(spec, due) if fires else Miss(spec, due, pytest.approx(late))]


@pytest.mark.parametrize("grace", [30.0, None])
def test_of_many_that_were_passed_one_is_told(grace):
    """Never a burst: the machine was busy, not the job's owner in need of a hundred runs."""
    spec = job(misfire_grace_time=grace)
    table = Table(spec)
    (told,) = table.look(100 * 600 + 1)
    assert told.due == NOON + 600
    assert isinstance(told, Miss if grace else Firing)
    assert table.look() == []
    assert table.due() == NOON + 100 * 600 + 1 + 600


# --- jitter ---------------------------------------------------------------------------------------------------


def test_jitter_puts_a_run_off_but_not_the_next_one():
    """Drawn anew each time; the trigger's moments stay where they are, and a run put off is not late."""
    draws = iter([0.5, 0.25, 0.0])
    spec = job(jitter=100.0, misfire_grace_time=0.0)
    table = Table(spec, chance=lambda: next(draws))
    assert (table.entry().due, table.entry().starts) == (NOON + 600, NOON + 650)
    assert table.look(649) == []
    assert table.look(1) == [Firing(spec, NOON + 600)]
    assert (table.entry().due, table.entry().starts) == (NOON + 1200, NOON + 1225)


@pytest.mark.parametrize("trigger", [EVERY_10_MINUTES, {"type": "cron", "cron_params": "*/10 * * * *"}])
def test_jitter_never_reaches_the_next_moment(trigger):
    """Otherwise a run would push the one after it out."""
    table = Table(job(trigger, jitter=5000.0), chance=lambda: 0.999_999)
    for number in range(1, 20):
        assert NOON + number * 600 < table.entry().starts < NOON + (number + 1) * 600 - 1
        (told,) = table.look(table.entry().starts - table.wall + 0.01)
        assert told.due == pytest.approx(NOON + number * 600)


def test_jitter_takes_nothing_away_from_a_date_or_a_short_interval():
    """A date has no next moment to reach; a second has no room."""
    table = Table(
        job({"type": "date", "date": "2026-01-02"}, "date", jitter=60.0),
        job({"type": "interval", "seconds": 0.5}, "short", jitter=60.0),
        chance=lambda: 0.5,
    )
    assert table.entry("date").starts == table.due("date") + 30
    assert table.entry("short").starts == table.due("short")


# --- declared again -------------------------------------------------------------------------------------------


def test_a_job_declared_again_keeps_its_moment_and_its_draw():
    """A reload that changes a time-out must not put a daily job off by a day."""
    draws = iter([0.5, 0.25])
    table = Table(job(jitter=100.0), chance=lambda: next(draws))
    table.look(300)
    table.declare(job(jitter=100.0, timeout=5.0))
    assert table.entry().starts == NOON + 650
    assert table.entry().spec.timeout == 5.0
    table.declare(job(jitter=40.0))
    assert table.entry().starts == NOON + 610


def test_a_job_with_another_trigger_begins_anew():
    """What was stored of the old one says nothing of the new one."""
    table = Table(job())
    table.look(300)
    table.declare(job({"type": "interval", "seconds": 60}))
    assert table.due() == NOON + 360


def test_a_job_that_was_not_activated_begins_when_it_is():
    """And the other way round."""
    table = Table(job(activate=False))
    table.look(300)
    table.declare(job())
    assert table.due() == NOON + 900
    table.declare(job(activate=False))
    assert table.due() is None


# --- pause ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trigger", [EVERY_10_MINUTES, EVERY_FULL_HOUR, {"type": "date", "date": "2026-01-01T13:00"}])
def test_a_pause_swallows_what_is_due_in_it(trigger):
    """Neither made up for nor missed; an interval begins anew, cron goes on with its next, a date is over."""
    spec = job(trigger, misfire_grace_time=None)
    table = Table(spec)
    table.timetable.pause("task.work")
    assert (table.entry().paused, table.due(), table.entry().starts) == (True, None, None)
    assert table.look(DAY + 90) == []
    table.timetable.resume("task.work", table.now)
    expected = {"interval": table.wall + 600, "cron": NOON + DAY + HOUR, "date": None}
    assert table.due() == expected[trigger["type"]]
    assert table.look() == []


@pytest.mark.parametrize("trigger", [EVERY_FULL_HOUR, EVERY_NIGHT, {"type": "date", "date": "2026-01-01T13:00"}])
def test_what_was_told_does_not_come_again_after_a_pause(trigger):
    """Where the clock was set back by a second meanwhile."""
    table = Table(job(trigger))
    due = table.due()
    assert len(table.look(due - NOON)) == 1
    table.timetable.pause("task.work")
    table.set_clock(-1.0)
    table.timetable.resume("task.work", table.now)
    assert table.look(2.0) == []
    table.declare(job(trigger), paused=True)
    table.set_clock(-2.0)
    table.declare(job(trigger))
    assert table.look(3.0) == []


def test_resuming_what_is_not_paused_changes_nothing():
    """An operator who is not sure says it twice."""
    table = Table(job())
    table.look(300)
    table.timetable.resume("task.work", table.now)
    assert table.due() == NOON + 600


def test_a_paused_job_stays_paused_where_it_is_declared_so():
    """And a clock that is set does not wake it."""
    table = Table(job(EVERY_FULL_HOUR))
    table.declare(job(EVERY_FULL_HOUR), paused=True)
    table.set_clock(-DAY)
    assert table.due() is None


# --- restart --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trigger", [EVERY_10_MINUTES, EVERY_FULL_HOUR], ids=["interval", "cron"])
def test_a_stored_moment_that_has_passed_is_made_up_for_or_missed(trigger):
    """Once, whatever else was due in between; then the next one."""
    for grace, kind in ((30.0, Miss), (DAY, Firing)):
        table = Table()
        table.declare(job(trigger, misfire_grace_time=grace), next_run=NOON - 5 * HOUR)
        (told,) = table.look()
        assert (type(told), told.due) == (kind, NOON - 5 * HOUR)
        assert table.look() == []
        assert table.due() == (NOON + HOUR if trigger is EVERY_FULL_HOUR else NOON + 600)


def test_a_stored_moment_of_an_interval_stays_where_it_is():
    """A supervisor that is restarted often must not keep a daily job from ever running."""
    table = Table()
    table.declare(job(), next_run=NOON + 123.0)
    assert table.due() == NOON + 123.0


def test_a_stored_moment_of_an_interval_is_at_most_one_interval_away():
    """The wall clock was set back while nobody watched."""
    table = Table()
    table.declare(job(), next_run=NOON + DAY)
    assert table.due() == NOON + 600


def test_a_stored_date_that_has_passed_is_late():
    """The only moment it has must not be lost without a word."""
    spec = job({"type": "date", "date": "2026-01-01T11:00"})
    table = Table()
    table.declare(spec, next_run=NOON - HOUR)
    assert table.look() == [Miss(spec, NOON - HOUR, HOUR)]
    assert table.due() is None


@pytest.mark.parametrize(
    ("trigger", "now", "stored", "expected"),
    [
        # It ran, the clock was set back by a few seconds or an hour: it does not run twice.
        (EVERY_FULL_HOUR, "2026-01-01T11:59:58", "2026-01-01T13:00", "2026-01-01T13:00"),
        (EVERY_NIGHT, "2026-01-01T01:35", "2026-01-02T02:30", "2026-01-02T02:30"),
        # It was set back further than that: the trigger counts.
        (EVERY_FULL_HOUR, "2026-01-01T11:30", "2026-01-01T13:00", "2026-01-01T12:00"),
        (EVERY_FULL_HOUR, "2026-01-01T11:59:58", "2026-01-02T13:00", "2026-01-01T12:00"),
        (EVERY_NIGHT, "2026-01-01T12:00", "2026-01-03T02:30", "2026-01-02T02:30"),
        # The rules of a zone have changed, or somebody has edited the database.
        (EVERY_FULL_HOUR, "2026-01-01T11:30", "2026-01-01T11:45", "2026-01-01T12:00"),
    ],
)
def test_a_stored_moment_to_come_is_only_trusted_to_prevent_a_repetition(trigger, now, stored, expected):
    """Whether the clock was set back meanwhile is not known; nothing may stand still for a day because of it."""
    now, stored, expected = (
        datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() for text in (now, stored, expected)
    )
    table = Table(wall=now)
    table.declare(job(trigger), next_run=stored)
    assert table.due() == expected


# --- clocks that are set --------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [2 * HOUR, -DAY, -2 * HOUR, 0.4, -0.4, 300 * DAY])
def test_an_interval_moves_along_with_the_wall_clock(jump):
    """It counts seconds that pass. Other processes see when it is due by their clocks, so that is told as a change."""
    table = Table(job())
    table.look(100)
    table.wall += jump
    findings = table.timetable.look(table.now)
    assert findings.due == ()
    assert findings.changed == (("task.work",) if abs(jump) > 60 else ())
    assert table.due() == pytest.approx(NOON + jump + 600)
    assert len(table.look(500)) == 1


def test_a_clock_set_forward_makes_cron_late():
    """By so much; the run in between is missed or made up for as configured, and the next goes by the new clock."""
    strict, patient = job(EVERY_FULL_HOUR), job(EVERY_FULL_HOUR, "patient", misfire_grace_time=None)
    table = Table(strict, patient)
    told = table.set_clock(2.5 * HOUR)
    assert told == [Miss(strict, NOON + HOUR, 1.5 * HOUR), Firing(patient, NOON + HOUR)]
    assert table.due() == NOON + 3 * HOUR


@pytest.mark.parametrize(
    ("back", "every_hour", "every_night"),
    [
        (30.0, 5 * HOUR, 26.5 * HOUR),  # nothing runs twice, and nothing stands still for long
        (59.9, 5 * HOUR, 26.5 * HOUR),
        (61.0, 4 * HOUR, 26.5 * HOUR),  # 04:00 comes again
        (2.5 * HOUR, 2 * HOUR, 26.5 * HOUR),  # and 02:30 as well
        (3 * HOUR, 2 * HOUR, 26.5 * HOUR),
        (3.5 * HOUR, 1 * HOUR, 2.5 * HOUR),  # a correction: the old time was wrong
        (DAY, -19 * HOUR, 2.5 * HOUR),
    ],
)
def test_a_clock_set_back_runs_named_hours_again_only_after_a_correction(back, every_hour, every_night):
    """cron(8): hours that are named do not come again within three hours, "*" goes by the new time at once."""
    midnight = NOON - 12 * HOUR
    table = Table(job(EVERY_FULL_HOUR), job(EVERY_NIGHT, "night"), wall=midnight)
    for _ in range(4):
        table.look(HOUR)
    table.look(0.5)
    assert table.set_clock(-back) == []
    assert table.due() == midnight + every_hour
    assert table.due("night") == midnight + every_night


def test_a_date_that_has_been_never_comes_again():
    """Whatever the clock says."""
    table = Table(job({"type": "date", "date": "2026-01-01T13:00"}))
    assert len(table.look(HOUR)) == 1
    assert table.set_clock(-10 * DAY) == []
    assert table.look(11 * DAY) == []


def test_a_date_to_come_waits_for_a_clock_that_was_set_back():
    """It names a reading of the clock."""
    table = Table(job({"type": "date", "date": "2026-01-01T13:00"}))
    table.set_clock(-HOUR)
    assert table.look(1.5 * HOUR) == []
    assert len(table.look(0.5 * HOUR)) == 1


def test_after_a_suspend_intervals_go_on_and_cron_is_late():
    """The monotonic clock stood still, the wall clock did not: the same as one set forward."""
    hourly = job(EVERY_FULL_HOUR, "hourly")
    table = Table(job(), hourly)
    table.look(400)
    assert table.set_clock(8 * HOUR) == [Miss(hourly, NOON + HOUR, pytest.approx(7 * HOUR + 400))]
    assert [told.job.name for told in table.look(200)] == ["work"]


def test_steps_of_a_second_run_nothing_twice():
    """NTP corrects a clock that runs fast, again and again, and always just after the full hour."""
    table, count = Table(job(EVERY_FULL_HOUR)), 0
    for _ in range(24):
        table.wall -= 2.0
        count += len(table.look(2.0 + table.due() - table.wall - 2.0))
        table.wall -= 1.0
        count += len(table.look(0.5))
    assert count == 24


def test_a_thousand_jobs_are_looked_over_in_a_few_milliseconds():
    """Once a second, in the event loop that everything else needs as well."""
    table = Table(*(job(EVERY_FULL_HOUR if n % 2 else EVERY_10_MINUTES, f"n{n}", jitter=5.0) for n in range(1000)))
    best = 1.0
    for _ in range(20):
        start = time.perf_counter()
        table.look(0.001)
        table.timetable.wait(table.now, 1.0)
        best = min(best, time.perf_counter() - start)
    assert best < 0.005


def test_all_settings_of_a_job_are_those_it_was_declared_with_last():
    """Also for a moment that was known before."""
    table = Table(job())
    table.declare(replace(job(), misfire_grace_time=None))
    assert isinstance(table.look(DAY)[0], Firing)
