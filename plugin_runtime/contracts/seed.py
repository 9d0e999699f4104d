"""The founding contract: ``run.py`` with PLUGIN_INFO, a class Plugin and an APIRouter named router."""

from __future__ import annotations

import importlib
import inspect
import linecache
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Optional

from plugin_runtime.contracts.served import ServedApp, framework_of
from plugin_runtime.excerpt import excerpt, line_of
from plugin_runtime.failure import FailureReport, StartFailedError
from plugin_runtime.import_hints import how_to_add
from plugin_runtime.protocol import Failed, Phase, WorkerSettings
from plugin_runtime.sources import PARENT_PACKAGE

_DEFINED_BY = (("PLUGIN_INFO", "PLUGIN_INFO"), ("Plugin", "class Plugin"), ("router", "router"))
"""What a problem names, and how the line begins that says it."""
_MISSING = object()
_ROUTER_LINES = "from fastapi import APIRouter; router = APIRouter()"


@dataclass(frozen=True)
class PluginInfo:
    """PLUGIN_INFO, checked; ``api_prefix`` is "" when it is not there."""

    title: str
    version: str = ""
    author: str = ""
    api_prefix: str = ""
    tags: list[str] = field(default_factory=list)
    trigger: int = 1


@dataclass(frozen=True)
class SeedPlugin:
    """A plugin that keeps the contract. The class Plugin is checked, and instantiated for ``concured`` only."""

    info: PluginInfo
    router: Any
    plugin: type


def load(settings: WorkerSettings, report: FailureReport) -> SeedPlugin:
    """Import the plugin's entry module and check it.

    Raises:
        StartFailedError: it cannot be imported, or breaks the contract; carries every breach.
    """
    file = settings.entry.replace(".", "/") + ".py"
    return _Check(settings.plugin, file).module(_import_entry(settings, file, report))


def serve(settings: WorkerSettings, loaded: SeedPlugin) -> ServedApp:
    """Make a FastAPI app of the router, with all its paths under the prefix.

    Its routes carry their whole public path, and ``root_path`` is empty, as in the founding system, where the router
    was part of the host's app. A router's prefix cannot be cut off to serve it below a ``root_path``: its routes were
    given their paths when they were declared.
    """
    from fastapi import FastAPI  # noqa: PLC0415 - the plugin's own, in the plugin's environment only

    prefix = (settings.prefix or loaded.info.api_prefix or f"/app/{settings.plugin}").rstrip("/")
    app = FastAPI(
        title=loaded.info.title,
        version=loaded.info.version,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.include_router(loaded.router, prefix=include_prefix(prefix, loaded.router.prefix))
    return ServedApp(app, framework_of(app), root_path="", schema=_schema_below(prefix, app.openapi))


def include_prefix(prefix: str, router_prefix: str) -> str:
    """What to put before the router's own prefix so that it lies under the plugin's.

    Equal to it or below it: nothing. A tail of it (``/todo`` with ``/app/todo``): the rest of it. Otherwise: all of it.
    """
    if router_prefix == prefix or router_prefix.startswith(f"{prefix}/"):
        return ""
    if router_prefix and prefix.endswith(router_prefix):
        return prefix[: -len(router_prefix)]
    return prefix


def find_concured(plugin: type) -> Optional[Callable[[], Callable[[], Any]]]:
    """What binds ``Plugin.concured``, to a new instance where it is a method of one; None where there is none."""
    if getattr(plugin, "concured", None) is None:
        return None
    unbound = isinstance(inspect.getattr_static(plugin, "concured"), (staticmethod, classmethod))

    def bind() -> Callable[[], Any]:
        found: Any = plugin if unbound else plugin()
        concured: Callable[[], Any] = found.concured
        return concured

    return bind


def _schema_below(prefix: str, openapi: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    def schema() -> dict[str, Any]:
        document = openapi()
        return {**document, "paths": {path[len(prefix) :]: item for path, item in document.get("paths", {}).items()}}

    return schema


def _import_entry(settings: WorkerSettings, file: str, report: FailureReport) -> ModuleType:
    name = f"{PARENT_PACKAGE}.{settings.plugin}.{settings.entry}"
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # boundary: anything may be raised while a plugin is imported
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            hint = f"make {file} with PLUGIN_INFO, Plugin, router{_or_app('main:app')}"
            breach = _breach(settings.plugin, file, "the file is missing", hint)
            raise StartFailedError([breach]) from None
        raise StartFailedError([report.of(error, Phase.IMPORT)]) from error


def _or_app(entry: str) -> str:
    return f', or, for an ASGI or WSGI app of your own, write app = "{entry}" under [tool.xcore] in pyproject.toml'


def _breach(plugin: str, file: str, problem: str, hint: str, lines: Sequence[str] = (), line: int = 0) -> Failed:
    """``line``: where in the file, which has these ``lines``; 0 where that is not known."""
    return Failed(
        phase=Phase.MANIFEST.value,
        type="PluginInvalid",
        message=f"cannot load plugin {plugin!r}: {file}: {problem}",
        hint=hint,
        location=f"{file}:{line}" if line else file,
        excerpt=excerpt(lines, line),
        permanent=True,
    )


class _Check:
    """Goes through one module and collects what is wrong with it."""

    def __init__(self, plugin: str, file: str) -> None:
        self._plugin = plugin
        self._file = file
        self._errors: list[Failed] = []
        self._lines: Sequence[str] = ()

    def module(self, module: ModuleType) -> SeedPlugin:
        self._lines = linecache.getlines(module.__file__ or "")
        info = self._plugin_info(getattr(module, "PLUGIN_INFO", _MISSING))
        plugin: Any = getattr(module, "Plugin", _MISSING)
        self._plugin_class(plugin)
        router = getattr(module, "router", _MISSING)
        self._router(router, has_app=callable(getattr(module, "app", None)))
        if self._errors:
            raise StartFailedError(self._errors)
        return SeedPlugin(info, router, plugin)

    def _wrong(self, problem: str, hint: str) -> None:
        named = next((line for name, line in _DEFINED_BY if name in problem), "")
        line = line_of(named, self._lines) if named else 0
        self._errors.append(_breach(self._plugin, self._file, problem, hint, self._lines, line))

    def _plugin_info(self, info: Any) -> PluginInfo:
        if info is _MISSING or not isinstance(info, dict):
            problem = "PLUGIN_INFO is missing" if info is _MISSING else f"PLUGIN_INFO is {_kind(info)}, not a dict"
            self._wrong(problem, 'write: PLUGIN_INFO = {"version": "0.1.0", "author": "your name"}')
            return PluginInfo(self._plugin)
        return PluginInfo(
            title=self._text(info, "name", self._plugin, example="My plugin"),
            version=self._text(info, "version", _MISSING, example="0.1.0"),
            author=self._text(info, "author", _MISSING, example="your name"),
            api_prefix=self._text(info, "Api_prefix", "", example=f"/app/{self._plugin}"),
            tags=self._tags(info.get("tag_for_identified", [])),
            trigger=self._trigger(info.get("trigger", 1)),
        )

    def _text(self, info: dict[str, Any], key: str, default: Any, *, example: str) -> str:
        value = info.get(key, default)
        if isinstance(value, str):
            return value
        problem = f"has no {key!r}" if value is _MISSING else f"key {key!r} is {_kind(value)}, not a str"
        self._wrong(f"PLUGIN_INFO {problem}", f'write in PLUGIN_INFO: "{key}": "{example}"')
        return ""

    def _tags(self, value: Any) -> list[str]:
        if isinstance(value, (list, tuple)) and all(isinstance(tag, str) for tag in value):
            return list(value)
        problem = (
            "holds something else than str" if isinstance(value, list) else f"is {_kind(value)}, not a list of str"
        )
        hint = f'write in PLUGIN_INFO: "tag_for_identified": ["{self._plugin}"]'
        self._wrong(f"PLUGIN_INFO key 'tag_for_identified' {problem}", hint)
        return []

    def _trigger(self, value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        self._wrong(f"PLUGIN_INFO key 'trigger' is {_kind(value)}, not an int", 'write in PLUGIN_INFO: "trigger": 1')
        return 1

    def _plugin_class(self, plugin: Any) -> None:
        hint = "write a class Plugin with a method: def run(self): ..."
        if plugin is _MISSING:
            self._wrong("class Plugin is missing", hint)
        elif not isinstance(plugin, type):
            self._wrong(f"Plugin is {_kind(plugin)}, not a class", hint)
        elif not hasattr(plugin, "run"):
            self._wrong("class Plugin has no attribute run", hint)
        elif (concured := getattr(plugin, "concured", None)) is not None and not callable(concured):
            self._wrong(f"Plugin.concured is {_kind(concured)}, not a function", "write: async def concured(self): ...")

    def _router(self, router: Any, *, has_app: bool) -> None:
        if router is _MISSING:
            entry = self._file.removesuffix(".py").replace("/", ".")
            self._wrong("router is missing", f"write: {_ROUTER_LINES}{_or_app(f'{entry}:app') if has_app else ''}")
            return
        try:
            from fastapi import APIRouter  # noqa: PLC0415 - the plugin's own, in the plugin's environment only
        except ImportError:
            self._wrong("fastapi is not installed in the plugin's environment", how_to_add("fastapi"))
            return
        if not isinstance(router, APIRouter):
            self._wrong(f"router is {_kind(router)}, not a fastapi.APIRouter", f"write: {_ROUTER_LINES}")


def _kind(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
