"""Operations over HTTP: which route of the admin interface stands for which operation."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from plugin_runtime.protocol import Error
from supervisor.cli.client import OperationFailedError
from supervisor.errors import NotRunningError, XcoreError


class UnreachableError(NotRunningError):
    """Nobody listens at the address given with --url."""

    def __init__(self, url: str, cause: Exception) -> None:
        XcoreError.__init__(self, f"cannot reach {url}: {cause}")


_ROUTES: dict[str, tuple[str, str]] = {
    "system.status": ("GET", "/health"),
    "plugins.list": ("GET", "/admin/plugins"),
    "plugins.show": ("GET", "/admin/plugins/{name}"),
    "plugins.delete": ("DELETE", "/admin/plugins/{name}"),
    "plugins.restart": ("POST", "/admin/plugins/{name}/restart"),
    "plugins.reload": ("POST", "/admin/plugins/{name}/reload"),
    "plugins.rollback": ("POST", "/admin/plugins/{name}/rollback"),
    "plugins.install": ("POST", "/admin/plugins/{name}/install"),
    "plugins.enable": ("POST", "/admin/plugins/{name}/enable"),
    "plugins.disable": ("POST", "/admin/plugins/{name}/disable"),
    "plugins.scale": ("POST", "/admin/plugins/{name}/scale"),
    "plugins.logs": ("GET", "/admin/plugins/{name}/logs"),
    "processes.list": ("GET", "/admin/processes"),
    "resources.list": ("GET", "/admin/resources"),
    "exits.list": ("GET", "/admin/exits"),
    "tasks.list": ("GET", "/admin/tasks"),
    "tasks.show": ("GET", "/admin/tasks/{name}"),
    "tasks.start": ("POST", "/tasks/start"),
    "tasks.stop": ("POST", "/tasks/stop"),
    "tasks.restart": ("POST", "/tasks/restart"),
    "tasks.meta": ("GET", "/tasks/meta"),
    "tasks.logs": ("GET", "/admin/tasks/{name}/logs"),
    "jobs.list": ("GET", "/admin/jobs"),
    "jobs.show": ("GET", "/admin/jobs/{id}"),
    "jobs.run": ("POST", "/admin/jobs/{id}/run"),
    "jobs.pause": ("POST", "/admin/jobs/{id}/pause"),
    "jobs.resume": ("POST", "/admin/jobs/{id}/resume"),
    "jobs.reload": ("POST", "/admin/jobs/reload"),
    "jobs.next": ("GET", "/admin/jobs/{id}/next"),
    "runs.list": ("GET", "/admin/runs"),
    "runs.show": ("GET", "/admin/runs/{id}"),
    "runs.follow": ("GET", "/admin/runs/{id}/log"),
    "threads.list": ("GET", "/tasks/threads"),
    "system.metrics": ("GET", "/tasks/metrics"),
    "config.show": ("GET", "/tasks/config"),
    "config.update": ("POST", "/tasks/config/update"),
    "config.autorestart": ("POST", "/tasks/config/autorestart"),
    "config.reload": ("POST", "/tasks/reload"),
    "tokens.list": ("GET", "/admin/tokens"),
    "tokens.create": ("POST", "/admin/tokens"),
    "tokens.revoke": ("DELETE", "/admin/tokens/{id}"),
}
_WITH_BODY = {"tokens.create"}
_VALUE_IS_BODY = {"config.update"}
_UPDATES = {"config.update", "config.autorestart"}
"""The answer of their routes has the operation's under ``updated``."""
_SHOWN_AFTERWARDS = {"tasks.start", "tasks.stop", "tasks.restart"}
"""Their routes answer in the founding system's shape; what the operation returns is asked for after that."""
_UNAUTHORIZED = 401
_GOOD_STATUS = {"system.status": (503,)}
"""Down is an answer, too."""


def call(url: str, token: str, operation: str, timeout: float, arguments: Mapping[str, Any]) -> Any:
    """Carry out one operation at the gateway ``url``.

    Raises:
        OperationFailedError: it answered with an error.
        UnreachableError: nobody listens there.
        XcoreError: it did not answer, not as xcore does, or the operation cannot be asked for from outside.
    """
    import httpx  # noqa: PLC0415 - a third of a second that local commands do not pay

    if operation not in _ROUTES:
        raise XcoreError(f"{operation} can only be asked for on the machine itself", hint="leave --url out")
    method, path, query, body = _request(operation, arguments)
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        response = httpx.request(
            method, url.rstrip("/") + path, params=query, content=body, headers=headers, timeout=timeout
        )
    except httpx.ConnectError as error:
        raise UnreachableError(url, error) from error
    except httpx.TimeoutException as error:
        raise XcoreError(f"{url} did not answer {operation} within {timeout:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise XcoreError(f"cannot ask {url}: {error}") from error
    value = _value(response, *_GOOD_STATUS.get(operation, ()))
    if operation in _SHOWN_AFTERWARDS:
        return call(url, token, "tasks.show", timeout, {"name": arguments["name"]})
    return value["updated"] if operation in _UPDATES else value


def _request(operation: str, arguments: Mapping[str, Any]) -> tuple[str, str, dict[str, Any] | None, bytes | None]:
    """Method, path, query and body: names go into the path where the route has a place for them."""
    method, template = _ROUTES[operation]
    given = {key: value for key, value in arguments.items() if value is not None}
    path = template.format(**{key: quote(str(value), safe="") for key, value in given.items()})
    rest = {key: value for key, value in given.items() if f"{{{key}}}" not in template}
    if operation in _WITH_BODY:
        return method, path, None, _json(rest)
    if operation in _VALUE_IS_BODY:
        rest.pop("value", None)
        return method, path, rest, _json(arguments["value"])  # null is a value, too
    return method, path, rest, None


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _value(response: Any, *good: int) -> Any:
    """``good``: statuses that come with an answer, beside those of success."""
    try:
        body = response.json() if response.content else None
    except ValueError:
        body = response.text
    if response.is_success or response.status_code in good:
        if not isinstance(body, str):
            return body
    elif isinstance(body, dict) and "message" in body:
        extension = dict(body.get("extension") or {})
        message = str(body["message"])
        if response.status_code == _UNAUTHORIZED:
            message += "; name a valid one in XCORE_TOKEN, as xcore token create prints it on the machine itself"
        raise OperationFailedError(Error(str(body.get("type")), message, extension, response.status_code))
    raise XcoreError(f"{response.url} answered {response.status_code}, but not as xcore does")
