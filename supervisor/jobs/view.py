"""Jobs and their runs as people and programs see them. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from plugin_runtime.task_protocol import Outcome
from plugin_runtime.task_views import JobView, MomentView, RunView
from supervisor.jobs.outcome import Conclusion
from supervisor.jobs.request import RunRequest
from supervisor.jobs.stopwatch import Stopwatch
from supervisor.schedule.job_spec import JobSpec
from supervisor.schedule.triggers import Trigger

LIST_SIZE = 2 * 1024 * 1024
"""Characters of output and tracebacks in one list of runs: it has to fit into one answer. Older runs go without."""

_UNITS = (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0))


def waiting_view(request: RunRequest) -> RunView:
    """Of a run that has not begun."""
    return RunView(
        id=request.id,
        job=request.job.id,
        started=None,
        finished=None,
        outcome=None,
        scheduled=request.scheduled,
        actor=request.actor,
    )


def active_view(request: RunRequest, started: float | None, pid: int | None) -> RunView:
    """Of a run that has begun."""
    return replace(waiting_view(request), started=started, pid=pid)


def ended_view(view: RunView, conclusion: Conclusion, watch: Stopwatch) -> RunView:
    """Of a run that ends now."""
    return replace(
        view,
        finished=watch.now,
        duration=watch.elapsed,
        outcome=conclusion.outcome.value,
        exception=conclusion.exception,
        traceback=conclusion.traceback,
        message=conclusion.message,
    )


def unbegun_view(request: RunRequest, outcome: Outcome, message: str, now: float) -> RunView:
    """Of a run that never begins."""
    return replace(waiting_view(request), finished=now, outcome=outcome.value, message=message)


def brief(view: RunView) -> RunView:
    """Without what may be long."""
    return replace(view, log_tail=[], traceback=None)


def size_of(view: RunView) -> int:
    """Characters of what may be long."""
    return sum(map(len, view.log_tail)) + len(view.traceback or "")


def fitting(views: Iterable[RunView], size: int = LIST_SIZE) -> list[RunView]:
    """The same runs, from that one on brief which would make all of them larger than ``size`` characters."""
    fitted = []
    for view in views:
        size -= size_of(view)
        fitted.append(view if size >= 0 else brief(view))
    return fitted


def state_of(spec: JobSpec, due: float | None, *, paused: bool) -> str:
    """What JobView says of a job."""
    if not spec.activate:
        return "inactive"
    if paused:
        return "paused"
    return "over" if due is None else "scheduled"


def job_view(
    spec: JobSpec,
    *,
    paused: bool,
    next_run: float | None,
    running: int,
    queued: int,
    last_run: RunView | None,
) -> JobView:
    """``next_run``: None where it is not scheduled."""
    trigger = spec.trigger.to_wire()
    return JobView(
        id=spec.id,
        name=spec.name,
        owner=spec.owner,
        kind=spec.kind.value,
        entry=spec.entry,
        trigger=trigger_text(trigger),
        state=state_of(spec, next_run, paused=paused),
        next_run=next_run,
        running=running,
        queued=queued,
        overlap=spec.overlap.value,
        shared=spec.shared,
        timeout=spec.timeout,
        jitter=spec.jitter,
        misfire_grace_time=spec.misfire_grace_time,
        last_run=last_run,
        timezone=trigger.get("timezone", ""),
    )


def moments(trigger: Trigger, first: float | None, count: int) -> list[MomentView]:
    """At most ``count`` moments from ``first`` on; none where that is None."""
    found: list[MomentView] = []
    moment = first
    while moment is not None and len(found) < count:
        found.append(MomentView(moment, trigger.local(moment)))
        moment = trigger.next_after(moment)
    return found


def trigger_text(wire: Mapping[str, Any]) -> str:
    """When a job is due, in words: "every 10 minutes", "cron 30 3 * * * (Europe/Berlin)", "once at 2026-03-01"."""
    zone = f" ({wire['timezone']})" if wire.get("timezone") else ""
    match wire.get("type"):
        case "interval":
            return f"every {_duration(float(wire['seconds']))}"
        case "cron":
            return f"cron {_cron(wire['cron_params'])}{zone}"
        case "date":
            return f"once at {wire['date']}{zone}"
        case other:
            return str(other)


def _cron(fields: Mapping[str, Any] | str) -> str:
    return fields if isinstance(fields, str) else " ".join(f"{name}={value}" for name, value in fields.items())


def _duration(seconds: float) -> str:
    for unit, length in _UNITS:
        if seconds >= length and seconds % length == 0:
            count = int(seconds // length)
            return unit if count == 1 else f"{count} {unit}s"
    return f"{seconds:g} s"
