"""What keeps a plugin or task, or its newest code, from being run, and when what did not work is tried again."""

import random

from plugin_runtime.views import PluginError
from supervisor.clock import Clock
from supervisor.spec import RestartPolicy
from supervisor.supervision.retries import INTERNAL, Retries


class Trouble:
    """Of one plugin or task."""

    def __init__(self, clock: Clock, policy: RestartPolicy) -> None:
        self.error: PluginError | None = None
        """What was wrong last; it stays until it is known to be mended."""
        self._clock = clock
        self._retries = Retries(policy)

    @property
    def is_due(self) -> bool:
        """Whether what did not work is to be tried again."""
        return self._retries.is_due(self._clock.monotonic())

    @property
    def builds_anew(self) -> bool:
        """Whether the next try builds another environment: somebody has asked for that, and there is none yet."""
        return self._retries.anew

    @builds_anew.setter
    def builds_anew(self, wanted: bool) -> None:
        self._retries.anew = wanted

    def begin(self, *, anew: bool, builds_anew: bool = False) -> None:
        """It is tried, whoever asked for it. ``anew``: there is something else to be tried than before."""
        if anew:
            self._retries.renewed(anew=builds_anew)
        self._retries.begun()

    def clear(self) -> None:
        """Nothing is wrong, or nothing is wanted any more."""
        self.error = None
        self._retries.begun()

    def failed(self, error: PluginError) -> None:
        """It did not work."""
        self.error = error
        self._retries.failed(error, self._clock.monotonic(), random.random())  # noqa: S311 - jitter

    def failed_inside(self, error: Exception, command: str) -> None:
        """It did not work, by a mistake of ours. ``command``: has it tried again."""
        message = "failed inside xcore; its log has the details"
        hint = f"it is tried again by itself; at once with {command}"
        self.failed(PluginError(INTERNAL, type(error).__name__, message, hint=hint))
