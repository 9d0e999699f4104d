"""Who did what."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from supervisor.store.database import Database
from supervisor.store.insert import insert_new
from supervisor.store.models import Audit
from supervisor.store.rows import view_of


@dataclass(frozen=True)
class AuditEntry:
    """One action. ``time``: seconds since the epoch; ``detail``: JSON, without secrets.

    ``id``: an entry that is written twice is stored once.
    """

    time: float
    actor: str
    action: str
    target: str
    outcome: str
    detail: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))


class AuditLog:
    """Every method is one transaction."""

    def __init__(self, database: Database, *, keep: int) -> None:
        self._database = database
        self._keep = keep

    async def audit(self, entry: AuditEntry, *, patience: float | None = None) -> None:
        """Return after the commit. The oldest entries beyond the limit go: failed logins can be many.

        ``patience``: seconds to wait for the database.
        """
        work = partial(write_audit, entries=[entry], keep=self._keep)
        await self._database.write("record an action", work, patience=patience)

    async def entries(self, limit: int = 100) -> list[AuditEntry]:
        """Newest first."""
        return await self._database.read("list actions", partial(_entries, limit=limit))


def write_audit(session: Session, *, entries: Sequence[AuditEntry], keep: int) -> None:
    """Part of a transaction of the caller's."""
    insert_new(session, Audit, [vars(entry) for entry in entries])
    newest = select(func.max(Audit.sequence)).scalar_subquery()
    session.execute(delete(Audit).where(Audit.sequence <= newest - keep))


def _entries(session: Session, *, limit: int) -> list[AuditEntry]:
    query = select(Audit).order_by(Audit.sequence.desc()).limit(limit)
    return [view_of(AuditEntry, row) for row in session.scalars(query)]
