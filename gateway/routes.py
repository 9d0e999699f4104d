"""Which plugin a path belongs to: the longest prefix, segment by segment, on the bytes the client sent. Pure.

Nothing is decoded before the decision: what looks different to the client (``/a%2fb``, ``/a/b``) must not become the
same on the way, or an encoded slash would lead from one plugin's prefix into another's or into the admin interface.
Whoever compares paths elsewhere in the gateway makes a second opinion; ask this module instead.
"""

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Generic, TypeVar
from urllib.parse import quote

from gateway.errors import BadRequestError

T = TypeVar("T")

CORE_SEGMENTS = frozenset({"admin", "tasks", "auth", "docs", "redoc", "openapi.json", "health", "metrics"})
"""First segments that belong to the gateway itself, whatever plugins claim."""

_ESCAPED = re.compile(rb"%([0-9a-fA-F]{2})")
_SAFE_IN_SEGMENT = "!$&'()*+,;=:@-._~"


class Core(Enum):
    """What is found under the gateway's own segments."""

    CORE = "core"


CORE = Core.CORE


class _Node(Generic[T]):
    """One segment of the tree; ``target``: what lies under the prefix that ends here."""

    __slots__ = ("children", "target")

    def __init__(self) -> None:
        self.children: dict[bytes, _Node[T]] = {}
        self.target: T | Core | None = None


def segments(prefix: str) -> list[bytes]:
    """Split a prefix as a path is split; "/" has none. Characters beyond ASCII are as clients send them."""
    return [quote(part, safe=_SAFE_IN_SEGMENT + "%").encode() for part in prefix.split("/") if part]


def encoded(prefix: str) -> bytes:
    """Return a prefix as clients send it, without a slash at its end: nothing for "/"."""
    return b"".join(b"/" + part for part in segments(prefix))


class RouteTable(Generic[T]):
    """Immutable. A look-up costs as many steps as the path shares segments with a prefix, however many there are."""

    def __init__(self, targets: Mapping[str, T]) -> None:
        self._root: _Node[T] = _Node()
        for prefix, target in targets.items():
            self._node(segments(prefix)).target = target
        for name in CORE_SEGMENTS:
            node: _Node[T] = _Node()
            node.target = CORE
            self._root.children[name.encode()] = node

    def _node(self, parts: Iterable[bytes]) -> _Node[T]:
        node = self._root
        for part in parts:
            node = node.children.setdefault(part, _Node())
        return node

    def find(self, raw_path: bytes) -> T | Core | None:
        """Return what lies under the longest prefix of the path, CORE for the gateway's own, None for nobody's."""
        node = self._root
        found = node.target
        for part in raw_path.split(b"/")[1:]:
            child = node.children.get(part)
            if child is None:
                break
            node = child
            if node.target is not None:
                found = node.target
        return found


def check_path(raw_path: bytes) -> None:
    """Refuse paths that the parties on the way could read differently.

    Raises:
        BadRequestError: not a path, a NUL, or ``..`` in any spelling.
    """
    if not raw_path.startswith(b"/"):
        raise BadRequestError("the request's target is not a path")
    # Nearly every path ends here: neither an escape nor two dots.
    if b"%" not in raw_path and b".." not in raw_path:
        return
    decoded = _ESCAPED.sub(lambda match: bytes((int(match[1], 16),)), raw_path)
    if b"\0" in decoded:
        raise BadRequestError("the path holds an encoded NUL")
    if b".." in decoded.replace(b"\\", b"/").split(b"/"):
        raise BadRequestError("the path holds '..'; send it resolved")
