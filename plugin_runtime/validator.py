"""What the Validator finds in a plugin, in the plugin's own interpreter."""

from __future__ import annotations

from plugin_runtime import contracts
from plugin_runtime.contracts import LoadedPlugin
from plugin_runtime.contracts.seed import PluginInfo
from plugin_runtime.failure import StartFailedError
from plugin_runtime.imported import modules_imported_since
from plugin_runtime.protocol import Description, WorkerSettings


def describe(settings: WorkerSettings) -> Description:
    """Import the plugin as a worker would, and tell what it is, or everything that is wrong with it.

    Raises:
        OSError: the working directory cannot be entered.
    """
    report = contracts.prepare(settings)
    try:
        loaded = contracts.load(settings, report)
    except StartFailedError as failure:
        return Description(errors=failure.errors)
    return description_of(loaded)


def description_of(loaded: LoadedPlugin) -> Description:
    """What an imported plugin that keeps its contract is."""
    info = loaded.info or PluginInfo(title="")
    return Description(
        title=info.title,
        version=info.version,
        author=info.author,
        api_prefix=info.api_prefix,
        router_prefix=loaded.router_prefix,
        tags=info.tags,
        trigger=info.trigger,
        framework=loaded.served.framework,
        modules=modules_imported_since(),
    )
