"""Real children in a process table of their own: the adapters they need, an owner that remembers, an orderly end."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from plugin_runtime.protocol import Cause, Kind
from supervisor.channels.control import ControlServer
from supervisor.clock import Clock, SystemClock
from supervisor.monitoring.log_files import LogFiles, LogWriter
from supervisor.processes.process_records import ProcessRecords
from supervisor.processes.reaper import Reaper
from supervisor.processes.survivors import Remains, Survivors
from supervisor.spec import ChildSpec, LivenessPolicy, RestartPolicy, Timeouts
from supervisor.state_folder import StateFolder
from supervisor.supervision.child import Child
from supervisor.supervision.child_events import StartRequested
from supervisor.supervision.surroundings import Surroundings
from supervisor.supervision.tree import Tree
from supervisor.templates.births import Births
from tests.fakes.processes import CHILDREN, DEADLINE
from tests.fakes.waiting import until

QUICK = Timeouts(start=DEADLINE, stop=2.0, term=1.0)
PLACES = 8
"""For children that start at once."""
PATIENT = LivenessPolicy(stalled=10.0, hung=30.0)


def guest_spec(folder: StateFolder, *steps: object, **fields: object) -> ChildSpec:
    """A child that runs tests/children/guest.py."""
    defaults = {
        "command": (sys.executable, "-I", str(CHILDREN / "guest.py"), *map(str, steps)),
        "id": "guest.1",
        "name": "guest",
        "kind": Kind.WORKER,
        "working_directory": folder.root,
        "timeouts": QUICK,
        "liveness": PATIENT,
        "restart": RestartPolicy(delay=0.05, jitter=0.0),
    }
    return ChildSpec(**{**defaults, **fields})


class RecordingOwner:
    """Remembers what it was told, and lets workers go at once."""

    def __init__(self):
        self.states = []
        self.received_messages = []
        self.connections = 0
        self.disconnections = 0
        self.exits = []
        self.tokens = []
        self.adoptions = []
        self.withdrawn = []
        self.hold = False
        """Keep withdrawn workers until the test calls what is in ``withdrawn``."""

    def settings_for(self, child, token):
        self.tokens.append(token)
        return {"number": len(self.tokens)}

    def adopted(self, child, token, settings):
        self.adoptions.append((token, settings))

    def changed(self, child):
        if not self.states or self.states[-1] is not child.state:
            self.states.append(child.state)

    def connected(self, child):
        self.connections += 1

    def disconnected(self, child):
        self.disconnections += 1

    def received(self, child, envelope):
        self.received_messages.append(envelope.message)

    def withdraw(self, child, done):
        self.withdrawn.append(done)
        if not self.hold:
            done()

    def used_up(self, child, cause):
        return False

    def exited(self, child, record):
        self.exits.append(record)


class FakeCallers:
    """``known``: names by incarnation; ``ever``: of all that were admitted."""

    def __init__(self):
        self.known = {}
        self.ever = []

    def admit_caller(self, caller):
        self.known[caller.key.partition(":")[0]] = caller.plugin
        self.ever.append(caller)

    def dismiss_caller(self, incarnation):
        self.known.pop(incarnation, None)


@dataclass
class Table:
    """The process table of one test."""

    around: Surroundings
    tree: Tree
    folder: StateFolder
    owner: RecordingOwner = field(default_factory=RecordingOwner)
    is_abandoned: bool = False
    """Whether what runs at the end goes on, as after the death of a supervisor."""

    def add(self, *steps, **fields) -> Child:
        """A guest that is not started yet; it belongs to ``owner``."""
        child = Child(guest_spec(self.folder, *steps, **fields), self.owner, self.around)
        self.tree.add(child)
        return child

    def start(self, *steps, **fields) -> Child:
        child = self.add(*steps, **fields)
        child.post(StartRequested("test"))
        return child

    async def exit_number(self, number: int):
        """Wait for the exit record with this number, from 1."""
        await until(lambda: len(self.owner.exits) >= number, f"exit number {number}")
        return self.owner.exits[number - 1]


@asynccontextmanager
async def process_table(folder: StateFolder, clock: Clock | None = None, places: int = PLACES) -> AsyncIterator[Table]:
    """Adapters for real; whatever runs at the end is stopped in a hurry. ``places``: of those that start at once.

    What a table before has left behind is taken over.
    """
    clock = clock or SystemClock()
    loop = asyncio.get_running_loop()
    logs = LogWriter(LogFiles(folder.logs), clock)
    logs.start()
    records = ProcessRecords(folder)
    survivors = Survivors(Remains.of(records.read_all()).living)
    reaper = Reaper(loop, spared=lambda: survivors.pids)
    reaper.start()
    control = ControlServer(folder.control_socket, may_be_expected=survivors.includes)
    await control.start()
    tree = Tree(clock)
    try:
        births = Births(folder, reaper, control, limit=places)
        around = Surroundings(clock, folder, control, reaper, logs, births, records, survivors, FakeCallers())
        table = Table(around, tree, folder)
        yield table
    finally:
        if not table.is_abandoned:
            await stop_in_a_hurry(tree)
        tree.close()
        await control.close()
        reaper.close()
        stop_reading(tree)
        await asyncio.sleep(0)  # connections are closed in the next turn
        logs.close()


async def stop_in_a_hurry(tree: Tree) -> None:
    stopping = asyncio.create_task(tree.stop_all(Cause.SHUTDOWN, "test"))
    while not stopping.done():
        tree.hurry()
        await asyncio.wait([stopping], timeout=0.05)
    stopping.result()


def stop_reading(tree: Tree) -> None:
    """Give back what the kernel would take from a dead supervisor: the ends of pipes, and the pidfds."""
    loop = asyncio.get_running_loop()
    for child in tree.children:
        if child.incarnation is not None:
            for pipe in child.incarnation.process.pipes:
                loop.remove_reader(pipe.fd)
                os.close(pipe.fd)
            child.incarnation.process.release()
            child.incarnation.process.reaped(0)  # Popen would complain


def with_timeouts(**seconds: float) -> Timeouts:
    return replace(QUICK, **seconds)
