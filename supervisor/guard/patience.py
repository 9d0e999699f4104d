"""When the guard may begin: the lock of the state folder was free for the whole grace. Pure: time is an argument.

Whoever holds the lock is a supervisor, or becomes one: then nothing is done, and the grace starts anew when the lock is
free again. A machine or a guard that was suspended has not seen whether it was: that time counts for nothing.
"""

from dataclasses import dataclass, replace

SUSPENDED = 5.0
"""Seconds between two looks that mean that it was us who did not run; looks come several times a second."""


@dataclass(frozen=True)
class Patience:
    """What was seen of the lock so far. Times are of the monotonic clock, in seconds."""

    grace: float
    free_since: float | None = None
    looked_at: float | None = None


def look(patience: Patience, *, is_held: bool, now: float) -> tuple[Patience, bool]:
    """Take note of the lock as it is at ``now``; whether the grace is over."""
    if is_held:
        return replace(patience, free_since=None, looked_at=now), False
    was_away = patience.looked_at is not None and now - patience.looked_at > SUSPENDED
    since = now if patience.free_since is None or was_away else patience.free_since
    return replace(patience, free_since=since, looked_at=now), now - since >= patience.grace
