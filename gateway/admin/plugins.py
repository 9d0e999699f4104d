"""/admin/plugins: what plugins are there, how they do, starting them anew, and how many processes each has."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from gateway.admin.auth import Owner, Reader
from gateway.admin.failures import NAMED, PROTECTED
from gateway.admin.models import Delete, ExceptionResponse, Plugin, Update
from gateway.control import CALL_TIMEOUT
from plugin_runtime.views import PluginView

router = APIRouter(prefix="/admin/plugins", tags=["plugins"])

LONGEST_WAIT = 900.0
"""Seconds."""
MOST_INSTANCES = 256

Wait = Annotated[float, Query(ge=0, le=LONGEST_WAIT)]

_CHANGED: dict[int | str, dict[str, Any]] = {
    **NAMED,
    409: {"model": ExceptionResponse, "description": "Its present state does not allow it"},
    504: {"model": ExceptionResponse, "description": "Not done within `wait` seconds; it goes on"},
}

_ADDED: dict[int | str, dict[str, Any]] = {
    **PROTECTED,
    409: {"model": ExceptionResponse, "description": "There is one of that name, or no plugin can have it"},
    422: {"model": ExceptionResponse, "description": "Not what is stored of a plugin"},
}
_UPDATED: dict[int | str, dict[str, Any]] = {**NAMED, 422: _ADDED[422]}


def _stored(body: Plugin | Update) -> dict[str, Any]:
    """Its values by the names of the operation; without those that say nothing."""
    values = {key: value for key, value in vars(body).items() if value is not None}
    return {"api_prefix" if key == "Api_prefix" else key: value for key, value in values.items()}


@router.get("", response_model=list[PluginView], responses=PROTECTED)
async def list_plugins(operator: Reader, *, active: bool | None = None) -> Any:
    """List all plugins, or only those that are (not) active."""
    return await operator.call("plugins.list", active=active)


@router.get("/{name}", response_model=PluginView, responses=NAMED)
async def show_plugin(operator: Reader, name: str) -> Any:
    """Show one plugin."""
    return await operator.call("plugins.show", name=name)


@router.post("", response_model=PluginView, status_code=201, responses=_ADDED)
async def add_plugin(operator: Owner, plugin: Plugin) -> Any:
    """Keep a record of a plugin whose folder is yet to come; it is not served before somebody enables it."""
    return await operator.call("plugins.add", **_stored(plugin))


@router.patch("/{name}", response_model=PluginView, responses=_UPDATED)
async def update_plugin(operator: Owner, name: str, changes: Update) -> Any:
    """Change what is stored of a plugin; what its code says replaces it with the next start or reload."""
    return await operator.call("plugins.update", name=name, **_stored(changes))


@router.delete("/{name}", response_model=Delete, responses=_CHANGED)
async def delete_plugin(operator: Owner, name: str) -> Any:
    """Forget a plugin that is disabled."""
    return await operator.call("plugins.delete", name=name)


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


@router.post("/{name}/install", response_model=PluginView, status_code=202, responses=_CHANGED)
async def install_plugin(operator: Owner, name: str, wait: Wait = 0.0) -> Any:
    """Build the plugin's environment anew and serve from it; with `wait`, answer when that is done."""
    return await operator.call("plugins.install", name=name, wait=wait, timeout=wait + CALL_TIMEOUT)


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
