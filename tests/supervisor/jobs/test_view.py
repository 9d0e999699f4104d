"""Jobs and runs as people see them."""

from zoneinfo import ZoneInfo

import pytest

from plugin_runtime.task_protocol import Outcome, Overlap
from plugin_runtime.task_views import JobView
from supervisor.jobs.outcome import Conclusion
from supervisor.jobs.stopwatch import Stopwatch
from supervisor.jobs.view import active_view, ended_view, fitting, job_view, moments, state_of, trigger_text
from supervisor.schedule.triggers import parse_trigger
from tests.fakes.jobs import Every, job, request, run_view
from tests.fakes.moved_clock import MovedClock


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        ({"type": "interval", "seconds": 600.0}, "every 10 minutes"),
        ({"type": "interval", "seconds": 60.0}, "every minute"),
        ({"type": "interval", "seconds": 86400.0}, "every day"),
        ({"type": "interval", "seconds": 5400.0}, "every 90 minutes"),
        ({"type": "interval", "seconds": 61.0}, "every 61 s"),
        ({"type": "interval", "seconds": 0.5}, "every 0.5 s"),
        ({"type": "cron", "cron_params": "30 3 * * *", "timezone": ""}, "cron 30 3 * * *"),
        (
            {"type": "cron", "cron_params": {"hour": "3", "minute": "30"}, "timezone": "Europe/Berlin"},
            "cron hour=3 minute=30 (Europe/Berlin)",
        ),
        ({"type": "date", "date": "2026-03-01T04:30:00", "timezone": "UTC"}, "once at 2026-03-01T04:30:00 (UTC)"),
    ],
)
def test_a_trigger_in_words(wire, text):
    assert trigger_text(wire) == text


@pytest.mark.parametrize(
    ("trigger", "timezone"),
    [
        ({"type": "interval", "seconds": 60, "timezone": "Europe/Berlin"}, ""),
        ({"type": "cron", "cron_params": "0 3 * * *", "timezone": "Europe/Berlin"}, "Europe/Berlin"),
        ({"type": "cron", "cron_params": "0 3 * * *"}, "UTC"),
    ],
)
def test_a_job_is_shown_with_the_zone_that_its_trigger_is_meant_in(trigger, timezone):
    """The machine's, where none is named; an interval is meant in none."""
    spec = job(trigger=parse_trigger(trigger, ZoneInfo("UTC")))
    view = job_view(spec, paused=False, next_run=None, running=0, queued=0, last_run=None)
    assert view.timezone == timezone


@pytest.mark.parametrize(
    ("activate", "paused", "due", "state"),
    [
        (True, False, 60.0, "scheduled"),
        (True, True, None, "paused"),
        (True, False, None, "over"),
        (False, False, None, "inactive"),
        (False, True, None, "inactive"),
    ],
)
def test_the_state_of_a_job(activate, paused, due, state):
    """An operator's pause goes before a date that has passed; what is not activated is neither."""
    assert state_of(job(activate=activate), due, paused=paused) == state


def test_a_job_is_shown_with_all_its_settings():
    spec = job(jitter=5.0, timeout=60.0, overlap=Overlap.QUEUE, misfire_grace_time=None)
    last = run_view(1, outcome="failed")
    assert job_view(spec, paused=False, next_run=65.0, running=1, queued=0, last_run=last) == JobView(
        id="reports.cleanup",
        name="cleanup",
        owner="reports",
        kind="task",
        entry="cleanup",
        trigger="every minute",
        state="scheduled",
        next_run=65.0,
        running=1,
        queued=0,
        overlap="queue",
        shared=False,
        timeout=60.0,
        jitter=5.0,
        misfire_grace_time=None,
        last_run=last,
    )


def test_a_duration_is_not_what_a_clock_that_was_set_makes_of_it():
    """Row 35: never negative. What the wall clock showed is shown as it was."""
    clock = MovedClock()
    watch = Stopwatch(clock)
    assert watch.elapsed is None
    watch.start()
    begun = active_view(request(), watch.started, 1)
    clock.advance(2.0)
    clock._time -= 86400.0
    view = ended_view(begun, Conclusion(Outcome.SUCCEEDED), watch)
    assert view.duration == 2.0
    assert view.finished == view.started + 2.0 - 86400.0


def test_moments_end_with_the_trigger():
    assert [moment.time for moment in moments(Every(60.0, end=130.0), 60.0, 10)] == [60.0, 120.0]
    assert moments(Every(60.0), None, 10) == []


def test_long_runs_of_a_list_are_cut_not_left_out():
    views = [run_view(number, log_tail=["x" * 10], traceback="y" * 10, exception="ValueError") for number in (1, 2, 3)]
    fitted = fitting(views, size=45)
    assert [view.log_tail for view in fitted] == [["x" * 10], ["x" * 10], []]
    assert (fitted[2].traceback, fitted[2].exception) == (None, "ValueError")
