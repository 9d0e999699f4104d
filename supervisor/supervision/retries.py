"""When what could not be served is tried again: as soon and as often as a process that crashed.

Pure: time and chance are arguments.
"""

import math

from plugin_runtime.protocol import Cause, Phase
from plugin_runtime.views import PluginError
from supervisor.spec import RestartPolicy
from supervisor.supervision.restart import Budget, backoff_delay, spend

HEALING = frozenset({Phase.LIFESPAN.value, Phase.READY.value})
"""Phases in which something else than the code may be to blame: a database that is away, a signal, want of memory."""
INTERNAL = "internal"
"""Phase of an error of ours; what it met may be gone the next time, and whose mistake it is the author cannot mend."""
SPEECHLESS = "ValidatorDied"
"""Type of the error of a validator that had no words for it; likewise."""
TRANSIENT = frozenset({SPEECHLESS, "BuildInterrupted", "DiskFull", "OutOfResources", *(cause.value for cause in Cause)})
"""Types of errors likewise: an installer that was killed, a package index that is away, a disk without room, no more
descriptors or memory. A worker that had no words is told of by the cause of its end."""


class Retries:
    """Of one plugin. Times in seconds, monotonic."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._budget = Budget()
        self._due = math.inf
        self.anew = False
        """Whether the next try builds the environment anew: somebody has asked for that, and there is none yet."""

    def renewed(self, *, anew: bool = False) -> None:
        """There is something else to be served, or somebody has asked for it: what was before does not count.

        New code never waits for an environment that it can do without.
        """
        self._budget, self._due, self.anew = Budget(), math.inf, anew

    def failed(self, error: PluginError, now: float, random: float) -> None:
        """It did not work; ``random`` in [0, 1)."""
        self._budget = spend(self._budget, self._policy, now)
        if error.phase == INTERNAL or error.phase in HEALING or error.type in TRANSIENT:
            self._due = now + self._delay(random)
        else:
            self.anew = False

    def _delay(self, random: float) -> float:
        if self._budget.exhausted:
            return math.inf if self._policy.probe is None else self._policy.probe
        return backoff_delay(self._policy, self._budget.streak, random)

    def begun(self) -> None:
        """A try is under way, whoever asked for it."""
        self._due = math.inf

    def is_due(self, now: float) -> bool:
        """Whether it is time for the next one."""
        return now >= self._due
