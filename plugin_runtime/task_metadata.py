"""What the module of a task says of itself: ``metadata`` with its jobs, and ``service_main``; read and checked.

The two tables of keys are documented in docs/reference/tasks.md; a test holds the page to them.
"""

from __future__ import annotations

import difflib
import json
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Optional

import msgpack

from plugin_runtime.failure import sendable
from plugin_runtime.job_declaration import DeclaredJob, JobReader, accepts
from plugin_runtime.protocol import Failed, Phase
from plugin_runtime.task_protocol import TaskDescription
from plugin_runtime.wire import encode

SERVICE_MAIN = "service_main"
CON = "con"
REQUIRED_KEYS: Mapping[str, str] = {
    "type": "service",
    "moduleDir": "core",
    "description": "what it is there for",
    "version": "1.0.0",
    "author": "your name",
}
"""With an example of each."""
KEYS = (*REQUIRED_KEYS, "title", CON)
"""All others are the author's own."""
_TAKEN_FOR_CON = ("con", "cons", "cron", "crons", "job", "jobs", "schedule", "schedules", "scheduler")
"""What authors write in place of it."""

_TOO_LARGE = "it is larger than a message can be: keep data in files"


@dataclass(frozen=True)
class TaskContents:
    """A task whose module is imported. ``description.errors`` empty means that it may be run."""

    description: TaskDescription
    functions: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    """Those of its jobs by their names."""
    service_main: Optional[Callable[[Any], Any]] = None


def read(module: ModuleType, task: str, file: str) -> TaskContents:
    """Read all of it, and collect everything that is wrong. ``file``: its name, for people."""
    return _Reader(module, task, file).read()


def breach(task: str, file: str, problem: str, hint: str) -> Failed:
    """One thing that is wrong with the module of a task."""
    return Failed(
        phase=Phase.MANIFEST.value,
        type="MetadataInvalid",
        message=sendable(f"cannot load task {task!r}: {file}: {problem}"),
        hint=sendable(hint),
        location=sendable(file),
        permanent=True,
    )


class _Reader:
    """Goes through one module and collects what is wrong with it."""

    def __init__(self, module: ModuleType, task: str, file: str) -> None:
        self._module = module
        self._task = task
        self._file = file
        self._errors: list[Failed] = []

    def read(self) -> TaskContents:
        service_main = self._service_main()
        metadata = self._metadata()
        declared = self._jobs(metadata.get(CON), has_service=service_main is not None)
        self._check_purpose(metadata)
        description = TaskDescription(
            title=self._text(metadata, "title", self._task),
            type=self._required(metadata, "type"),
            module_dir=self._required(metadata, "moduleDir"),
            description=self._required(metadata, "description"),
            version=self._required(metadata, "version"),
            author=self._required(metadata, "author"),
            meta_file=self._others(metadata),
            has_service=service_main is not None,
            jobs=[job.declaration for job in declared],
            errors=self._errors,
        )
        return TaskContents(
            self._sendable(description),
            {job.declaration.name: job.function for job in declared},
            service_main,
        )

    def _wrong(self, problem: str, hint: str) -> None:
        self._errors.append(breach(self._task, self._file, problem, hint))

    def _check_purpose(self, metadata: Mapping[Any, Any]) -> None:
        """Something has to be run; a list of jobs under another name never would be, beside a service neither."""
        if metadata.get(CON):
            return
        idle = not hasattr(self._module, SERVICE_MAIN)
        for key, value in metadata.items():
            if isinstance(key, str) and key.lower() in _TAKEN_FOR_CON and key != CON and (idle or _holds_jobs(value)):
                self._wrong(f"metadata has key {key!r} and no jobs in {CON!r}", f"did you mean {CON!r}? rename it")
                return
        if idle:
            self._wrong(
                "it has neither a service nor jobs", "write: def service_main(service): ...; or list its jobs in con"
            )

    def _service_main(self) -> Optional[Callable[[Any], Any]]:
        found: Any = getattr(self._module, SERVICE_MAIN, None)
        if found is None:
            return None
        if not callable(found):
            self._wrong(
                f"service_main is {reprlib.repr(found)}, not a function", "write: def service_main(service): ..."
            )
            return None
        if not accepts(found, 1):
            self._wrong("service_main cannot be called with one argument", "write: def service_main(service): ...")
        function: Callable[[Any], Any] = found
        return function

    def _metadata(self) -> Mapping[Any, Any]:
        example = ", ".join(f'"{key}": "{value}"' for key, value in REQUIRED_KEYS.items())
        found = getattr(self._module, "metadata", None)
        if isinstance(found, Mapping):
            return found
        problem = "metadata is missing" if found is None else f"metadata is {reprlib.repr(found)}, not a dict"
        self._wrong(problem, f"write: metadata = {{{example}}}")
        return dict.fromkeys(REQUIRED_KEYS, "")  # one error for all of them is enough

    def _required(self, metadata: Mapping[Any, Any], key: str) -> str:
        if key in metadata:
            return self._text(metadata, key, "")
        close = difflib.get_close_matches(key.lower(), _folded(metadata), n=1)
        written = next((name for name in metadata if isinstance(name, str) and name.lower() in close), None)
        hint = f'write in metadata: "{key}": "{REQUIRED_KEYS[key]}"'
        self._wrong(f"metadata has no {key!r}", f"rename {written!r} to {key!r}" if written else hint)
        return ""

    def _text(self, metadata: Mapping[Any, Any], key: str, default: str) -> str:
        value = metadata.get(key, default)
        if isinstance(value, str):
            return sendable(value)
        example = REQUIRED_KEYS.get(key, self._task)
        problem = f"metadata key {key!r} is {reprlib.repr(value)}, not a str"
        self._wrong(problem, f'write in metadata: "{key}": "{example}"')
        return ""

    def _others(self, metadata: Mapping[Any, Any]) -> dict[str, Any]:
        found = {}
        for key, value in metadata.items():
            if key in KEYS:
                continue
            if not isinstance(key, str):
                self._wrong(f"metadata key {reprlib.repr(key)} is not a str", "write it in quotes")
                continue
            try:
                found[sendable(key)] = _as_json(value)
            except (TypeError, ValueError, OverflowError, RecursionError) as error:
                problem = f"metadata key {key!r} cannot be stored as JSON: {error}"
                self._wrong(problem, "use only dict, list, str, int, float, bool and None in it")
        return found

    def _jobs(self, con: Any, *, has_service: bool) -> list[DeclaredJob]:
        if con is None:
            return []
        if not isinstance(con, (list, tuple)):
            problem = f"metadata key 'con' is {reprlib.repr(con)}, not a list of dicts"
            self._wrong(problem, 'write in metadata: "con": [{"func": cleanup, "name": "cleanup", "minutes": 10}]')
            return []
        found: dict[str, DeclaredJob] = {}
        for number, entry in enumerate(con):
            job = JobReader(self._module, number, self._wrong, has_service=has_service).read(entry)
            if job is None:
                continue
            if job.declaration.name in found:
                self._wrong(f"con[{number}]: two jobs are named {job.declaration.name!r}", "give each its own name")
            found[job.declaration.name] = job
        return list(found.values())

    def _sendable(self, description: TaskDescription) -> TaskDescription:
        try:
            encode(description)
        except ValueError:  # over the limit of a frame; all that it holds can be packed
            return TaskDescription(errors=[breach(self._task, self._file, f"metadata: {_TOO_LARGE}", "")])
        return description


def _holds_jobs(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) and "func" in item for item in value)


def _folded(keys: Iterable[Any]) -> list[str]:
    return [key.lower() for key in keys if isinstance(key, str)]


def _as_json(value: Any) -> Any:
    """``value`` as JSON holds it; raise one of several errors where it cannot, or a message could not carry it."""
    document = json.loads(json.dumps(value, allow_nan=False))
    msgpack.packb(document)
    return document
