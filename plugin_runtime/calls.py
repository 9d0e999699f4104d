"""Calls from this process to plugins, over the gateways' local side: docs/reference/plugin-calls.md.

httpx is imported where a client is made: most plugins call nobody, and not every environment has it.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Optional
from urllib.parse import quote

from plugin_runtime.call_protocol import HOPS_FIELD, KEY_FIELD, LOCAL_HOST, NAME_MARK, USER_FIELD
from plugin_runtime.framing import IDEMPOTENT_METHODS
from plugin_runtime.local_side import CURRENT, LOCAL_SIDE, Fields

TIMEOUT = 60.0
"""Seconds of a client that says nothing else: more than a request is parked for where nobody changes that."""
PAUSES = (0.05, 0.25)
"""Seconds before each new try. Not at once: the connections of a gateway that dies close one after the other."""
KEEP_ALIVE = 2.0
"""Seconds that an idle connection is kept; a gateway that is being replaced keeps its end open for longer."""
MOST_CONNECTIONS = 200
MOST_IDLE = 20
_OWN_PREFIX = b"x-xcore-"
_TRACE_FIELDS = frozenset({b"traceparent", b"tracestate"})


def client(plugin: str, *, anonymous: bool, options: Mapping[str, Any]) -> Any:
    """Make what plugin_runtime.client returns."""
    import httpx  # noqa: PLC0415 - see the top of the file

    return httpx.AsyncClient(**_options(plugin, options), transport=AsyncTransport(plugin, anonymous=anonymous))  # type: ignore[arg-type]


def sync_client(plugin: str, *, anonymous: bool, options: Mapping[str, Any]) -> Any:
    """Make what plugin_runtime.sync_client returns."""
    import httpx  # noqa: PLC0415 - see the top of the file

    return httpx.Client(**_options(plugin, options), transport=SyncTransport(plugin, anonymous=anonymous))  # type: ignore[arg-type]


def _options(plugin: str, options: Mapping[str, Any]) -> dict[str, Any]:
    base_url = f"http://{LOCAL_HOST}{NAME_MARK}{quote(plugin, safe='')}/"
    return {"timeout": TIMEOUT, "trust_env": False, **options, "base_url": base_url}


class _Transport:
    """What both transports have in common. Not derived from httpx's: that would take its import to define them."""

    def __init__(self, plugin: str, *, anonymous: bool) -> None:
        self._plugin = plugin
        self._anonymous = anonymous
        self._connections: Any = None
        self._making = threading.Lock()
        """httpx's own transport, made when it is first used: a client may be made before there is a local side."""

    def _prepare(self, request: Any) -> Any:
        """Return the request as it leaves; the key stays out of the one that the plugin sees.

        Raises:
            httpx.UnsupportedProtocol: it is for somebody else, or this process may call nobody.
        """
        import httpx  # noqa: PLC0415 - see the top of the file

        url = request.url
        if (url.scheme, url.host, url.port) != ("http", LOCAL_HOST, None):
            cause = f"this client reaches plugins only, not {url.scheme}://{url.netloc.decode('ascii')}"
            raise httpx.UnsupportedProtocol(f"cannot call {url}: {cause}; use a client of httpx's own", request=request)
        if not LOCAL_SIDE.key:
            cause = "this process is none in which xcore serves a plugin, or runs a task or a job"
            raise httpx.UnsupportedProtocol(f"cannot call plugin {self._plugin!r}: {cause}", request=request)
        fields = fields_of_call(request.headers.raw, CURRENT.get(), LOCAL_SIDE.key, anonymous=self._anonymous)
        return httpx.Request(request.method, url, headers=fields, stream=request.stream, extensions=request.extensions)

    def _make_connections(self, transport: Any) -> Any:
        """``transport``: class of httpx's own one."""
        import httpx  # noqa: PLC0415 - see the top of the file

        with self._making:  # a client may be shared by threads
            if self._connections is None:
                limits = httpx.Limits(
                    max_connections=MOST_CONNECTIONS, max_keepalive_connections=MOST_IDLE, keepalive_expiry=KEEP_ALIVE
                )
                self._connections = transport(uds=LOCAL_SIDE.path, verify=False, limits=limits)
            return self._connections


class AsyncTransport(_Transport):
    """The transport of an httpx.AsyncClient."""

    async def handle_async_request(self, request: Any) -> Any:
        import httpx  # noqa: PLC0415 - see the top of the file

        outgoing = self._prepare(request)
        connections = self._make_connections(httpx.AsyncHTTPTransport)
        for pause in PAUSES:
            with suppress(*_worth_another_try(outgoing)):
                return await connections.handle_async_request(outgoing)
            await asyncio.sleep(pause)
        return await connections.handle_async_request(outgoing)

    async def aclose(self) -> None:
        if self._connections is not None:
            await self._connections.aclose()

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class SyncTransport(_Transport):
    """The transport of an httpx.Client."""

    def handle_request(self, request: Any) -> Any:
        import httpx  # noqa: PLC0415 - see the top of the file

        outgoing = self._prepare(request)
        connections = self._make_connections(httpx.HTTPTransport)
        for pause in PAUSES:
            with suppress(*_worth_another_try(outgoing)):
                return connections.handle_request(outgoing)
            time.sleep(pause)
        return connections.handle_request(outgoing)

    def close(self) -> None:
        if self._connections is not None:
            self._connections.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def fields_of_call(
    fields: Fields, current: Optional[tuple[Fields, Mapping[str, Any]]], key: str, *, anonymous: bool
) -> list[tuple[bytes, bytes]]:
    """Return the header fields of a call: its own, and what goes along of the ``current`` request."""
    own = [field for field in fields if not field[0].lower().startswith(_OWN_PREFIX)]
    names = {name.lower() for name, _ in own}
    outer, state = current or ((), {})
    added: list[tuple[str, str]] = [(KEY_FIELD, key), (HOPS_FIELD, str(state.get("hops", 0) + 1))]
    if state.get("user") is not None and not anonymous:
        added.append((USER_FIELD, json.dumps(state["user"])))
    if "request_id" in state and b"x-request-id" not in names:
        added.append(("x-request-id", state["request_id"]))
    own += [(name.encode("ascii"), value.encode("ascii")) for name, value in added]
    if b"traceparent" not in names:
        own += [field for field in outer if field[0] in _TRACE_FIELDS]
    return own


def _worth_another_try(request: Any) -> tuple[type[Exception], ...]:
    """What may be raised before the head of an answer, so that the call may be sent again."""
    import httpx  # noqa: PLC0415 - see the top of the file

    if request.method in IDEMPOTENT_METHODS and isinstance(request.stream, httpx.ByteStream):
        return (httpx.ConnectError, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
    return (httpx.ConnectError,)
