"""Builds environments: venv, lock, installation, and last of all the mark that says it is whole.

A venv cannot be moved once it has scripts, so it is built where it will stay. ``complete.json`` is written last and
by a rename; a folder without it was left by a failure or a kill, is never used and is removed before the next build.
"""

import asyncio
import json
import logging
import os
import secrets
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from supervisor.environments import poetry_program
from supervisor.environments.build_lock import alone
from supervisor.environments.diagnosis import diagnose
from supervisor.environments.environment import Environment, Interpreter
from supervisor.environments.fingerprint import fingerprint
from supervisor.environments.package_index import PackageIndex, PackageSource
from supervisor.environments.project import Project
from supervisor.environments.runner import SUPERVISOR, Completed, Runner
from supervisor.errors import EnvironmentBuildError

MARK = "complete.json"
CACHE = ".cache"
"""Downloads, shared by all builds: Poetry writes its files there by renames. No plugin's name starts with a dot."""

OnProgress = Callable[[str], None]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildSettings:
    """Seconds, and numbers."""

    time_limit: float = 600.0
    """For a whole build; a scientific stack over a slow line takes minutes."""
    retries: int = 2
    """Further tries where the network is to blame."""
    retry_delay: float = 2.0
    """Before the first of them; doubles."""
    parallel: int = os.cpu_count() or 1


@dataclass(frozen=True)
class Plan:
    """One environment to be had: ``<owner>/<fingerprint>``."""

    name: str
    """Of the plugin, for messages and logs."""
    owner: Path
    project: Project
    interpreter: Interpreter
    plugin: str = SUPERVISOR
    """For which its programs are run, so that their exits are found under its name."""
    optional_groups: bool = False
    """Try all groups of the project, and be content with main."""

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.project, self.interpreter)

    @property
    def folder(self) -> Path:
        return self.owner / self.fingerprint


class Builder:
    """Builds one environment per owner at a time, several owners side by side, also beside builders elsewhere."""

    def __init__(
        self,
        cache: Path,
        runner: Runner,
        index: PackageIndex,
        environment: Mapping[str, str],
        settings: BuildSettings | None = None,
    ) -> None:
        """``environment``: of the supervisor; installers get the harmless part of it."""
        self._cache = cache
        self._runner = runner
        self._index = index
        self._environment = environment
        self._settings = settings or BuildSettings()
        self._slots = asyncio.Semaphore(self._settings.parallel)
        self._owners: defaultdict[Path, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def ensure(self, plan: Plan, on_progress: OnProgress) -> Environment:
        """Return the environment of ``plan``, and build it first where it is missing or half built.

        Raises:
            EnvironmentBuildError: with the installer's last lines.
        """
        if (environment := existing(plan)) is not None:
            return environment
        async with self._owners[plan.owner], self._slots:
            try:
                async with alone(plan.owner, lambda: on_progress("waiting for another process that builds it")):
                    # Somebody else may have built it while this one waited.
                    return existing(plan) or await self._build(plan, on_progress)
            except OSError as error:
                raise EnvironmentBuildError(plan.name, f"{error.filename or plan.folder}: {error.strerror}") from error

    async def prune(self, owner: Path, keep: set[str]) -> None:
        """Remove what ``owner`` has beside the fingerprints in ``keep``; waits for a build of the same owner."""
        async with self._owners[owner]:
            await _remove([folder for folder in _listed(owner) if folder.name not in keep])

    async def _build(self, plan: Plan, on_progress: OnProgress) -> Environment:
        started = time.monotonic()
        await _remove([plan.folder])
        plan.folder.mkdir(parents=True)
        source = await self._index.source(plan.name)
        steps = _Steps(plan, self._runner, on_progress, self._settings)
        await steps.make_venv(poetry_program.inherited(self._environment))
        _write_project(plan)
        variables = self._variables(plan, source)
        if plan.project.lock is None:
            await steps.lock(variables)
        complete = await steps.install(variables)
        shutil.rmtree(plan.folder / CACHE, ignore_errors=True)
        _mark(plan, optional_groups=complete)
        logger.info("Environment of %s built in %.1f s: %s", plan.name, time.monotonic() - started, plan.folder)
        return Environment(plan.folder, plan.fingerprint, plan.interpreter, complete)

    def _variables(self, plan: Plan, source: PackageSource) -> Callable[[int], dict[str, str]]:
        def variables(attempt: int) -> dict[str, str]:
            # A damaged file in the shared cache would fail every try: the first alone trusts it.
            cache = self._cache if attempt == 0 else plan.folder / CACHE
            return poetry_program.variables(self._environment, plan.folder, cache, source)

        return variables


class _Steps:
    """The programs of one build, which share its time limit."""

    def __init__(self, plan: Plan, runner: Runner, on_progress: OnProgress, settings: BuildSettings) -> None:
        self._plan = plan
        self._runner = runner
        self._on_progress = on_progress
        self._settings = settings
        self._deadline = time.monotonic() + settings.time_limit

    async def make_venv(self, environment: Mapping[str, str]) -> None:
        self._on_progress(f"making a virtual environment with Python {self._plan.interpreter}")
        # Seeding pip takes seconds, and Poetry needs none in there.
        command = [str(self._plan.interpreter.path), "-I", "-m", "venv", "--without-pip", str(self._plan.folder)]
        self._require(await self._run(command, environment), "the virtual environment cannot be made")

    async def lock(self, variables: Callable[[int], Mapping[str, str]]) -> None:
        self._on_progress("resolving dependencies")
        completed = await self._retried(poetry_program.lock_command(), variables)
        self._require(completed, "its dependencies cannot be resolved")

    async def install(self, variables: Callable[[int], Mapping[str, str]]) -> bool:
        """Whether the optional groups came as well."""
        self._on_progress("installing dependencies")
        if self._plan.optional_groups:
            completed = await self._retried(poetry_program.install_command(all_groups=True), variables)
            if completed.succeeded:
                return True
            logger.warning("Optional packages of %s are left out: %s", self._plan.name, completed)
        completed = await self._retried(poetry_program.install_command(), variables)
        self._require(completed, "its dependencies cannot be installed")
        return False

    async def _retried(self, command: list[str], variables: Callable[[int], Mapping[str, str]]) -> Completed:
        completed = await self._run(command, variables(0))
        for attempt in range(1, self._settings.retries + 1):
            if completed.succeeded or completed.timed_out or not diagnose(completed.tail).transient:
                break
            delay = self._settings.retry_delay * 2 ** (attempt - 1)
            self._on_progress(f"trying again in {delay:g} s: {diagnose(completed.tail).problem}")
            await asyncio.sleep(delay)
            completed = await self._run(command, variables(attempt))
        return completed

    async def _run(self, command: list[str], environment: Mapping[str, str]) -> Completed:
        return await self._runner.run(
            command,
            name=self._plan.plugin,
            cwd=self._plan.folder,
            environment=environment,
            timeout=max(self._deadline - time.monotonic(), 0.0),
            on_line=lambda line: self._on_progress(line) if line.strip() else None,
        )

    def _require(self, completed: Completed, otherwise: str) -> None:
        if completed.succeeded:
            return
        tail = list(completed.tail)
        if completed.timed_out:
            problem = f"not done after {self._settings.time_limit:g} s"
            raise EnvironmentBuildError(self._plan.name, problem, log_tail=tail, hint="killed with all it had started")
        found = diagnose(tail)
        problem = f"{found.problem or otherwise} ({completed}, Python {self._plan.interpreter})"
        raise EnvironmentBuildError(self._plan.name, problem, log_tail=tail, hint=found.hint)


def existing(plan: Plan) -> Environment | None:
    """The environment of ``plan`` if it is there and whole; starts no process."""
    try:
        mark = json.loads((plan.folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    environment = Environment(plan.folder, plan.fingerprint, plan.interpreter, mark.get("optional_groups", False))
    # A link to an interpreter that was removed is no Python any more.
    return environment if environment.python.exists() else None


def _write_project(plan: Plan) -> None:
    (plan.folder / "pyproject.toml").write_text(plan.project.installable(plan.interpreter.version), encoding="utf-8")
    if plan.project.lock is not None:
        (plan.folder / "poetry.lock").write_text(plan.project.lock, encoding="utf-8")


def _mark(plan: Plan, *, optional_groups: bool) -> None:
    content = {"name": plan.name, "python": str(plan.interpreter), "optional_groups": optional_groups}
    draft = plan.folder / f"{MARK}.tmp"
    draft.write_text(json.dumps(content), encoding="utf-8")
    draft.rename(plan.folder / MARK)


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


async def _remove(folders: list[Path]) -> None:
    """Take ``folders`` out of the way at once, then remove them, which may take long, in a thread.

    A thread runs on when its caller is cancelled: it must never see the paths at which the next build begins. And a
    kill in the middle leaves nothing that looks whole.
    """
    doomed = []
    for folder in folders:
        with suppress(FileNotFoundError):
            doomed.append(folder.rename(folder.with_name(f".{secrets.token_hex(8)}.removed")))
    for folder in doomed:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
