"""Records of jobs: what the operator wants of them, and when each is due next."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from supervisor.clock import Clock
from supervisor.store.database import Database
from supervisor.store.insert import upsert
from supervisor.store.models import Job
from supervisor.store.rows import all_views


@dataclass(frozen=True)
class JobRow:
    """A stored job. ``trigger``: its wire form; ``next_run``: seconds since the epoch, None where it is not due."""

    id: str
    name: str
    owner: str
    entry: str
    trigger: dict[str, Any]
    paused: bool
    next_run: float | None


class JobRepository:
    """Every method is one transaction, and raises StoreUnavailableError when the database is not to be had in time."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def get_all(self) -> list[JobRow]:
        """Sorted by id."""
        return await self._database.read("list jobs", _all)

    async def save(self, rows: Sequence[JobRow], *, patience: float | None = None) -> None:
        """Insert or replace all of ``rows``, or none of them. Of two with the same id the later one counts.

        ``patience``: seconds to wait for the database; whoever gives up earlier by cancelling leaves it trying on.
        """
        work = partial(_save, rows=rows, now=self._clock.time())
        await self._database.write("store jobs", work, patience=patience)


def _all(session: Session) -> list[JobRow]:
    return all_views(session, Job, JobRow, by="id")


def _save(session: Session, *, rows: Sequence[JobRow], now: float) -> None:
    latest = {row.id: vars(row) | {"update_time": now} for row in rows}
    upsert(session, Job, list(latest.values()), key=Job.id)
