"""From "module:attribute" to the object of that name."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Optional


class EntryPointError(Exception):
    """There is no such object. ``problem`` and ``hint`` are for the message of whoever wanted it."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


@dataclass(frozen=True)
class EntryPoint:
    """One entry as its author wrote it. ``package``: that its module is in, "" for a top-level one."""

    text: str
    key: str
    """Where it is written."""
    example: str
    package: str = ""

    def load(self) -> Any:
        """Import the module and find the attribute, which may have dots.

        Raises:
            EntryPointError: there is no such module or attribute.
            BaseException: anything that is raised while the module is imported.
        """
        module_name, _, attribute = self.text.partition(":")
        if not (module_name and attribute):
            raise EntryPointError("it is not of the form module:attribute", f'write: {self.key} = "{self.example}"')
        return self._find(self._import(module_name), module_name, attribute)

    def _import(self, written: str) -> ModuleType:
        name = f"{self.package}.{written}" if self.package and not written.startswith(f"{self.package}.") else written
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not self._is_entry(error.name, name):
                raise
            file = name[len(self.package) :].lstrip(".").replace(".", "/") + ".py"
            place = "folder" if self.package else "folder or its src folder"
            hint = f"make {file} in the plugin's {place}, or correct the key {self.key}"
            raise EntryPointError(f"there is no module {error.name!r}", hint) from None

    def _is_entry(self, missing: Optional[str], name: str) -> bool:
        """Whether it is the entry's own module that is missing, or a package that it would be in."""
        return missing is not None and f"{name}.".startswith(f"{missing}.")

    def _find(self, module: ModuleType, module_name: str, attribute: str) -> Any:
        target: Any = module
        for name in attribute.split("."):
            if not hasattr(target, name):
                close = difflib.get_close_matches(name, [n for n in dir(target) if not n.startswith("_")])
                hint = f"did you mean {' or '.join(close)}?" if close else f"define {name} in {module_name}"
                raise EntryPointError(f"{module_name} has no attribute {attribute!r}", hint)
            target = getattr(target, name)
        return target
