"""Records of plugins, under the names of the founding document."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from supervisor.clock import Clock
from supervisor.errors import ConflictError, UnknownNameError
from supervisor.store.database import Database
from supervisor.store.models import Plugin
from supervisor.store.rows import all_views, assign, view_of


@dataclass(frozen=True)
class PluginFacts:
    """What a plugin says of itself; ``name`` is its folder's."""

    name: str
    version: str
    author: str
    api_prefix: str
    tag_for_identified: list[str] = field(default_factory=list)
    trigger: int = 1


@dataclass(frozen=True)
class PluginChanges:
    """What ``update`` writes; None leaves a field as it is."""

    version: str | None = None
    author: str | None = None
    api_prefix: str | None = None
    tag_for_identified: list[str] | None = None
    trigger: int | None = None


@dataclass(frozen=True)
class PluginRow:
    """A stored plugin. Times in seconds since the epoch; ``active``: wanted by the operator.

    ``instances``: how many the operator wants; None: as many as its manifest says.
    """

    id: str
    name: str
    version: str
    author: str
    api_prefix: str
    tag_for_identified: list[str]
    trigger: int
    add_time: float
    update_time: float
    active: bool
    instances: int | None = None


class Repository:
    """Every method is one transaction, and raises StoreUnavailableError when the database is not to be had in time."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def add(self, facts: PluginFacts, *, active: bool = True) -> PluginRow:
        """Raise ConflictError where the name is taken."""
        now = self._clock.time()
        return await self._database.write("add the plugin", partial(_add, facts=facts, active=active, now=now))

    async def register(self, facts: PluginFacts) -> PluginRow:
        """Insert what discovery found, as active; or update the record, whose ``active`` is the operator's."""
        now = self._clock.time()
        return await self._database.write("register the plugin", partial(_register, facts=facts, now=now))

    async def update(self, name: str, changes: PluginChanges, *, active: bool) -> PluginRow:
        """Write what is given, also of one without a record; ``active`` counts only there."""
        values = {key: value for key, value in vars(changes).items() if value is not None}
        change = partial(_put, name=name, values=values, active=active, now=self._clock.time())
        return await self._database.write("update the plugin", change)

    async def status(self, name: str, *, active: bool) -> PluginRow:
        """Enable or disable, also one that could never say what it is."""
        change = partial(_put, name=name, values={"active": active}, active=active, now=self._clock.time())
        return await self._database.write("set the plugin's status", change)

    async def scale(self, name: str, instances: int | None) -> PluginRow:
        """Write how many instances are wanted of one that is served; None: what its manifest says."""
        change = partial(_put, name=name, values={"instances": instances}, active=True, now=self._clock.time())
        return await self._database.write("scale the plugin", change)

    async def delete(self, name: str) -> PluginRow:
        """Forget a plugin and return what was known. Raise UnknownNameError."""
        return await self._database.write("delete the plugin", partial(_delete, name=name))

    async def get(self, name: str) -> PluginRow:
        """Raise UnknownNameError."""
        return await self._database.read("get the plugin", lambda session: view_of(PluginRow, _find(session, name)))

    async def get_all(self) -> list[PluginRow]:
        """Sorted by name."""
        return await self._database.read("list the plugins", _all)

    async def get_all_active(self) -> list[PluginRow]:
        return [row for row in await self.get_all() if row.active]

    async def get_all_not_active(self) -> list[PluginRow]:
        return [row for row in await self.get_all() if not row.active]


def _select(session: Session, name: str) -> Plugin | None:
    return session.scalars(select(Plugin).where(Plugin.name == name)).one_or_none()


def _find(session: Session, name: str) -> Plugin:
    plugin = _select(session, name)
    if plugin is None:
        raise UnknownNameError("plugin", name, list(session.scalars(select(Plugin.name))))
    return plugin


def _all(session: Session) -> list[PluginRow]:
    return all_views(session, Plugin, PluginRow, by="name")


def _add(session: Session, *, facts: PluginFacts, active: bool, now: float) -> PluginRow:
    if _select(session, facts.name) is not None:
        raise ConflictError(f"cannot add plugin {facts.name!r}: there is one of that name", hint="update it instead")
    plugin = Plugin(id=str(uuid.uuid4()), add_time=now, update_time=now, active=active, **vars(facts))
    session.add(plugin)
    session.flush()
    return view_of(PluginRow, plugin)


def _register(session: Session, *, facts: PluginFacts, now: float) -> PluginRow:
    if _select(session, facts.name) is None:
        return _add(session, facts=facts, active=True, now=now)
    return _update(session, name=facts.name, values=vars(facts), now=now)


def _put(session: Session, *, name: str, values: Mapping[str, object], active: bool, now: float) -> PluginRow:
    """One without a record cannot say yet what it is, or could not be registered since the database was away."""
    if _select(session, name) is None:
        _add(session, facts=PluginFacts(name, "", "", ""), active=active, now=now)
    return _update(session, name=name, values=values, now=now)


def _update(session: Session, *, name: str, values: Mapping[str, object], now: float) -> PluginRow:
    plugin = _find(session, name)
    if assign(plugin, values):
        plugin.update_time = now
    session.flush()
    return view_of(PluginRow, plugin)


def _delete(session: Session, *, name: str) -> PluginRow:
    plugin = _find(session, name)
    session.delete(plugin)
    return view_of(PluginRow, plugin)
