"""Plugins with everything around them: real processes, prepared as the test says, gateways that acknowledge at once."""

from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace

from plugin_runtime.protocol import RoutingAck, RoutingSnapshot
from plugin_runtime.views import PluginError
from supervisor.config.live import LiveConfiguration
from supervisor.config.source import load
from supervisor.environments.build_log import BuildLogs
from supervisor.errors import UnknownNameError
from supervisor.gateways.gateways import Gateways
from supervisor.monitoring.log_files import LogFiles
from supervisor.plugins.directory import PluginDirectory
from supervisor.plugins.operations import PluginOperations
from supervisor.plugins.plugins import Plugins
from supervisor.plugins.services import PluginServices
from supervisor.preparation.prefixes import Claims
from supervisor.preparation.preparation import PreparationError
from supervisor.store.repository import PluginRow
from supervisor.templates.pool import TemplatePool
from supervisor.templates.template import TemplateServices
from tests.fakes.builds import ScriptedPreparation
from tests.fakes.gateway_children import FakeGatewayChild
from tests.fakes.process_table import process_table
from tests.fakes.processes import exists, state_folder
from tests.fakes.waiting import DEADLINE, settle, until

FOREVER = 3600.0
"""Seconds between two looks at the directory: events say when to look."""


class AcknowledgingGateway(FakeGatewayChild):
    """Routes by every snapshot as soon as it comes, unless it shall not."""

    def __init__(self, gateways):
        super().__init__()
        self._gateways = gateways
        self.hold = False
        """Acknowledge nothing until the test does."""

    def send(self, message, request_id=0):
        super().send(message, request_id)
        if isinstance(message, RoutingSnapshot) and not self.hold:
            self.acknowledge()

    def acknowledge(self):
        self.says(self._gateways, RoutingAck(self.of(RoutingSnapshot)[-1].version))

    def route(self, plugin):
        """As of the last snapshot; None where there is none."""
        routes = self.of(RoutingSnapshot)[-1].routes
        return next((route for route in routes if route.plugin == plugin), None)


class FakeRepository:
    """Rows by name; ``registered`` keeps what discovery found."""

    def __init__(self):
        self.rows = []
        self.registered = []
        self.scaled = {}
        self.active = {}
        self.forgotten = []
        self.error = None

    def knows(self, name, prefix="", *, active=True, instances=None):
        self.rows.append(PluginRow(name, name, "1", "Ada", prefix, [], 1, 0.0, 0.0, active, instances))

    async def scale(self, name, instances):
        if self.error:
            raise self.error
        self.scaled[name] = instances

    async def get_all(self):
        return self.rows

    async def get(self, name):
        found = next((row for row in self.rows if row.name == name), None)
        if found is None:
            raise UnknownNameError("plugin", name)
        return found

    async def status(self, name, *, active):
        if self.error:
            raise self.error
        self.active[name] = active
        return PluginRow(name, name, "1", "Ada", "", [], 1, 0.0, 0.0, active)

    async def add(self, facts, *, active):
        return PluginRow(facts.name, **vars(facts), add_time=0.0, update_time=0.0, active=active)

    async def update(self, name, changes, *, active):
        row = PluginRow(name, name, "1", "Ada", "", [], 1, 0.0, 0.0, active=active)
        return replace(row, **{key: value for key, value in vars(changes).items() if value is not None})

    async def delete(self, name):
        if name in self.forgotten:
            raise UnknownNameError("plugin", name)
        self.forgotten.append(name)

    async def register(self, facts):
        if self.error:
            raise self.error
        self.registered.append(facts)


class FakePruning:
    """``needed``: generations that something else stands on, by plugin."""

    def __init__(self):
        self.needed = {}
        self.asked = 0

    def soon(self):
        self.asked += 1

    def generations(self, plugin):
        return self.needed.get(plugin, set())


class FakeExits:
    async def last_exit(self, name):
        return None


class FakeJobBook:
    """``jobs``: ids by owner."""

    def __init__(self):
        self.jobs = {}

    def declare(self, host, jobs):
        self.jobs[host.name] = [job.id for job in jobs]
        return []

    def withdraw(self, owner, kind=None):
        self.jobs.pop(owner, None)


class PluginScene:
    """Make folders with ``add``, then ``discover``."""

    def __init__(self, root, table):
        self.root = root
        self.table = table
        self.directory = root / "plugins"
        self.directory.mkdir(exist_ok=True)
        (root / "config.json").write_text('{"supervisor": {"restart": {"delay": 0.05, "limit": 3}, "adopt_grace": 3}}')
        self.preparation = ScriptedPreparation()
        self.pruning = FakePruning()
        self.repository = FakeRepository()
        self.gateways = Gateways(None, None, lambda: None, lambda _: None)
        self.exits = []
        self.latest = {}
        self.live = LiveConfiguration(load(root / "config.json", {}))
        self.services = PluginServices(
            configuration=self.live.current,
            live=self.live,
            around=table.around,
            templates=TemplatePool(
                table.around.origin,
                TemplateServices(table.around, table.tree, self.exits.append),
                self.live.current.supervisor,
            ),
            tree=table.tree,
            preparation=self.preparation,
            pruning=self.pruning,
            claims=Claims(),
            gateways=self.gateways,
            repository=self.repository,
            resources=SimpleNamespace(
                sample_soon=lambda: None,
                latest=lambda child: self.latest.get(child.spec.id),
                forget=lambda _child: None,
            ),
            jobs=FakeJobBook(),
            recorded=self.exits.append,
            changed=lambda: None,
            released=lambda: self.plugins.retry_refused(),  # noqa: PLW0108 - made after this
        )
        self._looks = PluginDirectory(self.directory, lambda: self.live.current.manager.snapshot.ignores, FOREVER)
        self.plugins = Plugins(self._looks, self.services, FakeExits())
        self.orders = PluginOperations(
            self.plugins, self.services, LogFiles(table.folder.logs), BuildLogs(table.folder.build_logs)
        )
        self.gateway = AcknowledgingGateway(self.gateways)
        self.gateways.connected(self.gateway)

    def add(self, name, description=None, steps=None, **keys):
        """A folder, and how it is to be prepared."""
        self.preparation.plan(self.root, name, description, steps, **keys)

    def restep(self, name, *steps):
        """What its processes do from the next one on."""
        object.__setattr__(self.preparation.plans[name].build, "steps", tuple(map(str, steps)))

    def add_broken(self, name, error):
        (self.directory / name).mkdir()
        self.preparation.plans[name] = error

    async def discover(self):
        await self.plugins.discover()
        await self.plugins.settled()

    async def look(self):
        """One look at the directory, which is followed."""
        await self._looks.look()

    def state(self, name):
        return self.plugins.named(name).state.value

    async def reaches(self, name, state):
        await until(lambda: self.state(name) == state, f"{name} is {state}, not {self.state(name)}")
        return self.plugins.named(name)


async def serving(at, name="hello", generation="one", **keys):
    """A plugin, up and routed."""
    at.add(name, generation=generation, **keys)
    await at.discover()
    plugin = await at.reaches(name, "running")
    await until(lambda: plugin.ready == plugin.wanted, "all of it serves")
    await settle()
    return plugin


def pids(plugin):
    return [child.pid for child in plugin.instances]


def broken(message="no module named flask"):
    return PreparationError(PluginError("import", "ImportError", message, hint="add it"))


@asynccontextmanager
async def plugin_scene(root):
    async with process_table(state_folder(root)) as table:
        scene = PluginScene(root, table)
        try:
            yield scene
        finally:
            await scene.plugins.close()
            await scene.gateways.close()


FAILS = ("hello", "fail:no database", "exit:1")
"""Steps of a worker whose code cannot be imported."""


async def reload(at):
    """Return when the workers before are gone, too."""
    view = await at.orders.reload("hello", "token:ci", wait=DEADLINE)
    await at.plugins.named("hello").serving.cleared()
    return view


def routed(at, since=0):
    """The route of hello in each snapshot that has it."""
    snapshots = at.gateway.of(RoutingSnapshot)[since:]
    return [route for snapshot in snapshots for route in snapshot.routes if route.plugin == "hello"]


def incarnations(route):
    return {upstream.incarnation for upstream in route.upstreams}


def assert_nothing_else_runs(at, plugin):
    assert set(at.table.tree.children) == set(plugin.instances)
    assert all(exists(pid) for pid in pids(plugin))


async def touched(at, name, file="main.py", text="x = 1"):
    """Save a file of a plugin."""
    (at.directory / name).mkdir(exist_ok=True)
    (at.directory / name / file).write_text(text)
