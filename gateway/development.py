"""What a gateway adds to its errors in development mode: why a plugin is not served, or what it raised instead of an
answer, for whoever develops it.

The door is bound to this machine then. What is shown goes only to requests that name it so: a page from elsewhere that
has its name resolved to this machine could read it otherwise, and so could whoever is let in by a tunnel.
"""

import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from gateway import error_page
from gateway.errors import (
    GatewayError,
    PluginDiedError,
    PluginFailedError,
    PluginTimedOutError,
    PluginUnavailableError,
    RequestFailedError,
    Response,
    render,
    response,
)
from gateway.headers import Field
from gateway.upstreams import Pool
from plugin_runtime.framing import EXPLAIN, RequestHead
from plugin_runtime.gateway_protocol import PluginTrouble, Refusal
from plugin_runtime.protocol import PluginState
from plugin_runtime.wire import Decoder, WireError

_HTML = frozenset({"text/html", "application/xhtml+xml"})
_JSON = "application/json"
_EXPLAINED = (PluginUnavailableError, PluginDiedError, PluginTimedOutError, PluginFailedError)


class Development:
    """Keeps what the supervisor says of plugins that are not served, and reads what workers say of failed requests."""

    def __init__(self) -> None:
        self._troubles: dict[str, PluginTrouble] = {}

    def update(self, trouble: PluginTrouble) -> None:
        """Take it in place of the one before."""
        self._troubles[trouble.plugin] = trouble

    def watched(self, fields: Iterable[Field], pool: Pool) -> Response | None:
        """Answer a page that wants to know whether the plugin is served; None where that is not what is asked.

        The plugin itself never sees these requests: it need not be asked, and may stream without end.
        """
        told = dict(fields)
        if error_page.WATCH_FIELD.encode() not in told or not _is_of_this_machine(told):
            return None
        if pool.members or pool.route.state == PluginState.IDLE.value:
            return HTTPStatus.NO_CONTENT, [(b"cache-control", b"no-store")], b""
        route = pool.route
        error = PluginUnavailableError(route.plugin, route.state, Refusal.UNAVAILABLE, route.retry_after)
        return self._as_json(error, route.state)

    def asking(self, head: RequestHead, fields: Iterable[Field]) -> RequestHead:
        """Have the worker explain what its app raises, where the client may be told; ``fields`` are the client's."""
        if not _is_of_this_machine(dict(fields)):
            return head
        return head._replace(state={**head.state, EXPLAIN: True})

    def render(self, error: GatewayError, method: str, fields: Iterable[Field], pool: Pool) -> Response:
        """Return the whole answer of a request to a plugin that failed."""
        told = dict(fields)
        if not isinstance(error, _EXPLAINED) or not _is_of_this_machine(told):
            return render(error)
        # A form that was sent is no page to come back to, but what it has raised is to be seen at once.
        has_page = method in {"GET", "HEAD"} or isinstance(error, PluginFailedError)
        if has_page and prefers_html(told.get(b"accept", b"").decode("latin-1")):
            return self._as_page(error, pool.route.state)
        return self._as_json(error, pool.route.state)

    def _as_page(self, error: RequestFailedError, state: str) -> Response:
        trouble = self._trouble(error)
        body = error_page.page(error.plugin, state, error, trouble, _name_of(state, trouble))
        return response(error, body, list(error_page.FIELDS))

    def _as_json(self, error: RequestFailedError, state: str) -> Response:
        trouble = self._trouble(error)
        unsaid = {"plugin", "progress"} if trouble.frames else {"plugin", "progress", "frames"}
        details = {key: value for key, value in asdict(trouble).items() if key not in unsaid}
        more: dict[str, Any] = {
            "error": details if trouble.type else None,
            "progress": trouble.progress,
            "seen": _name_of(state, trouble),
        }
        return render(error, more)

    def _trouble(self, error: RequestFailedError) -> PluginTrouble:
        if isinstance(error, PluginFailedError):
            return _trouble_of_request(error)
        if isinstance(error, PluginTimedOutError):  # by code that serves, whatever may be wrong with newer code
            hint = "have it answer sooner, or allow it more seconds with request_timeout in its manifest"
            return PluginTrouble(error.plugin, type=error.type, message=error.message, hint=hint)
        return self._troubles.get(error.plugin, PluginTrouble(error.plugin))


def prefers_html(accept: str) -> bool:
    """Whether a page is wanted rather than JSON: by name, as browsers say it. ``*/*`` is what programs say."""
    weights: dict[str, float] = {}
    for part in accept.split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weights[kind] = _weight(parameters)
    page = max((weights[kind] for kind in _HTML & weights.keys()), default=0.0)
    return page > weights.get(_JSON, 0.0)


def _weight(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _trouble_of_request(error: PluginFailedError) -> PluginTrouble:
    """What the worker told; foreign code runs there, so that it may be anything."""
    nothing = PluginTrouble(error.plugin, type=error.type, message=error.message)
    try:
        told = [envelope.message for envelope in Decoder().feed(error.details)]
    except WireError:
        return nothing
    match told:
        case [PluginTrouble() as trouble]:
            return trouble
        case _:
            return nothing


def _is_of_this_machine(fields: dict[bytes, bytes]) -> bool:
    """Whether the request names this machine as only those that are on it do."""
    host = fields.get(b"host", b"").decode("latin-1").lower()
    name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _name_of(state: str, trouble: PluginTrouble) -> str:
    """Another one for everything that is shown differently."""
    return hashlib.sha256(repr((state, trouble)).encode("utf-8", "backslashreplace")).hexdigest()[:16]
