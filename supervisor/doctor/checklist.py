"""All checks in the order of the report, and what they are given. Only this module makes adapters here.

docs/how-to/when-something-does-not-work.md has every check by its name; a test holds it against this list.
"""

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from supervisor.config.settings import TasksSettings
from supervisor.doctor import database, folder, installers, kernel, limits, machine, packages, sockets
from supervisor.doctor.check import Check, Examined, Group, Probe, examine_all, in_thread
from supervisor.doctor.finding import Finding, Result
from supervisor.doctor.project import Project
from supervisor.environments.interpreters import Interpreters, own
from supervisor.environments.package_index import PackageIndex
from supervisor.environments.runner import Runner
from supervisor.errors import XcoreError
from supervisor.processes.reaper import Reaper
from supervisor.signals import cancelled_by_signals
from supervisor.state_folder import StateFolder
from supervisor.supervision.programs import Programs

_MORE_PROCESSES = (
    "raise the limit: ulimit -u (nproc in /etc/security/limits.conf), TasksMax= in a systemd unit, --pids-limit of a "
    "container"
)
_OTHER_FOLDER = "let supervisor.state_dir name a folder on a local disk that this user may write to"


@dataclass(frozen=True)
class Case:
    """What the probes are given. ``scratch``: a folder of this examination's own, gone after it."""

    project: Project
    environ: Mapping[str, str]
    scratch: Path
    runner: Runner

    def on_ground(self, probe: Callable[[Path], Finding]) -> Probe:
        """Only its thread looks for the ground: a disk that is away keeps whoever looks at it."""
        return in_thread(lambda: probe(self.ground))

    def on_trial_ground(self, probe: Callable[[Path], Finding]) -> Probe:
        return in_thread(lambda: probe(self.trial_ground))

    @property
    def ground(self) -> Path:
        """Where the state folder is or would be made; without a project the system's folder for temporary files."""
        state = self.project.state_folder
        return folder.ground(state.root) if state else self.scratch.parent

    @property
    def trial_ground(self) -> Path:
        """The same; where nobody may write there, which is a finding of its own, other things are tried elsewhere."""
        return self.ground if os.access(self.ground, os.W_OK | os.X_OK) else self.scratch.parent


def diagnose(config: Path | None, environ: Mapping[str, str]) -> list[Examined]:
    """Examine the machine, and the project of the configuration file ``config`` if there is one.

    While a supervisor runs as well: nothing of its own is locked, changed or asked of it.

    Raises:
        XcoreError: there is no folder for temporary files.
        KeyboardInterrupt: it was ended by a signal; what it had begun is gone.
    """
    project = Project.find(config, environ)
    try:
        with _scratch() as scratch:
            return asyncio.run(_examine(project, environ, Path(scratch)))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def _scratch() -> "tempfile.TemporaryDirectory[str]":
    try:
        return tempfile.TemporaryDirectory(prefix="xcore-doctor-", ignore_cleanup_errors=True)
    except OSError as error:
        raise XcoreError(
            f"cannot make a folder for temporary files: {error.strerror or error}",
            hint="make room where they go, or let TMPDIR name another folder",
        ) from error


async def _examine(project: Project, environ: Mapping[str, str], scratch: Path) -> list[Examined]:
    with ExitStack() as stack:
        stack.enter_context(cancelled_by_signals())
        reaper = Reaper(asyncio.get_running_loop())
        stack.callback(reaper.close)
        place = StateFolder(scratch / "state")  # of this examination, for the output of its programs
        place.run.mkdir(parents=True)
        runner = Programs(reaper, place, lambda _record: None)
        return await examine_all(checks(Case(project, environ, scratch, runner)))


def checks(case: Case) -> list[Check]:
    return [
        *_project(case),
        *_kernel(case),
        *_folder(case),
        *_sockets(case),
        *_limits(case),
        *_installers(case),
        *_machine(),
    ]


def _project(case: Case) -> list[Check]:
    configuration, state = case.project.configuration, case.project.state_folder
    found = Check(
        "configuration",
        Group.PROJECT,
        in_thread(case.project.judge),
        "xcore does not start, one that runs keeps the configuration it has; the project was not examined further",
        "mend it; 'xcore config check' says whether it is valid",
    )
    if configuration is None or state is None:
        return [found]
    return [
        found,
        Check(
            "supervisor",
            Group.PROJECT,
            in_thread(lambda: sockets.judge_running(sockets.running(state))),
            "it is not known whether xcore runs",
            f"look who has {state.command_socket} open",
        ),
        Check(
            "database",
            Group.PROJECT,
            in_thread(database.database, configuration.data_url, state.database, configuration.folder),
            "xcore does not start; one that runs goes on serving, and fails what has to be written",
            "docs/reference/database.md says for each message what to do",
        ),
        Check(
            "port",
            Group.PROJECT,
            in_thread(sockets.port, configuration.gateway.host, configuration.gateway.port, state),
            "xcore does not start",
            "end what holds it, or set gateway.host and gateway.port to another address",
        ),
    ]


def _kernel(case: Case) -> list[Check]:
    def tried(probe: Callable[[Runner, Path], Awaitable[Finding]]) -> Probe:
        return partial(probe, case.runner, case.scratch)

    return [
        Check(
            "pidfd",
            Group.KERNEL,
            tried(kernel.pidfd),
            "xcore starts no process: by pidfds it learns of deaths",
            "use Linux 5.4 or newer; in a container, allow pidfd_open(2) and waitid(2)",
        ),
        Check(
            "exits of others",
            Group.KERNEL,
            tried(kernel.exits_of_others),
            "how a process ended that is not the supervisor's own child stays unknown: its record has no exit code",
            "use Linux 6.15 or newer; everything else works without",
            otherwise=Result.WARNING,
        ),
        Check(
            "subreaper",
            Group.KERNEL,
            tried(kernel.subreaper),
            "what a plugin leaves behind when it dies goes on running, and no worker can be forked from a template",
            "in a container, allow prctl(2) PR_SET_CHILD_SUBREAPER",
        ),
        Check(
            "stacks",
            Group.KERNEL,
            tried(kernel.stacks),
            "the record of a worker that hangs does not say where",
            "in a container, allow real-time signals and kill(2)",
            otherwise=Result.WARNING,
        ),
        Check(
            "fork",
            Group.KERNEL,
            tried(kernel.fork),
            "xcore cannot start the processes of plugins",
            f"end other processes of this user, or {_MORE_PROCESSES}",
        ),
        Check(
            "/proc",
            Group.KERNEL,
            tried(kernel.proc),
            "processes cannot be told apart, measured or found again",
            "mount it: mount -t proc proc /proc; the kernel must have CONFIG_PROC_CHILDREN",
        ),
    ]


def _folder(case: Case) -> list[Check]:
    return [
        Check(
            "state folder",
            Group.FOLDER,
            case.on_ground(folder.writable),
            "xcore does not start: everything that it keeps is in there",
            f"make room, give this user the right to write there, or {_OTHER_FOLDER}",
        ),
        Check(
            "file system",
            Group.FOLDER,
            case.on_ground(folder.file_system),
            "it is not known what the state folder lies on",
            _OTHER_FOLDER,
            otherwise=Result.WARNING,
        ),
        Check(
            "disk space",
            Group.FOLDER,
            case.on_ground(folder.space),
            "environments of plugins cannot be built, and with a full disk nothing is recorded any more",
            f"make room: an environment takes 50 to 200 MiB; or {_OTHER_FOLDER}",
        ),
        Check(
            "FIFOs",
            Group.FOLDER,
            case.on_trial_ground(folder.fifos),
            "xcore starts no process: their output goes through FIFOs",
            _OTHER_FOLDER,
        ),
        Check(
            "file locks",
            Group.FOLDER,
            case.on_trial_ground(folder.locks),
            "two supervisors may work on one state folder and fight over every process",
            _OTHER_FOLDER,
        ),
    ]


def _sockets(case: Case) -> list[Check]:
    connect = Check(
        "Unix sockets",
        Group.FOLDER,
        case.on_trial_ground(sockets.unix_sockets),
        "xcore's processes cannot speak to each other",
        _OTHER_FOLDER,
    )
    if case.project.state_folder is None:
        return [connect]
    paths = Check(
        "socket paths",
        Group.FOLDER,
        in_thread(sockets.path_length, case.project.state_folder),
        "xcore does not start: a Unix socket cannot have such a path",
        "let supervisor.state_dir name a folder with a shorter path",
    )
    return [connect, paths]


def _limits(case: Case) -> list[Check]:
    project, configuration = case.project, case.project.configuration
    tasks = configuration.manager.tasks if configuration else TasksSettings()
    return [
        Check(
            "open files",
            Group.LIMITS,
            in_thread(lambda: limits.open_files(project.processes)),
            "the supervisor cannot start all processes",
            "raise it: ulimit -n, or LimitNOFILE= in a systemd unit",
        ),
        Check(
            "processes",
            Group.LIMITS,
            in_thread(lambda: limits.process_count(project.processes)),
            "not all plugins and tasks can be started",
            _MORE_PROCESSES,
        ),
        Check(
            "inotify",
            Group.LIMITS,
            in_thread(limits.inotify, case.scratch, tasks.interval),
            "changed files are noticed late",
            "raise it: sysctl fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=524288",
            otherwise=Result.WARNING,
        ),
    ]


def _installers(case: Case) -> list[Check]:
    configured = case.project.configuration
    url = configured.supervisor.index_url if configured else None
    index = PackageIndex(case.runner, case.environ, url)
    pythons = Interpreters(case.runner, case.environ, case.scratch / "interpreters.json")
    reinstall = "make xcore's own environment anew: scripts/setup, or pip install --force-reinstall xcore-supervisor"
    return [
        Check(
            "Poetry",
            Group.INSTALLERS,
            partial(installers.poetry, case.runner, case.scratch, case.environ),
            "no environment of a plugin can be built; those that are built go on working",
            reinstall,
            limit=installers.POETRY_LIMIT,
        ),
        Check(
            "virtual environments",
            Group.INSTALLERS,
            partial(installers.virtual_environment, case.runner, case.scratch, own()),
            "no environment of a plugin can be built; those that are built go on working",
            "install what this Python lacks: on Debian python3-venv; before it is built from source, the headers of "
            "OpenSSL, libffi and zlib",
            limit=installers.POETRY_LIMIT,
        ),
        Check(
            "package index",
            Group.INSTALLERS,
            partial(installers.package_index, case.runner, case.scratch, case.environ, index),
            "new environments cannot be built; those that are built go on working",
            "look at the network and its proxy (HTTPS_PROXY), or name another index in supervisor.index_url",
            otherwise=Result.WARNING,
            limit=installers.INDEX_LIMIT,
        ),
        Check(
            "interpreters",
            Group.INSTALLERS,
            partial(installers.interpreters, pythons),
            "plugins that want another Python than xcore's own cannot be served",
            "install those they want, on PATH or with pyenv",
            otherwise=Result.WARNING,
            limit=installers.POETRY_LIMIT,
        ),
    ]


def _machine() -> list[Check]:
    return [
        Check(
            "user",
            Group.MACHINE,
            in_thread(machine.user),
            "every plugin runs as root, and can do everything to this machine",
            "run xcore as a user of its own",
            otherwise=Result.WARNING,
        ),
        Check(
            "process 1",
            Group.MACHINE,
            in_thread(machine.first_process),
            "what is left when a supervisor dies stays as a zombie, and its pid taken",
            "give the container an init: docker run --init; or run xcore itself as process 1, which reaps",
            otherwise=Result.WARNING,
        ),
        Check(
            "clock",
            Group.MACHINE,
            in_thread(machine.clock),
            "cron jobs run when this clock says so, and tokens end by it",
            "set it and keep it right: timedatectl set-ntp true, or install chrony",
            otherwise=Result.WARNING,
        ),
        Check(
            "SQLite",
            Group.MACHINE,
            in_thread(database.sqlite),
            "the manager database cannot be used",
            "use a Python that is linked to a newer SQLite, or PostgreSQL by DATA_URL",
        ),
        Check(
            "package names",
            Group.MACHINE,
            in_thread(packages.namesakes),
            "xcore may import another program's package in place of its own",
            "install xcore-supervisor in an environment of its own, and leave the other one out of PYTHONPATH",
            otherwise=Result.WARNING,
        ),
    ]
