"""Whether a process has used more than it may. Pure: what was measured, and chance, are arguments."""

from plugin_runtime.protocol import Cause
from supervisor.spec import Limits
from supervisor.supervision.child_events import LimitExceeded

AGE_JITTER = 0.1
"""Share of ``max_age`` that chance takes off, so that workers born together are not all replaced together."""


def exceeded(
    limits: Limits, *, memory_mb: float | None, requests: int, age: float, jitter: float
) -> LimitExceeded | None:
    """The limit that is exceeded, the hardest first; None while all are kept.

    ``memory_mb``: USS, RSS where that is not to be had, None where it was not measured now. ``requests``: begun by this
    process; ``age``: seconds since its spawn; ``jitter``: random number in [0, 1), drawn once at its birth.
    """
    if memory_mb is not None and _is_above(memory_mb, limits.memory_hard_mb):
        return LimitExceeded(Cause.MEMORY_LIMIT, graceful=False)
    used_up = (
        (memory_mb is not None and _is_above(memory_mb, limits.memory_soft_mb))
        or 0 < limits.max_requests <= requests
        or 0 < limits.max_age * (1 - AGE_JITTER * jitter) <= age
    )
    return LimitExceeded(Cause.RECYCLE, graceful=True) if used_up else None


def _is_above(value: float, limit: float) -> bool:
    return 0 < limit < value
