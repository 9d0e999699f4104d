"""What of a message's header fields goes on, and what the gateway itself says about the request. Pure.

Fields arrive with lower-case names, as ASGI wants them. The loops here run once per request: one set look-up per field,
and anything dearer only for the few names that are in the set.
"""

import ipaddress
import itertools
import re
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from gateway.errors import BadRequestError
from gateway.settings import Network

Field = tuple[bytes, bytes]
Fields = list[Field]

MAX_FIELDS = 100
MAX_SIZE = 64 * 1024
"""Bytes of all names and values."""
BODILESS = frozenset({204, 304})
"""Statuses whose responses end with their head."""

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
"""RFC 9110, 7.6.1, and those that are sent although no RFC has them. They are about one connection only."""

FORWARDED = frozenset(
    {
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
        b"x-forwarded-server",
        b"x-forwarded-ssl",
        b"x-real-ip",
    }
)
"""What proxies say about the client; believed from trusted ones only."""

_OWN_PREFIX = b"x-xcore-"
"""Never from outside: identity goes to plugins as a field of the link, and nothing may look like it."""

# `expect` is answered by the door, `host` is checked, the request id is ours.
_KEPT = frozenset({b"authorization", b"content-length", b"host"})
_SPECIAL = HOP_BY_HOP | FORWARDED | _KEPT | {b"expect", b"x-request-id"}
_UNTOUCHABLE = frozenset({b"host", b"content-length", b"content-type", b"authorization", b"cookie"})
"""What a Connection field may not take away: it would change what the request means."""
_NOT_FROM_APPS = HOP_BY_HOP | {b"date"}
"""The door frames the message and dates it."""

# uri-host [":" port] of RFC 9110; rules out `Host: a/admin?y=`, user names and lists.
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")

Address = tuple[str, int]


class Forwarded(NamedTuple):
    """A request as it goes on to a plugin, and what its fields said that concerns the gateway."""

    headers: Fields
    client: Address | None
    scheme: str
    request_id: str
    authorization: bytes | None
    has_body: bool
    websocket: bool


class Sifter:
    """Turns the fields of a client's request into those of the plugin's."""

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = tuple(trusted)
        # Unique, not secret; a random one each would cost a system call per request.
        self._gateway_id = secrets.token_hex(8)
        self._requests = itertools.count(1)

    def request(self, fields: Sequence[Field], client: Address | None, scheme: str, http_version: str) -> Forwarded:
        """Drop what is not to go on, add what the gateway knows.

        Raises:
            BadRequestError: too many or too long, Host missing, doubled or malformed, or an expectation that nobody
                can meet.
        """
        kept: Fields = []
        special: dict[bytes, list[bytes]] = {}
        underscored = False
        size = 0
        for field in fields:
            name, value = field
            size += len(name) + len(value)
            if name in _SPECIAL:
                special.setdefault(name, []).append(value)
                if name not in _KEPT:
                    continue
            elif name.startswith(_OWN_PREFIX):
                continue
            elif b"_" in name:
                underscored = True
            kept.append(field)
        if size > MAX_SIZE or len(fields) > MAX_FIELDS:
            raise BadRequestError(f"the head is over {MAX_FIELDS} fields or {MAX_SIZE} bytes", status=431)
        host = _checked_host(special.get(b"host", ()), http_version)
        if b"expect" in special:
            _check_expectation(special[b"expect"])
        if b"connection" in special:
            kept = _without_named(kept, special[b"connection"])
        if underscored:
            kept = _without_twins(kept)
        return self._complete(kept, special, host, client, scheme)

    def _complete(
        self, kept: Fields, special: dict[bytes, list[bytes]], host: bytes, client: Address | None, scheme: str
    ) -> Forwarded:
        peer = client[0] if client else ""
        if self._trusted and not FORWARDED.isdisjoint(special) and self._trusts(peer):
            client, scheme = self._forward_trusted(kept, special, client, scheme)
        else:
            if peer:
                kept.append((b"x-forwarded-for", peer.encode()))
            kept.append((b"x-forwarded-proto", scheme.encode()))
            if host:
                kept.append((b"x-forwarded-host", host))
        request_id = self._request_id(special.get(b"x-request-id", []))
        kept.append((b"x-request-id", request_id))
        return Forwarded(
            kept,
            client,
            scheme,
            request_id.decode(),
            special[b"authorization"][0] if b"authorization" in special else None,
            _has_body(special),
            b"upgrade" in special and b"websocket" in (value.strip().lower() for value in special[b"upgrade"]),
        )

    def _forward_trusted(
        self, kept: Fields, special: dict[bytes, list[bytes]], client: Address | None, scheme: str
    ) -> tuple[Address | None, str]:
        """Pass on what the proxy says, with itself appended; return the client and scheme it tells of."""
        peer = client[0] if client else ""
        for name in FORWARDED & special.keys() - {b"x-forwarded-for", b"forwarded"}:
            kept.extend((name, value) for value in special[name])
        hops = [
            hop.strip() for value in special.get(b"x-forwarded-for", []) for hop in value.split(b",") if hop.strip()
        ]
        kept.append((b"x-forwarded-for", b", ".join([*hops, peer.encode()])))
        if b"forwarded" in special:
            node = f'"[{peer}]"' if ":" in peer else peer
            element = f"for={node};proto={scheme}".encode()
            kept.append((b"forwarded", b", ".join([*special[b"forwarded"], element])))
        proto = special.get(b"x-forwarded-proto", [b""])[-1].split(b",")[-1].strip().lower()
        return self._origin(hops, client), proto.decode() if proto in {b"http", b"https"} else scheme

    def _origin(self, hops: list[bytes], peer: Address | None) -> Address | None:
        """Return the last hop that is not one of our proxies: the one before it is only hearsay."""
        for hop in reversed(hops):
            address = _address(hop)
            if address is None:
                break
            peer = (address, 0)
            if not self._trusts(address):
                break
        return peer

    def _request_id(self, values: list[bytes]) -> bytes:
        if len(values) == 1 and _REQUEST_ID.fullmatch(values[0]):
            return values[0]
        return f"{self._gateway_id}{next(self._requests):016x}".encode()

    def _trusts(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._trusted)


def response(status: int, fields: Sequence[Field]) -> Sequence[Field]:
    """Drop from a plugin's response what is about the connection, or the door's to say."""
    if status in BODILESS:
        # 204 may not have one; 304 may, but servers below take it for a promise of a body.
        fields = [field for field in fields if field[0].lower() != b"content-length"]
    for name, _ in fields:
        if name.lower() in _NOT_FROM_APPS:
            break
    else:
        return fields
    named = [value for name, value in fields if name.lower() == b"connection"]
    return _without_named([f for f in fields if f[0].lower() not in _NOT_FROM_APPS], named)


def _has_body(special: dict[bytes, list[bytes]]) -> bool:
    return b"transfer-encoding" in special or any(value.strip() != b"0" for value in special.get(b"content-length", ()))


def _without_named(fields: Fields, connection: list[bytes]) -> Fields:
    named = {token.strip().lower() for value in connection for token in value.split(b",")} - _UNTOUCHABLE
    return [field for field in fields if field[0].lower() not in named]


def _without_twins(fields: Fields) -> Fields:
    """Drop ``x_real_ip`` beside ``x-real-ip``: CGI and WSGI read both as the same variable.

    Names with underscores that have no such twin pass: some applications want them.
    """
    taken = {name for name, _ in fields if b"_" not in name} | _SPECIAL | _UNTOUCHABLE
    return [field for field in fields if b"_" not in field[0] or not _is_twin(field[0].replace(b"_", b"-"), taken)]


def _is_twin(dashed: bytes, taken: set[bytes]) -> bool:
    return dashed in taken or dashed.startswith(_OWN_PREFIX)


def _checked_host(values: Sequence[bytes], http_version: str) -> bytes:
    """Return the one Host; HTTP/1.0 may do without."""
    if len(values) == 1 and _HOST.fullmatch(values[0]):
        return values[0]
    if not values and http_version == "1.0":
        return b""
    problem = "is missing" if not values else "is there more than once" if len(values) > 1 else "is malformed"
    raise BadRequestError(f"field Host {problem}")


def _check_expectation(values: list[bytes]) -> None:
    if any(value.strip().lower() != b"100-continue" for value in values):
        raise BadRequestError("the only expectation that can be met is 100-continue", status=417)


def _address(hop: bytes) -> str | None:
    """Return the address of one X-Forwarded-For element, which some proxies write with a port."""
    text = hop.decode("latin-1")
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
