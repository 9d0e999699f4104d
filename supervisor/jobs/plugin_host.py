"""A plugin as the host of its jobs: each run is a process of its environment that imports the generation's copy."""

from collections.abc import Mapping
from typing import Any

from plugin_runtime.protocol import Kind
from plugin_runtime.task_protocol import TaskPurpose, TaskSettings
from plugin_runtime.wire import to_wire
from supervisor.child import Child
from supervisor.config.policies import limits, timeouts
from supervisor.jobs.host import RunProcess
from supervisor.schedule.job_spec import JobSpec
from supervisor.spec import ChildSpec, RestartPolicy, RestartWhen
from supervisor.worker_spec import Build

TASK_PROGRAM = "task"
"""Argument of the bootstrap: the program to run instead of the worker."""


class PluginJobHost:
    """Implements JobHost for one build of a plugin; the next build has another one."""

    service: Child | None = None
    """Workers serve requests; they take no runs."""

    def __init__(self, build: Build, adopt_grace: float) -> None:
        """``adopt_grace``: seconds that a run goes on without a supervisor."""
        self._build = build
        self._adopt_grace = adopt_grace

    @property
    def name(self) -> str:
        return self._build.name

    def run_process(self, job: JobSpec, run: str) -> RunProcess:
        return RunProcess(self._spec(job, run), self._settings(job, run))

    def _spec(self, job: JobSpec, run: str) -> ChildSpec:
        build = self._build
        return ChildSpec(
            id=f"{job.id}.{run}",
            name=build.name,
            kind=Kind.JOB,
            command=(*build.command, TASK_PROGRAM),
            working_directory=build.working_directory,
            environment=build.variables,
            generation=build.generation.hash,
            restart=RestartPolicy(when=RestartWhen.NEVER),
            timeouts=timeouts(build.manifest),
            # A function may keep its thread busy for as long as it likes; the job's timeout is what limits it.
            liveness=None,
            limits=limits(build.manifest),
        )

    def _settings(self, job: JobSpec, run: str) -> Mapping[str, Any]:
        build = self._build
        settings = TaskSettings(
            owner=build.name,
            purpose=TaskPurpose.RUN.value,
            working_directory=str(build.working_directory),
            plugin=build.name,
            plugin_folder=str(build.folder),
            plugin_source=str(build.generation.source),
            plugin_contract=build.manifest.contract,
            job=job.name,
            entry=job.entry,
            run=run,
            adopt_grace=self._adopt_grace,
        )
        wire: Mapping[str, Any] = to_wire(settings)
        return wire
