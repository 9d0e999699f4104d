"""Questions and orders that concern everything: processes, resources, exits, the supervisor's own state."""

import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from plugin_runtime import __version__
from plugin_runtime.protocol import Health, Kind, State
from plugin_runtime.views import ExitView, ProcessView, ResourceView
from supervisor.channels.operations import Operation
from supervisor.clock import Clock
from supervisor.monitoring.resources import Resources
from supervisor.plugins.operations import PluginOperations
from supervisor.state_folder import StateFolder
from supervisor.store.exits import ExitLog
from supervisor.supervision.child import Child
from supervisor.supervision.tree import Tree
from supervisor.tasks.services import ServiceManager

MOST_EXITS = 1000
"""Exit records in one answer."""


class System:
    """The operations that belong to no single plugin or token."""

    def __init__(
        self,
        tree: Tree,
        plugins: PluginOperations,
        tasks: ServiceManager,
        resources: Resources,
        exits: ExitLog,
        clock: Clock,
        folder: StateFolder,
        health: Callable[[], Health],
    ) -> None:
        self._tree = tree
        self._plugins = plugins
        self._tasks = tasks
        self._resources = resources
        self._exits = exits
        self._clock = clock
        self._folder = folder
        self._health = health
        self._started = clock.monotonic()
        self._since = clock.time()
        self.url = ""
        """Where gateways answer; "" until they do."""
        self.request_stop: Callable[[str], None] = lambda _actor: None

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {
            "system.status": self.status,
            "system.stop": self.stop,
            "processes.list": self.list_processes,
            "resources.list": self.list_resources,
            "exits.list": self.list_exits,
        }

    async def status(self) -> dict[str, Any]:
        return {
            "status": self._health().status,
            "pid": os.getpid(),
            "uptime": self._uptime,
            "started": self._since,
            "version": __version__,
            "url": self.url,
            "state_dir": str(self._folder.root),
            "plugins": [asdict(view) for view in await self._plugins.list_plugins()],
            "tasks": [asdict(view) for view in await self._tasks.list_tasks()],
        }

    async def stop(self, actor: str) -> dict[str, Any]:
        """Begin to stop everything; the answer comes before the end."""
        self.request_stop(actor)
        return {"pid": os.getpid()}

    async def list_processes(self, kind: str | None = None) -> list[ProcessView]:
        ours = ProcessView(
            kind=Kind.SUPERVISOR.value,
            name=Kind.SUPERVISOR.value,
            id=Kind.SUPERVISOR.value,
            pid=os.getpid(),
            state=State.RUNNING.value,
            uptime=self._uptime,
            restarts=0,
            python=platform.python_version(),
        )
        views = [ours, *(_process_view(child) for child in self._tree.children)]
        return [view for view in views if kind in {None, view.kind}]

    async def list_resources(self) -> list[ResourceView]:
        return self._resources.views()

    async def list_exits(self, name: str | None = None, limit: int = 100, kind: str | None = None) -> list[ExitView]:
        return await self._exits.exits(name, max(0, min(limit, MOST_EXITS)), kind)

    @property
    def _uptime(self) -> float:
        return round(self._clock.monotonic() - self._started, 3)


def _process_view(child: Child) -> ProcessView:
    return ProcessView(
        kind=child.spec.kind.value,
        name=child.spec.name,
        id=child.spec.id,
        pid=child.pid,
        state=child.state.value,
        uptime=round(child.uptime, 3),
        restarts=child.record.restarts,
        python=child.python,
        generation=child.spec.generation,
    )
