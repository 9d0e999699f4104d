"""What a contract makes of a plugin's folder: an app, and how to serve it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Optional

_FULL_PATH_SINCE = (0, 33)
"""Starlette's first version that finds the route behind ``root_path``; those before answer 404 to a full path."""
_MIDDLEWARE_DEPTH = 20


@dataclass(frozen=True)
class ServedApp:
    """An ASGI 3 app and the paths it wants to see."""

    app: Any
    framework: str
    """For people: "fastapi 0.165.0"."""
    root_path: str
    """The prefix, as ``scope["root_path"]``; "" where the app's routes carry the prefix themselves."""
    path_mode: str = "full"
    schema: Optional[Callable[[], dict[str, Any]]] = None
    """Makes the OpenAPI document, with paths below the plugin's prefix. None: the app has none, or hides it."""


def framework_of(app: object) -> str:
    """Name and version of the distribution that the app's class comes from, "" for code of the plugin's own."""
    for cls in type(app).__mro__:
        package = cls.__module__.partition(".")[0]
        if found := _version_of(package):
            return f"{package} {found}"
    return ""


def path_mode_of(app: object, wanted: str) -> str:
    """``wanted``, or what the framework needs where that is "auto"."""
    if wanted != "auto":
        return wanted
    starlette = getattr(sys.modules.get("starlette.applications"), "Starlette", None)
    if starlette is None or not isinstance(_innermost(app, starlette), starlette):
        return "full"
    numbers = tuple(int(number) for number in re.findall(r"\d+", _version_of("starlette"))[:2])
    return "stripped" if () < numbers < _FULL_PATH_SINCE else "full"


def fastapi_schema(app: object) -> Optional[Callable[[], dict[str, Any]]]:
    """How to make the OpenAPI document of a FastAPI app; None for other apps, and where the app publishes none."""
    fastapi = getattr(sys.modules.get("fastapi"), "FastAPI", None)
    if fastapi is None or not isinstance(app, fastapi):
        return None
    foreign: Any = app
    return foreign.openapi if foreign.openapi_url else None


def _innermost(app: object, wanted: type) -> object:
    """Look for an app of this class below middleware, which by convention keeps it as ``app``."""
    inner = app
    for _ in range(_MIDDLEWARE_DEPTH):
        if isinstance(inner, wanted) or not hasattr(inner, "app"):
            break
        inner = inner.app
    return inner


def _version_of(distribution: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - slow, and mostly imported by now

    if distribution in sys.builtin_module_names:
        return ""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
