"""The process table: every child there is, watched over together and stopped in order."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from plugin_runtime.protocol import Cause, Kind
from supervisor.clock import Clock
from supervisor.supervision.child import Child
from supervisor.supervision.child_events import HurryRequested, StopRequested

logger = logging.getLogger(__name__)

TICK = 1.0
"""Seconds between two looks at everybody's signs of life, age and number of requests."""

STOP_ORDER = (Kind.GATEWAY, Kind.JOB, Kind.TASK, Kind.VALIDATOR, Kind.INSTALLER, Kind.WORKER, Kind.TEMPLATE)
"""The door first: requests in flight need their workers to the end."""


class Tree:
    """Owns the table. Children are added before they are started and removed when they are settled."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._children: list[Child] = []
        self._former: list[Child] = []
        """Of a supervisor before, or superseded; on their way out, and whoever is wanted has their ids."""
        self._ticker: asyncio.TimerHandle | None = None
        self._hurried = False

    @property
    def children(self) -> list[Child]:
        return [*self._children, *self._former]

    @property
    def pids(self) -> dict[str, int | None]:
        """By id, that of the newest process of each; None without one."""
        pids: dict[str, int | None] = {}
        for child in self._children:
            pids[child.spec.id] = child.pid or pids.get(child.spec.id)
        return pids

    @property
    def living(self) -> set[int]:
        """Pids of all processes there are."""
        return {child.pid for child in self.children if child.pid is not None}

    def let_go(self) -> None:
        """Give up every child with its process running, for whoever takes it over."""
        self.close()
        for child in self.children:
            child.let_go()

    def start(self) -> None:
        """Look at everybody's signs of life from now on."""
        self._ticker = asyncio.get_running_loop().call_later(TICK, self._tick)

    def close(self) -> None:
        if self._ticker is not None:
            self._ticker.cancel()

    def add(self, child: Child, beside: Child | None = None) -> None:
        """Enter a child that is not started yet. ``beside``: the one of this id that it is about to replace.

        Raises:
            ValueError: there is another one of this id that is not a former one; two of the same never run at once.
        """
        if any(other.spec.id == child.spec.id and other is not beside for other in self._children):
            raise ValueError(f"child {child.spec.id!r} is in the process table already")
        self._children.append(child)

    def supersede(self, child: Child) -> None:
        """Enter a child that is not started yet; one that has its id is on its way out."""
        former = [other for other in self._children if other.spec.id == child.spec.id]
        self._children = [other for other in self._children if other not in former]
        self._former += former
        self.add(child)

    def outdate(self, child: Child) -> None:
        """It is on its way out, and another may have its id."""
        self._children.remove(child)
        self._former.append(child)

    def add_former(self, child: Child) -> None:
        """Enter one that is on its way out; another may have its id, or get it."""
        self._former.append(child)

    async def remove(self, child: Child, cause: Cause, actor: str) -> None:
        """Stop a child if it runs, wait for its end and forget it."""
        await self._stop(child, cause, actor)
        for children in (self._children, self._former):
            if child in children:
                children.remove(child)

    def stop_nowait(self, kind: Kind, cause: Cause, actor: str) -> None:
        """Begin to stop all children of ``kind``: from now on none of them is started again by itself."""
        for child in self._of(kind):
            child.post(StopRequested(cause, actor))

    async def stop_all(self, cause: Cause, actor: str) -> None:
        """Stop everything: kind after kind, all children of a kind at once."""
        for kind in STOP_ORDER:
            await asyncio.gather(*(self._stop(child, cause, actor) for child in self._of(kind)))

    async def _stop(self, child: Child, cause: Cause, actor: str) -> None:
        """Stop a child and wait until it has no process; the ladder's times are its limit."""
        child.post(StopRequested(cause, actor))
        if self._hurried:
            child.post(HurryRequested())
        await child.settled.wait()

    def hurry(self) -> None:
        """Have every stop under way take its next rung now, and every later one skip the first."""
        self._hurried = True
        for child in self.children:
            child.post(HurryRequested())

    def _of(self, kind: Kind) -> list[Child]:
        return [child for child in self.children if child.spec.kind is kind]

    def _tick(self) -> None:
        self._ticker = asyncio.get_running_loop().call_later(TICK, self._tick)
        now = self._clock.monotonic()
        for child in self.children:
            _look_at(child, partial(child.check_liveness, now))
            _look_at(child, child.check_limits)


def _look_at(child: Child, check: Callable[[], None]) -> None:
    """The boundary of a check: the others have their turn whatever becomes of it."""
    try:
        check()
    except OSError as error:  # no descriptor left, most likely: no verdict
        logger.warning("Cannot check %s: %s; trying again", child, error)
    except Exception:
        logger.exception("Cannot check %s; trying again", child)
