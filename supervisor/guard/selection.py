"""Which processes of the machine are ours: what was recorded, what bears our mark, and what belongs to these. Pure.

A process is named by its pid and the moment of its start, never by the pid alone. It belongs to another one that is
ours as its descendant, or as a member of a session that is ours. Process groups need no rule: a group lies within one
session. A session is ours when its leader is, or when one of ours is in it and there is no leader any more: nobody can
join the session of another, so whoever is in it descends from its leader.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple


class Identity(NamedTuple):
    """Names a process for as long as the machine runs."""

    pid: int
    start_ticks: int


@dataclass(frozen=True)
class Seen:
    """One process of the machine."""

    identity: Identity
    name: str
    parent: int
    session: int
    mark: str | None = None
    """Of the tree that it belongs to, by its environment; None where it has none or hides it."""
    is_zombie: bool = False


@dataclass(frozen=True)
class Exempt:
    """Who is never ours, whatever else speaks for it."""

    pids: AbstractSet[int] = frozenset()
    sessions: AbstractSet[int] = frozenset()
    """No process in one of these."""
    shared_sessions: AbstractSet[int] = frozenset()
    """Being in one of these says nothing: the session that somebody has started a supervisor in."""


def ours(table: Mapping[int, Seen], known: AbstractSet[Identity], mark: str, exempt: Exempt) -> set[Identity]:
    """Return all in ``table`` that is ours, zombies too; ``known``: what was recorded, or found to be ours before."""
    kin = _Kin(table, exempt)
    chosen: set[int] = set()
    waiting = [pid for pid, seen in table.items() if seen.mark == mark or seen.identity in known]
    while waiting:
        pid = waiting.pop()
        if pid not in chosen and not _is_exempt(table[pid], mark, exempt):
            chosen.add(pid)
            waiting += kin.of(pid)
    return {table[pid].identity for pid in chosen}


def left_behind(table: Mapping[int, Seen], living: AbstractSet[int], mark: str, before: int) -> list[Seen]:
    """Return what bears our mark and belongs to none of ``living``: nobody is responsible for it any more.

    ``before``: in clock ticks since boot; what is younger may not be known yet.
    """
    kin = _Kin(table, Exempt())
    belonging: set[int] = set()
    waiting = [pid for pid in living if pid in table]
    while waiting:
        pid = waiting.pop()
        if pid not in belonging:
            belonging.add(pid)
            waiting += kin.of(pid)
    return [
        seen
        for pid, seen in table.items()
        if seen.mark == mark and pid not in belonging and not seen.is_zombie and seen.identity.start_ticks < before
    ]


def _is_exempt(seen: Seen, mark: str, exempt: Exempt) -> bool:
    is_anothers = seen.mark is not None and seen.mark != mark
    return is_anothers or seen.identity.pid in exempt.pids or seen.session in exempt.sessions


class _Kin:
    """Who belongs to whom, in one table."""

    def __init__(self, table: Mapping[int, Seen], exempt: Exempt) -> None:
        self._table = table
        self._exempt = exempt
        self._children: dict[int, list[int]] = defaultdict(list)
        self._members: dict[int, list[int]] = defaultdict(list)
        for pid, seen in table.items():
            self._children[seen.parent].append(pid)
            self._members[seen.session].append(pid)

    def of(self, pid: int) -> Iterable[int]:
        session = self._table[pid].session
        speaks_for_it = session == pid or self._has_no_leader(session)
        if session in self._exempt.shared_sessions or not speaks_for_it:
            return self._children[pid]
        return self._children[pid] + self._members[session]

    def _has_no_leader(self, session: int) -> bool:
        leader = self._table.get(session)
        return leader is None or leader.is_zombie
