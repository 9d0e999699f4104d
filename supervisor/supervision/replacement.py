"""How one process follows another of the same id: by overlap, or in its place where two must not be, or none serves.

By overlap the successor is started beside the old one and serves before anybody is asked to leave. Who sends requests
where is the business of the caller: it switches to the successors when they serve, and then removes the old ones.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from plugin_runtime.protocol import Cause
from supervisor.changes import Changes
from supervisor.supervision.child import Child, is_replaced
from supervisor.supervision.child_events import RestartRequested, StartRequested
from supervisor.supervision.child_record import SERVING
from supervisor.supervision.tree import Tree

Remove = Callable[[Child, Cause, str], Awaitable[None]]


class Replacement:
    """Owns the successors that do not serve yet, of all children of one owner."""

    def __init__(self, tree: Tree, changes: Changes, remove: Remove) -> None:
        """``changes``: notified of the states of all concerned. ``remove``: stops a child and forgets it."""
        self.successors: list[Child] = []
        """In the process table, and not yet those who serve."""
        self._tree = tree
        self._changes = changes
        self._remove = remove

    def begin(self, successor: Child, old: Child | None, actor: str) -> None:
        """Start ``successor`` beside ``old``, which has the same id; what becomes of it is the caller's to follow."""
        self._tree.add(successor, beside=old)
        successor.post(StartRequested(actor))

    async def overlap(self, successors: Mapping[Child, Child | None], cause: Cause, actor: str) -> bool:
        """Start each beside the one whose id it has, if there is one, and return whether all of them serve.

        If one does not become ready, all are taken away again: the old ones stay as they are. They may have come to
        an end by themselves meanwhile, which is the caller's to see. Given up meanwhile, they are still among
        ``successors``, for whoever ends all of them.
        """
        for successor, old in successors.items():
            self.begin(successor, old, actor)
            self.successors.append(successor)
        await self._changes.until(lambda: all(map(_serves, successors)) or any(map(_has_failed, successors)))
        served = all(map(_serves, successors))
        if not served:
            await asyncio.gather(*(self._remove(successor, cause, actor) for successor in successors))
        self.successors = [child for child in self.successors if child not in successors]
        return served

    async def in_place(self, child: Child, cause: Cause, actor: str) -> None:
        """Have another process follow that of ``child``; return when it is ready or has failed."""
        former = child.incarnation
        child.post(RestartRequested(cause, actor))
        await self._changes.until(lambda: is_replaced(child, former))


def is_settled(child: Child) -> bool:
    """Whether it is ready, or it is certain that it will not be for now."""
    return _serves(child) or _has_failed(child)


def _serves(child: Child) -> bool:
    return child.state in SERVING


def _has_failed(child: Child) -> bool:
    return not _serves(child) and is_replaced(child, None)
