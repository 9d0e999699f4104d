"""A plugin as the host of its jobs: each run is a process of its environment that imports the generation's copy."""

from plugin_runtime.task_protocol import TaskPurpose
from plugin_runtime.template_protocol import TASK_PROGRAM
from supervisor.jobs.host import RunProcess, run_process, task_settings
from supervisor.preparation.worker_spec import Build
from supervisor.schedule.job_spec import JobSpec
from supervisor.supervision.child import Child


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
        build = self._build
        settings = task_settings(
            build.name,
            TaskPurpose.RUN,
            build.working_directory,
            build,
            job=job.name,
            entry=job.entry,
            run=run,
            adopt_grace=self._adopt_grace,
        )
        return run_process(
            job,
            settings,
            command=(*build.command, TASK_PROGRAM),
            environment=build.variables,
            generation=build.generation.hash,
            template=build.name,
            keys=build.manifest,
        )
