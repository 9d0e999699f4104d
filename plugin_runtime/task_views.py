"""What operations on tasks and jobs return; the rules of views.py hold. Documented in docs/reference/api.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

from plugin_runtime.views import ExitView, PluginError, ProgressView


@dataclass(frozen=True)
class TaskView:
    """A background task. ``enabled``: started at boot; ``retrying``: crashes since its last stable run."""

    id: str  # of its record; "" where the database has none
    name: str
    title: str
    type: str
    module: str
    module_dir: str
    description: str
    version: str
    author: str
    meta_file: dict[str, Any]
    enabled: bool
    state: str
    pid: Optional[int]
    uptime: float
    restarts: int
    retrying: int
    cpu_percent: Optional[float] = None
    cpu_seconds: Optional[float] = None
    memory_mb: Optional[float] = None
    jobs: list[str] = field(default_factory=list)  # ids
    last_exit: Optional[ExitView] = None
    error: Optional[PluginError] = None
    progress: Optional[ProgressView] = None


@dataclass(frozen=True)
class RunView:
    """One run of a job, or one that never began. ``outcome``: null while it runs or waits.

    ``scheduled``: when it was due, null where somebody asked for it; ``message``: why it was skipped, missed or killed;
    ``from_memory``: the database did not answer, and older runs are missing from the list.
    """

    id: str
    job: str
    started: Optional[float]
    finished: Optional[float]
    outcome: Optional[str]
    duration: Optional[float] = None
    exception: Optional[str] = None
    traceback: Optional[str] = None
    log_tail: list[str] = field(default_factory=list)
    scheduled: Optional[float] = None
    actor: str = ""
    pid: Optional[int] = None
    peak_memory_mb: Optional[float] = None
    cpu_seconds: Optional[float] = None
    message: str = ""
    from_memory: bool = False


@dataclass(frozen=True)
class JobView:
    """A job. ``state``: scheduled, paused, inactive (``activate`` is false) or over (its date has passed)."""

    id: str
    name: str
    owner: str
    kind: str  # "task" or "plugin"
    entry: str
    trigger: str
    state: str
    next_run: Optional[float]
    running: int
    queued: int
    overlap: str
    shared: bool
    timeout: float
    jitter: float
    misfire_grace_time: Optional[float]
    last_run: Optional[RunView] = None
    timezone: str = ""  # of a cron or date trigger; "" for intervals, and where the machine's has no name


@dataclass(frozen=True)
class RunLog:
    """What a run wrote since line ``next`` of the answer before; ``run.outcome`` is set when nothing more comes."""

    run: RunView
    lines: list[str]
    next: int


@dataclass(frozen=True)
class MomentView:
    """A moment for programs, and as a clock in the job's time zone shows it (ISO 8601)."""

    time: float
    local: str


@dataclass(frozen=True)
class ThreadView:
    """One thread of one of our Python processes; ``process`` as in /admin/processes. ``native``: the kernel's id."""

    process: str
    id: int
    name: str
    alive: bool
    daemon: bool
    native: Optional[int]


@dataclass(frozen=True)
class MetricsView:
    """The machine's CPU and memory in percent; Python threads and processes of ours."""

    cpu_percent: float
    memory_percent: float
    active_threads: int
    active_processes: int


@dataclass(frozen=True)
class ReloadView:
    """What a reload of the configuration changed: dotted keys, tasks it restarted, keys that need a new start."""

    changed: list[str]
    restarted: list[str]
    needs_restart: list[str]
