"""The build of an environment, as those who wait for it see it."""

import logging
from collections import deque
from collections.abc import Callable

from plugin_runtime.views import ProgressView
from supervisor.environments.progress import BuildProgress
from supervisor.supervision.surroundings import Surroundings

logger = logging.getLogger(__name__)

LINES = 20
"""That are kept for those who look on; logs have all of them."""
INTERVAL = 0.5
"""Seconds between two looks at them; an installer may write a flood."""


class Installation:
    """Of one plugin or task, again and again. Owns what is known of the build under way."""

    def __init__(self, kind: str, name: str, around: Surroundings, changed: Callable[[], None]) -> None:
        """``kind``: plugin or task; ``changed``: called when another step begins, and at the end."""
        self._kind = kind
        self._name = name
        self._around = around
        self._changed = changed
        self.lines: deque[str] = deque(maxlen=LINES)
        self._progress: BuildProgress | None = None
        self._began = 0.0
        self._due = 0.0

    @property
    def is_under_way(self) -> bool:
        return self._progress is not None

    @property
    def view(self) -> ProgressView | None:
        """None while nothing is being built."""
        if self._progress is None:
            return None
        lasts = self._around.clock.monotonic() - self._began
        return ProgressView(self._progress.step, self._progress.line, round(lasts, 1))

    def follow(self, progress: BuildProgress) -> None:
        """Take what is told of it. Steps go to the log of the supervisor, lines to that of the plugin or task."""
        former, self._progress = self._progress, progress
        line, now = progress.line or progress.step, self._around.clock.monotonic()
        self._around.logs.write(self._name, "installer", "out", [line])
        self.lines.append(line)
        if former is None or former.step != progress.step:
            self._began, self._due = now, 0.0
            logger.info("Environment of %s %s: %s", self._kind, self._name, progress.step)
        if now >= self._due:
            self._due = now + INTERVAL
            self._changed()

    def end(self) -> None:
        """It is built or has failed, or nothing had to be built: whatever was waited for is over."""
        self._progress = None
        self.lines.clear()
        self._changed()
