"""What the admin interface needs of the rest of the gateway."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.catalogue import Catalogue
from gateway.identity import Tokens
from plugin_runtime.protocol import Health


class Call(Protocol):
    """ControlChannel.call."""

    async def __call__(self, operation: str, arguments: dict[str, Any], *, actor: str, timeout: float) -> Any:
        """Raises OperationFailedError, SupervisorAwayError."""


@dataclass(frozen=True)
class Backend:
    """``health``: as the supervisor sees it, or down where this gateway itself does not serve."""

    call: Call
    health: Callable[[], Health]
    tokens: Tokens
    catalogue: Catalogue
    cors_origins: tuple[str, ...] = ()
    version: str = ""
