"""Modules that were seen to be imported: in order, bounded, and by the packages that they belong to. Pure."""

import sys
from collections.abc import Iterable, Sequence

from plugin_runtime.template_protocol import LONGEST_NAME, MOST_MODULES


class ModuleList:
    """Of one template, or of one plugin."""

    def __init__(self, modules: Iterable[str]) -> None:
        self.names: list[str] = []
        """To be imported, in this order."""
        self.left_out: set[str] = set()
        """Known, and not to be imported."""
        self.add(modules)

    @property
    def packages(self) -> frozenset[str]:
        """Names of all packages among them that are not Python's own."""
        return frozenset(map(_package, {*self.names, *self.left_out})) - sys.stdlib_module_names

    def add(self, modules: Iterable[str]) -> list[str]:
        """Return what is new of them. Whatever cannot be a module's name, or is too much, is passed over."""
        known = self.left_out.union(self.names)
        new = [name for name in dict.fromkeys(modules) if name not in known and _is_name(name)]
        new = new[: max(0, MOST_MODULES - len(self.names))]
        self.names += new
        return new

    def of_same_packages(self, modules: Sequence[str]) -> list[str]:
        """Those that bring no package which is not there already."""
        allowed = self.packages | sys.stdlib_module_names
        return [name for name in modules if _package(name) in allowed]

    def leave_out(self, module: str) -> None:
        """Import this one no more, whoever asks for it."""
        self.names.remove(module)
        self.left_out.add(module)


def _package(module: str) -> str:
    return module.partition(".")[0]


def _is_name(module: str) -> bool:
    return len(module) <= LONGEST_NAME and all(part.isidentifier() for part in module.split("."))
