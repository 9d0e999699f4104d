"""From what is known of a task to the child specs and settings of its inspector, its service and its runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plugin_runtime.protocol import Kind
from plugin_runtime.task_protocol import TaskPurpose, TaskSettings
from plugin_runtime.template_protocol import TASK_PROGRAM
from supervisor.config.configuration import Configuration
from supervisor.config.policies import limits, liveness_policy, task_restart_policy, timeouts
from supervisor.jobs import host
from supervisor.jobs.host import RunProcess, task_settings
from supervisor.preparation.worker_spec import BOOTSTRAP
from supervisor.schedule.job_spec import JobSpec
from supervisor.spec import ChildSpec, RestartPolicy, RestartWhen
from supervisor.tasks.ground import Ground
from supervisor.tasks.module_copy import ModuleCopy


@dataclass(frozen=True)
class TaskBuild:
    """All that the processes of one version of a task are started with."""

    name: str
    module: Path
    """Where its module lies, as people know it; links are not resolved."""
    copy: ModuleCopy
    ground: Ground
    working_directory: Path
    """The project's folder."""

    @property
    def command(self) -> tuple[str, ...]:
        """As a worker's, with the program to run instead."""
        return (str(self.ground.environment.python), "-I", "-u", "-X", "utf8", str(BOOTSTRAP), TASK_PROGRAM)

    def settings(self, purpose: TaskPurpose, adopt_grace: float, job: str = "", run: str = "") -> TaskSettings:
        return task_settings(
            self.name,
            purpose,
            self.working_directory,
            self.ground.plugin,
            module_file=str(self.module),
            module_copy=str(self.copy.path),
            job=job,
            run=run,
            adopt_grace=adopt_grace,
        )


def inspector_settings(build: TaskBuild) -> TaskSettings:
    """What an inspector finds is of use only to the supervisor that asked: no grace without one."""
    return build.settings(TaskPurpose.DESCRIBE, adopt_grace=0.0)


def inspector_spec(build: TaskBuild, configuration: Configuration) -> ChildSpec:
    keys = configuration.task_keys(build.name)
    return _spec(
        build,
        f"{build.name}.inspector",
        Kind.VALIDATOR,
        restart=RestartPolicy(when=RestartWhen.NEVER),
        timeouts=timeouts(keys),
        liveness=None,
    )


def service_settings(build: TaskBuild, configuration: Configuration) -> TaskSettings:
    return build.settings(TaskPurpose.SERVICE, configuration.supervisor.adopt_grace)


def service_spec(build: TaskBuild, configuration: Configuration) -> ChildSpec:
    keys, settings = configuration.task_keys(build.name), configuration.supervisor
    return _spec(
        build,
        build.name,
        Kind.TASK,
        alone=True,
        restart=service_restart_policy(build.name, configuration),
        template=build.ground.template,
        timeouts=timeouts(keys),
        liveness=liveness_policy(settings.heartbeat),
        limits=limits(keys),
    )


def service_restart_policy(task: str, configuration: Configuration) -> RestartPolicy:
    """What ``auto_restart`` and ``max_retries`` make of the task's key ``restart``."""
    keys = configuration.task_keys(task)
    return task_restart_policy(configuration.supervisor.restart, configuration.manager.tasks, keys.restart)


def run_process(build: TaskBuild, configuration: Configuration, job: JobSpec, run: str) -> RunProcess:
    """Run ``run`` of a job, in a process of its own."""
    return host.run_process(
        job,
        build.settings(TaskPurpose.RUN, configuration.supervisor.adopt_grace, job.name, run),
        command=build.command,
        environment=build.ground.variables,
        generation=build.copy.hash,
        template=build.ground.template,
        keys=configuration.task_keys(build.name),
    )


def _spec(build: TaskBuild, id_: str, kind: Kind, **policies: Any) -> ChildSpec:
    return ChildSpec(
        id=id_,
        name=build.name,
        kind=kind,
        command=build.command,
        working_directory=build.working_directory,
        environment=build.ground.variables,
        generation=build.copy.hash,
        **policies,
    )
