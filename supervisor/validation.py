"""Validator: has a plugin looked at in its own interpreter, before anything of it is served.

Plugin code is never imported here: a process of the plugin's environment imports it as a worker would, reports what it
found and ends.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from plugin_runtime.protocol import Cause, Description, ExitCode, Failed, Phase
from plugin_runtime.views import ExitView
from plugin_runtime.wire import Envelope, to_wire
from supervisor.child import Child, Surroundings
from supervisor.child_events import StartRequested
from supervisor.tree import Tree
from supervisor.worker_spec import Build, validator_settings, validator_spec


@dataclass(frozen=True)
class Finding:
    """What a validator found, and the last lines that it printed."""

    description: Description
    log_tail: list[str] = field(default_factory=list)


class Validator:
    """Starts one validating process at a time per plugin; several plugins side by side."""

    def __init__(self, tree: Tree, around: Surroundings, recorded: Callable[[ExitView], None], parallel: int) -> None:
        self._tree = tree
        self._around = around
        self._recorded = recorded
        self._slots = asyncio.Semaphore(parallel)

    async def validate(self, build: Build) -> Finding:
        """What the plugin says of itself; it has ``errors`` where it must not be served."""
        async with self._slots:
            inspection = _Inspection(build, self._recorded)
            child = Child(validator_spec(build), inspection, self._around)
            self._tree.add(child)
            try:
                child.post(StartRequested("supervisor"))
                await child.settled.wait()
            finally:
                await self._tree.remove(child, Cause.SHUTDOWN, "supervisor")
            return inspection.result()


class _Inspection:
    """Owner of one validating process; implements ChildOwner."""

    def __init__(self, build: Build, recorded: Callable[[ExitView], None]) -> None:
        self._build = build
        self._recorded = recorded
        self._description: Description | None = None
        self._failure: Failed | None = None
        self._exit: ExitView | None = None

    def result(self) -> Finding:
        description = self._description or Description(errors=[self._failure or self._died()])
        return Finding(description, self._exit.log_tail if self._exit else [])

    def _died(self) -> Failed:
        how = f"{self._exit.cause}, {_ending(self._exit)}" if self._exit else "it was not started"
        return Failed(Phase.IMPORT.value, "ValidatorDied", f"importing the plugin ended its process: {how}")

    def settings_for(self, child: Child, token: str) -> Mapping[str, Any]:
        settings: Mapping[str, Any] = to_wire(validator_settings(self._build))
        return settings

    def received(self, child: Child, envelope: Envelope) -> None:
        if isinstance(envelope.message, Description):
            self._description = envelope.message

    def changed(self, child: Child) -> None:
        self._failure = child.record.failure or self._failure

    def connected(self, child: Child) -> None:
        """It is told all in its Welcome."""

    def disconnected(self, child: Child) -> None:
        """Its exit follows."""

    def withdraw(self, child: Child, done: Callable[[], None]) -> None:
        done()

    def exited(self, child: Child, record: ExitView) -> None:
        self._exit = record
        self._recorded(record)


def _ending(record: ExitView) -> str:
    if record.signal is not None:
        return f"signal {record.signal}"
    if record.exit_code == ExitCode.UNSUPPORTED_PYTHON:
        return "its Python is not supported"
    return f"exit code {record.exit_code}" if record.exit_code is not None else record.message
