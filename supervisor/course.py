"""What a supervisor does from its start to the order to end: find what is to run, open the door, and wait."""

import asyncio
import logging
from dataclasses import dataclass

from plugin_runtime.protocol import Kind, State
from supervisor.announcement import announce, withdraw
from supervisor.gateways.gateway_processes import GatewayProcesses
from supervisor.gateways.gateways import Gateways
from supervisor.gateways.health_news import HealthNews
from supervisor.jobs.manager import TaskManager
from supervisor.order_to_end import End, OrderToEnd
from supervisor.plugins.plugins import Plugins
from supervisor.state_folder import StateFolder
from supervisor.supervision.tree import Tree
from supervisor.system import System
from supervisor.takeover.takeover import Takeover
from supervisor.tasks.services import ServiceManager

logger = logging.getLogger(__name__)

TAKEOVER_PATIENCE = 5.0
"""Seconds for the processes of a supervisor that died to say again that they are ready; others wait no longer."""
SETTLE_PATIENCE = 30.0
"""Seconds after which those of them are ended that nobody has taken over, though not all is settled."""


@dataclass(frozen=True)
class Course:
    """The parts that take part in it."""

    order: OrderToEnd
    news: HealthNews
    takeover: Takeover
    tree: Tree
    plugins: Plugins
    tasks: ServiceManager
    jobs: TaskManager
    gateways: Gateways
    gateway_processes: GatewayProcesses
    system: System
    folder: StateFolder
    url: str

    async def run(self, gateways: int) -> End:
        """Return when the order is given, and which; ``gateways``: how many to start."""
        await self.plugins.discover()
        await self.tasks.discover()
        given = asyncio.create_task(self.order.given(), name="order-to-end")
        opened = asyncio.create_task(self.news.changes.until(self._is_open), name="door-opened")
        settled = asyncio.create_task(self.news.changes.until(self._is_settled), name="settled")
        try:
            if self.takeover.gateways:
                # They route as they did, until they are told of the workers that have been taken over.
                await _first(given, settled, timeout=TAKEOVER_PATIENCE)
            self.gateways.publish()
            self.news.changed()
            self.gateway_processes.start(gateways)
            await _first(given, opened)
            if opened.done():
                self.system.url = self.url
                announce(self.folder, self.url)
            await _first(given, settled, timeout=SETTLE_PATIENCE)
            if not given.done() or self.order.end is End.STOP:
                # At an upgrade the next one finds them where they are.
                self._end_takeover()
            await _first(given, settled)
            if settled.done():
                logger.info("%s", self._summary())
            await given
        finally:
            if self.order.end is End.STOP:
                withdraw(self.folder)
            for task in (given, opened, settled):
                task.cancel()
        return self.order.end

    def _end_takeover(self) -> None:
        """What is wanted has its process, or will not have one soon; whatever else there is has no place in it."""
        self.takeover.end_rest()
        self.jobs.forget_former_runs()

    def _is_settled(self) -> bool:
        return self.plugins.is_settled and self.tasks.is_settled

    def _is_open(self) -> bool:
        return any(child.state is State.RUNNING for child in self.tree.children if child.spec.kind is Kind.GATEWAY)

    def _summary(self) -> str:
        states = [f"{name} {plugin.state}" for name, plugin in sorted(self.plugins.health().items())]
        tasks = [f"{name} {state.value}" for name, state in sorted(self.tasks.states.items())]
        return f"Plugins: {', '.join(states) or 'none'}. Tasks: {', '.join(tasks) or 'none'}"


async def _first(*tasks: "asyncio.Task[None]", timeout: float | None = None) -> None:
    """Wait for the first of them, at most so many seconds."""
    await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
