"""From an exception to what the author of a plugin needs to read: what, where, and what to do about it."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from plugin_runtime.protocol import Failed, Phase
from plugin_runtime.sources import PARENT_PACKAGE, SourceFolders

_MESSAGE_LIMIT = 4000
"""Characters; some libraries put whole documents into their exceptions."""
_TRACEBACK_LIMIT = 20_000
"""Characters; the end of a traceback is what matters."""
_OWN_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep  # noqa: PTH100, PTH120 - compared as strings
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


class StartFailedError(Exception):
    """The plugin cannot be served; carries everything found wrong with it."""

    def __init__(self, errors: Sequence[Failed]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = list(errors)

    @property
    def failed(self) -> Failed:
        """All of it as one message: the first error, and what the others say."""
        first = self.errors[0]
        return Failed(
            phase=first.phase,
            type=first.type,
            message="\n".join(error.message for error in self.errors),
            hint="\n".join(error.hint for error in self.errors if error.hint),
            traceback=first.traceback,
            location=first.location,
            permanent=any(error.permanent for error in self.errors),
        )


@dataclass(frozen=True)
class FailureReport:
    """Turns exceptions of one plugin's code into messages."""

    plugin: str
    folders: SourceFolders

    def of(self, error: BaseException, phase: Phase) -> Failed:
        """Describe an exception that the plugin's code raised in this phase.

        A missing module and a syntax error stay until a file or the environment changes; any other error may be
        the weather, and another start may succeed.
        """
        return Failed(
            phase=phase.value,
            type=type(error).__name__,
            message=f"cannot start plugin {self.plugin!r}: {_what(error)}",
            hint=self._hint(error),
            traceback=self._traceback(error),
            location=self._location(error),
            permanent=isinstance(error, (SyntaxError, ImportError)),
        )

    def of_lifespan(self, error: BaseException) -> Failed:
        """Describe a start-up that failed; ``__cause__``, where there is one, is what the app raised.

        Never permanent: databases and other services come back.
        """
        failed = self.of(error.__cause__ or error, Phase.LIFESPAN)
        return replace(failed, permanent=False)

    def _location(self, error: BaseException) -> str:
        """The innermost line of the plugin's own code."""
        if isinstance(error, SyntaxError) and error.filename and self._relative(error.filename):
            return f"{self._relative(error.filename)}:{error.lineno}"
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if name := self._relative(frame.filename):
                return f"{name}:{frame.lineno}"
        return ""

    def _relative(self, filename: str) -> str:
        """Name of a file below the plugin's folder; "" for any other."""
        copied = self.folders.copy_of(filename)
        return os.path.relpath(copied, self.folders.copy) if copied else ""

    def _traceback(self, error: BaseException) -> str:
        described = traceback.TracebackException.from_exception(error)
        for part in _chain(described):
            part.stack[:] = [frame for frame in part.stack if not _is_machinery(frame.filename)]
        return _sendable("".join(described.format())[-_TRACEBACK_LIMIT:])

    def _hint(self, error: BaseException) -> str:
        if not isinstance(error, ModuleNotFoundError) or not error.name:
            return ""
        root, _, rest = error.name.partition(".")
        if root == PARENT_PACKAGE:
            return self._hint_for_plugins(rest)
        if missing := self._ignored_file(error.name):
            return f"{missing} exists, but is ignored: see .gitignore and manager.snapshot in config.json"
        if root in _OURS:
            return f"{root!r} is a package of xcore; plugins may import plugin_runtime only"
        if self._is_own_package(root):
            return f"make {error.name.replace('.', '/')}.py in the folder of the plugin, or correct the import"
        if rest and root in sys.modules:
            return f"{root!r} is installed, but has no {rest!r}: check its version in the plugin's pyproject.toml"
        distribution = _DISTRIBUTIONS.get(root, root)
        # Without a pyproject.toml there, Poetry would climb to that of whatever project lies above.
        own = Path(self.folders.folder, "pyproject.toml").is_file()
        first = "" if own else "give it a pyproject.toml of its own, with fastapi if it needs that, and "
        return f"{first}run in the plugin's folder: poetry add {distribution}"

    def _hint_for_plugins(self, name: str) -> str:
        plugin, _, module = name.partition(".")
        if plugin != self.plugin:
            return "other plugins are other processes: call them over HTTP, under their prefixes"
        if missing := self._ignored_file(module):
            return f"{missing} exists, but is ignored: see .gitignore and manager.snapshot in config.json"
        return f"make {module.replace('.', '/')}.py in the folder of the plugin, or correct the import"

    def _is_own_package(self, root: str) -> bool:
        return any(self.folders.copy_of(str(entry)) for entry in getattr(sys.modules.get(root), "__path__", ()))

    def _ignored_file(self, module: str) -> Optional[str]:
        """The file of this module, where it exists in the plugin's folder but is not taken for code."""
        stem = module.replace(".", "/")
        names = (f"{stem}.py", f"{stem}/__init__.py", f"src/{stem}.py", f"src/{stem}/__init__.py")
        return next((name for name in names if Path(self.folders.folder, name).is_file()), None)


def _what(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it ended the process with sys.exit({error.code!r})"
    # Unlike str(error), this survives an exception whose __str__ raises.
    text = str(traceback.TracebackException(type(error), error, None))[:_MESSAGE_LIMIT]
    return _sendable(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _sendable(text: str) -> str:
    """Names of files that are not UTF-8 appear as lone surrogates, which no message can carry."""
    return text.encode("utf-8", "backslashreplace").decode()


def _chain(described: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    yield described
    for part in (described.__cause__, described.__context__, *(getattr(described, "exceptions", None) or ())):
        if part is not None:
            yield from _chain(part)


def _is_machinery(filename: str) -> bool:
    """Frames of ours and of the import system tell an author nothing."""
    return filename.startswith((_OWN_FOLDER, "<frozen importlib")) or filename == importlib.__file__
