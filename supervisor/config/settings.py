"""The sections of config.json: every key with its type, range, default and whether it is live.

A key that is added here needs its row in docs/reference/config.md and a new docs/reference/config.schema.json
(``python -m supervisor.config.schema``); a test fails until both are there. Paths stay as written; configuration.py
resolves them.
"""

import fnmatch
import ipaddress
import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from supervisor.config.fields import (
    Count,
    Megabytes,
    PathText,
    PositiveMegabytes,
    PositiveSeconds,
    Seconds,
    Section,
    Text,
    Texts,
    key,
)
from supervisor.config.plugin_keys import PluginOverrides, TaskOverrides

IGNORED_EXTENSIONS = (
    "*.pyc", "*.pyo", "*.log", "*.db", "*.db-*", "*.sqlite", "*.sqlite-*", "*.sqlite3", "*.sqlite3-*",
    "*.tmp", "*.bak", "*.swp", "*.swx", "*~",
)  # fmt: skip
IGNORED_FILENAMES = ("__pycache__", "node_modules", ".git", ".venv", "4913")
"""4913: vim makes and removes a file of this name to try whether it may write."""

_MOST_GATEWAYS = 64


def _module(value: str) -> str:
    if not value.isidentifier():
        raise ValueError("must be the name of a module, without .py")
    return value


def _host(value: str) -> str:
    if not value or re.search(r"[\s/]", value):
        raise ValueError('must be an address or host name to listen on, like "127.0.0.1"')
    return value


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError as error:
        raise ValueError('must be an address or a network, like "10.0.0.0/8"') from error
    return value


def _origin(value: str) -> str:
    if not re.fullmatch(r"\*|[a-z][a-z0-9+.-]*://[^\s/]+", value):
        raise ValueError('must be an origin like "https://example.org", or "*"')
    return value


def _index(value: str) -> str:
    if not re.match(r"(https?|file)://.", value):
        raise ValueError("must be the http(s) address of a simple package index")
    return value


class PluginsSettings(Section):
    """``manager.plugins``."""

    directory: PathText = key("./plugins", "folder whose subfolders are the plugins", live=False)
    interval: PositiveSeconds = key(2.0, "seconds between two looks at it, where file events do not work")
    autoreload: bool = key(True, "follow changes of plugins' files at once; false: `xcore plugin reload` does it")
    entry_point: Annotated[Text, AfterValidator(_module)] = key(
        "run", "module of a plugin that has no `app`", live=False
    )


class TasksSettings(Section):
    """``manager.tasks``."""

    directory: PathText = key("./backgroundtask", "folder whose .py files are the tasks", live=False)
    auto_restart: bool = key(True, "start a task again that crashed")
    interval: PositiveSeconds = key(2.0, "seconds between two looks at the folder, where file events do not work")
    max_retries: Count = key(3, "restarts of a task without a stable run between them")


class LogSettings(Section):
    """``manager.log``: the supervisor's own log; LOG_LEVEL sets the level."""

    file: PathText | None = key(None, "file to log to; null = none", live=False)
    console: bool = key(True, "log to standard error", live=False)


class SnapshotSettings(Section):
    """``manager.snapshot``: which files of a plugin are no code. pyproject.toml, poetry.lock and .env always are."""

    extensions: Texts = key(IGNORED_EXTENSIONS, 'globs of file names to ignore; ".log" is the same as "*.log"')
    filenames: Texts = key(IGNORED_FILENAMES, "names or globs of files and folders to ignore")
    hidden: bool = key(True, "ignore files and folders whose names start with a dot")

    def ignores(self, name: str) -> bool:
        """Whether a file or folder of this name is to be ignored, wherever it lies."""
        if name in {"pyproject.toml", "poetry.lock"}:
            return False
        if self.hidden and name.startswith("."):
            return True
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.patterns)

    @property
    def patterns(self) -> tuple[str, ...]:
        """All globs, without the rule for hidden files."""
        extensions = (f"*{entry}" if re.fullmatch(r"\.\w+", entry) else entry for entry in self.extensions)
        return (*extensions, *self.filenames)


class ManagerSettings(Section):
    """``manager``: the keys of the founding document."""

    dotenv: PathText | None = key(".env", "dotenv file; a missing one is no error, null = none")
    plugins: PluginsSettings = Field(default_factory=PluginsSettings)
    tasks: TasksSettings = Field(default_factory=TasksSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    snapshot: SnapshotSettings = Field(default_factory=SnapshotSettings)


class ParkingSettings(Section):
    """``gateway.parking``: requests that wait for a worker."""

    requests: Count = key(1000, "requests that may wait, per gateway")
    mb: Megabytes = key(64.0, "MiB that they may hold, per gateway")
    seconds: Seconds = key(30.0, "seconds that one may wait")


class GatewaySettings(Section):
    """``gateway``: the door."""

    host: Annotated[Text, AfterValidator(_host)] = key("127.0.0.1", "address to listen on", live=False)
    port: int = key(8082, "TCP port; 0 = any free one, named in run/gateway.json", live=False, ge=0, le=65535)
    processes: int = key(1, "gateway processes", ge=1, le=_MOST_GATEWAYS)
    metrics_public: bool = key(False, "serve /metrics without a token")
    ssl_certfile: PathText | None = key(None, "certificate chain (PEM); with `ssl_keyfile`", live=False)
    ssl_keyfile: PathText | None = key(None, "its private key (PEM)", live=False)
    max_body_mb: Megabytes = key(0.0, "MiB of a request body; 0 = any")
    max_message_mb: PositiveMegabytes = key(16.0, "MiB of a WebSocket message")
    head_timeout: PositiveSeconds = key(10.0, "seconds to receive a request head")
    idle_timeout: PositiveSeconds = key(75.0, "seconds a connection may be idle between requests")
    parking: ParkingSettings = Field(default_factory=ParkingSettings)
    trusted_proxies: Annotated[tuple[Annotated[Text, AfterValidator(_network)], ...], Field(strict=False)] = key(
        (), "addresses and networks whose X-Forwarded-* fields are believed"
    )
    cors_origins: Annotated[tuple[Annotated[Text, AfterValidator(_origin)], ...], Field(strict=False)] = key(
        (), "origins that browsers may call from"
    )
    access_log: Literal["text", "json", "off"] = key("text", "form of the access log")

    @model_validator(mode="after")
    def _certificate_and_key(self) -> Self:
        if (self.ssl_certfile is None) != (self.ssl_keyfile is None):
            missing = "ssl_certfile" if self.ssl_certfile is None else "ssl_keyfile"
            raise ValueError(f"ssl_certfile and ssl_keyfile come together, {missing} is missing")
        return self


class RestartSettings(Section):
    """``supervisor.restart``: how soon and how often the dead are started again."""

    delay: Seconds = key(0.5, "seconds before the second restart in a row; then doubled", live=False)
    max_delay: Seconds = key(30.0, "seconds; the longest delay", live=False)
    stable: Seconds = key(30.0, "seconds up after which the counting starts anew", live=False)
    limit: int = key(8, "crashes within `window` that make it failed", live=False, ge=1, le=1000)
    window: PositiveSeconds = key(300.0, "seconds", live=False)
    probe: Seconds = key(300.0, "seconds between two tries of what has failed; 0 = none", live=False)

    @model_validator(mode="after")
    def _cap_above_delay(self) -> Self:
        if self.max_delay < self.delay:
            raise ValueError(f"max_delay {self.max_delay:g} must not be below delay {self.delay:g}")
        return self


class HeartbeatSettings(Section):
    """``supervisor.heartbeat``: how long an event loop may be silent."""

    stalled: PositiveSeconds = key(10.0, "seconds until it gets no new requests", live=False)
    hung: PositiveSeconds = key(30.0, "seconds until it is killed", live=False)
    hang_cpu_limit: PositiveSeconds = key(120.0, "seconds until it is killed though it uses the CPU", live=False)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.stalled <= self.hung <= self.hang_cpu_limit:
            raise ValueError("stalled, hung and hang_cpu_limit must be in rising order")
        return self


class SupervisorSettings(Section):
    """``supervisor``: the host itself."""

    state_dir: PathText = key("./.xcore", "state folder", live=False)
    sample_interval: PositiveSeconds = key(5.0, "seconds between two measurements of all processes")
    adopt_grace: Seconds = key(
        10.0, "seconds that processes live on without a supervisor; then the guard ends what is left", live=False
    )
    base_environment: PathText | None = key(
        None, "pyproject.toml of the base environment; null = the one shipped", live=False
    )
    index_url: Annotated[Text, AfterValidator(_index)] | None = key(
        None, "simple package index for environments; null = pip's own setting", live=False
    )
    restart: RestartSettings = Field(default_factory=RestartSettings)
    heartbeat: HeartbeatSettings = Field(default_factory=HeartbeatSettings)


class Settings(Section):
    """config.json as a whole."""

    manager: ManagerSettings = Field(default_factory=ManagerSettings)
    gateway: GatewaySettings = Field(default_factory=GatewaySettings)
    supervisor: SupervisorSettings = Field(default_factory=SupervisorSettings)
    plugins: dict[Text, PluginOverrides] = Field(
        default_factory=dict, description="keys of [tool.xcore], by folder name", json_schema_extra={"live": True}
    )
    tasks: dict[Text, TaskOverrides] = Field(
        default_factory=dict, description="limits of tasks, by file stem", json_schema_extra={"live": True}
    )
