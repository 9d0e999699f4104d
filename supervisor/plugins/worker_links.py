"""The links of the workers of one generation: made for each incarnation, and given up with it."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from plugin_runtime.protocol import Cause, UpstreamDied
from plugin_runtime.views import ExitView
from supervisor.plugins.services import PluginServices
from supervisor.plugins.worker_link import Link, former_link, linked_settings, new_link
from supervisor.preparation.preparation import Prepared
from supervisor.preparation.worker_spec import instance_id, worker_settings
from supervisor.state_folder import StateFolder
from supervisor.supervision.child import Child

NEVER_RESENT = frozenset({Cause.HANG.value, Cause.MEMORY_LIMIT.value, Cause.OUT_OF_MEMORY.value})
"""A request may have been the cause of these deaths: sent again, it would kill the next worker too."""


class WorkerLinks:
    """Owns which incarnation of which worker listens where."""

    def __init__(self, prepared: Prepared, prefix: str, services: PluginServices) -> None:
        self._prepared = prepared
        self._prefix = prefix
        self._services = services
        self._links: dict[Child, Link] = {}

    def among(self, children: Iterable[Child]) -> list[tuple[Child, Link]]:
        """Those that have or had a process that listens for gateways."""
        return [(child, self._links[child]) for child in children if child in self._links]

    def begin(self, child: Child, token: str) -> Mapping[str, Any]:
        """Make one for an incarnation that is about to be started; return the settings that it is told."""
        folder, supervisor = self._services.around.folder, self._services.configuration.supervisor
        link = self._links[child] = new_link(folder, token)
        settings = worker_settings(self._prepared.build, self._prefix, supervisor.adopt_grace)
        lock = _concured_lock(child, folder)
        told = replace(settings, describe=self._prepared.is_assumed, concured_lock=lock)
        return linked_settings(told, link)

    def adopt(self, child: Child, token: str, settings: Mapping[str, Any]) -> None:
        """Have that of an incarnation that runs already. Raises WireError where its settings are no worker's."""
        self._links[child] = former_link(token, settings)

    def died(self, child: Child, record: ExitView) -> None:
        """Tell gateways of a death; nobody connects to it any more."""
        link = self._links.pop(child, None)
        if link is None:
            return
        Path(link.path).unlink(missing_ok=True)
        resend = record.cause not in NEVER_RESENT
        self._services.gateways.tell_death(UpstreamDied(record.instance, link.incarnation, record.cause, resend))

    def forget(self, child: Child) -> None:
        """It is not supervised any more, however it ended."""
        self._links.pop(child, None)


def _concured_lock(child: Child, folder: StateFolder) -> str:
    """For the first instance only."""
    plugin = child.spec.name
    return str(folder.concured_lock(plugin)) if child.spec.id == instance_id(plugin, 1) else ""
