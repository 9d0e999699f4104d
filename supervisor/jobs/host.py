"""Who declares jobs, and starts processes for their runs: a task, a plugin."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from plugin_runtime.protocol import Kind
from plugin_runtime.task_protocol import TaskPurpose, TaskSettings
from plugin_runtime.wire import to_wire
from supervisor.config.plugin_keys import ProcessKeys
from supervisor.config.policies import limits, timeouts
from supervisor.preparation.worker_spec import Build
from supervisor.schedule.job_spec import JobSpec
from supervisor.spec import ChildSpec, RestartPolicy, RestartWhen
from supervisor.supervision.child import Child


@dataclass(frozen=True)
class RunProcess:
    """What the process of one run is started with. ``settings``: the wire form of its TaskSettings."""

    spec: ChildSpec
    settings: Mapping[str, Any]


class JobHost(Protocol):
    """Called by TaskManager, in the event loop's thread."""

    @property
    def name(self) -> str:
        """The owner of its jobs."""

    def run_process(self, job: JobSpec, run: str) -> RunProcess:
        """What run ``run`` is started with now.

        Raises:
            ConflictError: it cannot be run now; the run is skipped and shows why.
        """

    @property
    def service(self) -> Child | None:
        """The child whose process takes shared runs; None where there is none."""


def task_settings(
    owner: str, purpose: TaskPurpose, working_directory: Path, plugin: Build | None, **fields: Any
) -> TaskSettings:
    """What a process of the task program is told; ``plugin``: whose package is importable there."""
    return TaskSettings(
        owner=owner,
        purpose=purpose.value,
        working_directory=str(working_directory),
        plugin=plugin.name if plugin else "",
        plugin_folder=str(plugin.folder) if plugin else "",
        plugin_source=str(plugin.generation.source) if plugin else "",
        plugin_contract=plugin.manifest.contract if plugin else "",
        **fields,
    )


def run_process(
    job: JobSpec,
    settings: TaskSettings,
    *,
    command: tuple[str, ...],
    environment: Mapping[str, str],
    generation: str,
    template: str,
    keys: ProcessKeys,
) -> RunProcess:
    """Run ``settings.run`` of a job, in a process of its own."""
    spec = ChildSpec(
        id=f"{job.id}.{settings.run}",
        name=settings.owner,
        kind=Kind.JOB,
        command=command,
        working_directory=Path(settings.working_directory),
        environment=environment,
        generation=generation,
        template=template,
        restart=RestartPolicy(when=RestartWhen.NEVER),
        timeouts=timeouts(keys),
        # A function may keep its thread busy for as long as it likes; the job's timeout is what limits it.
        liveness=None,
        limits=limits(keys),
    )
    return RunProcess(spec, to_wire(settings))
