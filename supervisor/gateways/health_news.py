"""What /health shows, told to the gateways when it may be different."""

import asyncio
from collections.abc import Callable

from plugin_runtime.protocol import Health
from supervisor.changes import Changes


class HealthNews:
    """Told once in a turn of the event loop, however much has changed in it."""

    def __init__(self, health: Callable[[], Health], tell: Callable[[Health], None]) -> None:
        self.changes = Changes()
        """For those who wait for something that it depends on."""
        self._health = health
        self._tell = tell
        self._soon: asyncio.Handle | None = None

    def changed(self) -> None:
        """Something that it shows may be different."""
        self.changes.notify()
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self.push)

    def push(self) -> None:
        """Tell it now."""
        self._soon = None
        self._tell(self._health())
