"""Import of a plugin's own code from a generation's copy, as if it came from the plugin's folder.

Below the plugin's folder a path hook takes the place of Python's own: it finds modules in the copy and gives them the
names of the real files (``__file__``, ``__path__``, tracebacks), so data files beside the code are the live ones and
late imports never mix generations. All the rest is Python's usual machinery: packages, namespace packages, sys.path in
its order, also where the plugin extends it. A file that is not in the copy cannot be imported.

The package ``plugins`` does not exist on disk for a plugin: it is made up here, and holds the plugin itself.

The finders do not derive from importlib.abc: they need not, and importing it takes a tenth of a guest's start.
"""

from __future__ import annotations

import linecache
import os
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from importlib.util import decode_source, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Optional

from plugin_runtime import shims

PARENT_PACKAGE = "plugins"
SEED = "seed"
"""Contract of a ``run.py``, as settings name it; anything else names an app."""


@dataclass(frozen=True)
class SourceFolders:
    """Where the plugin really lies, and the generation's copy of it, or one file and its copy. Absolute paths."""

    folder: str
    copy: str

    def copy_of(self, path: str) -> Optional[str]:
        """Where the copy of this file or folder is; None for anything outside the plugin's folder."""
        return _moved(path, self.folder, self.copy) or _moved(path, os.path.realpath(self.folder), self.copy)

    @classmethod
    def absolute(cls, folder: str, copy: str) -> SourceFolders:
        """Of paths that may be relative to the working directory as it is now."""
        return cls(os.path.abspath(folder), os.path.abspath(copy))  # noqa: PTH100 - strings

    def real(self, copied: str) -> str:
        """The real place of a file or folder of the copy."""
        return _moved(copied, self.copy, self.folder) or copied


def _moved(path: str, old: str, new: str) -> Optional[str]:
    if path == old:
        return new
    return new + path[len(old) :] if path.startswith(old + os.sep) else None


class GenerationLoader(SourceFileLoader):
    """Loads a module from the copy; ``path`` is the real file."""

    def __init__(self, fullname: str, path: str, folders: SourceFolders) -> None:
        super().__init__(fullname, path)
        self._folders = folders

    def get_data(self, path: str) -> bytes:
        # Also called for data files (pkgutil.get_data): those are read where they are.
        return super().get_data(self._place(path))

    def path_stats(self, path: str) -> dict[str, float]:
        return dict(super().path_stats(self._place(path)))

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        # Bytecode goes beside the copy: nothing is ever written into a plugin's folder.
        super().set_data(self._place(path), data, _mode=_mode)

    def exec_module(self, module: ModuleType) -> None:
        self._remember_lines()
        super().exec_module(module)

    def _place(self, path: str) -> str:
        is_code = path == self.path or path.endswith(".pyc")
        return (self._folders.copy_of(path) or path) if is_code else path

    def _remember_lines(self) -> None:
        """Let tracebacks show the lines that run, not those that have been saved since."""
        # linecache asks get_source() only where no file of that name exists. An entry without a time is never renewed.
        data = self.get_data(self.path)
        try:
            lines = decode_source(data).splitlines(keepends=True)
        except (SyntaxError, UnicodeDecodeError):
            return  # not Python; the import itself will say so
        linecache.cache[self.path] = (len(data), None, lines, self.path)


class FileLoader(GenerationLoader):
    """Loads the one file whose copy ``folders`` names, and keeps no bytecode: it has no folder of ours to lie in."""

    def path_stats(self, path: str) -> dict[str, float]:
        raise OSError(f"no bytecode is kept of {path}")  # what tells the import system to read the source


class GenerationFinder:
    """Finds modules of one folder in its copy; a path entry finder."""

    def __init__(self, folders: SourceFolders, copy: str) -> None:
        self._folders = folders
        self._copy = copy
        self._files = FileFinder(copy, (ExtensionFileLoader, EXTENSION_SUFFIXES), (SourceFileLoader, SOURCE_SUFFIXES))

    def find_spec(self, fullname: str, target: Optional[ModuleType] = None) -> Optional[ModuleSpec]:
        found = self._files.find_spec(fullname)
        if found is None:
            return None
        locations = found.submodule_search_locations
        real_locations = None if locations is None else [self._folders.real(entry) for entry in locations]
        if isinstance(found.loader, SourceFileLoader):
            real = self._folders.real(found.loader.path)
            loader = GenerationLoader(fullname, real, self._folders)
            return spec_from_file_location(fullname, real, loader=loader, submodule_search_locations=real_locations)
        # Extension modules stay as they are: their code is the file. Namespace packages have no loader.
        found.submodule_search_locations = real_locations
        return found

    def invalidate_caches(self) -> None:
        self._files.invalidate_caches()

    def iter_modules(self, prefix: str = "") -> Iterator[tuple[str, bool]]:
        """What pkgutil.iter_modules asks finders for."""
        for module in pkgutil.iter_modules([self._copy], prefix):
            yield module.name, module.ispkg


class PluginsPackageFinder:
    """Makes up the package ``plugins`` with one package in it: the plugin's own; a meta path finder."""

    def __init__(self, folders: SourceFolders, plugin: str) -> None:
        self._folders = folders
        self._plugin = plugin
        self._own = f"{PARENT_PACKAGE}.{plugin}"

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]] = None, target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        if fullname == PARENT_PACKAGE:
            return _namespace(fullname, [])
        if fullname == self._own:
            return self._own_package()
        if fullname.rpartition(".")[0] == PARENT_PACKAGE:
            raise ModuleNotFoundError(
                f"cannot import {fullname!r} in plugin {self._plugin!r}: every plugin lives in a process of its own; "
                f"call it over HTTP with plugin_runtime.client({_plugin_of(fullname)!r})",
                name=fullname,
            )
        return None

    def _own_package(self) -> Optional[ModuleSpec]:
        init = Path(self._folders.folder, "__init__.py")
        if not Path(self._folders.copy, "__init__.py").is_file():
            return _namespace(self._own, [self._folders.folder])
        return spec_from_file_location(
            self._own,
            init,
            loader=GenerationLoader(self._own, str(init), self._folders),
            submodule_search_locations=[self._folders.folder],
        )


def _plugin_of(module: str) -> str:
    return module.split(".")[1]


def _namespace(name: str, locations: list[str]) -> ModuleSpec:
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = locations
    return spec


def install(folders: SourceFolders, plugin: str, import_roots: Sequence[str] = ()) -> None:
    """Make the plugin's code importable: as ``plugins.<plugin>``, and top-level from the import roots.

    ``import_roots``: real folders, put first on sys.path. An app that has a package ``plugins`` of its own keeps it.
    """

    def hook(entry: str) -> GenerationFinder:
        copy = folders.copy_of(os.path.abspath(entry))  # noqa: PTH100 - Path would cost more than the look-up itself
        if copy is None:
            raise ImportError(f"{entry} is not in the folder of plugin {plugin!r}")
        return GenerationFinder(folders, copy)

    sys.path_hooks.insert(0, hook)
    _forget_finders_of(folders)
    sys.path[:0] = import_roots
    copies = [folders.copy_of(root) or root for root in import_roots]
    if not any(Path(copy, name).exists() for copy in copies for name in (PARENT_PACKAGE, f"{PARENT_PACKAGE}.py")):
        sys.meta_path.insert(0, PluginsPackageFinder(folders, plugin))


def _forget_finders_of(folders: SourceFolders) -> None:
    """Have the new hook asked for the plugin's folders.

    The finders of all other folders stay: a template has hundreds of file names in them, and to let go of these writes
    to memory that a forked process shares otherwise.
    """
    places = (folders.folder, os.path.realpath(folders.folder))
    for entry in list(sys.path_importer_cache):
        if any(_moved(entry, place, place) for place in places):
            del sys.path_importer_cache[entry]


def install_plugin(plugin: str, folders: SourceFolders, contract: str) -> None:
    """Make the plugin's code importable as its contract has it: an app's top-level modules too, a ``run.py``'s not.

    With a ``run.py`` go the modules of the founding system's host.
    """
    if contract == SEED:
        install(folders, plugin)
        shims.install()
    else:
        install(folders, plugin, import_roots(folders))


def import_roots(folders: SourceFolders) -> list[str]:
    """Where the top-level modules of an app lie: its folder, and ``src`` if there is one."""
    src = Path(folders.copy, "src")
    return [folders.folder, folders.real(str(src))] if src.is_dir() else [folders.folder]
