"""What records have in common: from rows of the database to the frozen views that others see, and back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from supervisor.store.models import Base

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

V = TypeVar("V", bound="DataclassInstance")


def view_of(kind: type[V], row: Base) -> V:
    """Make a ``kind`` of the columns of the same names."""
    return kind(**{name: getattr(row, name) for name in kind.__dataclass_fields__})


def all_views(session: Session, table: type[Base], kind: type[V], *, by: str) -> list[V]:
    """Every row of ``table``, sorted by the text in field ``by``."""
    views = [view_of(kind, row) for row in session.scalars(select(table))]
    # Sorted here, not by the database: PostgreSQL sorts by the collation of its installation.
    return sorted(views, key=lambda view: str(getattr(view, by)))


def assign(row: Base, values: Mapping[str, object]) -> bool:
    """Set the columns that have another value; whether there were any."""
    changed = {name: value for name, value in values.items() if getattr(row, name) != value}
    for name, value in changed.items():
        setattr(row, name, value)
    return bool(changed)
