"""Who is asking: API tokens, known to the gateway by their SHA-256 only.

A plugin's request is never rejected for want of a token. Where it carries one of ours, the plugin learns who it is,
but not the token: with that, a plugin could act as its caller.
"""

import hashlib
import hmac
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from plugin_runtime.protocol import TokenRecord

_SCHEME = "bearer"
_INDEX_LENGTH = 8
"""Hex digits of the hash that pick the candidates. They tell an attacker who measures time nothing of use: to try a
prefix of a hash takes a token that has it."""


class Tokens:
    """The valid API tokens, as last pushed by the supervisor."""

    def __init__(self) -> None:
        self._records: dict[str, list[TokenRecord]] = {}

    def replace(self, records: Iterable[TokenRecord]) -> None:
        """Know these and no others."""
        table: dict[str, list[TokenRecord]] = defaultdict(list)
        for record in records:
            table[record.hash[:_INDEX_LENGTH]].append(record)
        self._records = dict(table)

    def verify(self, token: str, now: float) -> TokenRecord | None:
        """Return the record of a valid token. ``now``: seconds since the epoch."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
        found = None
        for record in self._records.get(digest[:_INDEX_LENGTH], ()):
            if hmac.compare_digest(record.hash, digest):
                found = record
        if found is None or (found.expires is not None and found.expires <= now):
            return None
        return found

    def of_authorization(self, value: str) -> TokenRecord | None:
        """Return the record of the valid token in the value of an Authorization field, None for anybody else's."""
        scheme, _, token = value.partition(" ")
        token = token.strip()
        return self.verify(token, time.time()) if scheme.lower() == _SCHEME and token else None


def user_of(record: TokenRecord) -> dict[str, Any]:
    """Return what plugins see in ``scope["state"]["xcore"]["user"]``: a token has a role, and is nobody."""
    return {"id": None, "email": None, "role": record.role}
