"""From an exception to what the author of a plugin or task needs to read: what, where, and what to do about it."""

from __future__ import annotations

import importlib
import linecache
import os
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from plugin_runtime.excerpt import excerpt
from plugin_runtime.gateway_protocol import PluginTrouble
from plugin_runtime.import_hints import PluginHints
from plugin_runtime.protocol import Failed, Phase
from plugin_runtime.sources import SourceFolders

_MESSAGE_LIMIT = 4000
"""Characters; some libraries put whole documents into their exceptions."""
_TRACEBACK_LIMIT = 20_000
"""Characters; the end of a traceback is what matters."""
_REQUEST_TRACEBACK_LIMIT = 7000
_MOST_FRAMES = 7
_FRAME_LIMIT = 500
_WORD_LIMIT = 300
"""Characters of what is told of a request, and frames of its traceback: with _MESSAGE_LIMIT and the longest excerpt
less than 64 KiB, were each of them four bytes."""
_OS_MODULE = frozenset({os.__file__, "<frozen os>"})
"""How tracebacks name the module os."""
_OWN_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep  # noqa: PTH100, PTH120 - compared as strings


class StartFailedError(Exception):
    """The plugin or task cannot be started; carries everything found wrong with it."""

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
            excerpt=first.excerpt,
            permanent=any(error.permanent for error in self.errors),
        )


class Hints(Protocol):
    """Knows what can be done about a missing module."""

    def of(self, missing: str) -> str:
        """Called with the name of the module; "" where nothing is known."""


@dataclass(frozen=True)
class FailureReport:
    """Turns exceptions of one author's code into messages."""

    subject: str
    """What cannot start: "plugin 'hello'"."""
    code: tuple[SourceFolders, ...]
    """Where the author's own files are."""
    hints: Hints
    variables: str = "the environment of xcore"
    """Where its environment variables are set, for people."""

    @classmethod
    def of_plugin(cls, plugin: str, folders: SourceFolders) -> FailureReport:
        variables = "the .env of the plugin, or under env in [tool.xcore] of its pyproject.toml"
        return cls(f"plugin {plugin!r}", (folders,), PluginHints(plugin, folders), variables)

    def of(self, error: BaseException, phase: Phase) -> Failed:
        """Describe an exception that the author's code raised in this phase.

        A missing module and a syntax error stay until a file or the environment changes; any other error may be
        the weather, and another start may succeed.
        """
        file, line = self._place(error)
        return Failed(
            phase=phase.value,
            type=type(error).__name__,
            message=f"cannot start {self.subject}: {_what(error)}",
            hint=sendable(self._hint(error)),
            traceback=author_traceback(error),
            location=sendable(f"{self._relative(file)}:{line}") if file else "",
            excerpt=[sendable(shown) for shown in excerpt(linecache.getlines(file), line)],
            permanent=isinstance(error, (SyntaxError, ImportError)),
        )

    def of_lifespan(self, error: BaseException) -> Failed:
        """Describe a start-up that failed; ``__cause__``, where there is one, is what the app raised.

        Never permanent: databases and other services come back.
        """
        failed = self.of(error.__cause__ or error, Phase.LIFESPAN)
        return replace(failed, permanent=False, hint=failed.hint or getattr(error, "hint", ""))

    def of_request(self, error: BaseException, plugin: str) -> PluginTrouble:
        """Describe what the app of ``plugin`` raised instead of an answer; fits into one frame of the link."""
        file, line = self._place(error)
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if self._relative(frame.filename)]
        return PluginTrouble(
            plugin,
            type=_cut(type(error).__name__),
            message=exception_line(error),
            hint=_cut(self._hint(error)),
            location=_cut(f"{self._relative(file)}:{line}") if file else "",
            excerpt=[sendable(shown) for shown in excerpt(linecache.getlines(file), line)],
            frames=[sendable(frame.rstrip()[:_FRAME_LIMIT]) for frame in traceback.format_list(own[-_MOST_FRAMES:])],
            traceback=author_traceback(error)[-_REQUEST_TRACEBACK_LIMIT:],
        )

    def _hint(self, error: BaseException) -> str:
        if isinstance(error, ModuleNotFoundError):
            return self.hints.of(error.name) if error.name else ""
        if _is_missing_variable(error):
            return f"set {error.args[0]} in {self.variables}"
        if isinstance(error, FileNotFoundError) and _is_relative(error.filename):
            return f"{error.filename!r} was looked for in {os.getcwd()}; name files by their place beside __file__"  # noqa: PTH109 - a string
        return ""

    def _place(self, error: BaseException) -> tuple[str, int]:
        """File and line of the innermost line of the author's own code; "" and 0 where there is none."""
        if isinstance(error, SyntaxError) and error.filename and self._relative(error.filename):
            return error.filename, error.lineno or 0
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if self._relative(frame.filename):
                return frame.filename, frame.lineno or 0
        return "", 0

    def _relative(self, filename: str) -> str:
        """Name of a file of the author's; "" for any other."""
        for folders in self.code:
            if copied := folders.copy_of(filename):
                return os.path.relpath(copied, folders.copy)
        return ""


def exception_line(error: BaseException) -> str:
    """What was raised in one line, "ValueError: no such file", cut to what people read."""
    # Unlike str(error), this survives an exception whose __str__ raises.
    text = str(traceback.TracebackException(type(error), error, None))[:_MESSAGE_LIMIT]
    return sendable(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def author_traceback(error: BaseException) -> str:
    """What Python prints, without frames of ours, cut to its last _TRACEBACK_LIMIT characters."""
    described = traceback.TracebackException.from_exception(error)
    for part in _chain(described):
        part.stack[:] = [frame for frame in part.stack if not _is_machinery(frame.filename)]
    return sendable("".join(described.format())[-_TRACEBACK_LIMIT:])


def sendable(text: str) -> str:
    """Names of files that are not UTF-8 appear as lone surrogates, which no message can carry."""
    return text.encode("utf-8", "backslashreplace").decode()


def _cut(text: str) -> str:
    return sendable(text[:_WORD_LIMIT])


def _what(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it ended the process with sys.exit({error.code!r})"
    return exception_line(error)


def _is_missing_variable(error: BaseException) -> bool:
    """Whether ``os.environ`` was asked for what is not in it."""
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, KeyError) and bool(frames) and frames[-1].filename in _OS_MODULE


def _is_relative(filename: object) -> bool:
    return isinstance(filename, str) and not os.path.isabs(filename)  # noqa: PTH117 - a string


def _chain(described: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    yield described
    for part in (described.__cause__, described.__context__, *(getattr(described, "exceptions", None) or ())):
        if part is not None:
            yield from _chain(part)


def _is_machinery(filename: str) -> bool:
    """Frames of ours and of the import system tell an author nothing."""
    return filename.startswith((_OWN_FOLDER, "<frozen importlib")) or filename == importlib.__file__
