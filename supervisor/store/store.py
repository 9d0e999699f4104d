"""The manager database as the supervisor uses it."""

from collections.abc import Callable, Sequence
from functools import partial

from sqlalchemy import URL
from sqlalchemy.orm import Session

from plugin_runtime.views import ExitView, ResourceView
from supervisor.clock import Clock, SystemClock
from supervisor.errors import StoreError
from supervisor.store.audit import AuditLog
from supervisor.store.database import Database
from supervisor.store.exits import ExitLog, write_exits
from supervisor.store.migrate import Migrations
from supervisor.store.observations import Observation, Observations
from supervisor.store.repository import Repository
from supervisor.store.samples import SampleLog, write_samples
from supervisor.store.settings import StoreSettings
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
        self.exits = ExitLog(database, keep=settings.kept_exits)
        self.samples = SampleLog(database)
        self.audit = AuditLog(database, keep=settings.kept_audit)
        self.tokens = TokenStore(database, clock)
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

    async def _record(self, observations: Sequence[Observation]) -> None:
        work = partial(_write, observations=observations, settings=self._settings)
        await self._database.write("record observations", work, patience=self._settings.observation_patience)


def _write(session: Session, *, observations: Sequence[Observation], settings: StoreSettings) -> None:
    exits = [seen for seen in observations if isinstance(seen, ExitView)]
    samples = [seen for seen in observations if isinstance(seen, ResourceView)]
    if exits:
        write_exits(session, exits=exits, keep=settings.kept_exits)
    if samples:
        write_samples(session, samples=samples, max_age=settings.kept_sample_age)
