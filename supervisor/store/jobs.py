"""Records of jobs: what the operator wants of them, and when each is due next."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from supervisor.clock import Clock
from supervisor.store.database import Database
from supervisor.store.insert import upsert
from supervisor.store.models import Job

_CHUNK = 500
"""Ids in one statement: old builds of SQLite take 999 parameters."""


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

    async def remove(self, ids: Collection[str]) -> None:
        """Forget jobs; ids that are not known are ignored."""
        await self._database.write("forget jobs", partial(_remove, ids=sorted(ids)))


def _all(session: Session) -> list[JobRow]:
    # Sorted here, not by the database: PostgreSQL sorts by the collation of its installation.
    return sorted(map(_row, session.scalars(select(Job))), key=lambda row: row.id)


def _save(session: Session, *, rows: Sequence[JobRow], now: float) -> None:
    latest = {row.id: vars(row) | {"update_time": now} for row in rows}
    upsert(session, Job, list(latest.values()), key=Job.id)


def _remove(session: Session, *, ids: Sequence[str]) -> None:
    for start in range(0, len(ids), _CHUNK):
        session.execute(delete(Job).where(Job.id.in_(ids[start : start + _CHUNK])))


def _row(job: Job) -> JobRow:
    return JobRow(**{name: getattr(job, name) for name in JobRow.__dataclass_fields__})
