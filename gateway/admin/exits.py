"""/admin/exits: why processes ended."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from gateway.admin.auth import Reader
from gateway.admin.failures import PROTECTED
from plugin_runtime.protocol import Kind
from plugin_runtime.views import ExitView

router = APIRouter(prefix="/admin/exits", tags=["processes"])


@router.get("", response_model=list[ExitView], responses=PROTECTED)
async def list_exits(
    operator: Reader,
    name: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    kind: Kind | None = None,
) -> Any:
    """List exit records, newest first; those of templates, installers and validators only by their kind."""
    return await operator.call("exits.list", name=name, limit=limit, kind=kind.value if kind else None)
