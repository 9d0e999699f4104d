"""Starts processes, and takes over those that a template forked or a dead supervisor left: the only one to call Popen.

No ``preexec_fn``: it runs Python between fork and exec, where another thread's lock may be held for ever. No asyncio
subprocess: its child watcher on 3.11 starts a thread per child, and fights a subreaper for the exit status. Popen
returns when the program was executed (vfork), so spawning is synchronous and takes about a millisecond.
"""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from errno import EINVAL, ESRCH
from pathlib import Path

from plugin_runtime.protocol import ENV_CHILD, ENV_CONTROL, ENV_NONCE, ENV_TREE, Kind
from supervisor.errors import SpawnError
from supervisor.processes.output import Pipe
from supervisor.processes.process_records import ProcessRecord
from supervisor.processes.process_stat import read_process_stat
from supervisor.spec import ChildSpec
from supervisor.state_folder import StateFolder

_STREAMS = ("out", "err")
_TIED = frozenset({Kind.INSTALLER, Kind.VALIDATOR})
"""What they find is of use only to the supervisor that asked: they die with it. All others may be taken over."""
_TIE = Path(__file__).with_name("tied_to_parent.py")

_NOT_INHERITED = re.compile(
    r"""
    XCORE_.* | DATA_URL                                     # our own configuration
    | PYTHON.* | VIRTUAL_ENV.* | POETRY_.* | PIP_.*         # our interpreter's; a child has another one
    | NOTIFY_SOCKET | LISTEN_.* | WATCHDOG_.* | MAINPID     # systemd's: a child must not speak for the supervisor
    | INVOCATION_ID | JOURNAL_STREAM
    | PWD | OLDPWD | SHLVL | _                              # the shell's, wrong in another folder
    """,
    re.VERBOSE,
)
_SECRET = re.compile(r"PASSW(OR)?D|PASSPHRASE|SECRET|CREDENTIAL|(PASS|PWD|TOKEN|KEY)S?(_|$)", re.IGNORECASE)


class Process:
    """A process of ours: what is needed to watch it, to signal it, and to know it again.

    Whoever began it owns it; the pipes go to the Output that reads them. Only the reaper calls ``reaped``.
    """

    def __init__(
        self,
        pid: int,
        start_ticks: int,
        pidfd: int,
        pipes: tuple[Pipe, ...],
        popen: "subprocess.Popen[bytes] | None" = None,
        *,
        is_foreign: bool = False,
    ) -> None:
        """``is_foreign``: another process may be its parent, and reap it."""
        self.pid = pid
        self.start_ticks = start_ticks
        self.pidfd = pidfd
        self.pipes = pipes
        self._popen = popen
        self.is_foreign = is_foreign
        self._is_reaped = False

    @property
    def is_alive(self) -> bool:
        """Not reaped yet: the pid is still its own, even if it is a zombie."""
        return not self._is_reaped

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the process and all of its group; none is sent where that is gone.

        The group's number is the pid. After reaping it may belong to anybody, so nothing is sent then.
        """
        if self.is_alive and not (self.is_foreign and self._is_anothers()):
            # PermissionError: its leader is reaped, and all that is left of it runs as another user (sudo).
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def _is_anothers(self) -> bool:
        """Whether the pid was given away: as long as a group has that number it is not, whoever reaped its leader."""
        stat = read_process_stat(self.pid)
        return stat is not None and stat.start_ticks != self.start_ticks

    def reaped(self, returncode: int) -> None:
        """Remember it, and tell Popen what wait4 returned: it would wait for the pid itself, whoever has it by then."""
        self._is_reaped = True
        if self._popen is not None:
            self._popen.returncode = returncode

    def release(self) -> None:
        """Give the pidfd back. A second call does nothing."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def spawn(spec: ChildSpec, token: str, nonce: str, folder: StateFolder) -> Process:
    """Start a process in a session and a process group of its own, with nothing inherited but ``spec.pass_fds``.

    Call it in the event loop's thread and hand the result to the reaper in the same turn: what the reaper does not know
    it takes for an orphan.

    Raises:
        SpawnError: the operating system refused; nothing is left behind.
    """
    try:
        with ExitStack() as always, ExitStack() as on_failure:
            pipes = make_pipes(folder, token)
            for pipe in pipes:
                on_failure.callback(pipe.close)
            popen = _execute(spec, nonce, folder, _open_ends(pipes, always))
            on_failure.callback(_destroy, popen)
            _limit(popen.pid, spec.limits.open_files)
            pidfd = os.pidfd_open(popen.pid)
            on_failure.callback(os.close, pidfd)
            process = Process(popen.pid, _start_ticks(popen.pid), pidfd, pipes, popen)
            on_failure.pop_all()
            return process
    except OSError as error:
        raise SpawnError(spec.id, spec.command[0], _naming_the_file(error, spec)) from error
    except ValueError as error:
        # A NUL in an argument or a value, a "=" in a variable's name: configuration may hold them, execve(2) may not.
        raise SpawnError(spec.id, spec.command[0], OSError(EINVAL, str(error))) from error


def claim(spec: ChildSpec, pid: int, start_ticks: int, pipes: tuple[Pipe, ...]) -> Process:
    """Take over a process that a template forked for ``spec``; as with ``spawn``, the reaper must hear of it at once.

    Raises:
        SpawnError: there is no such process, or it is none of ours. The pipes are still the caller's.
    """
    try:
        with ExitStack() as on_failure:
            pidfd = os.pidfd_open(pid)
            on_failure.callback(os.close, pidfd)
            stat = read_process_stat(pid)
            # By the group's number it will be signalled: one that leads none could never be killed.
            told = (os.getpid(), start_ticks, pid, pid)
            if stat is None or (stat.parent, stat.start_ticks, stat.session, stat.group) != told:
                raise ProcessLookupError(ESRCH, f"process {pid} is not what was to be forked")
            if not stat.is_zombie:
                _limit(pid, spec.limits.open_files)
            on_failure.pop_all()
            return Process(pid, start_ticks, pidfd, pipes)
    except OSError as error:
        raise SpawnError(spec.id, f"process {pid}", error) from error


def take_over(record: ProcessRecord, folder: StateFolder) -> Process:
    """Take over a process that a supervisor before started; as with ``spawn``, the reaper must hear of it at once.

    Raises:
        SpawnError: it is gone, or cannot be watched or heard; its FIFOs are left as they are.
    """
    try:
        with ExitStack() as on_failure:
            pidfd = os.pidfd_open(record.pid)
            on_failure.callback(os.close, pidfd)
            if not record.is_alive:  # asked when its pid could not become another's any more
                raise ProcessLookupError(ESRCH, f"process {record.pid} is gone")
            pipes = []
            for stream in _STREAMS:
                pipes.append(Pipe.open(stream, folder.output_fifo(record.token, stream)))
                on_failure.callback(os.close, pipes[-1].fd)
            on_failure.pop_all()
            return Process(record.pid, record.start_ticks, pidfd, tuple(pipes), is_foreign=True)
    except OSError as error:
        raise SpawnError(record.id, f"process {record.pid}", error) from error


def make_pipes(folder: StateFolder, token: str) -> tuple[Pipe, ...]:
    """Make the FIFOs of a process's output; return the ends that we read from.

    Raises:
        OSError: nothing is left behind.
    """
    with ExitStack() as on_failure:
        pipes = []
        for stream in _STREAMS:
            path = folder.output_fifo(token, stream)
            os.mkfifo(path, 0o600)
            on_failure.callback(path.unlink, missing_ok=True)
            pipes.append(Pipe.open(stream, path))
            on_failure.callback(pipes[-1].close)
        on_failure.pop_all()
        return tuple(pipes)


def _open_ends(pipes: tuple[Pipe, ...], always: ExitStack) -> list[int]:
    """Open the child's ends, closed by ``always``.

    For reading, too: a FIFO that always has a reader never breaks a print, even while there is no supervisor, and its
    successor can open it by name.
    """
    ends = []
    for pipe in pipes:
        ends.append(os.open(pipe.path, os.O_RDWR))
        always.callback(os.close, ends[-1])
    return ends


def _execute(spec: ChildSpec, nonce: str, folder: StateFolder, ends: list[int]) -> "subprocess.Popen[bytes]":
    ours = {ENV_CONTROL: str(folder.control_socket), ENV_NONCE: nonce, ENV_CHILD: spec.id}
    return subprocess.Popen(
        _command(spec),
        cwd=spec.working_directory,
        env={**spec.environment, **marking(folder), **ours},
        stdin=subprocess.DEVNULL,
        stdout=ends[0],
        stderr=ends[1],
        close_fds=True,
        pass_fds=spec.pass_fds,
        start_new_session=True,
    )


def marking(folder: StateFolder) -> dict[str, str]:
    """What every process has in its environment, however it begins, and whatever it starts inherits."""
    return {ENV_TREE: folder.mark} if folder.mark else {}


def _command(spec: ChildSpec) -> tuple[str, ...]:
    if spec.kind not in _TIED:
        return spec.command
    program = shutil.which(spec.command[0], path=spec.environment.get("PATH"))
    if program is None:  # Popen says what is wrong with it
        return spec.command
    return (sys.executable, "-I", "-S", "-X", "utf8", str(_TIE), str(os.getpid()), program, *spec.command[1:])


def _destroy(popen: "subprocess.Popen[bytes]") -> None:
    os.killpg(popen.pid, signal.SIGKILL)
    popen.wait()


def _limit(pid: int, open_files: int) -> None:
    """Limit a process that has hardly begun; never above what we have ourselves.

    From outside, since there is no preexec_fn; and not by lowering our own limit around the fork, which would fail
    every open of ours meanwhile. A program that is very quick may see the limit change.
    """
    if open_files:
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        limit = open_files if hard == resource.RLIM_INFINITY else min(open_files, hard)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))


def _start_ticks(pid: int) -> int:
    stat = read_process_stat(pid)
    if stat is None:  # we have not reaped it, so only /proc itself can be missing
        raise FileNotFoundError(f"no entry of process {pid} in /proc")
    return stat.start_ticks


def _naming_the_file(error: OSError, spec: ChildSpec) -> OSError:
    """Popen reports a missing working directory like a missing program; say which it is."""
    if error.filename is None or error.filename == spec.command[0]:
        return error
    return OSError(error.errno, f"{error.strerror}: {error.filename}")


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a child may have of the supervisor's environment.

    Left out are our own configuration (XCORE_*, DATA_URL), what belongs to our interpreter and its tools (PYTHON*,
    VIRTUAL_ENV*, POETRY_*, PIP_*, and our environment's folder in PATH), what systemd gave us, what describes the
    shell's folder, and every variable whose name says that it is secret: it contains password, passwd, passphrase,
    secret or credential, or a word of it ends in pass, pwd, token or key. A secret of the environment is meant for one
    plugin at most, and we cannot know for which: give it to that plugin in its manifest, keys ``env`` and ``env_file``.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if not _NOT_INHERITED.fullmatch(name) and not _SECRET.search(name)
    }
    if "PATH" in kept and "VIRTUAL_ENV" in environ:
        ours = str(Path(environ["VIRTUAL_ENV"], "bin"))
        kept["PATH"] = os.pathsep.join(entry for entry in kept["PATH"].split(os.pathsep) if entry != ours)
    return kept
