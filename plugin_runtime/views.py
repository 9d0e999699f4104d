"""What operations return: the JSON shapes that the HTTP interface, the CLI and the dashboard share.

The supervisor makes these, the gateway declares them as response models, the CLI prints them. Times and durations are
in seconds, sizes in MiB; None where nothing is known yet. Documented in docs/reference/api.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional


@dataclass(frozen=True)
class InstanceView:
    """One instance of a plugin. Times in seconds; null where nothing is known yet."""

    id: str
    pid: Optional[int]
    state: str
    uptime: float
    restarts: int
    cpu_percent: Optional[float]
    memory_mb: Optional[float]
    in_flight: int
    requests: int


@dataclass(frozen=True)
class ExitView:
    """Why one process ended."""

    id: str
    name: str
    instance: str
    kind: str
    cause: str
    exit_code: Optional[int]
    signal: Optional[int]
    actor: str
    time: float
    uptime: float
    log_tail: list[str]
    stacks: Optional[str] = None
    pid: Optional[int] = None
    generation: str = ""
    peak_memory_mb: Optional[float] = None
    cpu_seconds: Optional[float] = None
    in_flight: int = 0
    message: str = ""


@dataclass(frozen=True)
class PluginError:
    """What keeps a plugin from being served, and what to do about it.

    ``excerpt``: the line that ``location`` names and its neighbours, each with its number, the line itself marked.
    ``problems``: where ``message`` and ``hint`` hold several, each of them as a sentence of its own; else empty.
    """

    phase: str
    type: str
    message: str
    hint: str = ""
    location: str = ""
    traceback: str = ""
    log_tail: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    excerpt: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class TrafficView:
    """Requests of a plugin through all gateways, as of the last second.

    ``in_flight`` and ``parked`` are now, the others since the start of the supervisor, with what gateways
    that it took over had counted before. ``refused``: by the reason for
    which a gateway answered with an error of its own.
    """

    in_flight: int = 0
    requests: int = 0
    parked: int = 0
    parked_total: int = 0
    resent: int = 0
    refused: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ProgressView:
    """A build under way. ``step``: in words; ``line``: printed last in it; ``seconds``: since the step began."""

    step: str
    line: str
    seconds: float


@dataclass(frozen=True)
class PluginView:
    """A plugin as /admin/plugins shows it.

    ``notes``: what is to be known of it and keeps it from nothing. ``template``: id of the process that its workers are
    forked from, which other plugins may share; "" where they are started from nothing. ``outdated``: it serves
    something else than its folder says, which cannot be served; ``error`` says why.
    ``build_log``: path of what its newest build said, "" where there is none.
    """

    name: str
    title: str
    version: str
    author: str
    prefix: str
    tags: list[str]
    trigger: int
    active: bool
    state: str
    generation: str
    wanted: int
    instances: list[InstanceView] = field(default_factory=list)
    last_exit: Optional[ExitView] = None
    error: Optional[PluginError] = None
    traffic: TrafficView = field(default_factory=TrafficView)
    notes: list[str] = field(default_factory=list)
    template: str = ""
    outdated: bool = False
    progress: Optional[ProgressView] = None
    build_log: str = ""


@dataclass(frozen=True)
class ProcessView:
    """One process of ours."""

    kind: str
    name: str
    id: str
    pid: Optional[int]
    state: str
    uptime: float
    restarts: int
    python: str = ""
    generation: str = ""


@dataclass(frozen=True)
class ResourceView:
    """What one process uses, as of the last sample. ``uss_mb``: null until it was measured."""

    kind: str
    name: str
    id: str
    pid: Optional[int]
    cpu_percent: Optional[float]
    cpu_seconds: Optional[float]
    memory_mb: Optional[float]
    uss_mb: Optional[float]
    threads: Optional[int]
    open_files: Optional[int]
    sampled: Optional[float]  # seconds since the epoch


@dataclass(frozen=True)
class TokenView:
    """An API token as the operator sees it; the token itself is shown once, when it is made."""

    id: str
    name: str
    role: str
    created: float
    expires: Optional[float]
    last_used: Optional[float] = None
