"""Builds environments: venv, lock, installation, and last of all the mark that says it is whole.

A venv cannot be moved once it has scripts, so it is built where it will stay. ``complete.json`` is written last and
by a rename; a folder without it was left by a failure or a kill, and is never used. Each build has a folder of its
own, ``<fingerprint>``, else ``<fingerprint>.2`` and so on: what got away of a build that was killed may still write.
"""

import asyncio
import json
import logging
import os
import shutil
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from supervisor.environments import poetry_program
from supervisor.environments.build_lock import alone
from supervisor.environments.build_log import BuildLog, BuildLogs
from supervisor.environments.diagnosis import diagnose
from supervisor.environments.environment import Environment, Interpreter
from supervisor.environments.file_system import fullest, is_full, is_want_of_machine, remove
from supervisor.environments.fingerprint import fingerprint
from supervisor.environments.package_index import PackageIndex, PackageSource
from supervisor.environments.progress import BuildProgress, OnProgress
from supervisor.environments.project import Project
from supervisor.environments.runner import SUPERVISOR, Completed, Runner
from supervisor.errors import BuildInterruptedError, EnvironmentBuildError, SpawnError

MARK = "complete.json"
CACHE = ".cache"
"""Downloads, shared by all builds: Poetry writes its files there by renames. No plugin's name starts with a dot."""

_QUEUED = "waiting for other builds"
_WAITING = "waiting for another process that builds it"

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
    offline: bool = False
    """Build nothing: what is not there is an error."""


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
    logs: str = ""
    """Under which the logs of its builds are kept, if that is not the owner's name."""

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.project, self.interpreter)

    @property
    def folder(self) -> Path:
        """Of the first build; ``<fingerprint>.2`` is that of the next one."""
        return self.owner / self.fingerprint


@dataclass
class _Build:
    """One build under way."""

    plan: Plan
    folder: Path
    log: BuildLog
    on_progress: OnProgress
    current: BuildProgress = field(default_factory=lambda: BuildProgress(""))

    def step(self, text: str) -> None:
        self.log.step(text)
        self.current = BuildProgress(text)
        self.on_progress(self.current)

    def line(self, text: str) -> None:
        self.log.line(text)
        if text.strip():
            self.on_progress(BuildProgress(self.current.step, text))


class Builder:
    """Builds one environment per owner at a time, several owners side by side, also beside builders elsewhere."""

    def __init__(
        self,
        cache: Path,
        runner: Runner,
        index: PackageIndex,
        logs: BuildLogs,
        environment: Mapping[str, str],
        settings: BuildSettings | None = None,
    ) -> None:
        """``environment``: of the supervisor; installers get the harmless part of it."""
        self._cache = cache
        self._runner = runner
        self._index = index
        self._logs = logs
        self._environment = environment
        self._settings = settings or BuildSettings()
        self._slots = asyncio.Semaphore(self._settings.parallel)
        self._owners: defaultdict[Path, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._handed_out: dict[str, Path] = {}
        self._building: set[Path] = set()

    async def ensure(self, plan: Plan, on_progress: OnProgress, *, anew: bool = False) -> Environment:
        """Return the environment of ``plan``, and build it first where it is missing or half built.

        ``anew``: build another one beside it in any case.

        Raises:
            BuildInterruptedError: something else than the dependencies is to blame.
            EnvironmentBuildError: with the installer's last lines.
        """
        former = existing(plan)
        environment = former if former is not None and not anew else await self._build(plan, former, on_progress)
        self._handed_out[plan.name] = environment.folder
        return environment

    def in_use(self) -> set[Path]:
        """Folders that are being built in, and those that each plugin or task was given last."""
        return self._building | set(self._handed_out.values())

    async def _build(self, plan: Plan, former: Environment | None, on_progress: OnProgress) -> Environment:
        if self._settings.offline:
            hint = "start it once without --offline, where the package index can be reached"
            raise EnvironmentBuildError(plan.name, "it would have to be installed, and xcore runs offline", hint=hint)
        owner = self._owners[plan.owner]
        if owner.locked():
            on_progress(BuildProgress(_QUEUED))
        try:
            # The slot last: what another process builds meanwhile keeps nobody else from it.
            async with owner, alone(plan.owner, lambda: on_progress(BuildProgress(_WAITING))), self._slot(on_progress):
                newest = existing(plan)
                if newest is not None and newest != former:  # somebody else has built it while this one waited
                    return newest
                folder = _next_folder(plan)
                self._building.add(folder)
                try:
                    return await self._build_logged(plan, folder, on_progress)
                finally:
                    self._building.discard(folder)
        except OSError as error:
            raise _kind(error)(plan.name, f"{error.filename or plan.owner}: {error.strerror}") from error

    @asynccontextmanager
    async def _slot(self, on_progress: OnProgress) -> AsyncIterator[None]:
        """One of as many builds as may run side by side."""
        if self._slots.locked():
            on_progress(BuildProgress(_QUEUED))
        async with self._slots:
            yield

    async def _build_logged(self, plan: Plan, folder: Path, on_progress: OnProgress) -> Environment:
        started = time.monotonic()
        with self._logs.begin(plan.logs or plan.owner.name, folder.name) as log:
            try:
                environment = await self._build_in(_Build(plan, folder, log, on_progress))
            except (EnvironmentBuildError, SpawnError, OSError) as error:
                await remove([folder])  # at once: it may be what fills the disk
                raise self._told(error, plan, log) from error
        logger.info("Environment of %s built in %.1f s: %s", plan.name, time.monotonic() - started, folder)
        return environment

    async def _build_in(self, build: _Build) -> Environment:
        plan, folder = build.plan, build.folder
        await remove(_half_built(plan.owner))
        folder.mkdir(parents=True)
        steps = _Steps(build, self._runner, self._settings)
        source = await self._index.source(plan.name)
        await steps.make_venv(poetry_program.inherited(self._environment))
        _write_project(plan, folder)
        variables = self._variables(folder, source)
        if plan.project.lock is None:
            await steps.lock(variables)
        complete = await steps.install(variables)
        shutil.rmtree(folder / CACHE, ignore_errors=True)
        _mark(plan, folder, optional_groups=complete)
        return Environment(folder, folder.name, plan.interpreter, complete)

    def _variables(self, folder: Path, source: PackageSource) -> Callable[[int], dict[str, str]]:
        def variables(attempt: int) -> dict[str, str]:
            # A damaged file in the shared cache would fail every try: the first alone trusts it.
            cache = self._cache if attempt == 0 else folder / CACHE
            return poetry_program.variables(self._environment, folder, cache, source)

        return variables

    def _told(
        self, error: EnvironmentBuildError | SpawnError | OSError, plan: Plan, log: BuildLog
    ) -> EnvironmentBuildError:
        """The same as people shall read it: which file system is full, and where all that was said is kept."""
        where = f"all it said is in {log.path}" if log.path else ""
        tail = error.log_tail if isinstance(error, EnvironmentBuildError) else []
        if _is_full(error):
            places = (plan.owner, self._cache, Path(self._environment.get("TMPDIR", "/tmp")))  # noqa: S108 - theirs
            problem = f"the file system {fullest(places)} is full"
            hint = _sentences("free some space there", where)
            return BuildInterruptedError(plan.name, problem, log_tail=tail, hint=hint)
        if isinstance(error, EnvironmentBuildError):
            hint = _sentences(error.hint, where)
            return type(error)(plan.name, error.problem, log_tail=tail, hint=hint)
        if isinstance(error, SpawnError):
            return _kind(error.__cause__)(plan.name, error.message, hint=where)
        return _kind(error)(plan.name, f"{error.filename or plan.owner}: {error.strerror}", hint=where)


class _Steps:
    """The programs of one build, which share its time limit."""

    def __init__(self, build: _Build, runner: Runner, settings: BuildSettings) -> None:
        self._build = build
        self._plan = build.plan
        self._runner = runner
        self._settings = settings
        self._deadline = time.monotonic() + settings.time_limit

    async def make_venv(self, environment: Mapping[str, str]) -> None:
        self._build.step(f"making a virtual environment with Python {self._plan.interpreter}")
        # Seeding pip takes seconds, and Poetry needs none in there.
        command = [str(self._plan.interpreter.path), "-I", "-m", "venv", "--without-pip", str(self._build.folder)]
        self._require(await self._run(command, environment), "the virtual environment cannot be made")

    async def lock(self, variables: Callable[[int], Mapping[str, str]]) -> None:
        completed = await self._retried("resolving dependencies", poetry_program.lock_command(), variables)
        self._require(completed, "its dependencies cannot be resolved")

    async def install(self, variables: Callable[[int], Mapping[str, str]]) -> bool:
        """Whether the optional groups came as well."""
        step = "installing dependencies"
        if self._plan.optional_groups:
            completed = await self._retried(step, poetry_program.install_command(all_groups=True), variables)
            if completed.succeeded:
                return True
            if completed.signal is not None or diagnose(completed.tail).is_full:  # it says nothing of the packages
                self._require(completed, "its dependencies cannot be installed")
            logger.warning("Optional packages of %s are left out: %s", self._plan.name, completed)
        completed = await self._retried(step, poetry_program.install_command(), variables)
        self._require(completed, "its dependencies cannot be installed")
        return False

    async def _retried(self, step: str, command: list[str], variables: Callable[[int], Mapping[str, str]]) -> Completed:
        self._build.step(step)
        completed = await self._run(command, variables(0))
        for attempt in range(1, self._settings.retries + 1):
            if completed.succeeded or completed.timed_out or not diagnose(completed.tail).transient:
                break
            delay = self._settings.retry_delay * 2 ** (attempt - 1)
            self._build.step(f"{step}, again in {delay:g} s: {diagnose(completed.tail).problem}")
            await asyncio.sleep(delay)
            completed = await self._run(command, variables(attempt))
        return completed

    async def _run(self, command: list[str], environment: Mapping[str, str]) -> Completed:
        return await self._runner.run(
            command,
            name=self._plan.plugin,
            cwd=self._build.folder,
            environment=environment,
            timeout=max(self._deadline - time.monotonic(), 0.0),
            on_line=self._build.line,
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
        is_healing = found.transient or found.is_full or completed.signal is not None
        kind = BuildInterruptedError if is_healing else EnvironmentBuildError
        raise kind(self._plan.name, problem, log_tail=tail, hint=found.hint)


def existing(plan: Plan) -> Environment | None:
    """The newest environment of ``plan`` that is there and whole; starts no process."""
    found = (_whole(plan, folder) for folder in reversed(_builds(plan)))
    return next((environment for environment in found if environment is not None), None)


def _whole(plan: Plan, folder: Path) -> Environment | None:
    try:
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    environment = Environment(folder, folder.name, plan.interpreter, mark.get("optional_groups", False))
    # A link to an interpreter that was removed is no Python any more.
    return environment if environment.python.exists() else None


def _builds(plan: Plan) -> list[Path]:
    """The folders of all its builds, oldest first."""
    own = plan.fingerprint
    return sorted((path for path in _listed(plan.owner) if path.name.partition(".")[0] == own), key=_number)


def _number(build: Path) -> int:
    """Of a build: 1, 2 and so on; 0 where it is none."""
    number = build.name.partition(".")[2] or "1"
    return int(number) if number.isdecimal() else 0


def _next_folder(plan: Plan) -> Path:
    """Where nothing was ever built, as far as that can be seen."""
    former = _builds(plan)
    return plan.folder.with_name(f"{plan.fingerprint}.{_number(former[-1]) + 1}") if former else plan.folder


def _half_built(owner: Path) -> list[Path]:
    """What a kill has left, of a build or of a removal; nobody else builds there now."""
    return [folder for folder in _listed(owner) if folder.name.startswith(".") or not (folder / MARK).is_file()]


def _write_project(plan: Plan, folder: Path) -> None:
    (folder / "pyproject.toml").write_text(plan.project.installable(plan.interpreter.version), encoding="utf-8")
    if plan.project.lock is not None:
        (folder / "poetry.lock").write_text(plan.project.lock, encoding="utf-8")


def _mark(plan: Plan, folder: Path, *, optional_groups: bool) -> None:
    content = {"name": plan.name, "python": str(plan.interpreter), "optional_groups": optional_groups}
    draft = folder / f"{MARK}.tmp"
    draft.write_text(json.dumps(content), encoding="utf-8")
    draft.rename(folder / MARK)


def _is_full(error: EnvironmentBuildError | SpawnError | OSError) -> bool:
    if isinstance(error, EnvironmentBuildError):
        return diagnose(error.log_tail).is_full
    return is_full(error.__cause__ if isinstance(error, SpawnError) else error)


def _kind(cause: BaseException | None) -> type[EnvironmentBuildError]:
    """Of the error that tells of ``cause``: whether the machine is to blame."""
    return BuildInterruptedError if is_want_of_machine(cause) else EnvironmentBuildError


def _sentences(*hints: str) -> str:
    return "; ".join(hint for hint in hints if hint)


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
