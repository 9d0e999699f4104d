"""From what authors declare, in ``metadata["con"]`` of a task or in a plugin's manifest, to jobs to schedule. Pure.

The parts were checked for their types where they were read; here is what takes knowing triggers and jobs.
"""

import math
import re
from typing import Any
from zoneinfo import ZoneInfo

from plugin_runtime.task_protocol import JobDeclaration, Overlap
from supervisor.config.fields import YEAR
from supervisor.config.plugin_keys import Interval, Job
from supervisor.schedule.job_spec import JobKind, JobSpec
from supervisor.schedule.triggers import Trigger, TriggerError, parse_trigger
from supervisor.spelling import nearest


class JobError(ValueError):
    """``key``: dotted, as the author wrote it; ``hint``: what to write instead, where that is known."""

    def __init__(self, job: str, key: str, problem: str, hint: str = "") -> None:
        text = f"job {job!r}: {key}: {problem}"
        super().__init__(f"{text}; {hint}" if hint else text)
        self.job = job
        self.key = key
        self.problem = problem
        self.hint = hint


def from_declaration(declaration: JobDeclaration, owner: str, default_zone: ZoneInfo) -> JobSpec:
    """The job of a task. ``default_zone``: where its trigger names none.

    Raises:
        JobError: the first thing that is wrong.
    """
    job = declaration.name
    if not re.fullmatch(r"[\w.-]+", job):
        raise JobError(job, "name", "must be of letters, digits, '_', '-' and '.'")
    if not declaration.entry:
        raise JobError(job, "func", "is missing")
    grace = declaration.misfire_grace_time
    overlap = _overlap(job, declaration.overlap)
    if declaration.shared and overlap is Overlap.KILL_OLD:
        problem = '"kill_old" cannot be had together with shared: a run inside the service cannot be killed'
        raise JobError(job, "overlap", problem, 'write "skip" or "queue", or leave out shared')
    return JobSpec(
        id=f"{owner}.{job}",
        name=job,
        owner=owner,
        kind=JobKind.TASK,
        entry=declaration.entry,
        trigger=_trigger(job, declaration.trigger, default_zone, {}),
        jitter=_seconds(job, "jitter", declaration.jitter),
        timeout=_seconds(job, "timeout", declaration.timeout),
        misfire_grace_time=None if grace is None else _seconds(job, "misfire_grace_time", grace),
        overlap=overlap,
        shared=declaration.shared,
        activate=declaration.activate,
    )


def from_manifest(job: Job, owner: str, default_zone: ZoneInfo) -> JobSpec:
    """The job of a plugin, whose table the configuration has checked as far as it goes.

    Raises:
        JobError: its trigger is wrong.
    """
    trigger: dict[str, Any]
    if job.interval is not None:
        trigger = {"type": "interval", "seconds": _total(job.interval)}
    else:
        trigger = {"type": "cron", "cron_params": job.cron}
    trigger["timezone"] = job.timezone or ""
    return JobSpec(
        id=f"{owner}.{job.name}",
        name=job.name,
        owner=owner,
        kind=JobKind.PLUGIN,
        entry=job.entry,
        trigger=_trigger(job.name, trigger, default_zone, {"seconds": "interval", "cron_params": "cron"}),
        jitter=job.jitter,
        timeout=job.timeout,
        misfire_grace_time=job.misfire_grace_time,
        overlap=Overlap(job.overlap),
        activate=job.activate,
    )


def _trigger(job: str, data: dict[str, Any], default_zone: ZoneInfo, keys: dict[str, str]) -> Trigger:
    """``keys``: what the author calls those of the wire form, where it is another name."""
    try:
        return parse_trigger(data, default_zone)
    except TriggerError as error:
        raise JobError(job, keys.get(error.key, error.key), error.problem, error.hint) from error


def _total(interval: Interval) -> float:
    hours = interval.days * 24 + interval.hours
    return (hours * 60 + interval.minutes) * 60 + interval.seconds


def _seconds(job: str, key: str, value: float) -> float:
    if not math.isfinite(value) or not 0 <= value <= YEAR:
        raise JobError(job, key, f"must be seconds from 0 to {YEAR:.0f} (365 days), not {value!r}")
    return value


def _overlap(job: str, value: str) -> Overlap:
    known = [overlap.value for overlap in Overlap]
    if value not in known:
        raise JobError(job, "overlap", f"must be one of {', '.join(known)}, not {value!r}", nearest(value, known))
    return Overlap(value)
