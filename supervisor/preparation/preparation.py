"""From a plugin's folder to what its workers are started with: manifest, environment, generation, validation.

Each step may fail for a reason that its author or the operator has to mend; the error says in which phase, and nothing
of what serves already is touched.
"""

import asyncio
import json
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from plugin_runtime.protocol import Description, Failed, Phase
from plugin_runtime.views import PluginError
from supervisor.config.dotenv_file import DotenvFile, read_dotenv
from supervisor.config.live import LiveConfiguration
from supervisor.config.plugin_keys import OUTSIDE_GENERATION
from supervisor.config.regular_file import UnreadableFileError, read_text
from supervisor.environments.environment import Environment
from supervisor.environments.file_system import want_of_machine
from supervisor.environments.installer import Installer
from supervisor.environments.progress import OnProgress
from supervisor.environments.runtime import Runtime
from supervisor.errors import EnvironmentBuildError, PluginInvalidError, XcoreError
from supervisor.preparation.generations import Generation, Generations, Ingredients, Served
from supervisor.preparation.manifest import PluginManifest, check_servable, manifest_errors, parse_manifest
from supervisor.preparation.snapshot import DOTENV, Snapshot
from supervisor.preparation.validation import Validator
from supervisor.preparation.worker_spec import Build, variables
from supervisor.processes.spawn import clean_environment
from supervisor.state_folder import StateFolder

logger = logging.getLogger(__name__)

T = TypeVar("T")


class PreparationError(Exception):
    """The plugin cannot be served, or the task not be run; ``error`` as people see it."""

    def __init__(self, error: PluginError) -> None:
        super().__init__(error.message)
        self.error = error

    @property
    def told(self) -> str:
        """The error for the log: what, where, and what to do."""
        where = f" ({self.error.location})" if self.error.location else ""
        return f"{self.error.message}{where}{self.error.hint and f'; {self.error.hint}'}"


@dataclass(frozen=True)
class Prepared:
    """Ready to be started."""

    build: Build
    description: Description
    is_assumed: bool = False
    """``description`` is that of the generation before: its workers say what the code really is."""


class Preparation:
    """Takes plugins through the steps; used for all of them side by side."""

    def __init__(
        self,
        live: LiveConfiguration,
        installer: Installer,
        runtime: Runtime,
        generations: Generations,
        validator: Validator,
    ) -> None:
        self._live = live
        self._installer = installer
        self._runtime = runtime
        self._generations = generations
        self._validator = validator
        self._building: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._env_files: dict[str, str] = {}
        self._handed_out: dict[str, str] = {}
        """By plugin, the generation that a task was given last: no process names it before the task is described."""
        self._writer = ThreadPoolExecutor(1, "generations")
        """One thread: what is to be kept is written in order, never by two at once, and the last one stays."""

    async def close(self) -> None:
        """Write what is to be kept, and leave no thread behind: in an upgrade a signal to it would end the process."""
        await asyncio.to_thread(self._writer.shutdown)

    async def read_manifest(self, name: str, folder: Path) -> PluginManifest:
        """Take the first step on the way to serving the plugin, which is quick.

        Raises:
            PreparationError: with phase, cause and what to do.
        """
        return await in_phase(Phase.MANIFEST, asyncio.to_thread(self._read_servable, name, folder))

    def env_file(self, name: str) -> str:
        """Of a plugin, as its manifest said when it was read last. May be called in any thread."""
        return self._env_files.get(name, DOTENV)

    async def assemble(self, manifest: PluginManifest, folder: Path, on_progress: OnProgress) -> Build:
        """Take the second step, environment and copy of the code; what was there for this content is taken as it is.

        No removal has its turn before the caller had theirs to say that the copy is to be kept.

        Raises:
            PreparationError: with phase, cause and what to do.
        """
        return await in_phase(Phase.ENVIRONMENT, self._build(manifest, folder, on_progress))

    async def examine(self, build: Build, before: Prepared | None = None, *, may_assume: bool = False) -> Prepared:
        """Take the last step: find out what the code is, unless that is known of this content.

        ``before``: what the plugin is made from until now. ``may_assume``: workers of what comes out will run beside
        those of ``before`` until it is known to be good, and may as well be the ones that find that out.

        Raises:
            PreparationError: with phase, cause and what to do.
        """
        known = await asyncio.to_thread(self._generations.description, build.generation)
        if known is not None:  # nothing is imported a second time for content that was found good before
            return Prepared(build, known)
        if may_assume and before is not None and _are_alike(before.build, build):
            return Prepared(build, before.description, is_assumed=True)
        return await self.validate(build, before)

    async def validate(self, build: Build, before: Prepared | None = None) -> Prepared:
        """Have a process of its own find out what the code is.

        Raises:
            PreparationError: with everything that is wrong with it.
        """
        finding = await in_phase(Phase.IMPORT, self._validator.validate(build))
        if finding.description.errors:
            raise PreparationError(error_of(finding.description.errors, finding.log_tail))
        return await self.describe(build, finding.description, before)

    async def describe(self, build: Build, description: Description, before: Prepared | None = None) -> Prepared:
        """Keep what the code was found to be. A process that is forked does not see what its template has imported."""
        known = before.description.modules if before and before.build.environment == build.environment else []
        complete = replace(description, modules=list(dict.fromkeys([*known, *description.modules])))
        await in_phase(Phase.IMPORT, _awaited(self._keep(build, complete)))
        return Prepared(build, complete)

    async def restore(self, plugin: str, folder: Path, generation: str) -> Prepared | None:
        """What the plugin was made from as ``generation`` (its hash); None where that is not there any more."""
        return await asyncio.to_thread(self._restore, plugin, folder, generation)

    async def served(self, plugin: str) -> Served:
        """Which of its generations have served."""
        return await asyncio.to_thread(self._generations.served, plugin)

    async def note_served(self, plugin: str, served: Served) -> None:
        """Keep that for the next supervisor; what cannot be written is logged."""
        await asyncio.get_running_loop().run_in_executor(self._writer, self._note_served, plugin, served)

    def _note_served(self, plugin: str, served: Served) -> None:
        try:
            self._generations.keep_served(plugin, served)
        except XcoreError as error:
            logger.warning("%s; after the next start its newest code is served", error.message)

    async def prune(self, plugin: str, keep: Callable[[], set[str]]) -> None:
        """Remove the generations of ``plugin`` whose hashes ``keep`` does not name.

        It may have to wait for a build, which takes minutes: ``keep`` is asked after that.
        """
        async with self._building[plugin]:
            await asyncio.to_thread(self._generations.prune, plugin, keep() | {self._handed_out.get(plugin, "")})

    def learn(self, prepared: Prepared, modules: Sequence[str]) -> Prepared:
        """Add what its processes import beyond what the validator saw; kept for the next supervisor, if that works."""
        description = replace(prepared.description, modules=[*prepared.description.modules, *modules])
        self._keep(prepared.build, description).add_done_callback(_log_failure)
        return replace(prepared, description=description)

    async def build(self, name: str, folder: Path, on_progress: OnProgress) -> Build:
        """Manifest, environment and copy of the code, for processes other than workers: nothing is validated.

        Raises:
            PreparationError: with phase, cause and what to do.
        """
        manifest = await in_phase(Phase.MANIFEST, asyncio.to_thread(self._read_manifest, name, folder))
        build = await self.assemble(manifest, folder, on_progress)
        self._handed_out[name] = build.generation.hash
        return build

    def manifest_errors(self, name: str, folder: Path) -> list[PluginInvalidError]:
        """All that is wrong with the manifest; ``read_manifest`` tells the first only. Reads a file and blocks."""
        try:
            return manifest_errors(name, _text_of(name, folder / "pyproject.toml"), self._overrides(name))
        except PluginInvalidError as error:
            return [error]

    async def build_anew(self, name: str, folder: Path, on_progress: OnProgress) -> None:
        """Build the environment of a plugin once more, beside the one in use; the next step of it finds the new one.

        Raises:
            PreparationError: with cause and what to do; the one before is still there.
        """
        async with self._building[name]:
            await in_phase(Phase.ENVIRONMENT, self._installer.ensure(name, folder, on_progress, anew=True))

    def _read_servable(self, name: str, folder: Path) -> PluginManifest:
        manifest = self._read_manifest(name, folder)
        check_servable(manifest)
        return manifest

    def _read_manifest(self, name: str, folder: Path) -> PluginManifest:
        if not folder.is_dir():
            raise PluginInvalidError(name, str(folder), "there is no such folder")
        manifest = parse_manifest(name, _text_of(name, folder / "pyproject.toml"), self._overrides(name))
        self._env_files[name] = manifest.env_file
        return manifest

    def _overrides(self, name: str) -> dict[str, Any]:
        overrides = self._live.current.plugin_overrides(name)
        return {key: value for key, value in overrides.items() if key not in OUTSIDE_GENERATION}

    async def _build(self, manifest: PluginManifest, folder: Path, on_progress: OnProgress) -> Build:
        name = manifest.plugin
        # Its tasks may want it built while it is brought up itself, and generations have one maker at a time.
        async with self._building[name]:
            environment = await self._installer.ensure(name, folder, on_progress)
            guest = await self._runtime.ensure(environment.interpreter, on_progress)
            return await asyncio.to_thread(self._assemble, manifest, folder, environment, guest.path)

    def _assemble(self, manifest: PluginManifest, folder: Path, environment: Environment, guest: Path) -> Build:
        snapshot = Snapshot.take(folder, self._live.current.manager.snapshot.ignores, env_file=manifest.env_file)
        ingredients = Ingredients(manifest.model_dump(mode="json"), environment)
        generation = self._generations.make(manifest.plugin, snapshot, ingredients)
        return self._build_of(manifest, folder, environment, guest, generation)

    def _build_of(
        self, manifest: PluginManifest, folder: Path, environment: Environment, guest: Path, generation: Generation
    ) -> Build:
        configuration = self._live.current
        data = StateFolder(configuration.state_dir).data / manifest.plugin
        data.mkdir(parents=True, exist_ok=True)
        dotenv = _dotenv(manifest.plugin, _dotenv_file(manifest.env_file, folder, generation))
        return Build(
            manifest=manifest,
            folder=folder,
            environment=environment,
            guest_packages=guest,
            generation=generation,
            variables=variables(
                clean_environment(os.environ),
                manifest,
                dotenv.variables,
                guest,
                data,
            ),
            project=configuration.folder,
            entry_point=configuration.manager.plugins.entry_point,
            notes=[f"cannot read {manifest.env_file}, {problem}" for problem in dotenv.problems],
        )

    def _restore(self, plugin: str, folder: Path, name: str) -> Prepared | None:
        found = self._generations.find(plugin, name)
        if found is None:
            return None
        generation, ingredients = found
        description = self._generations.description(generation)
        guest = self._runtime.existing(ingredients.environment.interpreter)
        if description is None or guest is None:
            return None
        try:
            manifest = PluginManifest.model_validate_json(json.dumps(ingredients.manifest))
            build = self._build_of(manifest, folder, ingredients.environment, guest.path, generation)
        except (ValidationError, PluginInvalidError, OSError) as error:  # of another version of xcore, or unreadable
            logger.warning("Generation %s of plugin %s cannot serve again: %s", name, plugin, error)
            return None
        return Prepared(build, description)

    def _keep(self, build: Build, description: Description) -> "asyncio.Future[None]":
        loop, keep = asyncio.get_running_loop(), self._generations.keep_description
        return loop.run_in_executor(self._writer, keep, build.generation, description)


def _are_alike(before: Build, after: Build) -> bool:
    """Whether nothing but code differs that decides how the plugin is served."""
    return before.environment == after.environment and before.manifest.app == after.manifest.app


async def _awaited(keeping: "asyncio.Future[None]") -> None:
    await keeping


def _log_failure(keeping: "asyncio.Future[None]") -> None:
    if not keeping.cancelled() and (error := keeping.exception()):
        logger.warning("%s; the next template has to be told anew what to import", error)


async def in_phase(phase: Phase, step: Coroutine[Any, Any, T]) -> T:
    """Take a step of a preparation; what its author or the operator has to mend becomes a PreparationError."""
    try:
        return await step
    except XcoreError as error:
        raise PreparationError(as_plugin_error(phase, error)) from error
    except OSError as error:
        what = str(error.filename or "its files")
        if want := want_of_machine(what, error, Path(what)):
            raise PreparationError(as_plugin_error(phase, want)) from error
        message = f"{what}: {error.strerror or error}"
        raise PreparationError(PluginError(phase.value, type(error).__name__, message)) from error


def as_plugin_error(phase: Phase, error: XcoreError) -> PluginError:
    """One of our errors as it is shown at a plugin."""
    location, lines = (error.location, error.excerpt) if isinstance(error, PluginInvalidError) else ("", [])
    return PluginError(
        phase=phase.value,
        type=type(error).__name__.removesuffix("Error"),
        message=error.message,
        hint=error.hint,
        location=location,
        log_tail=error.log_tail if isinstance(error, EnvironmentBuildError) else [],
        excerpt=lines,
    )


def _text_of(plugin: str, path: Path) -> str | None:
    try:
        return read_text(path)
    except UnreadableFileError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and (want := want_of_machine(f"cannot read {path}", cause)):
            raise want from error
        raise PluginInvalidError(plugin, path.name, error.problem) from error


def _dotenv_file(name: str, folder: Path, generation: Generation) -> Path:
    """The copy where there is one, so that a generation keeps the settings that it was made with."""
    copy = generation.source / name
    return copy if copy.is_file() else folder / name


def _dotenv(plugin: str, path: Path) -> DotenvFile:
    return read_dotenv(_text_of(plugin, path) or "")


def error_of(failures: Sequence[Failed], log_tail: list[str]) -> PluginError:
    """The first failure, with the messages of all: an author mends them in one go."""
    first, *others = failures
    return PluginError(
        phase=first.phase,
        type=first.type,
        message="; ".join(failure.message for failure in failures),
        hint="; ".join(failure.hint for failure in failures if failure.hint),
        location=first.location,
        excerpt=first.excerpt,
        traceback=first.traceback,
        log_tail=log_tail,
        problems=[f"{failure.message}{failure.hint and f'; {failure.hint}'}" for failure in failures] if others else [],
    )
