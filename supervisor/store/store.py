"""The manager database as the supervisor uses it."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from sqlalchemy import URL
from sqlalchemy.orm import Session

from plugin_runtime.task_views import RunView
from plugin_runtime.views import ExitView, ResourceView
from supervisor.clock import Clock, SystemClock
from supervisor.errors import StoreError, XcoreError
from supervisor.store.audit import AuditEntry, AuditLog, write_audit
from supervisor.store.database import Database
from supervisor.store.exits import ExitLog, write_exits
from supervisor.store.jobs import JobRepository
from supervisor.store.migrate import Migrations
from supervisor.store.observations import Observation, Observations
from supervisor.store.repository import Repository
from supervisor.store.runs import RunHistory, RunWriter
from supervisor.store.samples import SampleLog, write_samples
from supervisor.store.settings import StoreSettings
from supervisor.store.tasks import TaskRepository
from supervisor.store.tokens import TokenStore


class Store:
    """Everything that is stored; made by ``open``, ended by ``close``.

    The coroutines of its parts answer after the commit, or raise StoreUnavailableError; ``observations.put`` answers at
    once and is written when the database can be had.
    """

    def __init__(
        self,
        database: Database,
        settings: StoreSettings,
        clock: Clock,
        on_health: Callable[[StoreError | None], None] | None,
    ) -> None:
        self._database = database
        self._settings = settings
        self.plugins = Repository(database, clock)
        self.tasks = TaskRepository(database)
        self.jobs = JobRepository(database, clock)
        self.runs = RunHistory(database, clock)
        self.exits = ExitLog(database, keep=settings.kept_exits)
        self.samples = SampleLog(database)
        self.audit = AuditLog(database, keep=settings.kept_audit)
        self.tokens = TokenStore(database, clock)
        self._run_writer = RunWriter(settings)
        self.observations = Observations(self._record, settings, on_health)
        database.on_trouble = self.observations.doubt

    @classmethod
    async def open(
        cls,
        url: URL,
        *,
        settings: StoreSettings | None = None,
        clock: Clock | None = None,
        on_health: Callable[[StoreError | None], None] | None = None,
        migrations: Migrations | None = None,
    ) -> "Store":
        """Make, check or migrate the database, and connect. ``url``: from ``database_url`` or ``sqlite_url``.

        ``on_health`` is called in the event loop with what is wrong, and with None when all is well again. Raises
        StoreUnavailableError, StoreCorruptError, ConfigurationError.
        """
        settings = settings or StoreSettings()
        database = await Database.open(url, settings, migrations or Migrations())
        store = cls(database, settings, clock or SystemClock(), on_health)
        store.observations.start()
        return store

    async def close(self) -> None:
        """Write the observations that wait, disconnect, end the thread; nothing may be asked for afterwards."""
        try:
            await self.observations.close()
        finally:
            await self._database.close()

    async def record_audit(self, entry: AuditEntry) -> None:
        """Put an action on record at once where the database can be had, else as soon as it can; nothing is raised.

        For what is done already, and whose answer must not wait for a database in trouble.
        """
        if not self.observations.healthy:
            self.observations.put(entry)
            return
        try:
            await self.audit.audit(entry, patience=self._settings.observation_patience)
        except XcoreError:
            self.observations.put(entry)
        except asyncio.CancelledError:  # whether it was written is not known; twice is once
            self.observations.put(entry)
            raise

    async def _record(self, observations: Sequence[Observation]) -> None:
        work = partial(self._write, observations=observations)
        await self._database.write("record observations", work, patience=self._settings.observation_patience)

    def _write(self, session: Session, observations: Sequence[Observation]) -> None:
        settings = self._settings
        if exits := [seen for seen in observations if isinstance(seen, ExitView)]:
            write_exits(session, exits=exits, keep=settings.kept_exits)
        if samples := [seen for seen in observations if isinstance(seen, ResourceView)]:
            write_samples(session, samples=samples, max_age=settings.kept_sample_age)
        if runs := [seen for seen in observations if isinstance(seen, RunView)]:
            self._run_writer.write(session, runs)
        if actions := [seen for seen in observations if isinstance(seen, AuditEntry)]:
            write_audit(session, entries=actions, keep=settings.kept_audit)
