"""Bodies of /tasks/*, under the names and with the keys of the founding system.

Made from what operations return by ``from_view``; a field that a later supervisor adds is passed over.
"""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, Field, RootModel

STOPPED = "stopped"
"""What a task is called that ended or is not wanted; all other states go by their own names."""
_STOPPED_STATES = frozenset({"exited", "disabled"})


def status_of(task: Mapping[str, Any]) -> str:
    """The status of a task as /tasks/* shows it. ``task``: the wire form of a TaskView."""
    state: str = task["state"]
    return STOPPED if state in _STOPPED_STATES else state


class TaskResource(BaseModel):
    """What the process of a task uses; null where there is none, or before the first sample."""

    tid: int | None = Field(description="the kernel's id of its main thread")
    pid: int | None
    cpu_time: float | None = Field(description="seconds of user and system time")
    cpu_percent: float | None
    duration: float = Field(description="seconds since its start; 0 without a process")
    memory_mb: float | None
    retrying: int = Field(description="crashes since its last stable run")

    @classmethod
    def from_view(cls, task: Mapping[str, Any]) -> Self:
        return cls(
            tid=task["pid"],
            pid=task["pid"],
            cpu_time=task["cpu_seconds"],
            cpu_percent=task["cpu_percent"],
            duration=task["uptime"],
            memory_mb=task["memory_mb"],
            retrying=task["retrying"],
        )


class TaskResourcesResponse(RootModel[dict[str, TaskResource]]):
    """By the names of the tasks."""


class TaskStatusResponse(BaseModel):
    """One task and its status."""

    name: str
    status: str

    @classmethod
    def from_view(cls, task: Mapping[str, Any]) -> Self:
        return cls(name=task["name"], status=status_of(task))


class TaskListResponse(BaseModel):
    """All tasks, by name."""

    tasks: list[TaskStatusResponse]


class RestartService(TaskStatusResponse):
    """What came of a restart."""

    success: bool


class TaskManager(BaseModel):
    """A task's record. ``status``: started at boot."""

    id: str
    title: str
    type: str
    module: str
    moduleDir: str  # noqa: N815 - the founding system's key
    status: bool

    @classmethod
    def from_view(cls, task: Mapping[str, Any]) -> Self:
        return cls(
            id=task["id"],
            title=task["title"],
            type=task["type"],
            module=task["module"],
            moduleDir=task["module_dir"],
            status=task["enabled"],
        )


class CronJob(BaseModel):
    """A job that is scheduled. ``next_run``: seconds since the epoch, null while it is paused or when it is over."""

    id: str
    name: str
    next_run: float | None
    trigger: str


class TaskSummary(TaskStatusResponse):
    """``uptime``: seconds; 0 without a process."""

    uptime: float


class TaskSummaryResponse(BaseModel):
    """All tasks, by name."""

    summary: list[TaskSummary]


class TaskMetadata(RootModel[dict[str, Any]]):
    """``metadata`` of a task's module."""


class ManagerSection(RootModel[dict[str, Any]]):
    """The section ``manager`` of config.json, defaults filled in."""


class ConfigUpdated(BaseModel):
    """Keys below ``manager`` with their new values."""

    success: bool
    updated: dict[str, Any]
