"""What serves a plugin: one generation, or for the time of a replacement two, of which gateways know one.

A replacement is a transaction. The workers of the new generation start beside those that serve, under the same names;
when each is ready, gateways switch in one step, and the old ones finish what they have. Whatever fails before that, the
new ones are taken away, and nothing has changed for anybody. Only where two generations must not run at once
(``exclusive``), or none serves anyway, the old one ends first, and comes back where the new one fails.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from plugin_runtime.protocol import Cause, PluginSchema
from plugin_runtime.views import ExitView, PluginError
from supervisor.jobs.plugin_jobs import declare_jobs
from supervisor.plugins.held_prefix import HeldPrefix
from supervisor.plugins.idle_stop import IdleStop
from supervisor.plugins.services import PluginServices
from supervisor.plugins.worker_link import Link
from supervisor.plugins.workers import Workers
from supervisor.preparation.manifest import PluginManifest
from supervisor.preparation.preparation import PreparationError, Prepared
from supervisor.preparation.worker_spec import api_prefix
from supervisor.supervision.child import Child
from supervisor.templates.plugin_template import PluginTemplate
from supervisor.works import Works

logger = logging.getLogger(__name__)


class OtherwiseError(Exception):
    """The code of a new generation is not what was assumed of it; what was before is there still."""


class Serving:
    """Owns the workers of a plugin, their template, its prefix and its jobs. One caller at a time changes it."""

    def __init__(self, plugin: str, services: PluginServices, changed: Callable[[], None]) -> None:
        """``changed``: called when there is anything new to be shown, or to be told to the gateways."""
        self.prepared: Prepared | None = None
        """What it is made from; None while nothing is started."""
        self.workers: Workers | None = None
        self.last_exit: ExitView | None = None
        self.held = HeldPrefix(plugin, services.claims, self._drop_route, services.released)
        self.idle = IdleStop(plugin, lambda: self.workers, services.gateways, services.around.clock, changed)
        self._plugin = plugin
        self._services = services
        self._changed = changed
        self._template = PluginTemplate(plugin, services.templates)
        self._successors: Workers | None = None
        self._departures = Works()
        self._in_turn = False
        self._closing = False

    # --- what others see ---

    @property
    def children(self) -> list[Child]:
        return self.workers.children if self.workers else []

    @property
    def ready(self) -> int:
        return self.workers.ready if self.workers else 0

    @property
    def restarts(self) -> int:
        return self.workers.restarts if self.workers else 0

    @property
    def is_expected(self) -> bool:
        """Whether a ready worker may be there soon."""
        return self._in_turn or (self.workers is not None and self.workers.is_expected)

    @property
    def linked(self) -> list[tuple[Child, Link]]:
        """Workers that have or had a process that listens for gateways."""
        return self.workers.linked if self.workers else []

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is left: no process, no prefix, and nobody who is about to leave."""
        return not (self.workers or self._successors or self._departures or self.held.value)

    @property
    def error(self) -> PluginError | None:
        """Why the last worker that could not start could not."""
        return self.workers.error if self.workers else None

    @property
    def notes(self) -> list[str]:
        """What does not work and keeps nobody from being served."""
        settings = self.prepared.build.notes if self.prepared else []
        return [
            *self._template.notes,
            *settings,
            *(self.workers.notes.of(self.workers.children) if self.workers else []),
        ]

    @property
    def template(self) -> str:
        """Id of the process that the workers are forked from; "" without one."""
        return self._template.id

    def is_overlapping(self, manifest: PluginManifest) -> bool:
        """Whether workers of a generation with this manifest would start beside those that there are."""
        if self.prepared is None or not self.ready:
            return False
        return not self.prepared.build.manifest.exclusive and not manifest.exclusive

    # --- what is done with it ---

    def begin(self, prepared: Prepared, count: int, actor: str) -> None:
        """Start ``count`` workers of ``prepared`` where there are none, under a prefix that is held already."""
        workers = self._workers_of(prepared)
        self._become(prepared, workers)
        workers.start(count, actor)

    async def replace(self, prepared: Prepared, count: int, cause: Cause, actor: str) -> None:
        """Have ``count`` workers of ``prepared`` in the place of those that there are; return when they serve.

        Those before may still finish what they have. What is only assumed of ``prepared`` must overlap with them.

        Raises:
            PluginRefusedError: its prefix is not to be had; nothing has changed.
            PreparationError: it does not become ready; what was there before is there again.
            OtherwiseError: it was only assumed what it is, and it is something else; likewise.
        """
        self.held.check(_prefix_of(prepared))
        if self.is_overlapping(prepared.build.manifest):
            await self._replace_by_overlap(prepared, count, cause, actor)
        else:
            await self._replace_in_turn(prepared, count, cause, actor)

    async def settled(self) -> None:
        """Wait until each worker is ready or has failed."""
        if self.workers is not None:
            await self.workers.settled()

    async def retire(self, cause: Cause, actor: str) -> None:
        """Stop and forget workers and template, and wait for them; the prefix and the jobs stay."""
        workers, self.workers = self.workers, None
        self.prepared = None
        self._services.gateways.set_schema(PluginSchema(self._plugin, "", ""))
        self.idle.forget()
        if workers is not None:
            await self._see_off(workers, cause, actor)
        await self._seen_off(self._template.retire(cause, actor))

    async def cleared(self) -> None:
        """Wait until all that was told to leave is gone: no two of one name run side by side but for a replacement."""
        await self._departures.wait_done()

    async def close(self) -> None:
        """Begin nothing more and give up what is under way; the processes are the tree's to stop."""
        self._closing = True
        for workers in (self.workers, self._successors):
            if workers is not None:
                await workers.close()
        await self._departures.close()

    # --- inside ---

    async def _replace_by_overlap(self, prepared: Prepared, count: int, cause: Cause, actor: str) -> None:
        former = self.workers
        assert former is not None  # noqa: S101 - one of them is ready
        self._template.provide(prepared, self._learned)
        successors = self._successors = self._workers_of(prepared)
        try:
            async with former.left_alone():
                await successors.start_beside(former.children, count, cause, actor)
                self._check(successors, count)
                prepared = await self._described(prepared, successors)
                self._check(successors, count)
                # From here to the switch nobody else has a turn: the prefix and the workers change in one step.
                self.held.change(_prefix_of(prepared))
                self._become(prepared, successors)
        except BaseException:
            if not self._closing:  # otherwise the tree stops them, or the next supervisor has them
                await self._take_away(successors, cause, actor)
            raise
        finally:
            self._successors = None
        self._let_leave(former, cause, actor)

    def _check(self, workers: Workers, count: int) -> None:
        """Raise PreparationError unless ``count`` of them serve now."""
        if workers.ready < count:
            raise PreparationError(workers.why_not())

    async def _described(self, prepared: Prepared, workers: Workers) -> Prepared:
        """What ``workers`` found their code to be, where that was only assumed.

        Raises:
            OtherwiseError: they are served under another prefix than they claim.
        """
        if not prepared.is_assumed:
            return prepared
        if workers.description is None:  # a supervisor that died has heard it
            raise OtherwiseError
        described = await self._services.preparation.describe(prepared.build, workers.description, self.prepared)
        if _prefix_of(described) != _prefix_of(prepared):
            raise OtherwiseError
        return described

    async def _take_away(self, successors: Workers, cause: Cause, actor: str) -> None:
        await self._see_off(successors, cause, actor)
        if self.prepared is not None:
            self._template.provide(self.prepared, self._learned)

    async def _replace_in_turn(self, prepared: Prepared, count: int, cause: Cause, actor: str) -> None:
        before, former = self.prepared, self.workers
        assert before is not None and former is not None  # noqa: S101, PT018 - there is something to be replaced
        count_before = len(former.children)
        self._in_turn = True
        try:
            self.workers = None
            await self._see_off(former, cause, actor)
            self.idle.forget()
            try:
                await self._begin_in_turn(prepared, count, cause, actor)
            except Exception:
                self.begin(before, count_before, actor)
                raise
        finally:
            self._in_turn = False

    async def _begin_in_turn(self, prepared: Prepared, count: int, cause: Cause, actor: str) -> None:
        """Nobody is told of the successors, nor is the prefix changed, before they have proven themselves."""
        self._template.provide(prepared, self._learned)
        successors = self._successors = self._workers_of(prepared)
        try:
            successors.start(count, actor)
            await successors.settled()
            self._check(successors, count)
            self.held.change(_prefix_of(prepared))
            self._become(prepared, successors)
        except BaseException:
            if not self._closing:
                await self._see_off(successors, cause, actor)
            raise
        finally:
            self._successors = None

    def _let_leave(self, workers: Workers, cause: Cause, actor: str) -> None:
        """They finish what they have, which may take long; whoever is next has their names already."""
        for child in workers.children:
            self._services.tree.outdate(child)
        self._departures.begin(workers.retire(cause, actor), f"leave-{self._plugin}")

    async def _see_off(self, workers: Workers, cause: Cause, actor: str) -> None:
        await self._seen_off(workers.retire(cause, actor))

    async def _seen_off(self, departure: Coroutine[Any, Any, None]) -> None:
        """Wait for the end of ``departure``. Whoever waits may give up: it goes on all the same."""
        await asyncio.shield(self._departures.begin(departure, f"leave-{self._plugin}"))

    def _workers_of(self, prepared: Prepared) -> Workers:
        prefix = _prefix_of(prepared)
        return Workers(prepared, prefix, self._services, self._changed, self._ended)

    def _become(self, prepared: Prepared, workers: Workers) -> None:
        """Have ``workers`` be the ones that gateways know."""
        self.prepared, self.workers = prepared, workers
        self._template.provide(prepared, self._learned)
        workers.become_current()
        declare_jobs(self._services.jobs, prepared.build, self._services.configuration.supervisor.adopt_grace)
        self._changed()

    def _ended(self, record: ExitView) -> None:
        self.last_exit = record

    def _learned(self, modules: Sequence[str]) -> None:
        if self.prepared is not None:
            self.prepared = self._services.preparation.learn(self.prepared, modules)

    def _drop_route(self) -> None:
        self._services.gateways.drop_route(self._plugin)


def _prefix_of(prepared: Prepared) -> str:
    return api_prefix(prepared.build.manifest, prepared.description)
