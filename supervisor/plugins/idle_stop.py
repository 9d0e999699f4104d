"""Carries out what idleness.py decides about one plugin: its workers stop where nobody asks for them, and come back."""

import logging
from collections.abc import Callable, Sequence

from plugin_runtime.protocol import Cause, State
from supervisor.clock import Clock
from supervisor.gateways.gateways import Gateways
from supervisor.plugins.idleness import Idleness, Order, Outcome, Seen, Stage, look, switched, wake
from supervisor.plugins.workers import Workers
from supervisor.supervision.child import Child
from supervisor.supervision.child_events import SUPERVISOR, StopRequested

logger = logging.getLogger(__name__)


class IdleStop:
    """Owns the Idleness of one plugin; only its ``_follow`` replaces it."""

    def __init__(
        self,
        plugin: str,
        workers: Callable[[], Workers | None],
        gateways: Gateways,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        """``workers``: those it has at the moment.

        ``changed``: called when its state, or what gateways are to be told, may be another one.
        """
        self._plugin = plugin
        self._workers = workers
        self._gateways = gateways
        self._clock = clock
        self._changed = changed
        self._idleness = Idleness()

    @property
    def is_asleep(self) -> bool:
        """Its workers are stopped, or being stopped, for want of requests."""
        return self._idleness.stage is Stage.ASLEEP

    @property
    def is_parking(self) -> bool:
        """Gateways send its workers no requests, but tell us of those that wait."""
        return self._idleness.stage is not Stage.AWAKE

    def look(self, idle_stop: float, *, held: bool) -> None:
        """To be called every second or so. ``held``: somebody is at work on the plugin."""
        workers = self._workers()
        held = held or (workers is not None and workers.are_changing)
        now = self._clock.monotonic()
        self._follow(look(self._idleness, _seen(self._children), idle_stop, now, held=held))

    def wake(self) -> None:
        """Somebody wants it."""
        self._follow(wake(self._idleness))

    def forget(self) -> None:
        """It is awake: who calls this starts its workers anew, or ends them."""
        self._idleness = Idleness()
        self._changed()

    def _follow(self, outcome: Outcome) -> None:
        self._idleness, order = outcome
        match order:
            case Order.WITHDRAW:
                self._withdraw()
            case Order.RESTORE:
                logger.debug("Plugin %s is asked for again before it has stopped", self._plugin)
                self._changed()
            case Order.STOP:
                logger.info("Plugin %s is idle: stopping it until it is asked for", self._plugin)
                self._stop()
            case Order.START:
                logger.info("Waking plugin %s", self._plugin)
                if (workers := self._workers()) is not None:
                    workers.wake()
                self._changed()

    @property
    def _children(self) -> Sequence[Child]:
        workers = self._workers()
        return workers.children if workers is not None else ()

    def _stop(self) -> None:
        for child in self._children:
            child.post(StopRequested(Cause.IDLE, SUPERVISOR))
        self._changed()

    def _withdraw(self) -> None:
        withdrawn = self._idleness
        self._changed()

        def acknowledged() -> None:
            if self._idleness is withdrawn:  # otherwise it was woken meanwhile
                self._follow(switched(withdrawn, _seen(self._children)))

        self._gateways.when_switched(acknowledged)


def _seen(children: Sequence[Child]) -> list[Seen] | None:
    seen = []
    for child in children:
        if child.state is not State.RUNNING or child.incarnation is None:
            return None
        seen.append(Seen(child.incarnation.token, child.incarnation.beat))
    return seen or None
