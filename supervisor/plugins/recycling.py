"""Workers that are used up, by requests, age or memory, and serve until somebody can take their place."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable

from plugin_runtime.protocol import Cause
from supervisor.clock import Clock
from supervisor.errors import ReplacementError
from supervisor.supervision.child import Child
from supervisor.supervision.child_record import SERVING
from supervisor.works import Works

logger = logging.getLogger(__name__)

PAUSE = 30.0
"""Seconds after a used-up worker could not be replaced until that is tried again: it serves, and starts cost CPU."""


class Recycling:
    """Of the workers of one plugin. Replaces one at a time, and none while somebody else replaces some."""

    def __init__(
        self, clock: Clock, works: Works, replacing: asyncio.Lock, replace: Callable[[Child, Cause], Awaitable[None]]
    ) -> None:
        """``replacing``: held by whoever replaces any. ``replace``: may raise ReplacementError."""
        self.resumes_at = 0.0
        """Monotonic."""
        self._clock = clock
        self._works = works
        self._replacing = replacing
        self._replace = replace
        self._under_way: set[Child] = set()

    def close(self) -> None:
        """Begin no replacement more."""
        self.resumes_at = math.inf

    def used_up(self, child: Child, cause: Cause) -> None:
        """See to it that another takes its place, unless that is seen to."""
        if not self._replacing.locked() and child not in self._under_way and self._may_begin:
            self._under_way.add(child)
            self._works.begin(self._recycle(child, cause), f"recycle-{child.spec.id}")

    @property
    def _may_begin(self) -> bool:
        return self._clock.monotonic() >= self.resumes_at

    async def _recycle(self, child: Child, cause: Cause) -> None:
        try:
            async with self._replacing:
                if self._may_begin:  # another one may have failed while this one waited for its turn
                    await self._replace(child, cause)
        except ReplacementError as error:
            self.resumes_at = max(self.resumes_at, self._clock.monotonic() + PAUSE)  # never again after a close
            if child.state in SERVING:  # otherwise all of them are being stopped
                logger.error("%s", error)  # noqa: TRY400 - a sentence for the operator; it is tried again
        finally:
            self._under_way.discard(child)
