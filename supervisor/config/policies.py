"""From keys of the configuration to the settings that supervision works with (spec.py)."""

import math

from supervisor.config.plugin_keys import PluginKeys, ProcessKeys
from supervisor.config.settings import HeartbeatSettings, RestartSettings, TasksSettings
from supervisor.spec import Limits, LivenessPolicy, RestartPolicy, RestartWhen, Timeouts


def restart_policy(settings: RestartSettings, when: RestartWhen = RestartWhen.ALWAYS) -> RestartPolicy:
    """For gateways and plugins; ``when`` is the manifest's ``restart``."""
    return RestartPolicy(
        when=when,
        delay=settings.delay,
        max_delay=settings.max_delay,
        stable=settings.stable,
        limit=settings.limit,
        window=settings.window,
        probe=settings.probe or None,
    )


def task_restart_policy(settings: RestartSettings, tasks: TasksSettings, when: RestartWhen) -> RestartPolicy:
    """For tasks: ``max_retries`` counts crashes without a stable run between them, however far apart; no probe."""
    return RestartPolicy(
        when=when if tasks.auto_restart else RestartWhen.NEVER,
        delay=settings.delay,
        max_delay=settings.max_delay,
        stable=settings.stable,
        # The crash after the last retry is the one that makes it failed.
        limit=tasks.max_retries + 1,
        window=math.inf,
        probe=None,
    )


def timeouts(keys: ProcessKeys) -> Timeouts:
    """The rungs of the ladder."""
    return Timeouts(start=keys.start_timeout, stop=keys.stop_timeout)


def liveness_policy(settings: HeartbeatSettings) -> LivenessPolicy:
    """How long an event loop may be silent."""
    return LivenessPolicy(settings.stalled, settings.hung, settings.hang_cpu_limit)


def limits(keys: ProcessKeys) -> Limits:
    """What a process may use; tasks serve no requests and so have no limit on them."""
    return Limits(
        memory_soft_mb=keys.memory_soft_mb,
        memory_hard_mb=keys.memory_hard_mb,
        open_files=keys.open_files,
        max_requests=keys.max_requests if isinstance(keys, PluginKeys) else 0,
        max_age=keys.max_age,
    )
