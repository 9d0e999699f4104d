"""Which modules of this process belong to Python or its environment: a template may import them before any plugin."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from itertools import takewhile
from pathlib import PurePath
from types import ModuleType

_PACKAGE_FOLDERS = frozenset({"site-packages", "dist-packages"})
_STANDARD_LIBRARY = os.path.join(os.path.dirname(os.__file__), "")  # noqa: PTH118, PTH120 - compared as strings
_OURS = "plugin_runtime"

_last_preloaded = ""


def remember_preloaded() -> None:
    """Count what is imported by now as the template's. To be called before a fork; holds in what is forked."""
    global _last_preloaded  # noqa: PLW0603 - a fact about the process, as sys.modules is
    _last_preloaded = next(reversed(sys.modules))


def modules_imported_since() -> list[str]:
    """Installed modules that the template, if this process has one, did not bring along, in the order of import."""
    # From the end: to look at a module writes to it (its reference count), and so to memory that is shared until then.
    since = list(takewhile(lambda name: name != _last_preloaded, reversed(sys.modules)))
    return installed({name: sys.modules[name] for name in reversed(since)})


def installed(modules: Mapping[str, ModuleType]) -> list[str]:
    """Names among these that an import brings again and that an installer or Python itself put there.

    Without what is built into the interpreter, without namespace packages, and without modules that somebody entered
    under a name of their own: nothing of them takes time.
    """
    return [name for name, module in modules.items() if name.partition(".")[0] != _OURS and _is_installed(name, module)]


def _is_installed(name: str, module: ModuleType) -> bool:
    spec = getattr(module, "__spec__", None)
    origin = getattr(spec, "origin", None)
    if not isinstance(origin, str) or getattr(spec, "name", None) != name:
        return False
    return origin.startswith(_STANDARD_LIBRARY) or not _PACKAGE_FOLDERS.isdisjoint(PurePath(origin).parts)
