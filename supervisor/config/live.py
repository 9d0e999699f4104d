"""The configuration in force, which may be another one a moment later, and who wants to know."""

import logging
from collections.abc import Callable, Iterable

from supervisor.config.configuration import Configuration

logger = logging.getLogger(__name__)

Applied = Callable[[Configuration, Configuration], Iterable[str]]
"""Called in the event loop with the configuration before and the one in force now.

Returns the names of the tasks that it restarts for it, without waiting for their end.
"""


class LiveConfiguration:
    """Holds one Configuration at a time; each is frozen, only which one it is changes."""

    def __init__(self, configuration: Configuration) -> None:
        self._current = configuration
        self._subscribers: list[Applied] = []

    @property
    def current(self) -> Configuration:
        return self._current

    def subscribe(self, applied: Applied) -> None:
        """Tell ``applied`` of every change from now on, in the order of subscription."""
        self._subscribers.append(applied)

    def replace(self, configuration: Configuration) -> list[str]:
        """Put ``configuration`` in force; return the names of the tasks that are restarted for it, sorted.

        The boundary to the subscribers: what one of them gets wrong must not leave the others with the old values.
        """
        before, self._current = self._current, configuration
        restarted: set[str] = set()
        for applied in list(self._subscribers):
            try:
                restarted.update(applied(before, configuration))
            except Exception:
                logger.exception("%r failed to follow the new configuration", applied)
        return sorted(restarted)
