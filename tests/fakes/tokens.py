"""API tokens as gateways know them."""

import hashlib

from plugin_runtime.protocol import TokenRecord


def token_record(token: str, role: str = "admin", *, name: str = "ci", expires: float | None = None) -> TokenRecord:
    return TokenRecord(hashlib.sha256(token.encode()).hexdigest(), name, role, expires)
