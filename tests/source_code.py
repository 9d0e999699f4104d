"""Our packages as syntax trees: what each module imports, where, and what it calls."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("plugin_runtime", "supervisor", "gateway")

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
CLASSES = (ast.ClassDef,)


@dataclass(frozen=True)
class Import:
    """One imported module. ``names``: what is taken from it; ``deferred``: inside a function."""

    module: str
    names: tuple[str, ...]
    deferred: bool

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    @property
    def modules(self) -> set[str]:
        """``from package import thing`` may import a module of the package as well."""
        return {self.module, *(f"{self.module}.{name}" for name in self.names)}


@dataclass(frozen=True)
class Module:
    """One file of a package; ``name`` as it is imported."""

    path: Path
    name: str
    text: str
    tree: ast.Module

    @cached_property
    def imports(self) -> list[Import]:
        return list(_imports(self.tree, deferred=False))

    @cached_property
    def imported(self) -> set[str]:
        """Dotted names of all that is imported, modules and what is taken from them."""
        return {name for found in self.imports for name in found.modules}

    @cached_property
    def called(self) -> set[str]:
        """Dotted names of everything that is called, as they are written: ``os.fork``, ``Builder``, ``Store.open``."""
        return {_dotted(node.func) for node in ast.walk(self.tree) if isinstance(node, ast.Call)}

    @cached_property
    def strings(self) -> set[str]:
        """String literals that are not docstrings."""
        docstrings = {id(node.value) for node in ast.walk(self.tree) if isinstance(node, ast.Expr)}
        constants = (node for node in ast.walk(self.tree) if isinstance(node, ast.Constant))
        return {node.value for node in constants if isinstance(node.value, str) and id(node) not in docstrings}

    @cached_property
    def docstring(self) -> str:
        return ast.get_docstring(self.tree) or ""

    def lengths(self, *kinds: type[ast.AST]) -> Iterator[tuple[str, int]]:
        """Name and number of lines of every function or class."""
        for node in ast.walk(self.tree):
            if isinstance(node, kinds):
                yield f"{self.name}.{node.name}", node.end_lineno - node.lineno + 1


@cache
def modules(package: str) -> tuple[Module, ...]:
    """Every module of a package; migrations are left out: they are history, not code that is kept up."""
    files = sorted((ROOT / package).rglob("*.py"))
    return tuple(_read(file) for file in files if "versions" not in file.parts)


def all_modules() -> list[Module]:
    return [module for package in PACKAGES for module in modules(package)]


def _read(file: Path) -> Module:
    parts = file.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    text = file.read_text()
    return Module(file, name, text, ast.parse(text))


def _imports(node: ast.AST, *, deferred: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, (), deferred) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "relative imports hide who imports whom"
            yield Import(child.module, tuple(alias.name for alias in child.names), deferred)
        else:
            yield from _imports(child, deferred=deferred or isinstance(child, FUNCTIONS))


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""
