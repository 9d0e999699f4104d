"""What the processes of a task are started with."""

import json

import pytest

from plugin_runtime.protocol import Kind
from plugin_runtime.task_protocol import TaskPurpose, TaskSettings
from plugin_runtime.wire import from_wire
from supervisor.config.source import load
from supervisor.spec import LivenessPolicy, RestartWhen
from supervisor.tasks.ground import Ground
from supervisor.tasks.module_copy import ModuleCopy
from supervisor.tasks.spec import (
    TaskBuild,
    inspector_settings,
    inspector_spec,
    run_process,
    service_settings,
    service_spec,
)
from tests.fakes.builds import INTERPRETER, ThisEnvironment, build_of
from tests.fakes.jobs import job


@pytest.fixture
def configured(tmp_path):
    def configured(**sections):
        (tmp_path / "config.json").write_text(json.dumps(sections))
        return load(tmp_path / "config.json", {})

    return configured


@pytest.fixture
def build(tmp_path):
    ground = Ground(ThisEnvironment(tmp_path, "f", INTERPRETER), tmp_path, {"PATH": "/bin"})
    copy = ModuleCopy("reports", "abcdef", tmp_path / "copy" / "reports.py")
    return TaskBuild("reports", tmp_path / "tasks" / "reports.py", copy, ground, tmp_path)


def test_ids_and_kinds_are_those_of_the_contract(build, configured):
    """The task's name for its service; all lines of all of them go to the task's log."""
    specs = [
        service_spec(build, configured()),
        inspector_spec(build, configured()),
        run_process(build, configured(), job(), "3f2a91c0").spec,
    ]
    assert [(spec.id, spec.kind, spec.name) for spec in specs] == [
        ("reports", Kind.TASK, "reports"),
        ("reports.inspector", Kind.VALIDATOR, "reports"),
        ("reports.cleanup.3f2a91c0", Kind.JOB, "reports"),
    ]
    for spec in specs:
        assert spec.command[-2:] == (str(build.command[-2]), "task")
        assert spec.command[-2].endswith("plugin_runtime/bootstrap.py")
        assert (spec.environment, spec.generation) == ({"PATH": "/bin"}, "abcdef")
        assert spec.working_directory == build.working_directory


def test_keys_of_the_task_are_its_policies(build, configured):
    """Those of services; a run ends by itself, and nobody watches its loop."""
    configuration = configured(
        manager={"tasks": {"max_retries": 5}},
        supervisor={"heartbeat": {"stalled": 1, "hung": 2, "hang_cpu_limit": 3}},
        tasks={
            "reports": {"start_timeout": 7, "stop_timeout": 8, "memory_hard_mb": 9, "open_files": 10, "max_age": 11},
            "other": {"start_timeout": 99},
        },
    )
    service = service_spec(build, configuration)
    run = run_process(build, configuration, job(), "3f2a91c0").spec
    inspector = inspector_spec(build, configuration)
    assert service.liveness == LivenessPolicy(1, 2, 3)
    assert (run.liveness, inspector.liveness) == (None, None)
    assert [(spec.timeouts.start, spec.timeouts.stop) for spec in (service, run, inspector)] == [(7, 8)] * 3
    assert (service.limits.memory_hard_mb, service.limits.open_files, service.limits.max_age) == (9, 10, 11)
    assert run.limits == service.limits
    assert (service.restart.when, service.restart.limit, service.restart.probe) == (RestartWhen.ON_FAILURE, 6, None)
    assert {run.restart.when, inspector.restart.when} == {RestartWhen.NEVER}


@pytest.mark.parametrize(
    ("auto_restart", "written", "when"),
    [(True, "always", "always"), (True, "never", "never"), (False, "always", "never")],
)
def test_auto_restart_goes_before_the_tasks_own_wish(build, configured, auto_restart, written, when):
    """The switch is for all of them."""
    configuration = configured(
        manager={"tasks": {"auto_restart": auto_restart}}, tasks={"reports": {"restart": written}}
    )
    assert service_spec(build, configuration).restart.when is RestartWhen(when)


def test_settings_say_what_the_process_is_for(build, configured):
    """An inspector without a supervisor is of no use to anybody; a service goes on for a while."""
    configuration = configured(supervisor={"adopt_grace": 3})
    service, inspector = service_settings(build, configuration), inspector_settings(build)
    run = from_wire(TaskSettings, run_process(build, configuration, job(), "3f2a91c0").settings)
    assert [settings.purpose for settings in (service, inspector, run)] == [
        TaskPurpose.SERVICE.value,
        TaskPurpose.DESCRIBE.value,
        TaskPurpose.RUN.value,
    ]
    assert (service.adopt_grace, inspector.adopt_grace, run.adopt_grace) == (3, 0, 3)
    assert (run.job, run.run, run.entry) == ("cleanup", "3f2a91c0", "")
    assert (service.module_file, service.module_copy) == (str(build.module), str(build.copy.path))
    assert (service.plugin, service.plugin_folder, service.plugin_contract) == ("", "", "")


def test_settings_of_a_plugins_task_name_the_plugins_code(build, tmp_path):
    """Its package is importable, from the generation's copy."""
    plugin = build_of(tmp_path, "shop", app="shop.main:app")
    ground = Ground(plugin.environment, tmp_path, plugin.variables, plugin)
    settings = inspector_settings(TaskBuild("reports", build.module, build.copy, ground, tmp_path))
    assert (settings.plugin, settings.plugin_contract) == ("shop", "app")
    assert settings.plugin_source == str(plugin.generation.source)
