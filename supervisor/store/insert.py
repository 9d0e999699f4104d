"""Insertion that may be repeated."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, Session

from supervisor.store.models import Base


def insert_new(session: Session, table: type[Base], rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, except those that are there by primary or unique key.

    A connection that is lost during COMMIT leaves open whether it happened; the retry must not double anything.
    """
    if rows:
        session.execute(_insert(session, table).on_conflict_do_nothing(), list(rows))


def upsert(
    session: Session,
    table: type[Base],
    rows: Sequence[dict[str, Any]],
    *,
    key: InstrumentedAttribute[str],
    only: Callable[[Any], ColumnElement[bool]] | None = None,
) -> None:
    """Insert rows; those whose ``key`` is there replace the columns that they name.

    ``only``: given the columns of the row that would replace another, says whether it shall.

    No two of ``rows`` may have the same key: what is done with them in one statement is the driver's to choose, and
    PostgreSQL refuses to update a row twice in one.
    """
    if not rows:
        return
    insert = _insert(session, table)
    new = insert.excluded
    columns = {name: inspect(table).column_attrs[name].columns[0].name for name in rows[0] if name != key.key}
    changes = {column: new[column] for column in columns.values()}
    where = None if only is None else only(new)
    session.execute(insert.on_conflict_do_update(index_elements=[key], set_=changes, where=where), list(rows))


def _insert(session: Session, table: type[Base]) -> postgresql.Insert | sqlite.Insert:
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
