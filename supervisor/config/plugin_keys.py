"""The keys of a plugin's manifest, which config.json may override, and those of them that tasks have too."""

import re
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from plugin_runtime.protocol import ENV_CHILD, ENV_CONTROL, ENV_DATA_DIR, ENV_NONCE, ENV_RUNTIME
from supervisor.config.fields import Count, Megabytes, PathText, PositiveSeconds, Seconds, Section, Text, key
from supervisor.spec import RestartWhen

MOST_INSTANCES = 256
"""A slip of the finger must not fork a machine to death."""

_OURS = frozenset({ENV_CHILD, ENV_CONTROL, ENV_DATA_DIR, ENV_NONCE, ENV_RUNTIME})
_CRON_FIELDS = 5


def _variable(name: str) -> str:
    if not name or "=" in name:
        raise ValueError("must be the name of an environment variable")
    if name in _OURS:
        raise ValueError("must not be set, xcore sets it itself")
    return name


def _entry(value: str) -> str:
    module, _, attribute = value.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), *attribute.split(".")]):
        raise ValueError('must be "module:attribute"')
    return value


def _module(value: str) -> str:
    if not all(part.isidentifier() for part in value.split(".")):
        raise ValueError("must be the dotted name of a module")
    return value


def _absolute(value: str) -> str:
    if value and not value.startswith("/"):
        raise ValueError('must start with "/"')
    return value


def _job_name(value: str) -> str:
    if not re.fullmatch(r"[\w.-]+", value):
        raise ValueError("must be of letters, digits, '_', '-' and '.'")
    return value


def _cron(value: str) -> str:
    if len(value.split()) != _CRON_FIELDS:
        raise ValueError("must have five fields: minute, hour, day of the month, month, day of the week")
    return value


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: the name of a folder, "Europe"
        raise ValueError('must be the name of a time zone like "Europe/Berlin"') from error
    return value


Entry = Annotated[Text, AfterValidator(_entry)]
UrlPath = Annotated[Text, AfterValidator(_absolute)]
EnvironmentVariables = dict[Annotated[Text, AfterValidator(_variable)], Text]


class Interval(Section):
    """How often a job runs: the sum of its parts."""

    days: Count = key(0, "days between two runs")
    hours: Count = key(0, "hours between two runs")
    minutes: Count = key(0, "minutes between two runs")
    seconds: Seconds = key(0.0, "seconds between two runs")

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if not (self.days or self.hours or self.minutes or self.seconds):
            raise ValueError("must be longer than no time at all, as in { minutes = 10 }")
        return self


class Job(Section):
    """One entry of ``[[tool.xcore.jobs]]``."""

    name: Annotated[Text, AfterValidator(_job_name)] = Field(
        description="unique within the plugin", json_schema_extra={"live": True}
    )
    entry: Entry = Field(description='the function to run, "module:function"', json_schema_extra={"live": True})
    interval: Interval | None = key(None, "how often it runs: { days, hours, minutes, seconds }")
    cron: Annotated[Text, AfterValidator(_cron)] | None = key(None, "five fields, instead of `interval`")
    timezone: Annotated[Text, AfterValidator(_timezone)] | None = key(
        None, "for `cron`, as in Europe/Berlin; without it the machine's"
    )
    jitter: Seconds = key(0.0, "seconds; each run is put off by at most so much, drawn at random")
    timeout: Seconds = key(0.0, "seconds a run may take; 0 = any")
    misfire_grace_time: Seconds = key(30.0, "seconds a run may be late; later it counts as missed")
    overlap: Literal["skip", "queue", "kill_old"] = key("skip", "what to do when the run before has not ended")
    activate: bool = key(True, "false: not scheduled")

    @model_validator(mode="after")
    def _one_trigger(self) -> Self:
        if (self.interval is None) == (self.cron is None):
            raise ValueError("needs one of 'interval' and 'cron'")
        return self


class ProcessKeys(Section):
    """What can be said of every process that runs foreign code: plugin or task."""

    env: EnvironmentVariables = Field(
        default_factory=dict,
        description="environment variables; config.json adds to the manifest's, and wins",
        json_schema_extra={"live": True},
    )
    restart: Annotated[RestartWhen, Field(strict=False)] = key(
        RestartWhen.ALWAYS, "when a process that ended is started again"
    )
    start_timeout: PositiveSeconds = key(60.0, "seconds from spawn to ready; then it is killed")
    stop_timeout: Seconds = key(30.0, "seconds from the request to stop to SIGKILL")
    max_age: Seconds = key(0.0, "seconds after which a process is replaced; 0 = never")
    memory_soft_mb: Megabytes = key(0.0, "MiB; above it the process is replaced in order; 0 = no limit")
    memory_hard_mb: Megabytes = key(0.0, "MiB; above it the process is killed; 0 = no limit")
    open_files: Count = key(0, "limit on open files; 0 = that of the supervisor")
    autoreload: bool = key(True, "reload when the code changes")

    @model_validator(mode="after")
    def _soft_below_hard(self) -> Self:
        if self.memory_hard_mb and self.memory_soft_mb > self.memory_hard_mb:
            raise ValueError("memory_soft_mb must not be above memory_hard_mb")
        return self

    def given(self) -> dict[str, Any]:
        """Only the keys that were written, for laying them over others."""
        return self.model_dump(exclude_unset=True)


class PluginKeys(ProcessKeys):
    """The table ``[tool.xcore]`` of a plugin's pyproject.toml."""

    app: Entry | None = key(None, 'any ASGI or WSGI app or factory, "shop.main:app"; without it run.py is served')
    prefix: UrlPath | None = key(None, 'URL prefix, before Api_prefix; "/" takes what nobody else claims')
    env_file: PathText = key(".env", "dotenv file in the plugin's folder; a missing one is no error")
    path: Literal["auto", "full", "stripped"] = key("auto", 'what the app sees in scope["path"]; auto = by framework')
    instances: int = key(1, "worker processes", ge=1, le=MOST_INSTANCES)
    exclusive: bool = key(False, "true: never two at once; the old one stops before the new one starts")
    template: bool = key(True, "fork workers from a warm template")
    preload: Annotated[tuple[Annotated[Text, AfterValidator(_module)], ...], Field(strict=False)] = key(
        (), "more modules for the template to import"
    )
    health: UrlPath = key("", "path below the prefix that is probed; empty = readiness and heartbeat only")
    request_timeout: Seconds = key(0.0, "seconds a request may take; 0 = any")
    idle_stop: Seconds = key(0.0, "seconds without requests after which the plugin stops; 0 = never")
    max_in_flight: Count = key(0, "requests at once, over all gateways; 0 = any number")
    max_requests: Count = key(0, "requests after which a worker is replaced; 0 = never")
    jobs: Annotated[tuple[Job, ...], Field(strict=False)] = key((), "scheduled runs of the plugin's code")

    @model_validator(mode="after")
    def _exclusive_is_one(self) -> Self:
        if self.exclusive and self.instances > 1:
            raise ValueError(f"exclusive = true allows one instance, not {self.instances}")
        return self

    @model_validator(mode="after")
    def _names_of_jobs_differ(self) -> Self:
        names = [job.name for job in self.jobs]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two jobs are named {twice!r}")
        return self


OUTSIDE_GENERATION = frozenset({"autoreload", "idle_stop"})
"""Keys of ``plugins.<name>`` in config.json that make no other generation: those that no process is started with."""


class PluginOverrides(PluginKeys):
    """What config.json says of one plugin; a key that was not written says nothing, see ``given``."""


class TaskOverrides(ProcessKeys):
    """What config.json says of one task."""

    # A service that returns has done what it had to do; a plugin's worker that ends has not.
    restart: Annotated[RestartWhen, Field(strict=False)] = key(
        RestartWhen.ON_FAILURE, "when a process that ended is started again"
    )
