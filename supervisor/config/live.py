"""The configuration in force, which may be another one a moment later, and who wants to know."""

import logging
from collections.abc import Callable, Iterable

from supervisor.config.configuration import Configuration
from supervisor.config.difference import with_live_keys

logger = logging.getLogger(__name__)

Applied = Callable[[Configuration, Configuration], Iterable[str]]
"""Called in the event loop with the configuration before and the one in force now.

Returns the names of the tasks that it restarts for it, without waiting for their end.
"""


class LiveConfiguration:
    """Holds one Configuration at a time; each is frozen, only which one it is changes.

    Keys that take effect at the next start are as they were at this one, whoever asks and whenever.
    """

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
        """Put the live keys of ``configuration`` in force; return the tasks that are restarted for it, sorted.

        The boundary to the subscribers: what one of them gets wrong must not leave the others with the old values.
        """
        before = self._current
        after = self._current = with_live_keys(before, configuration)
        restarted: set[str] = set()
        for applied in list(self._subscribers):
            try:
                restarted.update(applied(before, after))
            except Exception:
                logger.exception("%r failed to follow the new configuration", applied)
        return sorted(restarted)
