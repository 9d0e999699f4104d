"""From what is known of a plugin to the child specs of its validator, its template and its workers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from plugin_runtime.protocol import ENV_DATA_DIR, ENV_RUNTIME, Description, Kind, WorkerSettings
from plugin_runtime.template_protocol import TEMPLATE_PROGRAM
from supervisor.config.policies import limits, timeouts
from supervisor.environments.environment import Environment
from supervisor.environments.installer import BASE
from supervisor.preparation.generations import Generation
from supervisor.preparation.manifest import PluginManifest
from supervisor.spec import ChildSpec, LivenessPolicy, RestartPolicy, RestartWhen, Timeouts

LIFESPAN_SHARE = 0.8
"""Of ``start_timeout``."""

TEMPLATE_STOP = 2.0
"""Seconds for a template to end; it has nothing to finish."""
NO_NATIVE_THREADS = {"OPENBLAS_NUM_THREADS": "1"}
"""OpenBLAS starts its threads when it is loaded, and no thread survives a fork. What is forked gets them back."""

SHARED = "_plugins"
"""Owner of the templates of plugins on the base environment, which may share them; no plugin's folder has that name."""

BOOTSTRAP = Path(__file__).resolve().parents[2] / "plugin_runtime" / "bootstrap.py"


@dataclass(frozen=True)
class Build:
    """All that the processes of one generation are started with."""

    manifest: PluginManifest
    folder: Path
    environment: Environment
    guest_packages: Path
    generation: Generation
    variables: Mapping[str, str]
    """The whole environment of its processes."""
    project: Path
    """Working directory of seed-contract plugins."""
    entry_point: str
    """Module of a seed-contract plugin, "run"."""
    notes: Sequence[str] = ()
    """What of its settings cannot be read, in sentences for people."""

    @property
    def name(self) -> str:
        return self.manifest.plugin

    @property
    def command(self) -> tuple[str, ...]:
        """-I: neither our paths nor the user's; -u: what is printed is seen at once."""
        return (str(self.environment.python), "-I", "-u", "-X", "utf8", str(BOOTSTRAP))

    @property
    def working_directory(self) -> Path:
        return self.folder if self.manifest.contract == "app" else self.project


def worker_settings(build: Build, prefix: str, adopt_grace: float) -> WorkerSettings:
    """Without a link; each incarnation gets one of its own."""
    manifest = build.manifest
    return WorkerSettings(
        plugin=build.name,
        contract=manifest.contract,
        entry=manifest.app or build.entry_point,
        folder=str(build.folder),
        source=str(build.generation.source),
        working_directory=str(build.working_directory),
        prefix=prefix,
        path_mode=manifest.path,
        # Less than the whole, which is counted from the spawn: the guest shall be the one to say what takes so long.
        lifespan_timeout=manifest.start_timeout * LIFESPAN_SHARE,
        adopt_grace=adopt_grace,
    )


def validator_settings(build: Build) -> WorkerSettings:
    """What a validator finds is of use only to the supervisor that asked: no grace without one."""
    return replace(worker_settings(build, prefix="", adopt_grace=0.0), validate_only=True)


def template_spec(build: Build, restart: RestartPolicy) -> ChildSpec:
    """Of the plugin itself, or, on the base environment, of whoever shares it."""
    return template_of(
        SHARED if build.environment.owner == BASE else build.name,
        build.command,
        build.working_directory,
        # Of no plugin's own: whatever is forked from it can read what it began with.
        {name: value for name, value in build.variables.items() if name != ENV_DATA_DIR},
        restart=restart,
        start_timeout=build.manifest.start_timeout,
    )


def template_of(
    owner: str,
    command: tuple[str, ...],
    working_directory: Path,
    variables: Mapping[str, str],
    *,
    restart: RestartPolicy,
    start_timeout: float,
) -> ChildSpec:
    """The template of ``owner``; ``command``: a worker's."""
    return ChildSpec(
        id=f"{owner}.template",
        name=owner,
        kind=Kind.TEMPLATE,
        command=(*command, TEMPLATE_PROGRAM),
        working_directory=working_directory,
        environment={**variables, **NO_NATIVE_THREADS},
        restart=replace(restart, when=RestartWhen.ALWAYS),
        timeouts=Timeouts(start=start_timeout, stop=TEMPLATE_STOP),
        # It blocks while it imports and while nobody wants anything; who asks it notices when it does not answer.
        liveness=None,
    )


def instance_id(plugin: str, number: int) -> str:
    return f"{plugin}.{number}"


def worker_spec(build: Build, number: int, restart: RestartPolicy, liveness: LivenessPolicy) -> ChildSpec:
    """Instance ``number``, from 1."""
    return ChildSpec(
        id=instance_id(build.name, number),
        name=build.name,
        kind=Kind.WORKER,
        template=build.name,
        command=build.command,
        working_directory=build.working_directory,
        environment=build.variables,
        generation=build.generation.hash,
        alone=build.manifest.exclusive,
        restart=restart,
        timeouts=timeouts(build.manifest),
        liveness=liveness,
        limits=limits(build.manifest),
    )


def validator_spec(build: Build) -> ChildSpec:
    return ChildSpec(
        id=f"{build.name}.validator",
        name=build.name,
        kind=Kind.VALIDATOR,
        template=build.name,
        command=build.command,
        working_directory=build.working_directory,
        environment=build.variables,
        generation=build.generation.hash,
        restart=RestartPolicy(when=RestartWhen.NEVER),
        timeouts=timeouts(build.manifest),
        liveness=None,
    )


def variables(
    inherited: Mapping[str, str], manifest: PluginManifest, dotenv: Mapping[str, str], guest_packages: Path, data: Path
) -> dict[str, str]:
    """Environment of a plugin's processes; its manifest goes before its dotenv file, that before ours."""
    return {
        **inherited,
        **dotenv,
        **manifest.env,
        ENV_RUNTIME: str(guest_packages),
        ENV_DATA_DIR: str(data),
    }


def manifest_prefix(manifest: PluginManifest) -> str | None:
    """What the plugin claims as far as its manifest says; None where only its code can tell."""
    if manifest.prefix is None and manifest.contract == "app":
        return f"/{manifest.plugin}"
    return manifest.prefix


def api_prefix(manifest: PluginManifest, description: Description) -> str:
    """What the plugin claims, as it is written: manifest, PLUGIN_INFO, or the default of its contract."""
    known = manifest_prefix(manifest)
    return known if known is not None else description.api_prefix or default_prefix(manifest.plugin)


def default_prefix(plugin: str) -> str:
    """Of a seed-contract plugin that names none."""
    return f"/app/{plugin}"
