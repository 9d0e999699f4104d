"""Records of how processes ended."""

from collections.abc import Sequence
from functools import partial

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from plugin_runtime.protocol import Kind
from plugin_runtime.views import ExitView
from supervisor.store.database import Database
from supervisor.store.insert import insert_new
from supervisor.store.models import Exit
from supervisor.store.rows import view_of

_ONLY_BY_KIND = (Kind.TEMPLATE.value, Kind.INSTALLER.value, Kind.VALIDATOR.value)
"""Our own machinery: asked about a plugin's exits, nobody means these."""


class ExitLog:
    """Every method is one transaction. Newest first is by arrival, since the wall clock may jump."""

    def __init__(self, database: Database, *, keep: int) -> None:
        self._database = database
        self._keep = keep

    async def add_exits(self, exits: Sequence[ExitView]) -> None:
        """Write records; one whose id is known already is not written again. The oldest beyond the limit go."""
        await self._database.write("record exits", partial(write_exits, exits=exits, keep=self._keep))

    async def exits(self, name: str | None = None, limit: int = 100, kind: str | None = None) -> list[ExitView]:
        """Newest first; templates, installers and validators only when asked for by ``kind``."""
        return await self._database.read("list exits", partial(_exits, name=name, limit=limit, kind=kind))

    async def last_exit(self, name: str) -> ExitView | None:
        """The newest exit of a plugin's or task's own processes."""
        return next(iter(await self.exits(name, limit=1)), None)


def write_exits(session: Session, *, exits: Sequence[ExitView], keep: int) -> None:
    """Part of a transaction of the caller's."""
    insert_new(session, Exit, [vars(view) for view in exits])
    newest = select(func.max(Exit.sequence)).scalar_subquery()
    session.execute(delete(Exit).where(Exit.sequence <= newest - keep))


def _exits(session: Session, *, name: str | None, limit: int, kind: str | None) -> list[ExitView]:
    wanted = Exit.kind.not_in(_ONLY_BY_KIND) if kind is None else Exit.kind == kind
    query = select(Exit).where(wanted).order_by(Exit.sequence.desc()).limit(limit)
    if name is not None:
        query = query.where(Exit.name == name)
    return [view_of(ExitView, row) for row in session.scalars(query)]
