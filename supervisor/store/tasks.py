"""Records of background tasks, under the names of the founding document."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from supervisor.store.database import Database
from supervisor.store.models import Task
from supervisor.store.rows import all_views, assign, view_of


@dataclass(frozen=True)
class TaskFacts:
    """What a task says of itself; ``module`` is its file's stem, ``meta_file`` the other keys of its metadata, JSON."""

    module: str
    title: str
    type: str
    module_dir: str
    description: str
    version: str
    author: str
    meta_file: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskRow:
    """A stored task. ``status``: enabled at boot, the operator's wish."""

    id: str
    module: str
    title: str
    type: str
    module_dir: str
    description: str
    version: str
    author: str
    meta_file: dict[str, Any]
    status: bool


class TaskRepository:
    """Every method is one transaction, and raises StoreUnavailableError when the database is not to be had in time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(self, facts: TaskFacts) -> TaskRow:
        """Insert what discovery found, as enabled; or update the record, whose ``status`` is the operator's."""
        return await self._database.write("register the task", partial(_register, facts=facts))

    async def status(self, module: str, *, enabled: bool) -> TaskRow:
        """Enable or disable, also a task whose module could never be read: it gets a record that says no more."""
        return await self._database.write("set the task's status", partial(_status, module=module, enabled=enabled))

    async def get_all(self) -> list[TaskRow]:
        """Sorted by module."""
        return await self._database.read("list the tasks", _all)


def _select(session: Session, module: str) -> Task | None:
    return session.scalars(select(Task).where(Task.module == module)).one_or_none()


def _all(session: Session) -> list[TaskRow]:
    return all_views(session, Task, TaskRow, by="module")


def _register(session: Session, *, facts: TaskFacts) -> TaskRow:
    task = _select(session, facts.module)
    if task is None:
        return _add(session, facts, enabled=True)
    return _update(session, task, vars(facts))


def _status(session: Session, *, module: str, enabled: bool) -> TaskRow:
    task = _select(session, module)
    if task is None:
        nothing = TaskFacts(module, title=module, type="", module_dir="", description="", version="", author="")
        return _add(session, nothing, enabled=enabled)
    return _update(session, task, {"status": enabled})


def _add(session: Session, facts: TaskFacts, *, enabled: bool) -> TaskRow:
    task = Task(id=str(uuid.uuid4()), status=enabled, **vars(facts))
    session.add(task)
    session.flush()
    return view_of(TaskRow, task)


def _update(session: Session, task: Task, values: Mapping[str, object]) -> TaskRow:
    assign(task, values)
    session.flush()
    return view_of(TaskRow, task)
