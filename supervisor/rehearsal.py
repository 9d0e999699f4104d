"""What would become of a plugin: all the steps before its start, taken by a command, with or without a supervisor.

A supervisor that runs keeps its state folder to itself but for the environments, of which several processes may build
side by side (environments/build_lock.py): one that is built here is there when the plugin is deployed, if that is soon
(preparation/pruning.py). All else that a rehearsal needs or makes lies in a folder of its own, which is gone
afterwards; so the plugin's code sees an empty data folder.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from plugin_runtime.protocol import Caller, Phase
from plugin_runtime.task_protocol import TaskDescription, TaskPurpose
from plugin_runtime.template_protocol import TASK_PROGRAM
from plugin_runtime.views import ExitView, PluginError
from supervisor.app import STARTS, make_surroundings
from supervisor.clock import SystemClock
from supervisor.config.configuration import Configuration
from supervisor.config.live import LiveConfiguration
from supervisor.config.plugin_keys import Job
from supervisor.environments.progress import OnProgress
from supervisor.errors import PluginRefusedError, XcoreError
from supervisor.jobs.host import task_settings
from supervisor.monitoring.log_files import LogFiles
from supervisor.plugins.written_prefixes import claims_of, written_prefix
from supervisor.preparation.manifest import PluginManifest, concerns_keys
from supervisor.preparation.prefixes import check_plugin_name
from supervisor.preparation.preparation import PreparationError, as_plugin_error, error_of, in_phase
from supervisor.preparation.validation import Validator
from supervisor.preparation.worker_spec import Build, api_prefix, validator_spec
from supervisor.preparation.workshop import Workshop, make_workshop
from supervisor.processes.reaper import become_subreaper
from supervisor.run_folder import make_state_folder
from supervisor.schedule.declared import JobError, from_manifest
from supervisor.schedule.scheduler import machine_zone
from supervisor.signals import cancelled_by_signals
from supervisor.state_folder import StateFolder
from supervisor.supervision.programs import Programs
from supervisor.supervision.tree import Tree
from supervisor.takeover.strays import Strays
from supervisor.takeover.takeover import Takeover

ENVIRONMENT = "environment"
CODE = "code"
"""Steps that may be left out."""


@dataclass(frozen=True)
class Candidate:
    """A plugin that is to be looked at. ``claimed``: the prefixes of the others, by plugin."""

    name: str
    folder: Path
    claimed: Mapping[str, str]


@dataclass
class Verdict:
    """What was found; ``problems`` empty: it would be served."""

    contract: str = ""
    """app or seed; "" where its manifest cannot be read, as in the following."""
    prefix: str = ""
    """"" where only its code can tell, and did not."""
    python: str = ""
    """Version and path of its interpreter."""
    problems: list[PluginError] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Steps that were not taken."""


def rehearse(
    candidate: Candidate, configuration: Configuration, on_progress: OnProgress, *, install: bool = True
) -> Verdict:
    """Take a plugin through all steps but its start. Without ``install`` nothing is built, and no code of it is run.

    Raises:
        XcoreError: there is no place to do so.
        KeyboardInterrupt: it was ended by a signal; what it had begun is gone.
    """
    if install:
        with suppress(OSError):  # the step that needs it says so; made here, it is nobody else's to look into
            configuration.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="xcore-check-", ignore_cleanup_errors=True) as scratch:
            steps = _take_steps(candidate, configuration, StateFolder(Path(scratch)), on_progress, install=install)
            return asyncio.run(steps)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    except OSError as error:
        problem = (
            f"cannot check plugin {candidate.name!r}: {error.filename or 'its processes'}: {error.strerror or error}"
        )
        raise XcoreError(
            problem, hint="make room where temporary files go, or let TMPDIR name another folder"
        ) from error


async def _take_steps(
    candidate: Candidate, configuration: Configuration, place: StateFolder, on_progress: OnProgress, *, install: bool
) -> Verdict:
    with cancelled_by_signals():
        async with _rooms(configuration, place) as workshop:
            rehearsal = Rehearsal(candidate, configuration, workshop, on_progress)
            await rehearsal.read()
            await rehearsal.run(install=install)
            return rehearsal.verdict


@asynccontextmanager
async def _rooms(configuration: Configuration, place: StateFolder) -> AsyncIterator[Workshop]:
    """A workshop that works in ``place``; only environments are where they always are."""
    become_subreaper()
    make_state_folder(place)
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        strays = Strays(mark="", living=set)
        takeover, callers = Takeover(place), _NoGateways()
        around, _ = await make_surroundings(place, LogFiles(place.logs), clock, takeover, strays, callers, stack)
        tree = Tree(clock)
        validator = Validator(tree, around, _unrecorded, STARTS)
        stack.push_async_callback(validator.close)
        programs = Programs(around.reaper, place, _unrecorded)
        settings = configuration.supervisor.model_copy(update={"state_dir": str(place.root)})
        yield make_workshop(
            LiveConfiguration(replace(configuration, supervisor=settings)),
            StateFolder(configuration.state_dir),
            programs,
            validator,
        )


class _NoGateways:
    """Nobody is interested in who may call."""

    def admit_caller(self, caller: Caller) -> None:
        """Never: validators may not."""

    def dismiss_caller(self, incarnation: str) -> None:
        """It had no key."""


def _unrecorded(_exit: ExitView) -> None:
    """What ends here was nobody's but ours."""


class Rehearsal:
    """One candidate's way through the steps; each goes as far as those before it allow."""

    def __init__(
        self, candidate: Candidate, configuration: Configuration, workshop: Workshop, on_progress: OnProgress
    ) -> None:
        self.verdict = Verdict()
        self._candidate = candidate
        self._name = candidate.name
        self._configuration = configuration
        self._workshop = workshop
        self._on_progress = on_progress
        self._manifest: PluginManifest | None = None
        self._can_be_built = False

    async def read(self) -> None:
        """Whatever can be said without building anything or running any of its code."""
        has_name = self._admit_name()
        errors = await asyncio.to_thread(self._workshop.preparation.manifest_errors, self._name, self._candidate.folder)
        self.verdict.problems += [as_plugin_error(Phase.MANIFEST, error) for error in errors]
        if not errors:
            self._manifest = await self._workshop.preparation.read_manifest(self._name, self._candidate.folder)
            self.verdict.contract = self._manifest.contract
            self._schedule(self._manifest)
        has_plan = all(map(concerns_keys, errors)) and await self._plan()
        self._can_be_built = has_name and has_plan and not errors

    async def run(self, *, install: bool) -> None:
        """Build its environment and import its code, and see whether its prefix is to be had."""
        written = await asyncio.to_thread(written_prefix, self._name, self._candidate.folder, self._configuration)
        if install and self._can_be_built and self._manifest is not None:
            written = await self._examine(self._manifest) or written
        else:
            self.verdict.skipped = [ENVIRONMENT, CODE]
        if written is not None:
            self._claim(written)

    def _admit_name(self) -> bool:
        try:
            check_plugin_name(self._name)
        except PluginRefusedError as error:
            self.verdict.problems.append(as_plugin_error(Phase.MANIFEST, error))
            return False
        return True

    def _claim(self, prefix: str) -> None:
        others = {name: claimed for name, claimed in self._candidate.claimed.items() if name != self._name}
        try:
            self.verdict.prefix = claims_of(others).claim(self._name, prefix)
        except PluginRefusedError as error:
            self.verdict.problems.append(as_plugin_error(Phase.MANIFEST, error))

    def _schedule(self, manifest: PluginManifest) -> None:
        for job in manifest.jobs:
            try:
                from_manifest(job, self._name, machine_zone())
            except JobError as error:
                message = f"plugin {self._name!r}: job {error.job!r}: {error.key}: {error.problem}"
                problem = PluginError(Phase.MANIFEST.value, "JobInvalid", message, hint=error.hint)
                self.verdict.problems.append(problem)

    async def _plan(self) -> bool:
        """Its dependencies and its interpreter."""
        installer, folder = self._workshop.installer, self._candidate.folder
        try:
            problems = await in_phase(Phase.ENVIRONMENT, installer.problems(self._name, folder))
            self.verdict.problems += [as_plugin_error(Phase.ENVIRONMENT, problem) for problem in problems]
            if not problems:
                plan = await in_phase(Phase.ENVIRONMENT, installer.plan(self._name, folder))
                self.verdict.python = str(plan.interpreter)
        except PreparationError as error:
            self.verdict.problems.append(error.error)
        return bool(self.verdict.python)

    async def _examine(self, manifest: PluginManifest) -> str | None:
        """Return the prefix that its code claims; None where that cannot be run."""
        try:
            build = await self._workshop.preparation.build(self._name, self._candidate.folder, self._on_progress)
            finding = await in_phase(Phase.IMPORT, self._workshop.validator.validate(build))
        except PreparationError as error:
            self.verdict.problems.append(error.error)
            self.verdict.skipped = [CODE]
            return None
        if errors := finding.description.errors:
            self.verdict.problems += [error_of([failed], finding.log_tail) for failed in errors]
            return None
        for job in manifest.jobs:
            await self._examine_job(job, build)
        return api_prefix(manifest, finding.description)

    async def _examine_job(self, job: Job, build: Build) -> None:
        """Import its function as a run of it would."""
        spec = replace(
            validator_spec(build), id=f"{build.name}.{job.name}.validator", command=(*build.command, TASK_PROGRAM)
        )
        settings = task_settings(
            build.name,
            TaskPurpose.DESCRIBE,
            build.working_directory,
            build,
            job=job.name,
            entry=job.entry,
            adopt_grace=0.0,
        )
        seen = await self._workshop.validator.inspect(spec, settings, TaskDescription, f"job {job.name!r}")
        errors = [seen.failure] if seen.failure else seen.description.errors if seen.description else []
        self.verdict.problems += [error_of([failed], seen.log_tail) for failed in errors]
