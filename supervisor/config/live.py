"""The configuration in force, which may be another one a moment later, and who wants to know."""

from collections.abc import Callable

from supervisor.config.configuration import Configuration

Applied = Callable[[Configuration, Configuration], None]
"""Called in the event loop with the configuration before and the one in force now."""


class LiveConfiguration:
    """Holds one Configuration at a time; each is frozen, only which one it is changes."""

    def __init__(self, configuration: Configuration) -> None:
        self._current = configuration
        self._subscribers: list[Applied] = []

    @property
    def current(self) -> Configuration:
        return self._current

    def subscribe(self, applied: Applied) -> None:
        """Tell ``applied`` of every change from now on."""
        self._subscribers.append(applied)

    def replace(self, configuration: Configuration) -> None:
        """Put ``configuration`` in force."""
        before, self._current = self._current, configuration
        for applied in self._subscribers:
            applied(before, configuration)
