"""What is written whenever the database can be had: a bounded queue and its writer."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

from plugin_runtime.task_views import RunView
from plugin_runtime.views import ExitView, ResourceView
from supervisor.errors import StoreCorruptError, StoreError, StoreUnavailableError
from supervisor.store.audit import AuditEntry
from supervisor.store.settings import StoreSettings

logger = logging.getLogger(__name__)

Observation = ExitView | ResourceView | RunView | AuditEntry
Write = Callable[[Sequence[Observation]], Awaitable[None]]
"""Writes a batch in one transaction, and may be called again with rows that it wrote; nothing is a mere probe."""


class Observations:
    """Owns the queue and the task that empties it; used from the event loop only.

    Also knows whether the database is well: from its own writes, and from ``doubt`` when others failed. While it is
    not, it tries again even when nothing waits, so that health returns by itself.
    """

    def __init__(
        self, write: Write, settings: StoreSettings, on_health: Callable[[StoreError | None], None] | None = None
    ) -> None:
        self._write = write
        self._settings = settings
        self._on_health = on_health
        self._queue: deque[Observation] = deque()
        self._work = asyncio.Event()
        self._trouble: StoreError | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.dropped = 0
        """Observations lost since the start, because the queue was full or the database refused them."""

    @property
    def healthy(self) -> bool:
        return self._trouble is None

    @property
    def trouble(self) -> StoreError | None:
        """The error that made it unhealthy; damage stays until the next start."""
        return self._trouble

    @property
    def waiting(self) -> int:
        """Observations not yet written."""
        return len(self._queue)

    def put(self, observation: Observation) -> None:
        """Queue it, at the cost of the oldest where the queue is full. Never blocks, never raises."""
        if len(self._queue) >= self._settings.queue_limit:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(observation)
        self._work.set()

    def doubt(self, error: StoreError) -> None:
        """Somebody else's transaction failed: unhealthy until a write succeeds."""
        self._judge(error)
        self._work.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="store.observations")

    async def close(self) -> None:
        """Write what waits, for at most ``close_timeout`` seconds; what is left is counted and logged."""
        if self._task is None:
            return
        self._closing = True
        self._work.set()
        await asyncio.wait({self._task}, timeout=self._settings.close_timeout)
        self._task.cancel()
        await asyncio.wait({self._task})
        if self._queue:
            self.dropped += len(self._queue)
            logger.error("Cannot write %d observations to the manager database: %s", len(self._queue), self._trouble)

    async def _run(self) -> None:
        delay = self._settings.retry_delay
        while True:
            await self._work.wait()
            if self._closing and not self._queue:
                return
            if await self._write_batch():
                delay = self._settings.retry_delay
                continue
            await asyncio.sleep(delay)
            delay = min(delay * 2, self._settings.retry_max_delay)

    async def _write_batch(self) -> bool:
        """Write the oldest; False when the database is in trouble. Observations leave the queue after their commit."""
        batch = list(islice(self._queue, self._settings.batch))
        try:
            await self._write_or_refuse(batch)
        except (StoreUnavailableError, StoreCorruptError) as error:
            self._judge(error)
            return False
        self._forget(batch)
        if not self._queue and not self._closing:
            self._work.clear()
        self._judge(None)
        return True

    async def _write_or_refuse(self, batch: Sequence[Observation]) -> None:
        """One bad row must not hold up the others for ever: a batch that is refused is written row by row."""
        try:
            await self._write(batch)
        except (StoreUnavailableError, StoreCorruptError):
            raise
        except Exception:  # the boundary of the writer: whatever is wrong with a row, the next exit is recorded
            if len(batch) > 1:
                for observation in batch:
                    await self._write_or_refuse([observation])
                return
            self.dropped += 1
            logger.exception("Cannot record %r", batch)

    def _forget(self, batch: Sequence[Observation]) -> None:
        # ``put`` may have dropped some of them meanwhile: they are the oldest, so those left stand at the front.
        written = {id(observation) for observation in batch}
        while self._queue and id(self._queue[0]) in written:
            self._queue.popleft()

    def _judge(self, trouble: StoreError | None) -> None:
        if isinstance(self._trouble, StoreCorruptError):
            return  # one table may still be writable; damage stays until somebody has looked and started anew
        was_healthy = self.healthy
        self._trouble = trouble
        if was_healthy == self.healthy:
            return
        if trouble is not None:
            logger.error("The manager database is in trouble; observations wait in memory: %s", trouble)
        else:
            logger.info("The manager database is well again; %d observations were dropped so far", self.dropped)
        if self._on_health is not None:
            self._on_health(trouble)
