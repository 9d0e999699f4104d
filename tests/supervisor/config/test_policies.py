"""The sections of the configuration as the settings that supervision works with."""

import math

from supervisor.config import policies
from supervisor.config.plugin_keys import PluginKeys, TaskOverrides
from supervisor.config.settings import HeartbeatSettings, RestartSettings, TasksSettings
from supervisor.spec import Limits, LivenessPolicy, RestartPolicy, RestartWhen, Timeouts


def test_defaults_of_configuration_and_of_specs_are_the_same():
    """Two tables of numbers that must not drift apart."""
    assert policies.restart_policy(RestartSettings()) == RestartPolicy()
    assert policies.liveness_policy(HeartbeatSettings()) == LivenessPolicy()
    assert policies.timeouts(PluginKeys()) == Timeouts()
    assert policies.limits(PluginKeys()) == Limits()


def test_the_manifest_says_when_a_plugin_restarts():
    """The configuration how soon and how often."""
    policy = policies.restart_policy(RestartSettings(delay=1.0, limit=2, probe=0.0), RestartWhen.NEVER)
    assert (policy.when, policy.delay, policy.limit, policy.probe) == (RestartWhen.NEVER, 1.0, 2, None)


def test_a_task_fails_with_the_crash_after_its_last_retry():
    """max_retries 3 means three restarts, counted until a stable run; nothing probes a task."""
    policy = policies.task_restart_policy(RestartSettings(), TasksSettings(max_retries=3), RestartWhen.ALWAYS)
    assert (policy.when, policy.limit, policy.window, policy.probe) == (RestartWhen.ALWAYS, 4, math.inf, None)


def test_auto_restart_off_restarts_no_task():
    """Whatever the task itself asks for."""
    policy = policies.task_restart_policy(RestartSettings(), TasksSettings(auto_restart=False), RestartWhen.ALWAYS)
    assert policy.when is RestartWhen.NEVER


def test_timeouts_and_limits_are_those_of_the_keys():
    """Each under its own name."""
    keys = PluginKeys(
        start_timeout=1.0, stop_timeout=2.0, max_requests=3, max_age=4.0,
        memory_soft_mb=5.0, memory_hard_mb=6.0, open_files=7,
    )  # fmt: skip
    assert policies.timeouts(keys) == Timeouts(start=1.0, stop=2.0)
    assert policies.limits(keys) == Limits(5.0, 6.0, 7, 3, 4.0)


def test_a_task_has_no_limit_on_requests():
    """It serves none."""
    assert policies.limits(TaskOverrides(open_files=7)) == Limits(open_files=7)
