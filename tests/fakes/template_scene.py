"""A real template in a process table, and children that are forked from it where that works."""

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from plugin_runtime.protocol import Kind, State
from plugin_runtime.wire import to_wire
from supervisor.spec import ChildSpec, RestartPolicy
from supervisor.supervision.child import Child
from supervisor.supervision.child_events import StartRequested
from supervisor.templates.births import Births
from supervisor.templates.member import Member
from supervisor.templates.template import Template, TemplateServices
from tests.fakes.guests import BOOTSTRAP, make_plugin, write_files
from tests.fakes.process_table import PATIENT, QUICK, RecordingOwner, process_table
from tests.fakes.processes import state_folder
from tests.fakes.waiting import until

PATIENCE = 30.0
"""Seconds; an interpreter starts in a fraction of one, unless the machine does much else."""
COMMAND = (sys.executable, "-I", "-u", "-X", "utf8", str(BOOTSTRAP))
APP = """
import os

print(f"imported by {os.getpid()}")


async def app(scope, receive, send): ...
"""
CRASHES_WHEN_FORKED = """
import os, sys
from pathlib import Path

if "template" in Path("/proc/self/cmdline").read_text().split("\\0"):
    os.{how}


async def app(scope, receive, send): ...
"""
"""An app; ``how`` it comes to grief."""
MODULES = {
    "gated.py": """
import time
from pathlib import Path

while not Path(__file__).with_name("gate").exists():
    time.sleep(0.005)
""",
    "leaves_a_thread.py": "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n",
    "crashes.py": "import os\nos._exit(3)\n",
}
"""What a template can be told to import. ``gated`` goes on when the scene's ``gate`` is open."""


class _Workers(RecordingOwner):
    """Gives each process of a plugin's worker the settings of the guest, and a link of its own."""

    def __init__(self, settings):
        super().__init__()
        self._settings = settings

    def adopted(self, child, token, settings):
        pass

    def settings_for(self, child, token):
        self.tokens.append(token)
        return to_wire(replace(self._settings, link_path=f"{self._settings.link_path}.{token}"))


class TemplateScene:
    """Start the template with ``start``, and workers with ``worker``."""

    def __init__(self, root: Path, table, app: str) -> None:
        self.table = table
        self.template_exits = []
        self.learned = []
        settings = make_plugin(root, {"main.py": app}, contract="app", entry="main:app", adopt_grace=3.0)
        self.owner = _Workers(settings)
        self._packages = write_files(root / "packages", MODULES)
        self._template: Template | None = None
        self._member: Member | None = None

    @property
    def gate(self) -> Path:
        return self._packages / "gate"

    @property
    def template(self) -> Child:
        return self._template.child

    @property
    def notes(self) -> list[str]:
        return self._member.notes

    @property
    def renewal(self) -> asyncio.TimerHandle | None:
        """Of the template, where one is due."""
        return self._template._renewal

    @property
    def is_distrusted(self) -> bool:
        return not self.table.around.origin.can_use(self._member)

    def start(self, *modules: str, environment: dict[str, str] | None = None, preload: tuple[str, ...] = ()) -> None:
        """Start the template; it imports ``modules`` and ``preload``. ``environment``: added to it."""
        self._added = environment or {}
        services = TemplateServices(self.table.around, self.table.tree, self.template_exits.append)
        spec = self._spec("hello.template", Kind.TEMPLATE, "template")
        spec = replace(spec, environment={**spec.environment, **self._added, "OPENBLAS_NUM_THREADS": "1"})
        self._template = Template(spec, preload, 3.0, services)
        self._member = Member("hello", self._template, ("json", *modules, *preload), self.learned.extend)
        self._member.join()
        self.table.around.origin.enter(self._member)
        # What these workers import is not the tests' affair: they say themselves when there is something to learn.
        self.table.around.origin.learn = lambda _spec, _modules: None
        self._template.start()

    def environment(self) -> dict[str, str]:
        """What its processes have but for ``start``'s."""
        return {"PATH": "/usr/bin:/bin", "XCORE_RUNTIME": str(self._packages)}

    def learn(self, *modules: str) -> None:
        """Let the template hear that a process had to import these itself."""
        Births.learn(self.table.around.origin, self._spec("hello.1", Kind.WORKER), modules)

    def worker(self, number: int = 1, **fields: object) -> Child:
        """Start a child that comes from the template."""
        spec = replace(self._spec(f"hello.{number}", Kind.WORKER), liveness=PATIENT, **fields)
        child = Child(spec, self.owner, self.table.around)
        self.table.tree.add(child)
        child.post(StartRequested("test"))
        return child

    async def ready(self) -> int:
        """Wait for the template; return its pid."""
        await running(self.template)
        return self.template.pid

    async def connected(self) -> int:
        """Wait until the template imports; return its pid."""
        await until(lambda: self.template.incarnation and self.template.incarnation.connection, "it imports", PATIENCE)
        return self.template.pid

    async def kill_template(self) -> None:
        before = len(self.template_exits)
        os.kill(self.template.pid, signal.SIGKILL)
        await until(lambda: len(self.template_exits) > before, "its death is recorded", PATIENCE)

    def _spec(self, name: str, kind: Kind, *program: str) -> ChildSpec:
        return ChildSpec(
            id=name,
            name="hello",
            kind=kind,
            command=(*COMMAND, *program),
            template="" if kind is Kind.TEMPLATE else "hello",
            working_directory=self.table.folder.root,
            environment=self.environment(),
            timeouts=replace(QUICK, start=PATIENCE),
            liveness=None,
            restart=RestartPolicy(delay=0.05, jitter=0.0),
        )


@asynccontextmanager
async def template_scene(root: Path, app: str = APP):
    async with process_table(state_folder(root)) as table:
        yield TemplateScene(root, table, app)


async def running(child: Child) -> Child:
    await until(lambda: child.state is State.RUNNING, f"{child.spec.id} is running", PATIENCE)
    return child


def is_forked(pid: int) -> bool:
    """What is forked keeps the command line of its template."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[-2] == b"template"
