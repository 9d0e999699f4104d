"""/tasks/*: background tasks and the manager's configuration, as in the founding system; /admin/tasks: in full."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from gateway.admin.auth import Owner, Reader
from gateway.admin.failures import NAMED, PROTECTED, Responses
from gateway.admin.json_body import JSON_BODY, JsonValue
from gateway.admin.models import ExceptionResponse
from gateway.admin.task_models import (
    ConfigUpdated,
    CronJob,
    ManagerSection,
    RestartService,
    TaskListResponse,
    TaskManager,
    TaskMetadata,
    TaskResource,
    TaskResourcesResponse,
    TaskStatusResponse,
    TaskSummary,
    TaskSummaryResponse,
    status_of,
)
from gateway.control import CALL_TIMEOUT
from plugin_runtime.task_views import MetricsView, ReloadView, TaskView, ThreadView

router = APIRouter(tags=["tasks"])

LONGEST_STOP = 600.0
"""Seconds that an answer waits for the end, or the start, of a process; its own time limits may be longer."""
STARTED = "pending"

IDLE = "idle"
"""It has jobs and no service."""
UP = {"running", IDLE}

_ORDERED: Responses = {
    **NAMED,
    409: {"model": ExceptionResponse, "description": "Its present state does not allow it"},
}
_RESTARTED: Responses = {
    **_ORDERED,
    504: {"model": ExceptionResponse, "description": "Not done within `wait` seconds; it goes on"},
}
_CONFIGURED: Responses = {
    **PROTECTED,
    409: {"model": ExceptionResponse, "description": "The environment sets this key, or somebody else wrote the file"},
    507: {"model": ExceptionResponse, "description": "The disk is full; the file is as it was"},
}
Name = Annotated[str, Query(description="The task's file name without .py")]
Wait = Annotated[float, Query(ge=0, le=LONGEST_STOP, description="Seconds to wait until it is known what came of it")]


@router.get("/tasks/resources", responses=PROTECTED)
async def task_resources(operator: Reader) -> TaskResourcesResponse:
    """Show what the process of each task uses."""
    tasks = await operator.call("tasks.list")
    return TaskResourcesResponse({task["name"]: TaskResource.from_view(task) for task in tasks})


@router.post("/tasks/start", responses=_RESTARTED)
async def start_task(operator: Owner, name: Name, wait: Wait = 0.0) -> TaskStatusResponse:
    """Start a task, now and at every boot; with `wait` answers when it runs or has failed."""
    before = await operator.call("tasks.show", name=name)
    after = await operator.call("tasks.start", name=name, wait=wait, timeout=wait + CALL_TIMEOUT)
    if wait <= 0 and before["pid"] is None and after["state"] != IDLE:
        return TaskStatusResponse(name=name, status=STARTED)
    return TaskStatusResponse.from_view(after)


@router.post("/tasks/stop", responses=_ORDERED)
async def stop_task(operator: Owner, name: Name) -> TaskStatusResponse:
    """Stop a task until somebody starts it; the answer comes when its process is gone."""
    task = await operator.call("tasks.stop", name=name, timeout=LONGEST_STOP + CALL_TIMEOUT)
    return TaskStatusResponse.from_view(task)


@router.post("/tasks/restart", responses=_RESTARTED)
async def restart_task(operator: Owner, name: Name, wait: Wait = LONGEST_STOP) -> RestartService:
    """Replace a task's process; answers when the new one runs or has failed, at most after `wait` seconds."""
    task = await operator.call("tasks.restart", name=name, wait=wait, timeout=wait + CALL_TIMEOUT)
    status = status_of(task)
    # With an error what runs is not what its file says.
    return RestartService(name=task["name"], status=status, success=status in UP and task.get("error") is None)


@router.get("/tasks/list", responses=PROTECTED)
async def list_task_statuses(operator: Reader) -> TaskListResponse:
    """List all tasks with their statuses."""
    return TaskListResponse(tasks=[TaskStatusResponse.from_view(task) for task in await operator.call("tasks.list")])


@router.get("/tasks/meta", responses=_ORDERED)
async def task_metadata(operator: Reader, name: Name) -> TaskMetadata:
    """Return a task's metadata as its module declares it; functions by their names."""
    return TaskMetadata(await operator.call("tasks.meta", name=name))


@router.get("/tasks/scheduler", responses=PROTECTED)
async def list_task_records(operator: Reader) -> list[TaskManager]:
    """List the records of all tasks."""
    return [TaskManager.from_view(task) for task in await operator.call("tasks.list")]


@router.get("/tasks/cron", responses=PROTECTED)
async def list_cron_jobs(operator: Reader) -> list[CronJob]:
    """List the jobs that are scheduled, those of plugins too."""
    return [CronJob.model_validate(job) for job in await operator.call("jobs.list", active=True)]


@router.get("/tasks/metrics", response_model=MetricsView, responses=PROTECTED)
async def metrics(operator: Reader) -> Any:
    """Show CPU and memory of the machine, and how many threads and processes of ours there are."""
    return await operator.call("system.metrics")


@router.get("/tasks/summary", responses=PROTECTED)
async def task_summary(operator: Reader) -> TaskSummaryResponse:
    """List all tasks with status and uptime."""
    tasks = await operator.call("tasks.list")
    return TaskSummaryResponse(
        summary=[TaskSummary(name=task["name"], status=status_of(task), uptime=task["uptime"]) for task in tasks]
    )


@router.get("/tasks/threads", response_model=list[ThreadView], responses=PROTECTED)
async def list_threads(operator: Reader) -> Any:
    """List the threads of every Python process of ours."""
    return await operator.call("threads.list")


@router.get("/tasks/config", responses=PROTECTED)
async def show_config(operator: Reader) -> ManagerSection:
    """Show the configuration's section `manager` as it is in force."""
    return ManagerSection(await operator.call("config.show"))


@router.post("/tasks/config/update", responses=_CONFIGURED, openapi_extra=JSON_BODY)
async def update_config(
    operator: Owner,
    key: Annotated[str, Query(description="Dotted, inside the section: tasks.max_retries")],
    value: JsonValue,
) -> ConfigUpdated:
    """Set a key of the section `manager`, in config.json and at once; nothing is written that is not valid."""
    return ConfigUpdated(success=True, updated=await operator.call("config.update", key=key, value=value))


@router.post("/tasks/config/autorestart", responses=_CONFIGURED)
async def set_auto_restart(operator: Owner, *, value: bool) -> ConfigUpdated:
    """Say whether tasks that crashed are started again; holds for those that run, too."""
    return ConfigUpdated(success=True, updated=await operator.call("config.autorestart", value=value))


@router.post("/tasks/reload", response_model=ReloadView, responses=_CONFIGURED)
async def reload_config(operator: Owner) -> Any:
    """Read the configuration again and restart the tasks that it changes."""
    return await operator.call("config.reload")


@router.get("/admin/tasks", response_model=list[TaskView], responses=PROTECTED)
async def list_tasks(operator: Reader) -> Any:
    """List all tasks, with what is known of them."""
    return await operator.call("tasks.list")


@router.get("/admin/tasks/{name}", response_model=TaskView, responses=NAMED)
async def show_task(operator: Reader, name: str) -> Any:
    """Show one task."""
    return await operator.call("tasks.show", name=name)


@router.get("/admin/tasks/{name}/logs", response_model=list[str], responses=NAMED)
async def task_logs(operator: Reader, name: str, tail: Annotated[int, Query(ge=1, le=10_000)] = 100) -> Any:
    """Return the last lines that the task and the runs of its jobs printed, oldest first."""
    return await operator.call("tasks.logs", name=name, tail=tail)
