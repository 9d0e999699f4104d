"""The guest's side of the control channel: who listens, and whether its event loop still turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Optional

from plugin_runtime.protocol import ExitCode

if TYPE_CHECKING:  # half of what a run of a job costs, and a sync one has no use for it
    import asyncio

STAMP_INTERVAL = 0.5
"""Seconds between two signs of life of the loop: half a beat, so that a healthy loop never looks a beat old."""


@dataclass(frozen=True)
class Activity:
    """What the worker is busy with; ``requests`` counts all so far."""

    in_flight: int = 0
    requests: int = 0


@dataclass(frozen=True)
class Listener:
    """The guest's event loop and what to call in it; ``activity`` alone is called by the control thread.

    Without a loop all are called by the control thread, which beats no longer while they run: they return at once and
    raise nothing. ``lost``: no supervisor wants this process any more; it shall end with the given code within
    LOST_GRACE.
    """

    loop: Optional[asyncio.AbstractEventLoop]
    received: Callable[[Any], None]
    lost: Callable[[ExitCode], None]
    activity: Callable[[], Activity] = Activity

    def tell(self, function: Callable[[Any], None], argument: Any) -> None:
        if self.loop is None:
            function(argument)
            return
        try:
            self.loop.call_soon_threadsafe(function, argument)
        except RuntimeError:
            return  # the loop is closed: the guest is ending, which is all that could be asked of it


class LoopPulse:
    """When the event loop last turned. Stamped by the loop, read by the control thread."""

    def __init__(self) -> None:
        self._stamp: Optional[float] = monotonic()
        self._timer: Optional[asyncio.TimerHandle] = None

    @property
    def age(self) -> float:
        """Seconds since the last stamp; 0 where there is no loop to be watched."""
        stamp = self._stamp
        return 0.0 if stamp is None else monotonic() - stamp

    def stamp(self) -> None:
        if self._stamp is not None:
            self._stamp = monotonic()

    def start(self, loop: Optional[asyncio.AbstractEventLoop]) -> None:
        """Watch this loop from now on; None: there is none."""
        if loop is None:
            self._stamp = None
            return
        self._stamp = monotonic()
        self._timer = loop.call_later(STAMP_INTERVAL, self.start, loop)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class Inbox:
    """Messages on their way to the listener; those that come before there is one are kept."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._early: list[Any] = []
        self._listener: Optional[Listener] = None

    def attach(self, listener: Listener) -> None:
        with self._lock:
            self._listener = listener
            for message in self._early:
                listener.tell(listener.received, message)
            self._early.clear()

    def deliver(self, message: Any) -> None:
        with self._lock:
            if self._listener is None:
                self._early.append(message)
            else:
                self._listener.tell(self._listener.received, message)

    def lose(self, code: ExitCode) -> bool:
        """Pass the loss on; False: there is nobody to tell."""
        with self._lock:
            if self._listener is None:
                return False
            self._listener.tell(self._listener.lost, code)
            return True

    def activity(self) -> Activity:
        listener = self._listener
        return Activity() if listener is None else listener.activity()
