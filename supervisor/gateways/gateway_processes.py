"""The gateways: as many processes as are wanted, each started with what holds now, and how one follows another.

A gateway that serves is replaced by overlap: its successor, which has the same name, becomes ready on the same
listening socket, then the old one finishes what it has begun. So no connection is refused and no request lost. A
successor that does not become ready is taken away again and the old one stays, also after a crash: it is started anew
with what worked.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from plugin_runtime.protocol import Cause
from supervisor.changes import Changes
from supervisor.config.configuration import Configuration
from supervisor.errors import ReplacementError
from supervisor.gateways.gateways import Gateways
from supervisor.spec import ChildSpec
from supervisor.supervision.child import Child
from supervisor.supervision.child_events import SUPERVISOR, StartRequested
from supervisor.supervision.child_record import SERVING
from supervisor.supervision.replacement import Replacement
from supervisor.supervision.surroundings import Surroundings
from supervisor.supervision.tree import Tree
from supervisor.works import Works

logger = logging.getLogger(__name__)


class GatewayProcesses:
    """Owns the children; what they are told, and what they say, is the business of Gateways."""

    def __init__(
        self,
        gateways: Gateways,
        make_spec: Callable[[int], ChildSpec],
        tree: Tree,
        around: Surroundings,
        changes: Changes,
    ) -> None:
        """``make_spec``: by number, from 1, as it would be started now. ``changes``: notified of their states."""
        self.children: list[Child] = []
        """By number; while one is replaced its successor is not among them before it is ready."""
        self._gateways = gateways
        self._make_spec = make_spec
        self._tree = tree
        self._around = around
        self._replacement = Replacement(tree, changes, tree.remove)
        self._wanted = 0
        self._sealed = False
        self._changing = asyncio.Lock()
        self._works = Works()

    def start(self, count: int) -> None:
        """Start ``count`` gateways."""
        self._wanted = count
        self._grow()

    def seal(self) -> None:
        """Make no process more and give up what is under way; those that run are the tree's to stop."""
        self._sealed = True
        self._works.cancel()

    async def close(self) -> None:
        """Seal, and wait until nothing is under way."""
        self.seal()
        await self._works.wait_done()

    def configured(self, before: Configuration, after: Configuration) -> Iterable[str]:
        """Follow the keys of section ``gateway``; no task is restarted for them."""
        if before.gateway != after.gateway and self.children and not self._sealed:
            self._wanted = after.gateway.processes
            self._works.begin(self._follow(), "follow-gateway-keys")
        return ()

    async def _follow(self) -> None:
        """Have as many as are wanted, each started with what holds now."""
        async with self._changing:
            surplus, self.children = self.children[self._wanted :], self.children[: self._wanted]
            self._grow()
            try:
                await self._replace([child for child in self.children if self._is_outdated(child)])
            except ReplacementError as error:
                logger.error("%s", error)  # noqa: TRY400 - a sentence for the operator
            await asyncio.gather(*(self._tree.remove(child, Cause.SCALE_DOWN, SUPERVISOR) for child in surplus))

    def _grow(self) -> None:
        self._gateways.share_among(self._wanted)
        for number in range(len(self.children) + 1, self._wanted + 1):
            child = Child(self._make_spec(number), self._gateways, self._around)
            self._tree.add(child)
            self.children.append(child)
            child.post(StartRequested(SUPERVISOR))

    def _is_outdated(self, child: Child) -> bool:
        return child.spec.generation != self._make_spec(self.children.index(child) + 1).generation

    async def _replace(self, children: Sequence[Child]) -> None:
        """One after the other; the old ones leave side by side.

        Raises:
            ReplacementError: a successor did not become ready; it is taken away, and the rest go on as they are.
        """
        leaving = []
        try:
            for child in children:
                if child.state in SERVING:
                    await self._put_beside(child)
                    removal = self._tree.remove(child, Cause.RELOAD, SUPERVISOR)
                    leaving.append(self._works.begin(removal, f"leave-{child.spec.id}"))
                else:
                    await self._restart(child)
        finally:
            await asyncio.gather(*leaving, return_exceptions=True)

    async def _put_beside(self, child: Child) -> None:
        number = self.children.index(child)
        successor = Child(self._make_spec(number + 1), self._gateways, self._around, child.record.restarts + 1)
        if not await self._replacement.overlap({successor: child}, Cause.RELOAD, SUPERVISOR):
            failure = successor.record.failure
            raise ReplacementError(child.spec.id, failure.message if failure else "its successor did not become ready")
        self.children[number] = successor

    async def _restart(self, child: Child) -> None:
        """It serves nobody, so that there is nothing to overlap."""
        child.respecify(self._make_spec(self.children.index(child) + 1))
        await self._replacement.in_place(child, Cause.RELOAD, SUPERVISOR)
