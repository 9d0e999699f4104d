"""What an author can do about a module that is missing."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from plugin_runtime.sources import PARENT_PACKAGE, SourceFolders

_OURS = frozenset({"supervisor", "gateway", "tests"})
_DISTRIBUTIONS = {
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "jwt": "pyjwt",
    "multipart": "python-multipart",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""What to install where the import name is not the distribution's."""


@dataclass(frozen=True)
class PluginHints:
    """For code that runs in a plugin's environment."""

    plugin: str
    folders: SourceFolders

    def of(self, missing: str) -> str:
        """What to do about the module ``missing``, "" where nothing is known."""
        root, _, rest = missing.partition(".")
        if root == PARENT_PACKAGE:
            return self._of_plugins(rest)
        if ignored := self._ignored_file(missing):
            return f"{ignored} exists, but is ignored: see .gitignore and manager.snapshot in config.json"
        if root in _OURS:
            return f"{root!r} is a package of xcore; plugins may import plugin_runtime only"
        if any(self.folders.copy_of(place) for place in _places(root)):
            return f"make {missing.replace('.', '/')}.py in the folder of the plugin, or correct the import"
        if rest and root in sys.modules:
            return f"{root!r} is installed, but has no {rest!r}: check its version in the plugin's pyproject.toml"
        # Without a pyproject.toml there, Poetry would climb to that of whatever project lies above.
        own = Path(self.folders.folder, "pyproject.toml").is_file()
        first = "" if own else "give it a pyproject.toml of its own, with fastapi if it needs that, and "
        return f"{first}run in the plugin's folder: poetry add {_DISTRIBUTIONS.get(root, root)}"

    def _of_plugins(self, name: str) -> str:
        plugin, _, module = name.partition(".")
        if plugin != self.plugin:
            return f"other plugins are other processes: call it over HTTP with plugin_runtime.client({plugin!r})"
        if ignored := self._ignored_file(module):
            return f"{ignored} exists, but is ignored: see .gitignore and manager.snapshot in config.json"
        return f"make {module.replace('.', '/')}.py in the folder of the plugin, or correct the import"

    def _ignored_file(self, module: str) -> Optional[str]:
        """The file of this module, where it exists in the plugin's folder but is not taken for code."""
        stem = module.replace(".", "/")
        names = (f"{stem}.py", f"{stem}/__init__.py", f"src/{stem}.py", f"src/{stem}/__init__.py")
        return next((name for name in names if Path(self.folders.folder, name).is_file()), None)


@dataclass(frozen=True)
class TaskHints:
    """For the module of a task. ``directory``: where it lies; ``plugin``: of the environment it runs in, if any."""

    directory: str = ""
    plugin: Optional[PluginHints] = None

    def of(self, missing: str) -> str:
        """What to do about the module ``missing``, "" where nothing is known."""
        root, _, rest = missing.partition(".")
        if self.directory and any(place.startswith(self.directory + os.sep) for place in _places(root)):
            return f"make {missing.replace('.', '/')}.py in the task directory, or correct the import"
        if self.plugin is not None:
            return self.plugin.of(missing)
        if root == PARENT_PACKAGE:
            plugin = rest.partition(".")[0] or "<name>"
            return f'a core task sees no plugin\'s code; to run in a plugin, write: "moduleDir": "plugins/{plugin}"'
        if root in _OURS:
            return f"{root!r} is a package of xcore; tasks may import plugin_runtime only"
        if rest and root in sys.modules:
            return f"{root!r} is installed, but has no {rest!r}: check its version in the base environment"
        distribution = _DISTRIBUTIONS.get(root, root)
        return (
            f"add {distribution} to the base environment (supervisor.base_environment in config.json), "
            "or let moduleDir name a plugin whose environment has it"
        )


def _places(package: str) -> list[str]:
    """Where an imported package looks for its modules."""
    return [str(place) for place in getattr(sys.modules.get(package), "__path__", ())]
