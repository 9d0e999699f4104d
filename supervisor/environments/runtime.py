"""What the guest itself needs in a foreign environment: msgpack, and for those who want them uvloop, httpx, a2wsgi.

Installed from a lock that is shipped, so every worker of one Python version has the same. Not with ``pip install
--target --python-version``, which evaluates the markers of dependencies for the Python it runs on: a 3.9 would miss
what only a 3.9 needs. ``runtime/<python tag>/<fingerprint>``: an upgrade must not take the packages from under
workers that still run.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from supervisor.environments import project
from supervisor.environments.builder import Builder, Plan, existing
from supervisor.environments.environment import Interpreter
from supervisor.environments.progress import OnProgress, unheard
from supervisor.errors import EnvironmentBuildError

LOGS = "_runtime"
"""Under which the logs of its builds are kept; no plugin can have that name."""
SHIPPED = Path(__file__).with_name("guest") / "pyproject.toml"


@dataclass(frozen=True)
class GuestPackages:
    """``path``: goes last on the guest's sys.path. ``optional``: whether all but msgpack are there, too."""

    path: Path
    optional: bool


class Runtime:
    """Owns ``<state_dir>/runtime``."""

    def __init__(self, folder: Path, builder: Builder, pyproject: Path = SHIPPED) -> None:
        self._folder = folder
        self._builder = builder
        self._pyproject = pyproject

    async def ensure(self, interpreter: Interpreter, on_progress: OnProgress = unheard) -> GuestPackages:
        """Return the packages for guests on ``interpreter``, installed now where they are not there yet.

        Raises:
            EnvironmentBuildError: msgpack cannot be installed.
        """
        plan = await asyncio.to_thread(self._plan, interpreter)
        environment = await self._builder.ensure(plan, on_progress)
        return GuestPackages(environment.site_packages, environment.optional_groups)

    def existing(self, interpreter: Interpreter) -> GuestPackages | None:
        """The same if they are there; starts no process.

        Raises:
            EnvironmentBuildError: xcore itself is not whole.
        """
        environment = existing(self._plan(interpreter))
        return GuestPackages(environment.site_packages, environment.optional_groups) if environment else None

    def _plan(self, interpreter: Interpreter) -> Plan:
        name = f"plugin_runtime on Python {interpreter.minor}"
        shipped = project.read(name, self._pyproject)
        if shipped is None:
            raise EnvironmentBuildError(name, f"{self._pyproject} is missing", hint="install xcore-supervisor anew")
        owner = self._folder / interpreter.tag
        return Plan(name, owner, shipped, interpreter, optional_groups=True, logs=LOGS)
