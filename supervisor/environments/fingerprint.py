"""When two environments are the same one. Pure.

The fingerprint covers the dependency tables of pyproject.toml and the lock, not the rest of the file: a new version
number or description rebuilds nothing. The tables count beside the lock as well, so that a dependency added without
"poetry lock" is reported as a stale lock instead of being missing at run time.
"""

import hashlib
import json

from supervisor.environments.environment import Interpreter
from supervisor.environments.project import Project

_FORMAT = 1
"""Raised when the way of building changes so much that environments built before must not be used."""
_LENGTH = 16
"""Hex digits: short enough for paths and logs, and far from any chance of two being equal."""


def fingerprint(project: Project, interpreter: Interpreter) -> str:
    """Name of the environment that ``project`` gets on ``interpreter``."""
    content = {
        "format": _FORMAT,
        "interpreter": [str(interpreter.path), interpreter.version],
        "dependencies": project.dependency_tables,
        "lock": project.lock,
    }
    # TOML knows dates, JSON does not; their text is as good.
    canonical = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()[:_LENGTH]
