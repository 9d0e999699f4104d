"""The one timer of a child."""

import asyncio
from collections.abc import Callable

from supervisor.supervision.child_events import Arm, Disarm, TimerEvent


class ChildTimer:
    """Reports one event later, or none."""

    def __init__(self, report: Callable[[TimerEvent], None]) -> None:
        self._report = report
        self._handle: asyncio.TimerHandle | None = None

    @property
    def is_armed(self) -> bool:
        return self._handle is not None

    def set(self, instruction: Arm | Disarm) -> None:
        """What was armed before is forgotten."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if isinstance(instruction, Arm):
            loop = asyncio.get_running_loop()
            self._handle = loop.call_later(instruction.seconds, self._elapsed, instruction.event)

    def _elapsed(self, event: TimerEvent) -> None:
        self._handle = None
        self._report(event)
