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
        if hint := self._of_own_file(missing):
            return hint
        if root in _OURS:
            return f"{root!r} is a package of xcore; plugins may import plugin_runtime only"
        if any(self.folders.copy_of(place) for place in _places(root)):
            return f"make {missing.replace('.', '/')}.py in the folder of the plugin, or correct the import"
        if rest and root in sys.modules:
            return f"{root!r} is installed, but has no {rest!r}: check its version in the plugin's pyproject.toml"
        distribution = _DISTRIBUTIONS.get(root, root)
        if Path(self.folders.folder, "pyproject.toml").is_file():
            return how_to_add(distribution)
        # Without a pyproject.toml there, Poetry would climb to that of whatever project lies above.
        return (
            f'give the plugin a pyproject.toml with dependencies = ["{distribution}"] under [project], with "fastapi" '
            f"too if it needs that; once that is there, it is also had by: poetry add {distribution}"
        )

    def _of_plugins(self, name: str) -> str:
        plugin, _, module = name.partition(".")
        if plugin != self.plugin:
            return f"other plugins are other processes: call it over HTTP with plugin_runtime.client({plugin!r})"
        if hint := self._of_own_file(module):
            return hint
        return f"make {module.replace('.', '/')}.py in the folder of the plugin, or correct the import"

    def _of_own_file(self, module: str) -> str:
        """What to do where the module is a file or folder of the plugin, "" where it is none."""
        if not module:
            return ""
        stem = module.replace(".", "/")
        for place in (stem, f"src/{stem}"):
            if file := _file_of(place, self.folders.copy) or _folder_of(place, self.folders.copy):
                return f"{file} is in the plugin's package: write {self._import_of(place.replace('/', '.'))}"
            if file := _file_of(place, self.folders.folder):
                return f"{file} exists, but is ignored: see .gitignore and manager.snapshot in config.json"
        return ""

    def _import_of(self, module: str) -> str:
        relative = f"from .{module} import ..."
        if not self.plugin.isidentifier():
            return relative
        return f"{relative}, or in a subfolder or a task: from {PARENT_PACKAGE}.{self.plugin}.{module} import ..."


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


def how_to_add(distribution: str) -> str:
    """How a plugin that has a ``pyproject.toml`` gets a package."""
    return (
        f'add "{distribution}" to dependencies in the plugin\'s pyproject.toml, '
        f"or run in its folder: poetry add {distribution}"
    )


def _file_of(place: str, top: str) -> Optional[str]:
    return next((name for name in (f"{place}.py", f"{place}/__init__.py") if Path(top, name).is_file()), None)


def _folder_of(place: str, top: str) -> Optional[str]:
    """A folder of modules without ``__init__.py``."""
    return f"{place}/" if any(Path(top, place).glob("*.py")) else None


def _places(package: str) -> list[str]:
    """Where an imported package looks for its modules."""
    return [str(place) for place in getattr(sys.modules.get(package), "__path__", ())]
