"""Which modules of this process belong to Python or its environment: a template may import them before any plugin."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from itertools import takewhile
from operator import ne
from pathlib import PurePath
from typing import Optional

from plugin_runtime.template_protocol import LONGEST_NAME, MOST_MODULES

_PACKAGE_FOLDERS = frozenset({"site-packages", "dist-packages"})
_STANDARD_LIBRARY = os.path.join(os.path.dirname(os.__file__), "")  # noqa: PTH118, PTH120 - compared as strings
_OURS = "plugin_runtime"
_ATTEMPTS = 100
"""To list what other threads add to; one takes microseconds."""

_last_preloaded = ""


def remember_preloaded() -> None:
    """Count what is imported by now as the template's. To be called before a fork; holds in what is forked."""
    global _last_preloaded  # noqa: PLW0603 - a fact about the process, as sys.modules is
    _last_preloaded = next(reversed(sys.modules))


def modules_imported_since() -> list[str]:
    """Installed modules that the template, if this process has one, did not bring along, in the order of import.

    Raises:
        RuntimeError: other threads import so much that they cannot be listed.
    """
    since = {name: sys.modules.get(name) for name in reversed(_names_since())}
    return installed(since)[:MOST_MODULES]


def _names_since() -> list[str]:
    # From the end: to look at a module writes to it (its reference count), and so to memory that is shared until then.
    for _ in range(_ATTEMPTS):
        with suppress(RuntimeError):  # another thread has imported something meanwhile
            return list(takewhile(partial(ne, _last_preloaded), reversed(sys.modules)))
    raise RuntimeError("cannot list the imported modules: other threads go on importing")


def installed(modules: Mapping[str, object]) -> list[str]:
    """Names among these that an import brings again and that an installer or Python itself put there.

    Without what is built into the interpreter, without namespace packages, and without modules that somebody entered
    under a name of their own: nothing of them takes time.
    """
    return [name for name, module in modules.items() if _is_tellable(name) and _is_installed(name, module)]


def _is_tellable(name: str) -> bool:
    parts = name.split(".")
    return len(name) <= LONGEST_NAME and parts[0] != _OURS and all(part.isidentifier() for part in parts)


def _is_installed(name: str, module: object) -> bool:
    spec = _spec(module)
    origin = getattr(spec, "origin", None)
    if not isinstance(origin, str) or getattr(spec, "name", None) != name:
        return False
    return origin.startswith(_STANDARD_LIBRARY) or not _PACKAGE_FOLDERS.isdisjoint(PurePath(origin).parts)


def _spec(module: object) -> Optional[object]:
    # Past the module's own ways to answer: a lazy one would be imported now, and others run any code.
    try:
        attributes: dict[str, object] = object.__getattribute__(module, "__dict__")
        return attributes.get("__spec__")
    except AttributeError:  # sys.modules may hold anything
        return None
