"""The order that a supervisor lives by: to stop everything, or to make room for another version of itself."""

import asyncio
import logging
from collections.abc import Callable
from enum import Enum, auto

logger = logging.getLogger(__name__)


class End(Enum):
    """How a supervisor comes to its end."""

    STOP = auto()
    UPGRADE = auto()
    """Everything it runs goes on."""


class OrderToEnd:
    """Given once; whoever asks again to stop is in a hurry."""

    def __init__(self, hurry: Callable[[], object]) -> None:
        self.end = End.STOP
        self._hurry = hurry
        self._given = asyncio.Event()

    async def given(self) -> None:
        """Wait for it."""
        await self._given.wait()

    def stop(self, actor: str) -> None:
        """The first time begins an orderly stop, every further time hurries it; after an upgrade it takes its place."""
        if self._given.is_set() and self.end is End.STOP:
            logger.info("Asked again to stop (%s): hurrying", actor)
            self._hurry()
            return
        logger.info("Stopping (%s)", actor)
        self.end = End.STOP
        self._given.set()

    def upgrade(self, actor: str) -> None:
        """Nothing happens where it is stopping already."""
        if not self._given.is_set():
            logger.info("Executing what is installed now; everything that runs goes on (%s)", actor)
            self.end = End.UPGRADE
            self._given.set()
