"""Validator: has a plugin or task looked at in its own interpreter, before anything of it is served or run.

Foreign code is never imported here: a process of the right environment imports it as a worker would, reports what it
found and ends.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from plugin_runtime.protocol import Cause, Description, ExitCode, Failed, Phase
from plugin_runtime.views import ExitView
from plugin_runtime.wire import Envelope, to_wire
from supervisor.preparation.worker_spec import Build, validator_settings, validator_spec
from supervisor.spec import ChildSpec
from supervisor.supervision.child import Child
from supervisor.supervision.child_events import SUPERVISOR, StartRequested
from supervisor.supervision.exits import advice
from supervisor.supervision.retries import SPEECHLESS
from supervisor.supervision.surroundings import Surroundings
from supervisor.supervision.tree import Tree
from supervisor.works import Works

D = TypeVar("D")


@dataclass(frozen=True)
class Finding:
    """What a validator found, and the last lines that it printed."""

    description: Description
    log_tail: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Inspected(Generic[D]):
    """What became of one process: its description, or else why there is none. And the last lines that it printed."""

    description: D | None
    failure: Failed | None
    log_tail: list[str]


class Validator:
    """Starts one validating process at a time per plugin or task; several of them side by side."""

    def __init__(self, tree: Tree, around: Surroundings, recorded: Callable[[ExitView], None], parallel: int) -> None:
        self._tree = tree
        self._around = around
        self._recorded = recorded
        self.given_up_for = Cause.DISABLED
        """Cause of the end of a process that nobody waits for any more."""
        self._slots = asyncio.Semaphore(parallel)
        self._removals = Works()

    async def close(self) -> None:
        """Wait for the end of those that were given up; call it when nobody asks for another one any more."""
        await self._removals.wait_done()

    async def validate(self, build: Build) -> Finding:
        """What the plugin says of itself; it has ``errors`` where it must not be served."""
        seen = await self.inspect(validator_spec(build), validator_settings(build), Description, "the plugin")
        errors = [] if seen.failure is None else [seen.failure]
        return Finding(seen.description or Description(errors=errors), seen.log_tail)

    async def inspect(self, spec: ChildSpec, settings: object, description: type[D], what: str) -> Inspected[D]:
        """Have a process of ``spec`` say what it finds: a message of the class ``description``.

        ``settings``: the message class that its Welcome holds; ``what``: is imported, for the sentence that says so.
        """
        async with self._slots:
            inspection = _Inspection(to_wire(settings), description, self._recorded)
            child = Child(spec, inspection, self._around)
            self._tree.supersede(child)  # one that was given up may still be on its way out
            try:
                child.post(StartRequested(SUPERVISOR))
                await child.settled.wait()
            finally:
                # Whoever waits may be given up a second time: it leaves the table all the same.
                removal = self._tree.remove(child, self.given_up_for, SUPERVISOR)
                await asyncio.shield(self._removals.begin(removal, f"leave-{spec.id}"))
            return inspection.result(what)


class _Inspection(Generic[D]):
    """Owner of one validating process; implements ChildOwner."""

    def __init__(self, settings: Mapping[str, Any], description: type[D], recorded: Callable[[ExitView], None]) -> None:
        self._settings = settings
        self._expected = description
        self._recorded = recorded
        self._description: D | None = None
        self._failure: Failed | None = None
        self._exit: ExitView | None = None

    def result(self, what: str) -> Inspected[D]:
        log_tail = self._exit.log_tail if self._exit else []
        if self._description is not None:
            return Inspected(self._description, None, log_tail)
        return Inspected(None, self._failure or self._died(what), log_tail)

    def _died(self, what: str) -> Failed:
        how = f"{self._exit.cause}, {_ending(self._exit)}" if self._exit else "it was not started"
        hint = advice(self._exit) if self._exit else ""
        return Failed(Phase.IMPORT.value, SPEECHLESS, f"importing {what} ended its process: {how}", hint=hint)

    def settings_for(self, child: Child, token: str) -> Mapping[str, Any]:
        return self._settings

    def adopted(self, child: Child, token: str, settings: Mapping[str, Any]) -> None:
        """Never: what it finds is of use only to who asked."""

    def received(self, child: Child, envelope: Envelope) -> None:
        if isinstance(envelope.message, self._expected):
            self._description = envelope.message

    def changed(self, child: Child) -> None:
        self._failure = child.record.failure or self._failure

    def connected(self, child: Child) -> None:
        """It is told all in its Welcome."""

    def disconnected(self, child: Child) -> None:
        """Its exit follows."""

    def withdraw(self, child: Child, done: Callable[[], None]) -> None:
        done()

    def used_up(self, child: Child, cause: Cause) -> bool:
        return False

    def exited(self, child: Child, record: ExitView) -> None:
        self._exit = record
        self._recorded(record)


def _ending(record: ExitView) -> str:
    if record.signal is not None:
        return f"signal {record.signal}"
    if record.exit_code == ExitCode.UNSUPPORTED_PYTHON:
        return "its Python is not supported"
    return f"exit code {record.exit_code}" if record.exit_code is not None else record.message
