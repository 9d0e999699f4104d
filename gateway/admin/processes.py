"""/admin/processes and /admin/resources: every process of ours, and what it uses."""

from typing import Any

from fastapi import APIRouter

from gateway.admin.auth import Reader
from gateway.admin.failures import PROTECTED
from plugin_runtime.protocol import Kind
from plugin_runtime.views import ProcessView, ResourceView

router = APIRouter(prefix="/admin", tags=["processes"])


@router.get("/processes", response_model=list[ProcessView], responses=PROTECTED)
async def list_processes(operator: Reader, kind: Kind | None = None) -> Any:
    """List every process, or those of one kind."""
    return await operator.call("processes.list", kind=kind.value if kind else None)


@router.get("/resources", response_model=list[ResourceView], responses=PROTECTED)
async def list_resources(operator: Reader) -> Any:
    """List what every process uses, as of the last sample."""
    return await operator.call("resources.list")
