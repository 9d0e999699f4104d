"""The contract of background tasks and job runs: what their processes are told, and what they say.

Part of the contract, with the rules of protocol.py: enums and frozen dataclasses, no behaviour, standard library only,
Python 3.9. The messages travel over the same control channel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Optional

from plugin_runtime.protocol import Failed


class TaskPurpose(str, Enum):
    """What a process of the task program is started for."""

    DESCRIBE = (
        "describe"  # import the module, tell its metadata and jobs, end; of a plugin's job: what is wrong with it
    )
    SERVICE = "service"  # run service_main
    RUN = "run"  # one run of one job


class Outcome(str, Enum):
    """How a run of a job ended, or why it never began."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # it raised, or could not be imported
    TIMED_OUT = "timed_out"
    SKIPPED = "skipped"  # the run before had not ended, or there was nothing to run it in
    MISSED = "missed"  # noticed only after misfire_grace_time
    KILLED = "killed"  # by an operator, at shutdown, for a newer run, or over a limit
    CRASHED = "crashed"  # its process ended without a word


class Overlap(str, Enum):
    """What happens to a job that is due while a run of it has not ended."""

    SKIP = "skip"  # the new run is skipped
    QUEUE = "queue"  # the new run waits; one waits at most, more are skipped
    KILL_OLD = "kill_old"  # the old run is killed, then the new one begins


# --- control channel: from a process of the task program ---------------------------------------------------------


@dataclass(frozen=True)
class JobDeclaration:
    """One entry of ``metadata["con"]`` as its module declares it; seconds.

    ``trigger``: "type" is "interval" with "seconds"; "cron" with "cron_params" (a map of fields, or the five fields of
    a crontab line) and "timezone"; "date" with "date" (ISO 8601) and "timezone". An empty timezone is the machine's.
    """

    name: str
    entry: str  # name of the function, for people
    trigger: dict[str, Any] = field(default_factory=dict)
    jitter: float = 0.0
    timeout: float = 0.0  # 0: any
    misfire_grace_time: Optional[float] = 30.0  # None: a late run is always made up for
    overlap: str = Overlap.SKIP.value
    shared: bool = False  # runs inside the service's process
    activate: bool = True


@dataclass(frozen=True)
class TaskDescription:
    """What the module of a task says of itself; ``errors`` empty means that it may be run."""

    title: str = ""
    type: str = ""
    module_dir: str = ""
    description: str = ""
    version: str = ""
    author: str = ""
    meta_file: dict[str, Any] = field(default_factory=dict)  # all other keys but con, as JSON holds them
    has_service: bool = False
    jobs: list[JobDeclaration] = field(default_factory=list)
    errors: list[Failed] = field(default_factory=list)


@dataclass(frozen=True)
class RunFinished:
    """A run came to its end by itself. ``outcome``: succeeded or failed, timed_out for a shared one.

    ``exception``: "ValueError: no such file"; both texts are cut to what a person reads.
    """

    run: str
    outcome: str
    exception: Optional[str] = None
    traceback: Optional[str] = None


# --- control channel: to a process of the task program -----------------------------------------------------------


@dataclass(frozen=True)
class TaskSettings:
    """Everything that a process of the task program needs; sent in Welcome."""

    owner: str  # the task (file stem) or the plugin whose code it runs
    purpose: str
    working_directory: str
    module_file: str = ""  # where the task's module really lies; __file__ says so; "" for a plugin's job
    module_copy: str = ""  # the copy of it that is imported
    plugin: str = ""  # whose package is importable as plugins.<plugin>; "": nobody's
    plugin_folder: str = ""
    plugin_source: str = ""  # the generation's copy of its code
    plugin_contract: str = ""  # "app": its folder and src/ are import roots; "seed": they are not
    job: str = ""  # purpose run: name of the con entry, or of a plugin's job
    entry: str = ""  # purposes run and describe of a plugin's job: "module:function"
    run: str = ""  # purpose run: its id
    adopt_grace: float = 10.0
    local_path: str = ""  # of the gateways' local side
    local_key: str = ""


@dataclass(frozen=True)
class RunJob:
    """Run a shared job inside this service. ``timeout`` in seconds, 0: any. The answer is RunFinished.

    Said again after a reconnect where the answer has not come: of a run that has begun only the answer is repeated.
    """

    run: str
    job: str
    timeout: float = 0.0


# --- questions to any Python process of ours ---------------------------------------------------------------------


@dataclass(frozen=True)
class ListThreads:
    """Tell your Python threads: answered with Threads and the same id, also while the event loop is blocked."""


@dataclass(frozen=True)
class ThreadFacts:
    """One thread as threading.enumerate() knows it. ``native``: its id in the kernel."""

    id: int
    name: str
    alive: bool
    daemon: bool
    native: Optional[int] = None


@dataclass(frozen=True)
class Threads:
    """The answer to ListThreads."""

    threads: list[ThreadFacts] = field(default_factory=list)
