"""How this process reaches the gateways' local side, and for whom it is at work: docs/reference/plugin-calls.md.

Apart from calls.py, which a run that calls nobody does without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Optional

Fields = Sequence[tuple[bytes, bytes]]

CURRENT: ContextVar[Optional[tuple[Fields, Mapping[str, Any]]]] = ContextVar("xcore request", default=None)
"""Header fields of the request that is being served, and what the gateway says of it (``state["xcore"]``)."""


@dataclass
class LocalSide:
    """Both empty: this process may call nobody."""

    path: str = ""
    key: str = ""


LOCAL_SIDE = LocalSide()
"""Of this process."""


def reach_over(path: str, key: str) -> None:
    """Have calls of this process go to the socket ``path``, with ``key`` to prove whose they are."""
    LOCAL_SIDE.path, LOCAL_SIDE.key = path, key


def serve_run(run: str) -> None:
    """Have calls of this context, and of what it leads to, bear the id of a run: no request has led to them."""
    CURRENT.set(((), {"request_id": run}))
