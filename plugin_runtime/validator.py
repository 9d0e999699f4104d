"""What the Validator finds in a plugin, in the plugin's own interpreter."""

from __future__ import annotations

import os
import sys
from pathlib import PurePath
from types import ModuleType

from plugin_runtime import contracts
from plugin_runtime.contracts.seed import PluginInfo
from plugin_runtime.failure import StartFailedError
from plugin_runtime.protocol import Description, WorkerSettings

_PACKAGE_FOLDERS = frozenset({"site-packages", "dist-packages"})
_GUEST_PACKAGES = frozenset({"msgpack", "uvloop", "plugin_runtime"})
"""Imported by ourselves, before the plugin had a say."""


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
        modules=third_party_modules(dict(sys.modules)),
    )


def third_party_modules(modules: dict[str, ModuleType]) -> list[str]:
    """Names of the top-level modules among these that an installer put there."""
    return sorted(
        name
        for name, module in modules.items()
        if "." not in name and name not in _GUEST_PACKAGES and _is_installed(module)
    )


def _is_installed(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, (str, os.PathLike)) and not _PACKAGE_FOLDERS.isdisjoint(PurePath(file).parts)
