"""From a plugin's folder to an ASGI app: one module per contract."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Optional

from plugin_runtime import plugin_settings, sources
from plugin_runtime.contracts import application, seed
from plugin_runtime.contracts.seed import PluginInfo
from plugin_runtime.contracts.served import ServedApp
from plugin_runtime.failure import FailureReport, StartFailedError
from plugin_runtime.protocol import Phase, WorkerSettings
from plugin_runtime.sources import SEED, SourceFolders


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin whose code is imported and keeps its contract; ``info`` is None for apps."""

    served: ServedApp
    info: Optional[PluginInfo] = None
    router_prefix: str = ""
    find_concured: Optional[Callable[[], Callable[[], Any]]] = None
    """Returns ``Plugin.concured``, bound; None where the plugin has none."""


def prepare(settings: WorkerSettings) -> FailureReport:
    """Make the plugin's code importable in this process, and go to its working directory.

    Raises:
        OSError: the working directory cannot be entered.
    """
    plugin_settings.belong_to(settings.plugin)
    folders = SourceFolders.absolute(settings.folder, settings.source)
    sources.install_plugin(settings.plugin, folders, settings.contract)
    os.chdir(settings.working_directory)
    return FailureReport.of_plugin(settings.plugin, folders)


def load(settings: WorkerSettings, report: FailureReport) -> LoadedPlugin:
    """Import the plugin and make an app of it.

    Raises:
        StartFailedError: it cannot be imported or breaks its contract.
    """
    if settings.contract != SEED:
        return LoadedPlugin(application.load(settings, report))
    loaded = seed.load(settings, report)
    try:
        served = seed.serve(settings, loaded)
    except Exception as error:  # boundary: FastAPI goes through the plugin's routes here
        raise StartFailedError([report.of(error, Phase.IMPORT)]) from error
    return LoadedPlugin(served, loaded.info, loaded.router.prefix, seed.find_concured(loaded.plugin))
