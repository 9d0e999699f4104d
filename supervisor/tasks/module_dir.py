"""What ``moduleDir`` of a task's metadata says: whose environment it runs in. Text only; no file is read."""

import ast
import os
import warnings
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

KEY = "moduleDir"
CORE = "core"
"""Its usual value where a task belongs to no plugin; any other that names none means the same."""


def plugin_of(module_dir: str, plugins_directory: Path, project: Path) -> str | None:
    """The plugin that a task belongs to by its ``moduleDir``; None: to none, it is a core task.

    A plugin's is ``plugins/<name>`` or below it, wherever plugins really lie, and any path below that directory;
    relative ones start at ``project``.
    """
    if module_dir in {"", CORE}:  # also where plugins lie in the project's folder itself
        return None
    parts = PurePosixPath(os.path.normpath(module_dir)).parts
    if parts[:1] == ("plugins",):
        return parts[1] if len(parts) > 1 else None
    path = Path(os.path.normpath(project / module_dir))
    if path == plugins_directory or not path.is_relative_to(plugins_directory):
        return None
    return path.relative_to(plugins_directory).parts[0]


def literal_module_dir(source: str) -> str | None:
    """The ``moduleDir`` that is written in a module's metadata, None where it is not there in so many words.

    A hint which environment to import the module in; what it is in the end, only importing it can tell. A quarter of
    a second for the largest file there may be; to be called in the event loop's thread, since it changes the filters
    of warnings for a moment, which are those of all threads.
    """
    if KEY not in source:
        return None
    tree = _parsed(source)
    if tree is None:
        return None
    return next((text for statement in tree.body for text in _in_statement(statement)), None)


def _parsed(source: str) -> ast.Module | None:
    # The parser would warn of the author's backslashes in our log; they are told of in the task's own.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # MemoryError: nested too deeply
            return None


def _in_statement(statement: ast.stmt) -> Iterator[str]:
    """Of ``metadata = ...`` and ``metadata["moduleDir"] = ...``, at the top of the module."""
    match statement:
        case ast.Assign(targets=[ast.Name("metadata")], value=value):
            yield from _in_expression(value)
        case ast.AnnAssign(target=ast.Name("metadata"), value=ast.expr() as value):
            yield from _in_expression(value)
        case ast.Assign(
            targets=[ast.Subscript(ast.Name("metadata"), ast.Constant("moduleDir"))],
            value=ast.Constant(str() as text),
        ):
            yield text


def _in_expression(expression: ast.expr) -> Iterator[str]:
    """Of dicts and calls such as ``dict(moduleDir=...)``, also within others."""
    for node in ast.walk(expression):
        match node:
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == KEY:
                        yield from _text(value)
            case ast.keyword("moduleDir", value):
                yield from _text(value)


def _text(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
