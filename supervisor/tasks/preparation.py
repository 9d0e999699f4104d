"""From a task's file to what its processes are started with: copy, environment, description, jobs.

The description is made in a process, and in the environment that the module itself names: so it may have to be made
twice. Each step may fail for a reason that the author or the operator has to mend; nothing of what runs is touched.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from plugin_runtime.protocol import Failed, Phase
from plugin_runtime.task_protocol import JobDeclaration, TaskDescription
from plugin_runtime.views import PluginError
from supervisor.config.live import LiveConfiguration
from supervisor.config.regular_file import UnreadableFileError, read_text
from supervisor.environments.progress import OnProgress
from supervisor.preparation.preparation import PreparationError, error_of, in_phase
from supervisor.preparation.validation import Validator
from supervisor.schedule.declared import JobError, from_declaration
from supervisor.schedule.job_spec import JobSpec
from supervisor.tasks.ground import Grounds
from supervisor.tasks.module_copy import ModuleCopies, ModuleCopy
from supervisor.tasks.module_dir import literal_module_dir, plugin_of
from supervisor.tasks.spec import TaskBuild, inspector_settings, inspector_spec


@dataclass(frozen=True)
class PreparedTask:
    """Ready to be run."""

    build: TaskBuild
    description: TaskDescription
    jobs: tuple[JobSpec, ...]


class TaskPreparation:
    """Takes tasks through the steps; used for all of them side by side, once at a time for each."""

    def __init__(
        self, live: LiveConfiguration, grounds: Grounds, copies: ModuleCopies, validator: Validator, zone: ZoneInfo
    ) -> None:
        """``zone``: of jobs that name none; the machine's."""
        self._live = live
        self._grounds = grounds
        self._copies = copies
        self._validator = validator
        self._zone = zone

    async def prepare(self, name: str, file: Path, on_progress: OnProgress) -> PreparedTask:
        """Do it for what is in ``file`` now, also where it was done before: metadata may be computed.

        Raises:
            PreparationError: with phase, cause and what to do.
        """
        text = await asyncio.to_thread(_text_of, file)
        copy = await in_phase(Phase.IMPORT, asyncio.to_thread(self._copies.make, name, text))
        plugin = self._plugin_of(literal_module_dir(text) or "")
        build = await self._build(name, file, copy, plugin, on_progress)
        description, jobs = await self._describe(build)
        wanted = self._plugin_of(description.module_dir)
        if wanted != plugin:
            build = await self._build(name, file, copy, wanted, on_progress)
            description, jobs = await self._describe(build)
            if self._plugin_of(description.module_dir) != wanted:
                message = f"{file.name}: moduleDir differs from one import to the next: {description.module_dir!r}"
                raise _invalid(message, "let it be the same in every environment")
        return PreparedTask(build, description, jobs)

    def forget_others(self, task: str, keep: set[str]) -> None:
        """Remove the copies of a task but for the hashes ``keep``. Writes files and blocks."""
        self._copies.prune(task, keep)

    def _plugin_of(self, module_dir: str) -> str | None:
        configuration = self._live.current
        return plugin_of(module_dir, configuration.plugins_directory, configuration.folder)

    async def _build(
        self, name: str, file: Path, copy: ModuleCopy, plugin: str | None, on_progress: OnProgress
    ) -> TaskBuild:
        ground = await self._grounds.make(name, plugin, on_progress)
        return TaskBuild(name, file, copy, ground, self._live.current.folder)

    async def _describe(self, build: TaskBuild) -> tuple[TaskDescription, tuple[JobSpec, ...]]:
        """Its description, and the jobs in it; what is wrong with either is told at once, to be mended in one go."""
        spec = inspector_spec(build, self._live.current)
        what = f"task {build.name!r}"
        seen = await self._validator.inspect(spec, inspector_settings(build), TaskDescription, what)
        description = seen.description or TaskDescription(errors=[seen.failure] if seen.failure else [])
        jobs, failures = self._jobs(build.name, description.jobs)
        if failures := [*description.errors, *failures]:
            raise PreparationError(error_of(failures, seen.log_tail))
        return description, tuple(jobs)

    def _jobs(self, task: str, declarations: Sequence[JobDeclaration]) -> tuple[list[JobSpec], list[Failed]]:
        jobs, failures = [], []
        for declaration in declarations:
            try:
                jobs.append(from_declaration(declaration, task, self._zone))
            except JobError as error:
                message = f"task {task!r}: job {error.job!r}: {error.key}: {error.problem}"
                failures.append(Failed(Phase.MANIFEST.value, "JobInvalid", message, error.hint, permanent=True))
        return jobs, failures


def _text_of(file: Path) -> str:
    try:
        text = read_text(file)
    except UnreadableFileError as error:
        raise _invalid(f"{file}: {error.problem}") from error
    if text is None:
        problem = "is a link to a file that is not there" if file.is_symlink() else "is not there any more"
        raise _invalid(f"{file}: {problem}")
    return text


def _invalid(message: str, hint: str = "") -> PreparationError:
    return PreparationError(PluginError(Phase.MANIFEST.value, "TaskInvalid", message, hint=hint))
