"""Triggers: at which moments a job is due."""

from typing import Any, Protocol


class Trigger(Protocol):
    """Moments in seconds since the epoch. Frozen and comparable: two of the same wire form are equal."""

    def next_after(self, moment: float) -> float | None:
        """The first moment after ``moment`` at which the job is due; None where there is none any more."""

    def local(self, moment: float) -> str:
        """``moment`` as a clock in the trigger's time zone shows it, ISO 8601 with the offset."""

    def to_wire(self) -> dict[str, Any]:
        """What parse_trigger makes the same trigger of, for the database."""
