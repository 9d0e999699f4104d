"""How a task is shown. Reads, never changes anything."""

from collections.abc import Callable
from typing import Any, Protocol

from plugin_runtime.protocol import Phase, PluginState
from plugin_runtime.task_protocol import JobDeclaration
from plugin_runtime.task_views import TaskView
from plugin_runtime.views import ExitView, PluginError, ProgressView
from supervisor.monitoring.sampler import Sample
from supervisor.store.tasks import TaskFacts, TaskRow
from supervisor.supervision.child import Child
from supervisor.tasks.preparation import PreparedTask


class Shown(Protocol):
    """What is shown of a Task."""

    name: str
    enabled: bool
    row: TaskRow | None
    prepared: PreparedTask | None

    @property
    def state(self) -> PluginState: ...

    @property
    def service(self) -> Child | None: ...

    @property
    def last_exit(self) -> ExitView | None: ...

    @property
    def error(self) -> PluginError | None: ...

    @property
    def progress(self) -> ProgressView | None: ...


def task_view(task: Shown, latest: Callable[[Child], Sample | None]) -> TaskView:
    """As the admin interface shows it. ``latest``: the last sample of a child's process."""
    facts = _facts(task)
    child = task.service
    sample = latest(child) if child is not None and child.pid else None
    return TaskView(
        id=task.row.id if task.row else "",
        name=task.name,
        title=facts.title,
        type=facts.type,
        module=task.name,
        module_dir=facts.module_dir,
        description=facts.description,
        version=facts.version,
        author=facts.author,
        meta_file=facts.meta_file,
        enabled=task.enabled,
        state=task.state.value,
        pid=child.pid if child else None,
        uptime=round(child.uptime, 3) if child else 0.0,
        restarts=child.record.restarts if child else 0,
        retrying=child.record.budget.streak if child else 0,
        cpu_percent=_rounded(sample.cpu_percent) if sample else None,
        cpu_seconds=_rounded(sample.cpu_seconds) if sample else None,
        memory_mb=_rounded(sample.memory_mb) if sample else None,
        jobs=[job.id for job in task.prepared.jobs] if task.prepared else [],
        last_exit=task.last_exit,
        error=task.error or _crashed(task),
        progress=task.progress,
    )


def _crashed(task: Shown) -> PluginError | None:
    """Why a service does not run though it shall, in its own last words."""
    child, record = task.service, task.last_exit
    if task.state not in {PluginState.FAILED, PluginState.BACKOFF} or child is None or record is None:
        return None
    said = next((line for line in reversed(record.log_tail) if line.strip()), "it printed nothing")
    streak = child.record.budget.streak
    crashes = f"{streak} {'crash' if streak == 1 else 'crashes'} without a stable run"
    if task.state is PluginState.FAILED:
        message = f"given up after {crashes}: {said}"
        hint = f"correct it and save, or try again with xcore task start {task.name}"
    else:
        message, hint = f"tried again soon, after {crashes}: {said}", f"see xcore task logs {task.name}"
    return PluginError(Phase.READY.value, record.cause, message, hint=hint, log_tail=record.log_tail)


def facts_of(name: str, prepared: PreparedTask) -> TaskFacts:
    """What is kept of a task's description."""
    found = prepared.description
    return TaskFacts(
        module=name,
        title=found.title or name,
        type=found.type,
        module_dir=found.module_dir,
        description=found.description,
        version=found.version,
        author=found.author,
        meta_file=found.meta_file,
    )


def metadata_of(name: str, prepared: PreparedTask) -> dict[str, Any]:
    """The metadata under the keys that authors write, functions by their names."""
    facts = facts_of(name, prepared)
    metadata = {
        "title": facts.title,
        "type": facts.type,
        "moduleDir": facts.module_dir,
        "description": facts.description,
        "version": facts.version,
        "author": facts.author,
        **facts.meta_file,
    }
    if prepared.description.jobs:
        metadata["con"] = [_con(job) for job in prepared.description.jobs]
    return metadata


def _facts(task: Shown) -> TaskFacts | TaskRow:
    """Of its last good description, or else of its record: what it was in an earlier life."""
    if task.prepared is not None:
        return facts_of(task.name, task.prepared)
    return task.row or TaskFacts(task.name, task.name, "", "", "", "", "")


def _con(job: JobDeclaration) -> dict[str, Any]:
    trigger = dict(job.trigger)
    return {
        "func": job.entry,
        "name": job.name,
        "interval": trigger.pop("type", ""),
        **{key: value for key, value in trigger.items() if value != ""},
        "jitter": job.jitter,
        "timeout": job.timeout,
        "misfire_grace_time": job.misfire_grace_time,
        "overlap": job.overlap,
        "shared": job.shared,
        "activate": job.activate,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
