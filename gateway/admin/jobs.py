"""/admin/jobs and /admin/runs: what is scheduled, and every run of it."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from gateway.admin.auth import Owner, Reader
from gateway.admin.failures import NAMED, PROTECTED, Responses
from gateway.admin.models import ExceptionResponse
from gateway.control import CALL_TIMEOUT
from plugin_runtime.task_views import JobView, MomentView, RunLog, RunView

router = APIRouter(prefix="/admin", tags=["jobs"])

_RELOADED: Responses = {**PROTECTED, 409: {"model": ExceptionResponse, "description": "xcore is stopping"}}

RELOAD_TIMEOUT = 600.0
"""Seconds; each module is imported in a process of its own, and an environment may have to be built for it before."""
LONGEST_POLL = 30.0
"""Seconds that an answer waits for a run to print something."""
MOST_LINES = 2**53
"""Beyond it numbers are not whole any more for programs in JavaScript, and soon none that a message can carry."""


@router.get("/jobs", response_model=list[JobView], responses=PROTECTED)
async def list_jobs(operator: Reader, owner: str | None = None, *, active: bool | None = None) -> Any:
    """List all jobs, those of one task or plugin, or only those that are (not) scheduled."""
    return await operator.call("jobs.list", owner=owner, active=active)


@router.post("/jobs/reload", response_model=list[JobView], responses=_RELOADED)
async def reload_jobs(operator: Owner) -> Any:
    """Read the modules of all tasks again, and schedule what they declare now."""
    return await operator.call("jobs.reload", timeout=RELOAD_TIMEOUT)


@router.get("/jobs/{id}", response_model=JobView, responses=NAMED)
async def show_job(operator: Reader, id: str) -> Any:  # noqa: A002 - the name in the path
    """Show one job."""
    return await operator.call("jobs.show", id=id)


@router.get("/jobs/{id}/next", response_model=list[MomentView], responses=NAMED)
async def next_moments(
    operator: Reader,
    id: str,  # noqa: A002
    count: Annotated[int, Query(ge=1, le=1000)] = 10,
) -> Any:
    """Return the moments at which a job is due next, by its trigger alone."""
    return await operator.call("jobs.next", id=id, count=count)


@router.post("/jobs/{id}/run", response_model=RunView, status_code=202, responses=NAMED)
async def run_job(operator: Owner, id: str) -> Any:  # noqa: A002
    """Run a job now, whatever its schedule says; what it does while another run of it goes on, `overlap` says."""
    return await operator.call("jobs.run", id=id)


@router.post("/jobs/{id}/pause", response_model=JobView, responses=NAMED)
async def pause_job(operator: Owner, id: str) -> Any:  # noqa: A002
    """Let a job not be due any more until it is resumed, also after a restart of xcore."""
    return await operator.call("jobs.pause", id=id)


@router.post("/jobs/{id}/resume", response_model=JobView, responses=NAMED)
async def resume_job(operator: Owner, id: str) -> Any:  # noqa: A002
    """Schedule a paused job again; what was due meanwhile is not made up for."""
    return await operator.call("jobs.resume", id=id)


@router.get("/runs", response_model=list[RunView], responses=PROTECTED)
async def list_runs(operator: Reader, job: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Any:
    """List runs, newest first: of one job, or of all."""
    return await operator.call("runs.list", job=job, limit=limit)


@router.get("/runs/{id}", response_model=RunView, responses=NAMED)
async def show_run(operator: Reader, id: str) -> Any:  # noqa: A002
    """Show one run."""
    return await operator.call("runs.show", id=id)


@router.get("/runs/{id}/log", response_model=RunLog, responses=NAMED)
async def follow_run(
    operator: Reader,
    id: str,  # noqa: A002
    after: Annotated[int, Query(ge=0, le=MOST_LINES)] = 0,
    wait: Annotated[float, Query(ge=0, le=LONGEST_POLL)] = 0.0,
) -> Any:
    """Return what a run printed from line `after` on; with `wait`, as soon as there is something or it has ended."""
    return await operator.call("runs.follow", id=id, after=after, wait=wait, timeout=wait + CALL_TIMEOUT)
