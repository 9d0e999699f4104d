"""Background tasks with everything around them: real processes of the task program, in the environment of the tests."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from zoneinfo import ZoneInfo

from supervisor.config.live import LiveConfiguration
from supervisor.config.source import load
from supervisor.environments.progress import BuildProgress
from supervisor.environments.runtime import GuestPackages
from supervisor.monitoring.log_files import LogFiles
from supervisor.preparation.validation import Validator
from supervisor.store.tasks import TaskRow
from supervisor.tasks.ground import Grounds
from supervisor.tasks.module_copy import ModuleCopies
from supervisor.tasks.preparation import TaskPreparation
from supervisor.tasks.service import TaskServices
from supervisor.tasks.services import ServiceManager
from supervisor.watching.folder_watch import FolderWatch
from tests.fakes.builds import INTERPRETER, ThisEnvironment, build_of
from tests.fakes.process_table import process_table
from tests.fakes.processes import DEADLINE, state_folder
from tests.fakes.waiting import until

WAITS = "def service_main(service):\n    while service.running:\n        service.wait(60)\n"
FAILS = "def service_main(service):\n    raise ValueError('no luck')\n"
RETURNS = "def service_main(service):\n    pass\n"
METADATA = {"type": "service", "moduleDir": "core", "description": "a test", "version": "1", "author": "Ada"}
JOB = "[{'func': 'work', 'name': 'work', 'minutes': 5}]"
WITH_JOB = "def work():\n    pass\n"


def module(code=WAITS, con="[]", **metadata):
    """The text of a task's module."""
    return f"{code}\nmetadata = {{**{ {**METADATA, **metadata}!r}, 'con': {con}}}\n"


class FakeInstaller:
    """Installs nothing: the environment is that of the tests."""

    def __init__(self, root):
        self.error = None
        self.gates = {}
        """An event per task that has to be set before its environment is there."""
        self.lines = []
        self._root = root

    async def ensure(self, name, folder, on_progress=lambda _: None):
        for line in self.lines:
            on_progress(BuildProgress("installing", line))
        if name in self.gates:
            await self.gates[name].wait()
        if self.error:
            raise self.error
        return ThisEnvironment(self._root, "fingerprint", INTERPRETER)


class FakeRuntime:
    def __init__(self, root):
        self._packages = GuestPackages(root, optional=True)

    async def ensure(self, interpreter, on_progress=lambda _: None):
        return self._packages


class FakePlugins:
    """Builds plugins as tests/fakes/builds.py does; remembers which."""

    def __init__(self, root):
        self.built = []
        self.error = None
        self._root = root

    async def build(self, name, folder, on_progress):
        self.built.append(name)
        if self.error:
            raise self.error
        build = build_of(self._root / "builds", name)
        return replace(
            build,
            folder=folder,
            generation=replace(build.generation, folder=self._root / "generations" / name),
            variables={**build.variables, "XCORE_DATA_DIR": f"data/{name}"},
        )


class FakeJobBook:
    """Declared jobs by owner, and what was told of runs."""

    def __init__(self):
        self.declared = {}
        self.problems = {}
        self.withdrawn = []
        self.finished_runs = []
        self.connected = []
        self.ended = []

    def declare(self, host, jobs):
        self.declared[host.name] = list(jobs)
        return self.problems.get(host.name, [])

    def withdraw(self, owner, kind=None):
        self.declared.pop(owner, None)
        self.withdrawn.append((owner, kind))

    def finished(self, message):
        self.finished_runs.append(message)

    def service_connected(self, owner):
        self.connected.append(owner)

    def service_ended(self, owner, record):
        self.ended.append((owner, record.cause))


class FakeTaskRepository:
    """Rows by module; an ``error`` is raised by every write."""

    def __init__(self):
        self.rows = {}
        self.error = None

    def knows(self, name, *, enabled=True):
        self.rows[name] = TaskRow(f"id-{name}", name, name, "", "", "", "", "", {}, enabled)

    async def get_all(self):
        return list(self.rows.values())

    async def register(self, facts):
        status = self.rows[facts.module].status if facts.module in self.rows else True
        return self._write(TaskRow(id=f"id-{facts.module}", status=status, **vars(facts)))

    async def status(self, module, *, enabled):
        if module not in self.rows:
            return self._write(TaskRow(f"id-{module}", module, module, "", "", "", "", "", {}, enabled))
        return self._write(replace(self.rows[module], status=enabled))

    def _write(self, row):
        if self.error:
            raise self.error
        self.rows[row.module] = row
        return row


class FakeExits:
    def __init__(self):
        self.records = []
        self.error = None

    async def exits(self, name, limit, kind):
        if self.error:
            raise self.error
        return [record for record in self.records if record.name == name and record.kind == kind][:limit]


class TaskScene:
    """Write modules with ``write``, then ``discover``."""

    def __init__(self, root, table, settings):
        self.root = root
        self.table = table
        self.directory = root / "backgroundtask"
        self.directory.mkdir(exist_ok=True)
        (root / "plugins").mkdir(exist_ok=True)
        self.live = LiveConfiguration(self._load(settings))
        self.installer = FakeInstaller(root)
        self.plugins = FakePlugins(root)
        self.jobs = FakeJobBook()
        self.repository = FakeTaskRepository()
        self.history = FakeExits()
        self.exits = []
        self.latest = {}
        self.copies = ModuleCopies(table.folder.task_copies)
        grounds = Grounds(self.live, self.installer, FakeRuntime(root), self.plugins)
        validator = Validator(table.tree, table.around, self.exits.append, 2)
        self.preparation = TaskPreparation(self.live, grounds, self.copies, validator, ZoneInfo("UTC"))
        self.services = TaskServices(
            live=self.live,
            around=table.around,
            tree=table.tree,
            preparation=self.preparation,
            base=SimpleNamespace(provide=lambda _build: None),
            jobs=self.jobs,
            repository=self.repository,
            resources=SimpleNamespace(
                sample_soon=lambda: None,
                latest=lambda child: self.latest.get(child.spec.id),
                forget=lambda _child: None,
            ),
            recorded=self.exits.append,
            changed=lambda: None,
        )
        self.watch = FolderWatch(self.directory, self.live.current.manager.tasks.interval)
        self.logs = LogFiles(table.folder.logs)
        self.manager = ServiceManager(self.services, self.watch, self.logs, self.history)

    def _load(self, settings):
        sections = {"manager": {"tasks": {"interval": 0.1}}, "tasks": {}, **settings}
        sections["supervisor"] = {
            "restart": {"delay": 0.02, "max_delay": 0.05},
            "adopt_grace": 3,
            **settings.get("supervisor", {}),
        }
        (self.root / "config.json").write_text(json.dumps(sections))
        return load(self.root / "config.json", {})

    def configure(self, **settings):
        """Put another configuration in force; the tasks that are restarted for it."""
        return self.live.replace(self._load(settings))

    def write(self, name, code=WAITS, con="[]", **metadata):
        """As editors save: whole or not at all."""
        draft = self.directory / f".{name}.tmp"
        draft.write_text(module(code, con, **metadata))
        return draft.rename(self.directory / f"{name}.py")

    async def discover(self):
        await self.manager.discover()

    def state(self, name):
        return self.manager.named(name).state.value

    def pid(self, name):
        child = self.manager.named(name).service
        return child.pid if child else None

    async def view(self, name):
        return await self.manager.show(name)

    async def reaches(self, name, *states):
        def reached():
            return name in self.manager.states and self.state(name) in states

        await until(reached, f"{name} is {' or '.join(states)}: {self.manager.states}", DEADLINE)
        return self.manager.named(name)

    async def settled(self):
        """Nothing is being done with any task any more."""
        while self.manager._works:
            await self.manager._works.wait_done()

    def causes(self, name):
        """Of the deaths of its service."""
        return [record.cause for record in self.exits if record.instance == name]


@asynccontextmanager
async def task_scene(root, **settings):
    async with process_table(state_folder(root)) as table:
        scene = TaskScene(root, table, settings)
        try:
            yield scene
        finally:
            await scene.manager.close()


def run_scene(root, scenario, **settings):
    """Let a coroutine function play in a scene of its own."""

    async def main():
        async with task_scene(root, **settings) as at:
            await scenario(at)

    asyncio.run(main())
