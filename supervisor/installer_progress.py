"""What a plugin's installer says while it is at work, for the plugin's log and for those who look on."""

import logging
from collections import deque
from collections.abc import Callable

from supervisor.surroundings import Surroundings

logger = logging.getLogger(__name__)

LINES = 20
"""That are kept for those who look on; the log has all of them."""
INTERVAL = 0.5
"""Seconds between two looks; an installer may write a flood."""


class InstallerProgress:
    """Of one plugin: whether its environment is being built, and the last lines of who builds it."""

    def __init__(self, plugin: str, around: Surroundings, changed: Callable[[], None]) -> None:
        """``changed``: called when there is something new to be shown."""
        self.is_at_work = False
        self.lines: deque[str] = deque(maxlen=LINES)
        self._plugin = plugin
        self._around = around
        self._changed = changed
        self._due = 0.0

    def said(self, line: str) -> None:
        """The installer wrote a line: it is at work."""
        self._around.logs.write(self._plugin, "installer", "out", [line])
        self.lines.append(line)
        if not self.is_at_work:
            self.is_at_work = True
            self._due = 0.0
            logger.info("Building the environment of plugin %s", self._plugin)
        now = self._around.clock.monotonic()
        if now >= self._due:
            self._due = now + INTERVAL
            self._changed()

    def end(self) -> None:
        """It is done, or was never needed. Whoever calls this tells it."""
        self.is_at_work = False
        self.lines.clear()
