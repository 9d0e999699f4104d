"""From declarations to jobs: everything that can be wrong with one is one clear error."""

import math
from zoneinfo import ZoneInfo

import pytest

from plugin_runtime.task_protocol import JobDeclaration, Overlap
from supervisor.config.plugin_keys import Job
from supervisor.schedule.declared import JobError, from_declaration, from_manifest
from supervisor.schedule.job_spec import JobKind, JobSpec
from supervisor.schedule.triggers import Cron, Date, Interval

BERLIN = ZoneInfo("Europe/Berlin")
EVERY_MINUTE = {"type": "interval", "seconds": 60}


def task_job(**fields) -> JobSpec:
    declaration = JobDeclaration(**{"name": "cleanup", "entry": "work", "trigger": EVERY_MINUTE} | fields)
    return from_declaration(declaration, "reports", BERLIN)


def plugin_job(**keys) -> JobSpec:
    return from_manifest(Job(**{"name": "cleanup", "entry": "shop.jobs:cleanup"} | keys), "shop", BERLIN)


def refusal(make, **fields) -> JobError:
    with pytest.raises(JobError) as caught:
        make(**fields)
    return caught.value


def test_defaults_are_those_of_the_specification():
    """Three tables of numbers that must not drift apart: the message, the manifest, the job."""
    plain = JobSpec("reports.cleanup", "cleanup", "reports", JobKind.TASK, "work", Interval(60.0, BERLIN))
    assert task_job() == plain
    plain = JobSpec("shop.cleanup", "cleanup", "shop", JobKind.PLUGIN, "shop.jobs:cleanup", Interval(600.0, BERLIN))
    assert plugin_job(interval={"minutes": 10}) == plain


def test_a_task_says_everything_of_its_job():
    """Each value arrives under its own name."""
    spec = task_job(
        trigger={"type": "date", "date": "2026-03-01", "timezone": "UTC"},
        jitter=1.0, timeout=2.0, misfire_grace_time=None, overlap="queue", shared=True, activate=False,
    )  # fmt: skip
    assert isinstance(spec.trigger, Date)
    assert (spec.jitter, spec.timeout, spec.misfire_grace_time) == (1.0, 2.0, None)
    assert (spec.overlap, spec.shared, spec.activate) == (Overlap.QUEUE, True, False)


def test_a_plugin_says_everything_of_its_job():
    """The interval is the sum of its parts."""
    spec = plugin_job(
        interval={"days": 1, "hours": 2, "minutes": 3, "seconds": 4.5},
        jitter=1.0, timeout=2.0, misfire_grace_time=3.0, overlap="kill_old", activate=False,
    )  # fmt: skip
    assert spec.trigger == Interval(93_784.5, BERLIN)
    assert (spec.jitter, spec.timeout, spec.misfire_grace_time) == (1.0, 2.0, 3.0)
    assert (spec.overlap, spec.shared, spec.activate) == (Overlap.KILL_OLD, False, False)


@pytest.mark.parametrize(("timezone", "expected"), [(None, "Europe/Berlin"), ("Asia/Tokyo", "Asia/Tokyo")])
def test_a_zone_that_is_not_named_is_the_default(timezone, expected):
    """The machine's, outside of tests."""
    trigger = plugin_job(cron="0 3 * * *", timezone=timezone).trigger
    assert isinstance(trigger, Cron)
    assert (trigger.fields, trigger.timezone, trigger.zone) == ("0 3 * * *", expected, ZoneInfo(expected))


@pytest.mark.parametrize(
    ("fields", "key", "words"),
    [
        ({"name": "clean up"}, "name", "letters"),
        ({"name": ""}, "name", "letters"),
        ({"name": "../x"}, "name", "letters"),
        ({"entry": ""}, "func", "missing"),
        ({"jitter": -1.0}, "jitter", "from 0"),
        ({"timeout": math.nan}, "timeout", "not nan"),
        ({"misfire_grace_time": math.inf}, "misfire_grace_time", "not inf"),
        ({"timeout": 4e7}, "timeout", "365 days"),
        ({"overlap": "kill"}, "overlap", "did you mean 'kill_old'?"),
        ({"overlap": "kill_old", "shared": True}, "overlap", "cannot be killed"),
        ({"trigger": {}}, "type", "interval, cron, date"),
        ({"trigger": {"type": "interval", "seconds": 0}}, "seconds", "from 0.1"),
        ({"trigger": {"type": "cron", "cron_params": {"hours": 3}}}, "cron_params.hours", "did you mean 'hour'?"),
        ({"trigger": {"type": "cron", "cron_params": "* * * * *", "timezone": "CEST"}}, "timezone", "'CEST'"),
    ],
)
def test_what_is_wrong_with_a_tasks_job_is_said(fields, key, words):
    """Job, key, value, and what to write instead."""
    error = refusal(task_job, **fields)
    assert error.key == key
    assert words in str(error)
    assert f"job {fields.get('name', 'cleanup')!r}" in str(error)


@pytest.mark.parametrize(
    ("keys", "key", "words"),
    [
        ({"cron": "61 * * * *"}, "cron", "minute '61'"),
        ({"cron": "0 0 30 2 *"}, "cron", "never comes"),
        ({"interval": {"seconds": 0.01}}, "interval", "from 0.1"),
        ({"interval": {"days": 366}}, "interval", "365 days"),
    ],
)
def test_what_is_wrong_with_a_plugins_job_is_said_with_its_keys(keys, key, words):
    """The author of a manifest has never heard of cron_params."""
    error = refusal(plugin_job, **keys)
    assert error.key == key
    assert words in str(error)
