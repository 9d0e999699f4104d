"""Builds of plugins without building anything: a manifest, an environment that is this Python, a copy of the code."""

import asyncio
import platform
import sys
from dataclasses import replace
from pathlib import Path

from plugin_runtime.protocol import Description
from supervisor.environments.environment import Environment, Interpreter
from supervisor.environments.progress import BuildProgress
from supervisor.preparation.generations import Generation, Served
from supervisor.preparation.manifest import parse_manifest
from supervisor.preparation.preparation import PreparationError, Prepared
from supervisor.preparation.worker_spec import Build

INTERPRETER = Interpreter(Path(sys.executable), platform.python_version())


class ThisEnvironment(Environment):
    """The environment that the tests run in."""

    @property
    def python(self) -> Path:
        return Path(sys.executable)


class GuestBuild(Build):
    """Runs tests/children/guest.py in place of the bootstrap."""

    steps = ("hello", "ready", "serve")

    @property
    def command(self):
        script = Path(__file__).parent.parent / "children" / "guest.py"
        return (str(self.environment.python), "-I", str(script), *self.steps)


def build_of(root: Path, name: str = "hello", steps=None, generation="abcdef", **keys) -> GuestBuild:
    """A build of plugin ``name`` with these keys of its manifest; ``steps``: what its processes do."""
    folder = root / "plugins" / name
    source = root / "generations" / name
    for path in (folder, source):
        path.mkdir(parents=True, exist_ok=True)
    keys.setdefault("template", False)
    environment = ThisEnvironment(root, "fingerprint", INTERPRETER)
    copy = Generation(name, generation, root / "generations" / name, "fingerprint")
    build = GuestBuild(
        manifest=parse_manifest(name, None, keys),
        folder=folder,
        environment=environment,
        guest_packages=root,
        generation=copy,
        variables={"PATH": "/usr/bin:/bin"},
        project=root,
        entry_point="run",
    )
    if steps is not None:
        object.__setattr__(build, "steps", tuple(map(str, steps)))
    return build


class ScriptedPreparation:
    """Prepares plugins as the test says: ``plans`` has a Prepared, or an exception, per plugin."""

    def __init__(self):
        self.plans = {}
        self.gates = {}
        """An event per plugin that has to be set before it is prepared."""
        self.builds = {}
        """An event per plugin that has to be set before its environment is there."""
        self.calls = []
        self.assumes = False
        """Nothing is validated that may be assumed."""
        self.validated = []
        self.found = {}
        """What a validator finds, by plugin, where that is something else than the plan."""
        self.served_generations = {}
        self.kept = {}
        """By plugin and hash, what can be restored."""
        self.pruned = {}
        self.free = asyncio.Event()
        self.free.set()
        """Not set while something is being built: a removal waits."""
        self.installed = []
        self.installing = {}
        """By plugin, what its next installations end with: an exception, or a generation that is planned then."""

    def plan(self, root: Path, name: str, description: Description | None = None, steps=None, **keys) -> None:
        generation = keys.pop("generation", "abcdef")
        prepared = Prepared(build_of(root, name, steps, generation, **keys), description or Description())
        self.plans[name] = self.kept[name, generation] = prepared

    async def read_manifest(self, name, folder):
        self.calls.append(name)
        if name in self.gates:
            await self.gates[name].wait()
        planned = self.plans[name]
        if isinstance(planned, Exception):
            raise planned
        return planned.build.manifest

    async def assemble(self, manifest, folder, on_progress):
        on_progress(BuildProgress("installing"))
        if manifest.plugin in self.builds:
            await self.builds[manifest.plugin].wait()
        return self.plans[manifest.plugin].build

    async def examine(self, build, before=None, *, may_assume=False):
        planned = self.plans[build.name]
        if may_assume and self.assumes:
            return replace(planned, description=before.description, is_assumed=True)
        return planned

    async def validate(self, build, before=None):
        self.validated.append(build.name)
        planned = self.found.get(build.name, self.plans[build.name])
        if isinstance(planned, Exception):
            raise planned
        return planned

    async def describe(self, build, description, before=None):
        return Prepared(build, description)

    async def build_anew(self, name, folder, on_progress):
        on_progress(BuildProgress("installing anew"))
        self.installed.append(name)
        outcome = self.installing[name].pop(0) if self.installing.get(name) else None
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is not None:
            outcome()

    async def served(self, plugin):
        return self.served_generations.get(plugin, Served())

    async def note_served(self, plugin, served):
        self.served_generations[plugin] = served

    async def restore(self, plugin, folder, generation):
        return self.kept.get((plugin, generation))

    async def prune(self, plugin, keep):
        await self.free.wait()
        self.pruned[plugin] = keep()

    def learn(self, prepared, modules):
        return prepared


__all__ = ["GuestBuild", "PreparationError", "ScriptedPreparation", "build_of"]
