"""The contract between the processes of xcore: states, causes, exit codes, messages.

What belongs here: names and shapes that two processes must agree on, as enums and frozen dataclasses.
What must not: behaviour, I/O, anything outside the standard library, anything newer than Python 3.9
(hence ``Optional`` and ``class X(str, Enum)``: the annotations are resolved at run time by wire.py).

Changing a message: add fields with defaults only, or raise PROTOCOL_VERSION and keep accepting the one before,
so that an upgrade can replace processes one by one. Every message, state, cause and exit code is documented in
docs/reference/protocol.md; a test fails when one is not.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any, Optional

PROTOCOL_VERSION = 1
ACCEPTED_VERSIONS = frozenset({PROTOCOL_VERSION})
"""Versions a handshake may carry; holds the one before as well from version 2 on."""

ENV_CONTROL = "XCORE_CONTROL"
"""Path of the control socket. Set for every child; removed from its environment before foreign code runs."""
ENV_NONCE = "XCORE_NONCE"
"""Secret that proves to the supervisor that a connection comes from the process it spawned. Removed likewise."""
ENV_CHILD = "XCORE_CHILD"
"""Id of the child in the process table, ``hello.1``. Stays: plugins may log it."""
ENV_TREE = "XCORE_TREE"
"""Mark of everything that a supervisor of one state folder has started. Stays: what descends from it inherits it."""
ENV_RUNTIME = "XCORE_RUNTIME"
"""Directory with the packages the guest itself needs, put last on sys.path. Removed likewise."""
ENV_DATA_DIR = "XCORE_DATA_DIR"
"""Directory of the plugin's own, kept for ever."""

MAX_CONTROL_FRAME = 8 * 1024 * 1024
"""Bytes of one control message; a plugin's OpenAPI schema (4 MiB) is the largest thing ever sent."""
MAX_SCHEMA = 4 * 1024 * 1024
"""Bytes of the JSON of one plugin's OpenAPI schema."""

STACKS_SIGNAL = int(signal.SIGRTMIN) + 1
"""A guest that gets it writes the stacks of its threads to stderr, even while one of them holds the GIL.

A real-time signal, since plugins use SIGUSR1 and SIGUSR2 themselves. Sent only to guests that have said Hello: any
other process dies of it.
"""


class Kind(str, Enum):
    """What a process of ours is."""

    SUPERVISOR = "supervisor"
    GUARD = "guard"
    GATEWAY = "gateway"
    TEMPLATE = "template"
    WORKER = "worker"
    TASK = "task"
    JOB = "job"
    INSTALLER = "installer"
    VALIDATOR = "validator"


class State(str, Enum):
    """Observed state of one child; who may go where is the table in supervisor/supervision/lifecycle.py."""

    PENDING = "pending"  # known, not started yet
    STARTING = "starting"  # spawned, has not said that it is ready
    RUNNING = "running"  # ready and alive
    STALLED = "stalled"  # its event loop has not answered for a while
    DRAINING = "draining"  # gets no new requests, finishes those it has
    STOPPING = "stopping"  # asked to end
    BACKOFF = "backoff"  # died, waits for its next start
    EXITED = "exited"  # ended and not wanted
    FAILED = "failed"  # died too often, or cannot start until something changes


class PluginState(str, Enum):
    """State of a plugin or task as a whole: that of its instances, or one of its own."""

    PENDING = "pending"
    INSTALLING = "installing"  # its environment is being built
    STARTING = "starting"
    RUNNING = "running"
    DEGRADED = "degraded"  # fewer instances ready than wanted
    STALLED = "stalled"
    DRAINING = "draining"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    IDLE = "idle"  # stopped for want of requests; the next one wakes it
    EXITED = "exited"
    FAILED = "failed"
    DISABLED = "disabled"  # not wanted by the operator
    REFUSED = "refused"  # its prefix belongs to another, or is reserved, or its name is not allowed


class Cause(str, Enum):
    """Why a process ended."""

    CRASH = "crash"  # exited by itself with a code other than 0
    SIGNAL = "signal"  # killed by a signal that was not ours
    OUT_OF_MEMORY = "out_of_memory"  # the kernel's doing, as far as it tells
    MEMORY_LIMIT = "memory_limit"
    HANG = "hang"
    START_FAILED = "start_failed"  # said that it cannot start
    START_TIMEOUT = "start_timeout"
    JOB_TIMEOUT = "job_timeout"
    OPERATOR = "operator"
    DISABLED = "disabled"
    RELOAD = "reload"
    ROLLBACK = "rollback"
    RECYCLE = "recycle"  # max_requests, max_age, soft memory limit
    SCALE_DOWN = "scale_down"
    IDLE = "idle"
    UPGRADE = "upgrade"
    CPU_LIMIT = "cpu_limit"
    OVERLAP = "overlap"  # the newer run of the same job took its place
    SHUTDOWN = "shutdown"
    PARENT_LOST = "parent_lost"
    FINISHED = "finished"  # exited by itself with 0
    UNKNOWN = "unknown"


class ExitCode(IntEnum):
    """Exit codes that our own processes use; any other belongs to the plugin."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3
    START_FAILED = 70  # the guest reported why over the control channel (sysexits.h: EX_SOFTWARE)
    REFUSED = 76  # handshake refused (EX_PROTOCOL)
    INVALID = 78  # cannot heal until something changes (EX_CONFIG); never restarted
    UNSUPPORTED_PYTHON = 79
    PARENT_LOST = 80  # no supervisor for longer than adopt_grace


class Phase(str, Enum):
    """How far a plugin has come on its way to being served; failures name the phase."""

    MANIFEST = "manifest"
    ENVIRONMENT = "environment"
    IMPORT = "import"
    LIFESPAN = "lifespan"
    READY = "ready"


# --- control channel: handshake -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Hello:
    """First message of every child. ``start_ticks``: field 22 of /proc/<pid>/stat."""

    version: int
    child: str
    pid: int
    start_ticks: int
    nonce: str
    python: str = ""


@dataclass(frozen=True)
class Welcome:
    """The supervisor's answer; ``settings`` is the wire form of the settings class of the child's kind."""

    version: int
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Refused:
    """The handshake failed; the reason is a sentence for people. The connection closes after it."""

    reason: str


# --- control channel: from a child --------------------------------------------------------------------------


@dataclass(frozen=True)
class Progress:
    """The child entered a phase of its start."""

    phase: str


@dataclass(frozen=True)
class Ready:
    """Imported, started up and listening. ``path_mode``: what the app sees, "full" or "stripped"."""

    framework: str = ""
    path_mode: str = "full"
    has_schema: bool = False  # answers MakeSchema


@dataclass(frozen=True)
class Failed:
    """The child cannot start and exits next. ``permanent``: only a change can heal it."""

    phase: str
    type: str
    message: str
    hint: str = ""
    traceback: str = ""
    location: str = ""  # "run.py:12", the innermost line of the plugin's own code; of a template: the module's name
    permanent: bool = False
    excerpt: list[str] = field(default_factory=list)  # the line of ``location`` and its neighbours, for people


@dataclass(frozen=True)
class Beat:
    """Sent every second by a thread of the guest. ``loop_age``: seconds since its event loop last turned."""

    loop_age: float
    in_flight: int = 0
    requests: int = 0
    peak_memory_kb: int = 0  # VmHWM; ru_maxrss would include the parent's


@dataclass(frozen=True)
class MakeSchema:
    """Make the OpenAPI document and send it as Schema: it takes time that a worker needs for its first requests."""


@dataclass(frozen=True)
class Schema:
    """The plugin's OpenAPI document as JSON bytes (at most MAX_SCHEMA); ``hash``: its SHA-256 in hex."""

    hash: str
    document: bytes


@dataclass(frozen=True)
class Notes:
    """What does not work in the child and keeps it from nothing, in sentences; they replace those said before."""

    sentences: list[str]


@dataclass(frozen=True)
class Description:
    """What the validator found in a plugin; ``errors`` empty means it may be served."""

    title: str = ""
    version: str = ""
    author: str = ""
    api_prefix: str = ""  # as written in PLUGIN_INFO, "" when it is not there
    router_prefix: str = ""
    tags: list[str] = field(default_factory=list)
    trigger: int = 1
    framework: str = ""
    modules: list[str] = field(default_factory=list)  # of Python and its environment, in the order of their import
    errors: list[Failed] = field(default_factory=list)


# --- control channel: to a child ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Stop:
    """End in order: finish requests in flight for at most ``drain`` seconds, shut down, exit 0."""

    cause: str
    drain: float


@dataclass(frozen=True)
class WorkerSettings:
    """Everything a worker or validator needs; sent in Welcome."""

    plugin: str
    contract: str  # "seed": run.py with PLUGIN_INFO, Plugin, router; "app": an ASGI or WSGI app
    entry: str  # seed: module name ("run"); app: "module:attribute"
    folder: str  # where the plugin really lies; __file__ points there
    source: str  # the generation's copy of its code
    working_directory: str
    prefix: str = ""
    path_mode: str = "auto"
    link_path: str = ""
    link_secret: bytes = b""
    lifespan_timeout: float = 60.0
    adopt_grace: float = 10.0
    validate_only: bool = False
    describe: bool = False  # say what a validator would, once the plugin is imported
    local_path: str = ""  # of the gateways' local side
    local_key: str = ""
    concured_lock: str = ""  # file that the process of Plugin.concured holds; "": this is not the one to run it


@dataclass(frozen=True)
class GatewaySettings:
    """Everything a gateway needs to open its door; sent in Welcome. ``options``: section gateway of config.json."""

    listen_fd: int
    url: str
    options: dict[str, Any]
    adopt_grace: float = 10.0
    version: str = ""
    door_path: str = ""  # where it hands the listening sockets to another supervisor; "": nowhere
    local_fd: Optional[int] = None  # of the local side's listening socket
    development: bool = False  # it may tell clients on this machine why a plugin cannot be served


# --- control channel: supervisor and gateway ----------------------------------------------------------------


@dataclass(frozen=True)
class Upstream:
    """One worker incarnation that takes requests. A new incarnation has a new path and secret."""

    instance: str  # "hello.1"
    incarnation: str  # unique for ever
    path: str
    secret: bytes
    stalled: bool = False


@dataclass(frozen=True)
class Route:
    """What lies under one prefix. Without upstreams: parked while ``expected``, else 503."""

    plugin: str
    prefix: str
    upstreams: list[Upstream] = field(default_factory=list)
    expected: bool = False
    state: str = PluginState.PENDING.value
    error: str = ""
    retry_after: float = 1.0
    request_timeout: float = 0.0
    max_in_flight: int = 0


@dataclass(frozen=True)
class Caller:
    """A process that may call plugins on the local side. ``key``: "<incarnation>:<secret>"."""

    plugin: str  # who calls: its name, "task:<module>" or "job:<id>"
    key: str


@dataclass(frozen=True)
class RoutingSnapshot:
    """The whole routing table; replaces the one before in one step. Versions only grow."""

    version: int
    routes: list[Route]
    callers: list[Caller] = field(default_factory=list)


@dataclass(frozen=True)
class RoutingAck:
    """The gateway routes by this version now; requests it had assigned before go on."""

    version: int


@dataclass(frozen=True)
class UpstreamLost:
    """A link closed under the gateway, and how the requests on it ended; the death itself comes from the kernel."""

    instance: str
    incarnation: str
    reason: str


@dataclass(frozen=True)
class UpstreamDied:
    """The supervisor's word on a dead incarnation. ``resend``: False where a request may have been the cause."""

    instance: str
    incarnation: str
    cause: str
    resend: bool


@dataclass(frozen=True)
class PluginHealth:
    """One entry of /health."""

    state: str
    ready: int
    wanted: int
    restarts: int


@dataclass(frozen=True)
class Health:
    """Body of /health, pushed to gateways at every change. ``status``: ok, degraded or down."""

    status: str
    plugins: dict[str, PluginHealth] = field(default_factory=dict)


@dataclass(frozen=True)
class TokenRecord:
    """An API token as gateways know it: by the SHA-256 (hex) of the whole token."""

    hash: str
    name: str
    role: str
    expires: Optional[float] = None  # seconds since the epoch


@dataclass(frozen=True)
class TokenTable:
    """All valid API tokens; replaces the table before, so a token missing from it is revoked."""

    tokens: list[TokenRecord]


@dataclass(frozen=True)
class PluginSchema:
    """A plugin's OpenAPI document for the gateway's merged one; empty ``document``: forget it."""

    plugin: str
    prefix: str
    hash: str
    document: bytes = b""


# --- requests: gateway and command socket to supervisor -----------------------------------------------------


@dataclass(frozen=True)
class Call:
    """Carry out one operation of supervisor/channels/operations.py. ``actor``: "token:ci", "operator"."""

    operation: str
    arguments: dict[str, Any] = field(default_factory=dict)
    actor: str = ""


@dataclass(frozen=True)
class Result:
    """What the operation returned: None, a scalar, a list or a dict."""

    value: Any = None


@dataclass(frozen=True)
class Error:
    """Why it failed, as ExceptionResponse has it; ``status`` is the HTTP status that fits."""

    type: str
    message: str
    extension: dict[str, Any] = field(default_factory=dict)
    status: int = 500
