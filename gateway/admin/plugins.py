"""/admin/plugins: what plugins are there, how they do, starting them anew, and how many processes each has."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from gateway.admin.auth import Owner, Reader
from gateway.admin.failures import NAMED, PROTECTED
from gateway.admin.models import ExceptionResponse
from gateway.control import CALL_TIMEOUT
from plugin_runtime.views import PluginView

router = APIRouter(prefix="/admin/plugins", tags=["plugins"])

LONGEST_WAIT = 600.0
"""Seconds."""
MOST_INSTANCES = 256

Wait = Annotated[float, Query(ge=0, le=LONGEST_WAIT)]

_CHANGED: dict[int | str, dict[str, Any]] = {
    **NAMED,
    409: {"model": ExceptionResponse, "description": "Its present state does not allow it"},
    504: {"model": ExceptionResponse, "description": "Not done within `wait` seconds; it goes on"},
}


@router.get("", response_model=list[PluginView], responses=PROTECTED)
async def list_plugins(operator: Reader, *, active: bool | None = None) -> Any:
    """List all plugins, or only those that are (not) active."""
    return await operator.call("plugins.list", active=active)


@router.get("/{name}", response_model=PluginView, responses=NAMED)
async def show_plugin(operator: Reader, name: str) -> Any:
    """Show one plugin."""
    return await operator.call("plugins.show", name=name)


@router.post("/{name}/restart", response_model=PluginView, status_code=202, responses=_CHANGED)
async def restart_plugin(operator: Owner, name: str, wait: Wait = 0.0) -> Any:
    """Restart all instances of a plugin; with `wait`, answer when they are ready."""
    return await operator.call("plugins.restart", name=name, wait=wait, timeout=wait + CALL_TIMEOUT)


@router.post("/{name}/reload", response_model=PluginView, status_code=202, responses=_CHANGED)
async def reload_plugin(operator: Owner, name: str, wait: Wait = 0.0) -> Any:
    """Serve what the plugin's folder says now; with `wait`, answer when that is done, or 409 if it cannot be."""
    return await operator.call("plugins.reload", name=name, wait=wait, timeout=wait + CALL_TIMEOUT)


@router.post("/{name}/rollback", response_model=PluginView, status_code=202, responses=_CHANGED)
async def rollback_plugin(operator: Owner, name: str, wait: Wait = 0.0) -> Any:
    """Serve the generation before this one until the folder changes; with `wait`, answer when that is done."""
    return await operator.call("plugins.rollback", name=name, wait=wait, timeout=wait + CALL_TIMEOUT)


@router.post("/{name}/enable", response_model=PluginView, status_code=202, responses=_CHANGED)
async def enable_plugin(operator: Owner, name: str, wait: Wait = 0.0) -> Any:
    """Serve a plugin, now and at every start; with `wait`, answer when its instances are ready or have failed."""
    return await operator.call("plugins.enable", name=name, wait=wait, timeout=wait + CALL_TIMEOUT)


@router.post("/{name}/disable", response_model=PluginView, status_code=202, responses=_CHANGED)
async def disable_plugin(operator: Owner, name: str, wait: Wait = 0.0) -> Any:
    """Stop a plugin until it is enabled, also over starts; with `wait`, answer when its processes are gone."""
    return await operator.call("plugins.disable", name=name, wait=wait, timeout=wait + CALL_TIMEOUT)


@router.post("/{name}/scale", response_model=PluginView, status_code=202, responses=_CHANGED)
async def scale_plugin(
    operator: Owner, name: str, instances: Annotated[int, Query(ge=1, le=MOST_INSTANCES)], wait: Wait = 0.0
) -> Any:
    """Run so many instances of a plugin; with `wait`, answer when they are ready."""
    arguments = {"name": name, "instances": instances, "wait": wait}
    return await operator.call("plugins.scale", **arguments, timeout=wait + CALL_TIMEOUT)


@router.get("/{name}/logs", response_model=list[str], responses=NAMED)
async def plugin_logs(operator: Reader, name: str, tail: Annotated[int, Query(ge=1, le=10_000)] = 100) -> Any:
    """Return the last lines that the plugin wrote to stdout and stderr, oldest first."""
    return await operator.call("plugins.logs", name=name, tail=tail)
