"""Any ASGI or WSGI app, or a factory of one, named "module:attribute"."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from enum import Enum
from pathlib import Path
from typing import Any, Optional

from plugin_runtime.contracts.served import ServedApp, fastapi_schema, framework_of, path_mode_of
from plugin_runtime.entry_point import EntryPoint, EntryPointError
from plugin_runtime.excerpt import excerpt, line_of
from plugin_runtime.failure import FailureReport, StartFailedError
from plugin_runtime.import_hints import how_to_add
from plugin_runtime.protocol import Failed, Phase, WorkerSettings

MANIFEST = "pyproject.toml"
_ASGI3_ARGUMENTS = 3
_WSGI_ARGUMENTS = 2


class AppKind(Enum):
    """How a callable wants to be called, by the number of its required arguments."""

    FACTORY = "factory"  # none; returns the app
    ASGI2 = "asgi2"  # scope; returns a coroutine function of receive and send
    WSGI = "wsgi"  # environ, start_response
    ASGI3 = "asgi3"  # scope, receive, send
    UNUSABLE = "unusable"


def load(settings: WorkerSettings, report: FailureReport) -> ServedApp:
    """Import the app and make it ASGI 3.

    Raises:
        StartFailedError: it cannot be imported or made, or is no app.
    """
    return _Loader(settings, report).load()


def kind_of(target: object) -> AppKind:
    """Tell apps apart; what says nothing about its arguments is taken for ASGI 3."""
    if not callable(target):
        return AppKind.UNUSABLE
    required = _required_arguments(target)
    if required is None or required == _ASGI3_ARGUMENTS:
        return AppKind.ASGI3
    if _is_async(target):
        return AppKind.UNUSABLE
    return {0: AppKind.FACTORY, 1: AppKind.ASGI2, _WSGI_ARGUMENTS: AppKind.WSGI}.get(required, AppKind.UNUSABLE)


def _is_async(target: Callable[..., Any]) -> bool:
    # Calling a class is never asynchronous, whatever its instances are.
    call = target if inspect.isroutine(target) or isinstance(target, type) else type(target).__call__
    return inspect.iscoroutinefunction(call)


def _required_arguments(target: Callable[..., Any]) -> Optional[int]:
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):  # implemented in C
        return None
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(1 for p in parameters if p.kind in positional and p.default is p.empty)


def from_asgi2(
    app: Callable[[Any], Callable[[Any, Any], Awaitable[None]]],
) -> Callable[[Any, Any, Any], Awaitable[None]]:
    """Call an app of the two-step ASGI 2 in one step."""

    async def asgi3(scope: Any, receive: Any, send: Any) -> None:
        await app(scope)(receive, send)

    return asgi3


class _Loader:
    """From "module:attribute" to an app, one step after the other."""

    def __init__(self, settings: WorkerSettings, report: FailureReport) -> None:
        self._settings = settings
        self._report = report

    def load(self) -> ServedApp:
        target = self._import()
        kind = kind_of(target)
        if kind is AppKind.FACTORY:
            target = self._make(target)
            kind = kind_of(target)
        return ServedApp(
            app=self._as_asgi3(target, kind),
            framework=framework_of(target) or kind.value,
            root_path=self._settings.prefix.rstrip("/"),
            path_mode=path_mode_of(target, self._settings.path_mode),
            schema=fastapi_schema(target),
        )

    def _import(self) -> Any:
        try:
            return EntryPoint(self._settings.entry, "app", "main:app").load()
        except EntryPointError as error:
            raise self._invalid(error.problem, error.hint) from None
        except (Exception, SystemExit) as error:  # boundary: anything may be raised while a plugin is imported
            raise StartFailedError([self._report.of(error, Phase.IMPORT)]) from error

    def _make(self, factory: Callable[[], Any]) -> Any:
        try:
            return factory()
        except (Exception, SystemExit) as error:  # boundary: the factory is the plugin's code
            raise StartFailedError([self._report.of(error, Phase.IMPORT)]) from error

    def _as_asgi3(self, target: Any, kind: AppKind) -> Any:
        if kind is AppKind.ASGI3:
            return target
        if kind is AppKind.ASGI2:
            return from_asgi2(target)
        if kind is AppKind.WSGI:
            return self._from_wsgi(target)
        hint = "name an ASGI app (scope, receive, send), a WSGI app (environ, start_response), or a function without "
        hint += "arguments that returns one"
        raise self._invalid(f"{type(target).__name__} is neither an app nor makes one", hint)

    def _from_wsgi(self, app: Any) -> Any:
        try:
            from a2wsgi import WSGIMiddleware  # noqa: PLC0415 - only WSGI apps need it
        except ImportError as error:
            raise self._invalid(f"it is a WSGI app, which needs a2wsgi: {error}", how_to_add("a2wsgi")) from error
        return WSGIMiddleware(app)

    def _invalid(self, problem: str, hint: str) -> StartFailedError:
        message = f"cannot load plugin {self._settings.plugin!r}: app = {self._settings.entry!r}: {problem}"
        lines = _lines_of(Path(self._settings.source, MANIFEST))
        line = line_of("app", lines, below="[tool.xcore]")  # none where config.json says it
        failed = Failed(
            phase=Phase.MANIFEST.value,
            type="PluginInvalid",
            message=message,
            hint=hint,
            location=f"{MANIFEST}:{line}" if line else "",
            excerpt=excerpt(lines, line),
            permanent=True,
        )
        return StartFailedError([failed])


def _lines_of(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
