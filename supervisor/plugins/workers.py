"""The workers of one generation of a plugin: as many processes as are wanted, and what follows them.

A worker that serves is replaced by overlap: its successor, which has the same name, becomes ready, the gateways switch,
then the old one finishes its requests. So a plugin never has fewer ready workers for being restarted. A successor that
does not become ready is taken away again and the old one stays. Only an ``exclusive`` plugin's worker ends before the
next one begins.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from plugin_runtime.protocol import (
    Cause,
    Description,
    Notes,
    Phase,
    Progress,
    Schema,
    State,
)
from plugin_runtime.views import ExitView, PluginError
from plugin_runtime.wire import Envelope
from supervisor.changes import Changes
from supervisor.config.policies import liveness_policy, restart_policy
from supervisor.errors import ReplacementError
from supervisor.plugins.recycling import Recycling
from supervisor.plugins.schema import PluginDocument
from supervisor.plugins.services import PluginServices
from supervisor.plugins.worker_link import Link
from supervisor.plugins.worker_links import WorkerLinks
from supervisor.plugins.worker_trouble import WorkerTrouble
from supervisor.preparation.preparation import Prepared
from supervisor.preparation.worker_spec import worker_spec
from supervisor.supervision.child import Child
from supervisor.supervision.child_events import SUPERVISOR, StartRequested
from supervisor.supervision.child_notes import ChildNotes
from supervisor.supervision.child_record import SERVING
from supervisor.supervision.replacement import Replacement, is_settled
from supervisor.works import Works

logger = logging.getLogger(__name__)


class Workers:
    """Owns the workers of one generation; implements ChildOwner for them."""

    def __init__(
        self,
        prepared: Prepared,
        prefix: str,
        services: PluginServices,
        changed: Callable[[], None],
        ended: Callable[[ExitView], None],
    ) -> None:
        """``changed``: called when there is anything new to be shown, or to be told to the gateways.

        ``ended``: gets every exit record.
        """
        self.children: list[Child] = []
        """By number; while one is replaced its successor is not among them before it is ready."""
        self.description: Description | None = None
        """What one of them says of the code; where it was only assumed before, each does."""
        self.notes = ChildNotes(changed)
        self._build = prepared.build
        self._prefix = prefix
        self._services = services
        self._changed = changed
        self._ended = ended
        self._document = PluginDocument(self._build.name, services.gateways)
        self._is_current = False
        self._links = WorkerLinks(prepared, prefix, services)
        self._trouble = WorkerTrouble()
        self._states: dict[Child, State] = {}
        self._changes = Changes()
        self._replacing = asyncio.Lock()
        self._replacement = Replacement(services.tree, self._changes, self._remove)
        self._leaving: set[Child] = set()
        """No longer among the children, and not yet gone."""
        self._works = Works()
        self._recycling = Recycling(services.around.clock, self._works, self._replacing, self._recycle)

    # --- what others see ---

    @property
    def ready(self) -> int:
        return sum(child.state in SERVING for child in self.children)

    @property
    def error(self) -> PluginError | None:
        """Why the last one that could not start could not, or died too often, until one is ready."""
        return self._trouble.error

    @property
    def is_expected(self) -> bool:
        """Whether a ready one may be there soon."""
        return any(_is_coming(child) for child in self.children)

    @property
    def restarts(self) -> int:
        return sum(child.record.restarts for child in self.children)

    @property
    def are_changing(self) -> bool:
        """Some are being replaced, or still leave."""
        return self._replacing.locked() or bool(self._leaving)

    @property
    def linked(self) -> list[tuple[Child, Link]]:
        """Those that have or had a process that listens for gateways."""
        return self._links.among(self.children)

    # --- what is done with them ---

    def start(self, count: int, actor: str) -> None:
        """Start ``count`` workers."""
        self._grow(count, actor)

    async def start_beside(self, former: Sequence[Child], count: int, cause: Cause, actor: str) -> None:
        """Start ``count`` workers beside those of another generation; return when all of them serve, or one will not.

        If one does not become ready, all are taken away again.
        """
        olds = [*former[:count], *[None] * (count - len(former))]
        new = [self._make(number, old.record.restarts + 1 if old else 0) for number, old in enumerate(olds, start=1)]
        self.children = new
        await self._replacement.overlap(dict(zip(new, olds, strict=True)), cause, actor)

    def become_current(self) -> None:
        """What gateways are told of this plugin is what these workers say from now on."""
        self._is_current = True
        for child in self.children:
            if child.state in SERVING:
                self._document.ask(child)

    @asynccontextmanager
    async def left_alone(self) -> AsyncIterator[None]:
        """None of them is replaced, and none is leaving, for as long."""
        async with self._replacing:
            await self._changes.until(lambda: not self._leaving)
            yield

    async def settled(self) -> None:
        """Wait until each is ready or has failed."""
        await self._changes.until(lambda: all(is_settled(child) for child in self.children))

    async def retire(self, cause: Cause, actor: str) -> None:
        """Stop and forget all of them, whoever was about to take the place of one, and wait for those that leave."""
        self._is_current = False
        retired, self.children = {*self.children, *self._leaving, *self._replacement.successors}, []
        await asyncio.gather(*(self._remove(child, cause, actor) for child in retired))

    async def close(self) -> None:
        """Begin no replacement more and give up what is under way; the processes are the tree's to stop."""
        self._recycling.close()
        await self._works.close()

    async def replace_all(self, cause: Cause, actor: str) -> None:
        """One after the other.

        Raises:
            ReplacementError: a successor did not become ready; it and the rest go on as they are.
        """
        async with self._replacing:
            self._document.renew()
            for child in self.children.copy():
                await self._replace(child, cause, actor)

    async def scale(self, count: int, actor: str) -> None:
        """Have ``count`` of them; return when they are ready or have failed, and those that are too many are gone."""
        async with self._replacing:
            surplus, self.children = self.children[count:], self.children[:count]
            self._grow(count, actor)
            self._changed()
            await asyncio.gather(*(self._remove(child, Cause.SCALE_DOWN, actor) for child in surplus))
        await self.settled()

    def wake(self) -> None:
        """Start those that were stopped; no successor waits for an old one's shutdown, unless two must not be."""
        for number, child in enumerate(self.children):
            if child.settled.is_set() or self._build.manifest.exclusive:
                child.post(StartRequested(SUPERVISOR))
            else:
                successor = self.children[number] = self._make(number + 1, child.record.restarts)
                self._replacement.begin(successor, child, SUPERVISOR)
                self._leaving.add(child)
                self._works.begin(self._see_off(child, Cause.IDLE, SUPERVISOR), f"leave-{child.spec.id}")

    def _grow(self, count: int, actor: str) -> None:
        new = [self._make(number) for number in range(len(self.children) + 1, count + 1)]
        for child in new:
            self._services.tree.add(child)
            self.children.append(child)
        for child in new:
            child.post(StartRequested(actor))

    def _make(self, number: int, restarts: int = 0) -> Child:
        settings = self._services.configuration.supervisor
        restart = restart_policy(settings.restart, self._build.manifest.restart)
        spec = worker_spec(self._build, number, restart, liveness_policy(settings.heartbeat))
        return Child(spec, self, self._services.around, restarts)

    async def _replace(self, child: Child, cause: Cause, actor: str) -> None:
        await self._changes.until(lambda: not self._leaving)  # one more of the same name would be one too many
        if child not in self.children:
            return
        if self._build.manifest.exclusive or child.state not in SERVING:
            await self._replacement.in_place(child, cause, actor)
            return
        self._trouble.error = None
        successor = self._make(self.children.index(child) + 1, child.record.restarts + 1)
        serves = await self._replacement.overlap({successor: child}, cause, actor)
        if child not in self.children:  # retired meanwhile, and the successor with it
            return
        if not serves:
            raise ReplacementError(f"a worker of plugin {self._build.name!r}", self.why_not().message)
        # Both at once, so that one routing table has the new one in and the old one out.
        self.children[self.children.index(child)] = successor
        self._tell()  # the old one, if it is dead already, has nothing more to say
        await self._remove(child, cause, actor)

    def why_not(self) -> PluginError:
        """What kept the last process from becoming ready: shown as the error, even if it had no words for it."""
        if self.error is None:
            self._trouble.conclude()
            self._tell()
        return self.error or PluginError(Phase.READY.value, "NotStarted", "it was not started")

    async def _remove(self, child: Child, cause: Cause, actor: str) -> None:
        """Stop a child and forget it. Whoever waits may give up: it leaves all the same."""
        self._leaving.add(child)
        await asyncio.shield(self._works.begin(self._see_off(child, cause, actor), f"leave-{child.spec.id}"))

    async def _see_off(self, child: Child, cause: Cause, actor: str) -> None:
        await self._services.tree.remove(child, cause, actor)
        self._leaving.discard(child)
        self._states.pop(child, None)
        self._links.forget(child)
        self._trouble.forget(child)
        self._changes.notify()

    # --- ChildOwner ---

    def settings_for(self, child: Child, token: str) -> Mapping[str, Any]:
        return self._links.begin(child, token)

    def adopted(self, child: Child, token: str, settings: Mapping[str, Any]) -> None:
        self._links.adopt(child, token, settings)

    def changed(self, child: Child) -> None:
        self._trouble.changed(child)
        before, self._states[child] = self._states.get(child), child.state
        if child.state is State.RUNNING and before is not State.RUNNING:
            if before is State.STARTING:
                self._trouble.error = None
                self._services.resources.sample_soon()
            if self._is_current:
                self._document.ask(child)
        self._tell()

    def connected(self, child: Child) -> None:
        """It is told all in its Welcome."""

    def disconnected(self, child: Child) -> None:
        """Its exit follows, or it comes back."""

    def received(self, child: Child, envelope: Envelope) -> None:
        match envelope.message:
            case Progress(phase):
                logger.debug("%s: %s", child, phase)
                self._trouble.entered(child, phase)
            case Description() as description:
                self.description = description
            case Schema() as schema if self._is_current:
                self._document.received(child, schema, self._prefix)
            case Schema():
                logger.debug("%s: nobody wants its schema any more", child)
            case Notes(sentences):
                self.notes.said(child, sentences)
            case other:
                logger.warning("%s sent an unexpected %s", child, type(other).__name__)

    def used_up(self, child: Child, cause: Cause) -> bool:
        if self._build.manifest.exclusive:
            return False
        self._recycling.used_up(child, cause)
        return True

    async def _recycle(self, child: Child, cause: Cause) -> None:
        await self._replace(child, cause, SUPERVISOR)

    def withdraw(self, child: Child, done: Callable[[], None]) -> None:
        self._changed()  # it is draining by now, so it is no upstream any more
        self._services.gateways.when_switched(done)

    def exited(self, child: Child, record: ExitView) -> None:
        self.notes.forget(child)
        self._trouble.exited(child, record)
        self._links.died(child, record)
        if child in self.children:  # otherwise its successor is measured under the same name
            self._services.resources.forget(child.spec.id)
        self._services.recorded(record)
        self._ended(record)

    def _tell(self) -> None:
        self._changed()
        self._changes.notify()


def _is_coming(child: Child) -> bool:
    """Whether a ready process of this child may be there soon."""
    if child.state in {State.DRAINING, State.STOPPING}:
        return child.record.wanted
    return child.state in {State.PENDING, State.STARTING, State.BACKOFF}
