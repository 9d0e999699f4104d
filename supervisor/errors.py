"""Errors of the supervisor.

    XcoreError
    +-- ConfigurationError      config.json, environment variables, dotenv: the operator's to mend
    +-- PluginInvalidError      a plugin's manifest or code: its author's to mend
    +-- PluginRefusedError      its name or prefix is not to be had
    +-- EnvironmentBuildError   an environment cannot be built
        +-- BuildInterruptedError   by no fault of what is to be installed; may heal by itself
    +-- DiskFullError           no room for what a plugin is served from; likewise
    +-- OutOfResourcesError     the machine lacks descriptors, memory, a disk that answers; likewise
    +-- SpawnError              the operating system did not start a process
    +-- StateFolderLockedError  another supervisor, or the guard of one, works on the same state folder
    +-- NotRunningError         no supervisor answers on the command socket
    +-- UnknownNameError        no such plugin, task, job, token
    +-- ConflictError           the object's present state does not allow it
    +-- TookTooLongError        begun, but not done within the time that the caller gave
    +-- StoreError              the manager database
        +-- StoreUnavailableError   locked, away, full: may heal by itself
        +-- StoreCorruptError       not a database of ours, damaged, or newer than this program

Each takes fields and builds its own message, "cannot <verb> <object>: <cause>"; ``hint`` says what to do where that is
known. An error type is raised by the adapter that knows the cause, and foreign errors are translated there, once.
"""

from collections.abc import Sequence
from pathlib import Path


class XcoreError(Exception):
    """Root of all errors that are shown to people as one message, without a traceback."""

    status = 500
    """HTTP status that fits."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint


class ConfigurationError(XcoreError):
    """``source``: file or variable; ``key``: dotted path, "" for the whole file."""

    status = 422

    def __init__(self, source: str, key: str, problem: str, *, hint: str = "") -> None:
        super().__init__(f"{source}: {key}: {problem}" if key else f"{source}: {problem}", hint=hint)
        self.source = source
        self.key = key
        self.problem = problem


class PluginInvalidError(XcoreError):
    """``place``: file and key, as the author would look for it; ``location``: file and line, where that is known."""

    status = 422

    def __init__(
        self,
        plugin: str,
        place: str,
        problem: str,
        *,
        hint: str = "",
        location: str = "",
        excerpt: Sequence[str] = (),
    ) -> None:
        """``excerpt``: the line of ``location`` and its neighbours."""
        super().__init__(f"plugin {plugin!r}: {place}: {problem}", hint=hint)
        self.plugin = plugin
        self.place = place
        self.problem = problem
        self.location = location
        self.excerpt = list(excerpt)


class PluginRefusedError(XcoreError):
    """The plugin may be fine, but cannot be served under what it claims."""

    status = 409

    def __init__(self, plugin: str, problem: str, *, hint: str = "") -> None:
        super().__init__(f"plugin {plugin!r} refused: {problem}", hint=hint)
        self.plugin = plugin
        self.problem = problem


class EnvironmentBuildError(XcoreError):
    """``log_tail``: the installer's last lines."""

    def __init__(self, name: str, problem: str, *, log_tail: list[str] | None = None, hint: str = "") -> None:
        super().__init__(f"cannot build the environment of {name!r}: {problem}", hint=hint)
        self.name = name
        self.problem = problem
        self.log_tail = log_tail or []


class BuildInterruptedError(EnvironmentBuildError):
    """The installer was killed, a file system is full, the index is away; worth another try."""


class DiskFullError(XcoreError):
    """Something could not be written since a file system is full; worth another try."""

    status = 507


class OutOfResourcesError(XcoreError):
    """The machine could not do what was asked of it: nobody's fault who wrote a plugin, and worth another try."""

    status = 503


class SpawnError(XcoreError):
    """``program``: the first word of the command line."""

    def __init__(self, child: str, program: str, cause: OSError) -> None:
        super().__init__(f"cannot start {child!r} with {program}: {cause.strerror or cause}")
        self.child = child
        self.program = program


class ReplacementError(XcoreError):
    """``what``: a process that was to be replaced, and whose successor did not become ready."""

    status = 409

    def __init__(self, what: str, why: str, *, see: str = "its log") -> None:
        """``see``: what tells more."""
        super().__init__(f"cannot replace {what}: {why}", hint=f"the one before goes on serving; see {see}")


class StateFolderLockedError(XcoreError):
    """Two supervisors on one state folder would fight over every process.

    ``by_guard``: it is the guard of a dead one that holds it, for the few seconds in which it ends what that one left.
    """

    status = 409

    def __init__(self, folder: Path, holder: int | None, *, by_guard: bool = False) -> None:
        by = f" (pid {holder})" if holder else ""
        if by_guard:
            super().__init__(
                f"cannot use state folder {folder}: the guard{by} of a dead supervisor is still ending its processes",
                hint="try again; its log, logs/guard.log, tells which",
            )
        else:
            super().__init__(
                f"cannot use state folder {folder}: another supervisor{by} runs on it",
                hint="stop it with 'xcore down', or set supervisor.state_dir to another folder",
            )
        self.folder = folder
        self.holder = holder
        self.by_guard = by_guard


class NotRunningError(XcoreError):
    """The command socket is missing or nobody listens on it."""

    status = 503

    def __init__(self, socket: Path) -> None:
        super().__init__(f"no supervisor answers on {socket}", hint="start it with 'xcore up'")
        self.socket = socket


class UnknownNameError(XcoreError):
    """``kind``: plugin, task, job, token, operation; ``meant``: one of the known names that is most like it."""

    status = 404

    def __init__(self, kind: str, name: str, known: list[str] | None = None, meant: str | None = None) -> None:
        hint = f"known: {', '.join(sorted(known))}" if known else ""
        hint = f"did you mean {meant!r}?" if meant else hint
        super().__init__(f"no {kind} named {name!r}", hint=hint)
        self.kind = kind
        self.name = name


class ConflictError(XcoreError):
    """Right in itself, but not now."""

    status = 409


class InvalidValueError(XcoreError):
    """Somebody asked for something that there cannot be."""

    status = 422

    def __init__(self, what: str, problem: str, *, hint: str = "") -> None:
        super().__init__(f"{what}: {problem}", hint=hint)


class TookTooLongError(XcoreError):
    """What was begun goes on; only the waiting is over. Seconds."""

    status = 504

    def __init__(self, what: str, seconds: float, *, see: str = "") -> None:
        """``see``: what tells how it goes on."""
        follow = f"see {see}" if see else "look at its state"
        super().__init__(f"{what} is not done after {seconds:g} s", hint=f"it goes on; {follow}")


class StoreError(XcoreError):
    """The manager database did not do what was asked; nothing of the transaction remains."""

    status = 503


class StoreUnavailableError(StoreError):
    """Locked, out of reach or out of space; worth another try."""


class StoreCorruptError(StoreError):
    """Left untouched for the operator: never overwritten, never repaired behind their back."""
