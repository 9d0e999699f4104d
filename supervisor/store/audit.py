"""Who did what."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from supervisor.store.database import Database
from supervisor.store.models import Audit


@dataclass(frozen=True)
class AuditEntry:
    """One action. ``time``: seconds since the epoch; ``detail``: JSON, without secrets."""

    time: float
    actor: str
    action: str
    target: str
    outcome: str
    detail: dict[str, Any] = field(default_factory=dict)


class AuditLog:
    """Every method is one transaction."""

    def __init__(self, database: Database, *, keep: int) -> None:
        self._database = database
        self._keep = keep

    async def audit(self, entry: AuditEntry) -> None:
        """Return after the commit. The oldest entries beyond the limit go: failed logins can be many."""
        await self._database.write("record an action", partial(_write, entry=entry, keep=self._keep))

    async def entries(self, limit: int = 100) -> list[AuditEntry]:
        """Newest first."""
        return await self._database.read("list actions", partial(_entries, limit=limit))


def _write(session: Session, *, entry: AuditEntry, keep: int) -> None:
    session.execute(insert(Audit).values(**vars(entry)))
    newest = select(func.max(Audit.sequence)).scalar_subquery()
    session.execute(delete(Audit).where(Audit.sequence <= newest - keep))


def _entries(session: Session, *, limit: int) -> list[AuditEntry]:
    query = select(Audit).order_by(Audit.sequence.desc()).limit(limit)
    return [
        AuditEntry(**{name: getattr(row, name) for name in AuditEntry.__dataclass_fields__})
        for row in session.scalars(query)
    ]
