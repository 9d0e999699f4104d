"""The guard's process, from the supervisor's side: started before all others, ended after them."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from plugin_runtime.protocol import Cause, Kind, State
from plugin_runtime.views import ExitView
from plugin_runtime.wire import Envelope
from supervisor.config.configuration import Configuration
from supervisor.config.policies import liveness_policy, restart_policy
from supervisor.guard.duty import Duty
from supervisor.guard.process_table import identify, send
from supervisor.guard.selection import Identity
from supervisor.processes.process_records import ProcessRecord, boot_id
from supervisor.processes.spawn import clean_environment
from supervisor.run_folder import remove_files
from supervisor.spec import ChildSpec, Timeouts
from supervisor.state_folder import StateFolder
from supervisor.supervision.child import Child
from supervisor.supervision.child_events import SUPERVISOR, StartRequested
from supervisor.supervision.surroundings import Surroundings
from supervisor.supervision.tree import Tree

logger = logging.getLogger(__name__)

GUARD_STOP = 2.0
"""Seconds for a guard to end; it has nothing to finish."""


def guard_spec(configuration: Configuration, folder: StateFolder) -> ChildSpec:
    """The guard of this very process.

    Raises:
        OSError: /proc cannot be read.
    """
    ourselves = identify(os.getpid())
    assert ourselves is not None  # noqa: S101 - this process is there
    duty = Duty(folder.root, ourselves, configuration.supervisor.adopt_grace)
    return ChildSpec(
        id=Kind.GUARD.value,
        name=Kind.GUARD.value,
        kind=Kind.GUARD,
        command=(sys.executable, "-I", "-u", "-X", "utf8", "-m", "supervisor.guard", *duty.arguments),
        working_directory=Path("/"),  # it may outlive the project's folder
        environment=clean_environment(os.environ),
        restart=restart_policy(configuration.supervisor.restart),
        timeouts=Timeouts(stop=GUARD_STOP),
        liveness=liveness_policy(configuration.supervisor.heartbeat),
    )


class Guarding:
    """Owner of the guard's child; implements ChildOwner."""

    def __init__(self, predecessors: Sequence[ProcessRecord], recorded: Callable[[ExitView], None]) -> None:
        """``predecessors``: guards of supervisors before; they wait, and leave when ours is ready."""
        self._predecessors = [record for record in predecessors if record.boot_id == boot_id()]
        self._recorded = recorded
        self._let_go = False
        self._child: Child
        self._tree: Tree
        self._folder: StateFolder

    def start(self, spec: ChildSpec, tree: Tree, around: Surroundings) -> None:
        """Enter it in the process table, and start it."""
        self._tree, self._folder = tree, around.folder
        self._child = Child(spec, self, around)
        tree.add(self._child)
        self._child.post(StartRequested(SUPERVISOR))

    def let_go(self) -> None:
        """Leave it to the next supervisor, which tells it to leave when it has one of its own."""
        self._let_go = True

    async def stop(self) -> None:
        """End it, as the last of all."""
        if not self._let_go:
            await self._tree.remove(self._child, Cause.SHUTDOWN, SUPERVISOR)

    # --- ChildOwner ---

    def settings_for(self, child: Child, token: str) -> Mapping[str, Any]:
        return {}

    def adopted(self, child: Child, token: str, settings: Mapping[str, Any]) -> None:
        """Never: each supervisor has a guard of its own."""

    def changed(self, child: Child) -> None:
        if child.state is State.RUNNING and self._predecessors:
            predecessors, self._predecessors = self._predecessors, []
            for record in predecessors:
                logger.info("Sending SIGTERM to the guard (pid %d) of a supervisor before", record.pid)
                with suppress(OSError):  # /proc cannot be read: it goes when it has found nothing to do
                    send(Identity(record.pid, record.start_ticks), [signal.SIGTERM])
                remove_files(self._folder, record.token)

    def connected(self, child: Child) -> None:
        """It was told all on its command line."""

    def disconnected(self, child: Child) -> None:
        """Its exit follows, or it comes back."""

    def received(self, child: Child, envelope: Envelope) -> None:
        logger.warning("%s sent an unexpected %s", child, type(envelope.message).__name__)

    def withdraw(self, child: Child, done: Callable[[], None]) -> None:
        done()

    def used_up(self, child: Child, cause: Cause) -> bool:
        return False

    def exited(self, child: Child, record: ExitView) -> None:
        self._recorded(record)
