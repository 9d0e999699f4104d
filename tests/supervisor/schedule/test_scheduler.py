"""The scheduler on virtual time: when it looks, what it tells, and that nobody who is told can stop it."""

import asyncio
import logging
import warnings
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from supervisor.errors import UnknownNameError
from supervisor.schedule import scheduler as module
from supervisor.schedule.job_spec import JobKind, JobSpec
from supervisor.schedule.scheduler import Firing, Miss, Scheduler, machine_zone
from supervisor.schedule.triggers import parse_trigger
from tests.fakes.virtual_time import VirtualClock, run_virtually

UTC = ZoneInfo("UTC")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
HOUR = 3600.0

EVERY_10_MINUTES = {"type": "interval", "seconds": 600}
EVERY_FULL_HOUR = {"type": "cron", "cron_params": "0 * * * *"}


def job(trigger=EVERY_10_MINUTES, name="work", **settings) -> JobSpec:
    return JobSpec(f"task.{name}", name, "task", JobKind.TASK, name, parse_trigger(trigger, UTC), **settings)


class Scene:
    """A scheduler on virtual time, and everything that it said, with the moment at which it did."""

    def __init__(self, *specs: JobSpec) -> None:
        self.clock = VirtualClock(NOON)
        self.said: list[tuple[float, object]] = []
        self.scheduler = Scheduler(self.clock, self.due, chance=lambda: 0.5)
        for spec in specs:
            self.scheduler.declare(spec)
        self.scheduler.changed = lambda entry: self.said.append((self.passed, entry.due))

    @property
    def passed(self) -> float:
        return round(self.clock.monotonic() - 1000.0, 3)

    def due(self, found) -> None:
        self.said.append((self.passed, list(found)))

    @property
    def told(self) -> list[tuple[float, Firing | Miss]]:
        return [(at, one) for at, words in self.said if isinstance(words, list) for one in words]

    def run(self, seconds: float, *meanwhile) -> None:
        """``meanwhile``: pairs of a moment and what happens then."""

        async def main() -> None:
            self.scheduler.start()
            for at, happens in meanwhile:
                await asyncio.sleep(at - self.passed)
                happens()
            await asyncio.sleep(seconds - self.passed)
            self.scheduler.close()

        run_virtually(self.clock, main())


def test_a_job_is_told_at_its_moment():
    """Again and again, to the millisecond."""
    spec = job()
    scene = Scene(spec)
    scene.run(1900)
    assert scene.told == [(number * 600.0, Firing(spec, pytest.approx(NOON + number * 600))) for number in (1, 2, 3)]


def test_the_next_moment_is_told_before_what_is_due():
    """It is committed before the run begins: a supervisor that is killed loses a run rather than doubling it."""
    scene = Scene(job())
    scene.run(700)
    (first, due), (second, found) = scene.said
    assert first == second == 600.0
    assert due == pytest.approx(NOON + 1200)
    assert found == [Firing(job(), pytest.approx(NOON + 600))]


def test_every_change_of_a_moment_is_told():
    """Declared, paused, resumed: whoever stores moments hears of all of them."""
    scene = Scene()
    scene.scheduler.declare(job())
    scene.scheduler.pause("task.work")
    scene.scheduler.resume("task.work")
    assert [due for _, due in scene.said] == [NOON + 600, None, NOON + 600]


def test_it_looks_at_the_clocks_every_second():
    """A wall clock that is set wakes nobody. Within a second cron goes by it, and interval moments are told anew."""
    hourly = job(EVERY_FULL_HOUR, "hourly", misfire_grace_time=None)
    scene = Scene(hourly, job())
    scene.run(110, (100.5, lambda: scene.clock.set_wall(HOUR)))
    assert scene.said == [
        (101.0, NOON + HOUR + 600),
        (101.0, NOON + 2 * HOUR),
        (101.0, [Firing(hourly, NOON + HOUR)]),
    ]


def test_a_job_that_is_due_sooner_than_the_next_look_is_not_late():
    """Whoever declares it does not have to wait for the timer."""
    scene = Scene(job())
    short = job({"type": "interval", "seconds": 0.3}, "short")
    scene.run(6, (5.1, lambda: scene.scheduler.declare(short)))
    assert [at for at, _ in scene.told] == [5.4, 5.7, 6.0]


def test_a_job_that_is_resumed_is_not_late_either():
    """The same for the other way into the timetable."""
    scene = Scene(job({"type": "interval", "seconds": 0.3}))
    scene.scheduler.pause("task.work")
    scene.run(6, (5.1, lambda: scene.scheduler.resume("task.work")))
    assert [at for at, _ in scene.told] == [5.4, 5.7, 6.0]


def test_a_restart_tells_at_once_what_came_meanwhile():
    """As a miss, where it is too late."""
    spec = job(EVERY_FULL_HOUR)
    scene = Scene()
    scene.scheduler.declare(spec, next_run=NOON - HOUR)
    scene.run(1)
    assert scene.told == [(0.0, Miss(spec, NOON - HOUR, HOUR))]


def test_jitter_is_drawn_by_chance():
    """Half of it, here; entries show both moments."""
    scene = Scene(job(jitter=100.0))
    entry = scene.scheduler.entries["task.work"]
    assert (entry.due, entry.starts) == (NOON + 600, NOON + 650)
    scene.run(1300)
    assert [at for at, _ in scene.told] == [650.0, 1250.0]


@pytest.mark.parametrize("mistaken", ["due", "changed"])
def test_whoever_is_told_cannot_stop_the_schedule(mistaken):
    """The event loop logs what they raise; the other jobs are not to blame."""
    scene = Scene(job())
    errors = []

    def fail(_) -> None:
        raise RuntimeError("no disk")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))
        scheduler = Scheduler(scene.clock, fail if mistaken == "due" else scene.due)
        scheduler.declare(job())
        if mistaken == "changed":
            scheduler.changed = fail
        scheduler.start()
        await asyncio.sleep(1900)
        scheduler.close()

    run_virtually(scene.clock, main())
    assert [str(error) for error in errors] == ["no disk"] * 3
    assert len(scene.told) == (0 if mistaken == "due" else 3)


def test_a_job_may_be_withdrawn_by_whoever_is_told_of_another():
    """What was found in the same look is still told; of its entry nothing is left to tell."""
    scene = Scene(job(name="a"), job(name="b"))

    def changed(entry) -> None:
        if "task.b" in scene.scheduler.entries:
            scene.scheduler.withdraw("task.b")

    scene.scheduler.changed = changed
    scene.run(1300)
    assert [(at, one.job.name) for at, one in scene.told] == [(600.0, "a"), (600.0, "b"), (1200.0, "a")]


def test_jobs_may_be_changed_by_whoever_is_told():
    """A run that is due may be the reason to declare others, or to withdraw itself."""
    scene = Scene(job())
    scheduler = scene.scheduler

    def due(found) -> None:
        scene.due(found)
        scheduler.declare(job({"type": "interval", "seconds": 0.5}, "other"))
        if "task.work" in scheduler.entries:
            scheduler.withdraw("task.work")

    scheduler._due = due
    scene.run(602)
    assert [(at, one.job.name) for at, one in scene.told] == [
        (600.0, "work"), (600.5, "other"), (601.0, "other"), (601.5, "other"), (602.0, "other"),
    ]  # fmt: skip


def test_nothing_is_told_before_the_start_or_after_the_end():
    """Between them no timer is left behind, either."""
    scene = Scene(job())
    scene.clock.advance(700)
    assert scene.told == []

    async def main() -> None:
        scene.scheduler.start()
        await asyncio.sleep(0.1)
        scene.scheduler.close()
        scene.scheduler.declare(job({"type": "interval", "seconds": 1}, "late"))
        await asyncio.sleep(5000)

    run_virtually(scene.clock, main())
    assert [one.job.name for _, one in scene.told] == ["work"]


def test_it_may_be_closed_by_whoever_is_told():
    """A stop that arrives in the middle of a look."""
    scene = Scene(job())
    scene.scheduler._due = lambda found: (scene.due(found), scene.scheduler.close())
    scene.run(5000)
    assert len(scene.told) == 1


def test_entries_are_a_mapping_of_what_is_declared():
    """As of now: the moment of an interval moves along with the wall clock."""
    scene = Scene(job(), job(EVERY_FULL_HOUR, "hourly"))
    entries = scene.scheduler.entries
    assert (list(entries), len(entries)) == (["task.work", "task.hourly"], 2)
    scene.clock.set_wall(50.0)
    assert entries["task.work"].due == NOON + 650
    assert entries["task.hourly"].due == NOON + HOUR
    assert entries.get("task.other") is None
    scene.scheduler.withdraw("task.work")
    assert "task.work" not in entries


def test_unknown_jobs_are_errors():
    """With the names that are known."""
    scene = Scene(job())
    for call in (scene.scheduler.withdraw, scene.scheduler.pause, scene.scheduler.resume):
        with pytest.raises(UnknownNameError, match=r"known: task\.work"):
            call("task.other")


def test_declaring_a_thousand_jobs_does_not_look_at_a_million(monkeypatch):
    """Each one looks at itself, while the timer is set."""
    scene = Scene(job())
    waits = []
    original = scene.scheduler._timetable.wait
    monkeypatch.setattr(scene.scheduler._timetable, "wait", lambda *args: waits.append(1) or original(*args))

    def declare() -> None:
        for number in range(1000):
            scene.scheduler.declare(job(name=f"n{number}"))

    scene.run(1.5, (0.5, declare))
    assert len(waits) < 10


# --- the machine's time zone ----------------------------------------------------------------------------------


def test_the_machines_zone_is_its_own(monkeypatch):
    """What tzlocal finds."""
    monkeypatch.setattr(module.tzlocal, "get_localzone", lambda: ZoneInfo("Asia/Tokyo"))
    assert machine_zone() == ZoneInfo("Asia/Tokyo")


@pytest.mark.parametrize("trouble", [ZoneInfoNotFoundError("conflicting"), ValueError("bad"), UserWarning("mismatch")])
def test_a_machine_whose_zone_is_a_riddle_goes_by_utc_and_says_so(monkeypatch, caplog, trouble):
    """A wrong setting of the machine must not keep xcore from starting; a guess would run jobs at odd hours."""

    def riddle() -> ZoneInfo:
        if isinstance(trouble, Warning):
            warnings.warn(trouble, stacklevel=1)
            return ZoneInfo("Asia/Tokyo")
        raise trouble

    monkeypatch.setattr(module.tzlocal, "get_localzone", riddle)
    with caplog.at_level(logging.WARNING):
        assert machine_zone() == ZoneInfo("UTC")
    assert "jobs that name none go by UTC" in caplog.text
