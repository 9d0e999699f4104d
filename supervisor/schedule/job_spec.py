"""What a job shall be: frozen settings, made from a declaration of its task or plugin. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from plugin_runtime.task_protocol import Overlap
from supervisor.schedule.triggers import Trigger

MISFIRE_GRACE = 30.0
"""Seconds that a run may be late by default; the founding document's value."""


class JobKind(StrEnum):
    """Who declared it."""

    TASK = "task"  # metadata["con"] of a module of the task directory
    PLUGIN = "plugin"  # [[tool.xcore.jobs]] of a plugin's manifest


@dataclass(frozen=True)
class JobSpec:
    """One job. Seconds; ``id`` is ``<owner>.<name>``, the key everywhere."""

    id: str
    name: str
    owner: str
    kind: JobKind
    entry: str
    """The function: its name, or "module:function" of a plugin's."""
    trigger: Trigger
    jitter: float = 0.0
    """Each run is put off by at most so much, drawn at random."""
    timeout: float = 0.0
    """What a run may take; 0: any."""
    misfire_grace_time: float | None = MISFIRE_GRACE
    """What a run may be late; later it counts as missed. None: it is always made up for."""
    overlap: Overlap = Overlap.SKIP
    shared: bool = False
    """Runs inside the service's process."""
    activate: bool = True
    """False: never due by itself; may be run by hand."""
