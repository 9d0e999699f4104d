"""The task program: one process that describes a task's module, runs its service, or runs a job once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plugin_runtime import local_side, task_module
from plugin_runtime.control import ControlChannel
from plugin_runtime.failure import FailureReport, StartFailedError
from plugin_runtime.job_run import JobRun
from plugin_runtime.joining import report_failure, take_part
from plugin_runtime.protocol import ExitCode, Failed, Phase, Progress
from plugin_runtime.task_metadata import TaskContents, breach
from plugin_runtime.task_protocol import TaskDescription, TaskPurpose, TaskSettings
from plugin_runtime.wire import WireError

if TYPE_CHECKING:
    from plugin_runtime.service import ServiceProcess


def main() -> int:
    """Join the supervisor and do what it wants of this process; return its exit code."""
    return take_part(TaskSettings, _carry_out)


def _carry_out(settings: TaskSettings, channel: ControlChannel) -> int:
    try:
        purpose = TaskPurpose(settings.purpose)
    except ValueError:
        raise WireError(f"TaskSettings.purpose: there is no {settings.purpose!r}") from None
    local_side.reach_over(settings.local_path, settings.local_key)
    if settings.run:
        local_side.serve_run(settings.run)
    try:
        report = task_module.prepare(settings)
    except OSError as error:  # the working directory: the machine's trouble, not the author's
        message = f"cannot start task {settings.owner!r}: {error}"
        return report_failure(Failed(Phase.READY.value, type(error).__name__, message), channel)
    channel.send(Progress(Phase.IMPORT.value))
    if purpose is TaskPurpose.DESCRIBE:
        return _describe(settings, report, channel)
    try:
        # Nothing of the author's runs below but the import: what is raised in there is about that.
        process = (
            _service(settings, report, channel) if purpose is TaskPurpose.SERVICE else _run(settings, report, channel)
        )
    except StartFailedError as failure:
        return report_failure(failure.failed, channel)
    return process.run()


def _describe(settings: TaskSettings, report: FailureReport, channel: ControlChannel) -> ExitCode:
    try:
        if settings.entry:  # of a plugin's job, which has nothing to say but whether it can be run
            task_module.find_function(settings, report)
            description = TaskDescription()
        else:
            description = task_module.load(settings, report).description
    except StartFailedError as failure:
        description = TaskDescription(errors=failure.errors)
    channel.send(description)
    return ExitCode.INVALID if description.errors else ExitCode.OK


def _service(settings: TaskSettings, report: FailureReport, channel: ControlChannel) -> ServiceProcess:
    contents = task_module.load(settings, report)
    if contents.description.errors:
        raise StartFailedError(contents.description.errors)
    if contents.service_main is None:
        raise _without_service(settings, contents)
    from plugin_runtime.service import ServiceProcess  # noqa: PLC0415 - brings asyncio, which runs do without

    return ServiceProcess(settings.owner, contents.service_main, contents.functions, channel)


def _without_service(settings: TaskSettings, contents: TaskContents) -> StartFailedError:
    problem = f"{contents.description.title} has no service_main any more"
    return StartFailedError([breach(settings.owner, settings.module_file, problem, "")])


def _run(settings: TaskSettings, report: FailureReport, channel: ControlChannel) -> JobRun:
    return JobRun(settings.run, task_module.find_function(settings, report), channel)
