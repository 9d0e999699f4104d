"""Who may call on the local side: workers that live, known by their keys as last pushed by the supervisor."""

import hmac
from collections.abc import Iterable

from plugin_runtime.protocol import Caller


class Callers:
    """Empty until the first routing snapshot: nobody may call before."""

    def __init__(self) -> None:
        self._callers: dict[bytes, tuple[bytes, Caller]] = {}
        """Keys and whose they are, by incarnation."""

    def replace(self, callers: Iterable[Caller]) -> None:
        """Know these and no others."""
        keys = [(caller.key.encode(), caller) for caller in callers if caller.key]  # a worker of before may have none
        self._callers = {_incarnation(key): (key, caller) for key, caller in keys}

    def find(self, key: bytes) -> Caller | None:
        """Return whose key it is, None where it is nobody's."""
        # Which incarnations there are is no secret; what comes after the colon is.
        expected, caller = self._callers.get(_incarnation(key), (b"", None))
        return caller if hmac.compare_digest(expected, key) else None


def _incarnation(key: bytes) -> bytes:
    return key.partition(b":")[0]
