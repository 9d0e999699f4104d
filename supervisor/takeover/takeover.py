"""What a supervisor finds of one that died before it: whose processes go on, whose end, and what became of the rest.

A supervisor that starts within the grace of those that run takes each of them over where it would otherwise start one
like it (Child). What nobody wants is ended in order: processes of code, settings or jobs that are others now, and those
that serve nobody but the supervisor that is gone.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from errno import ESRCH
from pathlib import Path
from typing import Any

from plugin_runtime.protocol import Cause, Kind, State
from plugin_runtime.views import ExitView
from plugin_runtime.wire import Envelope
from supervisor.config.configuration import Configuration
from supervisor.errors import SpawnError
from supervisor.gateways.door import Doors, ask_for_doors, is_as_configured, wait_for_door
from supervisor.gateways.local_side import bind_local_side
from supervisor.processes.process_records import ProcessRecord, ProcessRecords
from supervisor.processes.survivors import ADOPTED, Remains, Survivors
from supervisor.run_folder import clear_run_folder, remove_files
from supervisor.spec import ChildSpec, ExitStatus, RestartPolicy, RestartWhen, Timeouts
from supervisor.state_folder import StateFolder
from supervisor.supervision.child import Child
from supervisor.supervision.child_events import SUPERVISOR, StartRequested, StopRequested
from supervisor.supervision.exits import exit_record, explain
from supervisor.supervision.local_key import caller_of
from supervisor.supervision.surroundings import Surroundings
from supervisor.supervision.tree import Tree
from supervisor.works import Works

logger = logging.getLogger(__name__)

DOOR_TIMEOUT = 1.0
"""Seconds for a gateway to hand over the listening socket; one that is slower is ill."""
ORPHANS_PATIENCE = 5.0
"""Seconds for the gateways of a supervisor that died to leave the port."""
SILENCE = 3.0
"""Seconds in which one that nobody wants should have said that it is ready to be asked; then it is told by signals."""
FAREWELL = Timeouts(start=60.0, stop=30.0, term=5.0)
"""Of those: nobody knows any more what their own settings were."""


class Takeover:
    """Made under the lock of the state folder, before anything runs. Owns the survivors; implements ChildOwner."""

    def __init__(self, folder: StateFolder) -> None:
        self._folder = folder
        self.records = ProcessRecords(folder)
        remains = Remains.of(self.records.read_all())
        self.survivors = Survivors(record for record in remains.living if record.kind is not Kind.GUARD)
        self.guards = [record for record in remains.living if record.kind is Kind.GUARD]
        """They leave when they are told to, which is when there is another one."""
        self._dead = remains.dead
        # The records of the dead go when their ends are reported: this supervisor may be killed before.
        living = {record.token for record in remains.living}
        self.predecessor_died = clear_run_folder(folder, keep=living, keep_records=True)
        """Or was ended by force, not long ago maybe."""
        self._around: Surroundings
        self._tree: Tree
        self._recorded: Callable[[ExitView], None]
        self._unwanted: dict[Child, ProcessRecord] = {}
        self._gone: dict[Child, Callable[[], None]] = {}
        """Called at their ends."""
        self._leaving = Works()

    @property
    def gateways(self) -> list[ProcessRecord]:
        """Those that may hold the door open."""
        return [record for record in self.survivors.records if record.kind is Kind.GATEWAY]

    def spared(self) -> set[int]:
        """Pids of those that are no orphans though nobody has them yet: after an upgrade they are our children."""
        return self.survivors.pids | {record.pid for record in self.guards if record.is_alive}

    async def open_doors(self, configuration: Configuration) -> tuple[socket.socket, socket.socket]:
        """Return the listening sockets of the public and the local side: those of a gateway, else new ones.

        Raises:
            XcoreError: one is not to be had.
        """
        found = await self.find_doors(configuration)
        patience = ORPHANS_PATIENCE if self.predecessor_died else 0.0
        public = found.public if found else await wait_for_door(configuration, patience)
        try:
            return public, (found and found.local) or bind_local_side(self._folder.local_socket)
        except BaseException:
            public.close()
            raise

    async def find_doors(self, configuration: Configuration) -> Doors | None:
        """Get the listening sockets from a gateway that serves, if the public one is what is configured now.

        Gateways that keep it to themselves are killed: nobody else could listen there.
        """
        for record in self.gateways:
            try:
                return await asyncio.to_thread(_doors_of, record, configuration)
            except OSError as error:
                logger.warning("%s (pid %d) does not hand over the listening socket: %s", record.id, record.pid, error)
        for record in self.gateways:
            kill(record)
        return None

    def begin(self, around: Surroundings, tree: Tree, recorded: Callable[[ExitView], None]) -> None:
        """Put on record who died while there was no supervisor, and end who is of no use to this one."""
        self._around, self._tree, self._recorded = around, tree, recorded
        for record in self._dead:
            self._report(record)
        if self.survivors:
            logger.info("The supervisor before died; taking over %d processes of it", len(self.survivors.records))
        for record in self.survivors.records:
            # Each is believed as long as it lives, be it that it is ended as soon as it has finished.
            if (caller := caller_of(record, record.settings)) is not None:
                around.callers.admit_caller(caller)
        self.survivors.lost, self.survivors.dismiss = self._lose, self._dismiss
        for record in self.survivors.records:
            if record.kind not in ADOPTED:
                self.survivors.take(record)
                self._end(self._adopt(record))

    def end_rest(self) -> None:
        """End whoever was not taken over: they are asked to, and told by signals where they do not answer."""
        for record in self.survivors.take_all():
            if record.is_alive:
                logger.info("%s (pid %d) is not wanted any more; it is ended", record.id, record.pid)
                asyncio.get_running_loop().call_later(SILENCE, self._end, self._adopt(record))
            else:
                self._lose(record)

    def remove_local_socket(self) -> None:
        """At the end; but not where gateways that nobody has taken over yet are reached there."""
        if not self.survivors:
            self._folder.local_socket.unlink(missing_ok=True)

    def _dismiss(self, record: ProcessRecord, gone: Callable[[], None]) -> None:
        """End one that stands in the way of another."""
        if not record.is_alive:
            self._lose(record)
            gone()
            return
        logger.info("%s (pid %d) is not what is wanted now; it is ended first", record.id, record.pid)
        child = self._adopt(record)
        self._gone[child] = gone
        asyncio.get_running_loop().call_later(SILENCE, self._end, child)

    def _lose(self, record: ProcessRecord) -> None:
        if record.is_alive:  # it cannot be watched or heard, and another one takes its place
            kill(record)
        self._around.callers.dismiss_caller(record.token)
        self._report(record)

    def _report(self, record: ProcessRecord) -> None:
        """When and how it died nobody saw."""
        remove_files(self._folder, record.token)
        message = "it ended while there was no supervisor"
        view = exit_record(
            spec_of(record), record.pid, Cause.UNKNOWN, ExitStatus(), uptime=0.0, log_tail=[], message=message
        )
        logger.info("%s", explain(view))
        self._recorded(view)

    def _adopt(self, record: ProcessRecord) -> Child:
        child = Child(spec_of(record), self, self._around.only(record))
        self._unwanted[child] = record
        self._tree.add_former(child)
        child.post(StartRequested(SUPERVISOR))
        return child

    def _end(self, child: Child) -> None:
        if child.state in {State.STARTING, State.RUNNING, State.STALLED}:
            cause = Cause.RELOAD if child.spec.kind in ADOPTED else Cause.PARENT_LOST
            child.post(StopRequested(cause, SUPERVISOR))

    # --- ChildOwner ---

    def settings_for(self, child: Child, token: str) -> Mapping[str, Any]:
        """Called only where it died a moment ago: no other is to take its place."""
        raise SpawnError(child.spec.id, child.spec.command[0], ProcessLookupError(ESRCH, "it ended by itself"))

    def adopted(self, child: Child, token: str, settings: Mapping[str, Any]) -> None:
        """It is on its way out."""

    def changed(self, child: Child) -> None:
        if child.state is State.RUNNING:
            self._end(child)

    def connected(self, child: Child) -> None:
        """It says next whether it is ready."""

    def disconnected(self, child: Child) -> None:
        """Its exit follows."""

    def received(self, child: Child, envelope: Envelope) -> None:
        """Whoever wanted to know is gone."""

    def withdraw(self, child: Child, done: Callable[[], None]) -> None:
        """One that was told to end before is not told again: a gateway would take that for hurry."""
        if not self._unwanted[child].leaving:
            done()

    def used_up(self, child: Child, cause: Cause) -> bool:
        return True

    def exited(self, child: Child, record: ExitView) -> None:
        remove_files(self._folder, self._unwanted.pop(child).token)
        self._recorded(record)
        self._gone.pop(child, _nobody_waits)()
        # Later: whoever says that it has ended is about to settle it.
        removal = self._tree.remove(child, Cause.FINISHED, SUPERVISOR)
        self._leaving.begin(removal, f"retire-{child.spec.id}")


def _nobody_waits() -> None:
    """For its end."""


def _doors_of(gateway: ProcessRecord, configuration: Configuration) -> Doors | None:
    """None where it listens somewhere else than is wanted now. Blocks."""
    doors = ask_for_doors(Path(gateway.settings.get("door_path", "")), gateway.nonce, DOOR_TIMEOUT)
    if is_as_configured(doors.public, configuration):
        return doors
    doors.close()
    return None


def kill(record: ProcessRecord) -> None:
    """Kill a process that is known by its record, with its group."""
    with suppress(OSError):
        pidfd = os.pidfd_open(record.pid)
        try:
            if record.is_alive:  # asked when its pid could not become another's any more
                os.killpg(record.pid, signal.SIGKILL)
        finally:
            os.close(pidfd)


def spec_of(record: ProcessRecord) -> ChildSpec:
    """As far as it is known what the process was."""
    return ChildSpec(
        id=record.id,
        name=record.name,
        kind=record.kind,
        command=record.command,
        working_directory=Path("/"),
        generation=record.generation,
        restart=RestartPolicy(when=RestartWhen.NEVER),
        timeouts=FAREWELL,
        liveness=None,
    )
