"""Starting real processes, and failing to."""

import json
import os
import resource
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from plugin_runtime.protocol import Kind
from supervisor.errors import SpawnError
from supervisor.processes.process_stat import read_process_stat
from supervisor.processes.spawn import Process, claim, clean_environment, spawn
from supervisor.spec import Limits
from supervisor.state_folder import StateFolder
from tests.fakes.processes import (
    CHILDREN,
    descriptors_below,
    exists,
    nasty_spec,
    state_folder,
    wait_until,
)
from tests.source_code import ROOT

pytestmark = pytest.mark.usefixtures("nothing_left_behind")

process = pytest.mark.process


@pytest.fixture
def folder(tmp_path) -> StateFolder:
    return state_folder(tmp_path)


def read_line(process: Process) -> bytes:
    """The first line of stdout."""
    received = b""

    def complete() -> bool:
        nonlocal received
        try:
            received += os.read(process.pipes[0].fd, 65536)
        except BlockingIOError:
            return False
        return received.endswith(b"\n")

    wait_until(complete, "the child has printed a line")
    return received


def reap(process: Process) -> int:
    _, status = os.waitpid(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    process.reaped(code)
    process.release()
    for pipe in process.pipes:
        pipe.close()
    return code


@process
def test_a_child_gets_nothing_but_what_its_spec_says(folder, monkeypatch):
    """Row 70: no variable and no descriptor of ours; a session and a group of its own; nothing to read on stdin."""
    monkeypatch.setenv("XCORE_SECRET_OF_OURS", "x")
    inheritable, other = os.pipe()
    os.set_inheritable(inheritable, True)
    spec = nasty_spec(folder, "shows_itself.py", environment={"A": "1", "LC_CTYPE": "C.UTF-8"})
    started = spawn(spec, "a1", "nonce", folder)
    seen = json.loads(read_line(started))
    os.close(inheritable)
    os.close(other)
    assert reap(started) == 0
    assert seen["environment"] == {
        "A": "1",
        "LC_CTYPE": "C.UTF-8",
        "XCORE_CONTROL": str(folder.control_socket),
        "XCORE_NONCE": "nonce",
        "XCORE_CHILD": "nasty.1",
    }
    assert seen["fds"] == [0, 1, 2]
    assert seen["stdin"] == "/dev/null"
    assert seen["session"] == seen["group"] == started.pid
    assert seen["folder"] == str(folder.root)


@process
def test_a_spec_can_pass_descriptors(folder):
    """The listening socket is inherited by gateways."""
    end, other = os.pipe()
    started = spawn(nasty_spec(folder, "shows_itself.py", pass_fds=(end,)), "a1", "nonce", folder)
    seen = json.loads(read_line(started))
    os.close(end)
    os.close(other)
    assert reap(started) == 0
    assert seen["fds"] == [0, 1, 2, end]


@process
def test_open_files_are_limited_but_never_above_our_own_limit(folder):
    """A manifest asks for what it likes, and only root may raise a hard limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for asked, given in [(123, (123, 123)), (hard + 1, (hard, hard)), (0, resource.getrlimit(resource.RLIMIT_NOFILE))]:
        spec = nasty_spec(folder, "ignores_sigterm.py", limits=Limits(open_files=asked))
        started = spawn(spec, "a1", "nonce", folder)
        limits = resource.prlimit(started.pid, resource.RLIMIT_NOFILE)
        started.signal_group(signal.SIGKILL)
        reap(started)
        assert limits == given


@process
def test_the_start_time_is_that_of_the_process(folder):
    """Pid and start ticks name a process for as long as the machine runs."""
    started = spawn(nasty_spec(folder, "ignores_sigterm.py"), "a1", "nonce", folder)
    stat_line = Path(f"/proc/{started.pid}/stat").read_text(encoding="utf-8")
    expected = int(stat_line.rpartition(")")[2].split()[19])
    started.signal_group(signal.SIGKILL)
    assert reap(started) == -signal.SIGKILL
    assert started.start_ticks == expected


@process
def test_only_we_may_open_the_fifos(folder):
    """What a plugin prints may be secret."""
    started = spawn(nasty_spec(folder, "exits_with.py", 0), "a1", "nonce", folder)
    modes = [pipe.path.stat().st_mode for pipe in started.pipes]
    paths = [pipe.path for pipe in started.pipes]
    reap(started)
    assert [stat.S_ISFIFO(mode) and stat.S_IMODE(mode) for mode in modes] == [0o600, 0o600]
    assert paths == [folder.output_fifo("a1", "out"), folder.output_fifo("a1", "err")]


@process
def test_printing_works_while_nobody_reads(folder):
    """A child survives the supervisor's death for a while: no SIGPIPE, since it has its FIFOs open for reading, too."""
    started = spawn(nasty_spec(folder, "prints_on_sigterm.py"), "a1", "nonce", folder)
    assert read_line(started) == b"ready\n"
    for pipe in started.pipes:
        pipe.close()
    started.signal_group(signal.SIGTERM)
    _, status = os.waitpid(started.pid, 0)
    started.reaped(status)
    started.release()
    assert status == 0


@process
def test_signals_reach_the_whole_group(folder):
    """The stop ladder's TERM and KILL are for grandchildren as well."""
    started = spawn(nasty_spec(folder, "forks_grandchild.py"), "a1", "nonce", folder)
    grandchild = int(read_line(started))
    started.signal_group(signal.SIGTERM)
    assert reap(started) == -signal.SIGTERM
    assert os.waitpid(grandchild, 0)[1] == signal.SIGTERM


@process
def test_nothing_is_signalled_after_reaping(folder, monkeypatch):
    """The pid may be anybody's by then."""
    started = spawn(nasty_spec(folder, "exits_with.py", 0), "a1", "nonce", folder)
    assert started.is_alive
    reap(started)
    monkeypatch.setattr(os, "killpg", lambda *_: pytest.fail("signalled a pid that was given back"))
    started.signal_group(signal.SIGKILL)
    assert not started.is_alive


@process
def test_signalling_a_vanished_group_is_no_error(folder):
    """Another process may have reaped it behind our back."""
    started = spawn(nasty_spec(folder, "exits_with.py", 0), "a1", "nonce", folder)
    os.waitpid(started.pid, 0)
    started.signal_group(signal.SIGTERM)
    started.reaped(0)
    started.release()
    for pipe in started.pipes:
        pipe.close()


@process
def test_release_twice_closes_once(folder):
    """The second close could hit a descriptor that was opened meanwhile."""
    started = spawn(nasty_spec(folder, "exits_with.py", 0), "a1", "nonce", folder)
    reap(started)
    started.release()
    assert started.pidfd == -1


def test_a_missing_program_is_named(folder):
    """The message must say what cannot be started, and nothing may remain."""
    spec = replace(nasty_spec(folder, ""), command=("/nowhere/python", "x"))
    with pytest.raises(SpawnError, match=r"cannot start 'nasty.1' with /nowhere/python: No such file or directory$"):
        spawn(spec, "a1", "nonce", folder)
    assert list(folder.run.iterdir()) == []


def test_a_missing_working_directory_is_told_from_a_missing_program(folder):
    """Popen reports both as ENOENT."""
    spec = nasty_spec(folder, "exits_with.py", 0, working_directory=folder.root / "gone")
    with pytest.raises(SpawnError, match=r": No such file or directory: .*/gone$"):
        spawn(spec, "a1", "nonce", folder)
    assert list(folder.run.iterdir()) == []


def test_what_is_no_program_is_refused(folder):
    """ENOEXEC: a shell would guess; there is no shell."""
    text = folder.root / "text"
    text.write_text("echo hello")
    text.chmod(0o700)
    with pytest.raises(SpawnError, match="Exec format error"):
        spawn(replace(nasty_spec(folder, ""), command=(str(text),)), "a1", "nonce", folder)


@pytest.mark.parametrize(
    "environment", [{"A": "x\0y"}, {"A=B": "x"}, {"A": "\ud800"}], ids=["NUL", "equals sign", "lone surrogate"]
)
def test_an_impossible_variable_is_a_spawn_error(folder, environment):
    """TOML and JSON can hold what an environment cannot; that must not end the supervisor."""
    with pytest.raises(SpawnError, match=r"cannot start 'nasty\.1'"):
        spawn(nasty_spec(folder, "exits_with.py", 0, environment=environment), "a1", "nonce", folder)
    assert list(folder.run.iterdir()) == []


def test_a_command_line_that_is_too_long_is_a_spawn_error(folder):
    """E2BIG comes from execve(2), after the fork."""
    with pytest.raises(SpawnError, match="Argument list too long"):
        spawn(nasty_spec(folder, "exits_with.py", 0, environment={"A": "x" * 300_000}), "a1", "nonce", folder)


def test_the_fifo_of_another_is_left_alone(folder):
    """A token is used once; what lies there under its name belongs to somebody else."""
    path = folder.output_fifo("a1", "err")
    path.touch()
    with pytest.raises(SpawnError, match="File exists"):
        spawn(nasty_spec(folder, "exits_with.py", 0), "a1", "nonce", folder)
    assert list(folder.run.iterdir()) == [path]


@process
def test_running_out_of_descriptors_at_any_point_leaves_nothing_behind(folder):
    """Row 31: each of the ten or so descriptors that a start needs may be the one that is not to be had."""
    free = os.dup(0)
    os.close(free)
    failures = 0
    while (started := spawn_below(free + failures, folder)) is None:
        assert list(folder.run.iterdir()) == []
        failures += 1
    started.signal_group(signal.SIGKILL)
    reap(started)
    assert failures >= 6


def spawn_below(limit: int, folder: StateFolder) -> Process | None:
    with descriptors_below(limit):
        try:
            return spawn(nasty_spec(folder, "ignores_sigterm.py"), "a1", "nonce", folder)
        except SpawnError:
            return None


@process
def test_a_child_that_cannot_be_watched_is_killed(folder, monkeypatch):
    """Without a pidfd its death would never be noticed."""

    def refuse(pid: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    with pytest.raises(SpawnError, match="Too many open files"):
        spawn(nasty_spec(folder, "ignores_sigterm.py"), "a1", "nonce", folder)
    assert list(folder.run.iterdir()) == []


@process
def test_a_process_of_ours_is_claimed_with_its_limits(folder):
    """What a template forked is watched, signalled and limited like what we started ourselves."""
    started = spawn(nasty_spec(folder, "ignores_sigterm.py"), "a1", "nonce", folder)
    spec = nasty_spec(folder, "", limits=Limits(open_files=123))
    claimed = claim(spec, started.pid, started.start_ticks, started.pipes)
    assert resource.prlimit(claimed.pid, resource.RLIMIT_NOFILE) == (123, 123)
    claimed.signal_group(signal.SIGKILL)
    assert reap(claimed) == -signal.SIGKILL
    assert (claimed.is_alive, claimed.pidfd) == (False, -1)
    started.reaped(-signal.SIGKILL)
    started.release()


@process
def test_a_process_that_is_dead_already_can_be_claimed(folder):
    """It may crash before the template has told of it: its death is told then, like any other."""
    started = spawn(nasty_spec(folder, "exits_with.py", 3), "a1", "nonce", folder)
    wait_until(lambda: read_process_stat(started.pid).is_zombie, "it is dead")
    spec = nasty_spec(folder, "", limits=Limits(open_files=123))
    claimed = claim(spec, started.pid, started.start_ticks, started.pipes)
    assert reap(claimed) == 3
    started.reaped(3)
    started.release()


@process
def test_only_a_process_of_ours_with_these_ticks_is_claimed(folder):
    """A template is foreign code and may name any pid; the pipes stay with the caller."""
    started = spawn(nasty_spec(folder, "forks_grandchild.py"), "a1", "nonce", folder)
    grandchild = int(read_line(started))
    spec = nasty_spec(folder, "")
    ours, theirs = started.start_ticks, read_process_stat(grandchild).start_ticks
    for pid, ticks in [(os.getppid(), 1), (started.pid, ours + 1), (grandchild, theirs), (2**22 + 1, 1)]:
        with pytest.raises(SpawnError, match=f"cannot start 'nasty.1' with process {pid}: "):
            claim(spec, pid, ticks, started.pipes)
    assert all(pipe.path.exists() for pipe in started.pipes)
    started.signal_group(signal.SIGKILL)
    reap(started)
    os.waitpid(grandchild, 0)


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "TZ",
        "TMPDIR",
        "USER",
        "HTTPS_PROXY",
        "SSL_CERT_FILE",
        "LD_LIBRARY_PATH",
        "LOG_LEVEL",
        "SSH_AUTH_SOCK",
        "TOKENIZERS_PARALLELISM",
        "KEYBOARD",
        "MY_PYTHON",
        "OMP_NUM_THREADS",
    ],
)
def test_what_describes_the_machine_is_inherited(name):
    """A plugin behaves as if its author had started it."""
    assert clean_environment({name: "x"}) == {name: "x"}


@pytest.mark.parametrize(
    "name",
    [
        "XCORE_NONCE",
        "XCORE__GATEWAY__PORT",
        "XCORE_PASSWORD",
        "DATA_URL",
        "PYTHONPATH",
        "PYTHONHOME",
        "VIRTUAL_ENV",
        "VIRTUAL_ENV_PROMPT",
        "POETRY_HTTP_BASIC_X",
        "PIP_INDEX_URL",
        "NOTIFY_SOCKET",
        "LISTEN_FDS",
        "PWD",
        "OLDPWD",
        "PGPASSWORD",
        "DB_PASSWORD",
        "db_passwd",
        "MYSQL_PWD",
        "DB_PASS",
        "GPG_PASSPHRASE",
        "AWS_SECRET_ACCESS_KEY",
        "GITHUB_TOKEN",
        "OPENAI_API_KEY",
        "APIKEY",
        "SIGNING_KEYS",
        "TOKENS",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "SECRET",
    ],
)
def test_what_is_ours_or_secret_is_not_inherited(name):
    """Row 70: a secret of the environment is meant for one plugin at most; who needs it names it in the manifest."""
    assert clean_environment({name: "x"}) == {}


def test_our_own_programs_are_not_in_the_path_of_a_child():
    """Otherwise a plugin that runs "python" gets the supervisor's environment instead of one of its own."""
    environ = {"VIRTUAL_ENV": "/srv/venv", "PATH": "/srv/venv/bin:/usr/bin:/srv/venv/binary"}
    assert clean_environment(environ) == {"PATH": "/usr/bin:/srv/venv/binary"}


@process
def test_what_is_started_bears_the_mark_of_the_state_folder(folder):
    """However it gets away from its parents, the guard finds it by that; nothing in a spec can take it off."""
    folder = replace(folder, mark="m1")
    spec = nasty_spec(folder, "exits_with.py", 0, 3600, environment={"XCORE_TREE": "another"})
    started = spawn(spec, "a1", "nonce", folder)
    environ = Path(f"/proc/{started.pid}/environ")  # empty for a moment of execve(2)
    wait_until(lambda: b"XCORE_TREE=m1" in environ.read_bytes().split(b"\0"), "it bears the mark")
    started.signal_group(signal.SIGKILL)
    assert reap(started) == -signal.SIGKILL


@process
@pytest.mark.parametrize("kind", [Kind.INSTALLER, Kind.VALIDATOR])
def test_installers_and_validators_die_with_their_supervisor(tmp_path, kind):
    """What they find is of use only to the one that asked: at once, and though they would not listen to anybody."""
    script = [sys.executable, str(CHILDREN / "starts_tied.py"), str(tmp_path / "state"), kind.value]
    (tmp_path / "state").mkdir()
    with subprocess.Popen(script, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}) as parent:
        pid = int(parent.stdout.readline())
        assert exists(pid)
        parent.kill()
    wait_until(lambda: not exists(pid), "it has died with its parent")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@process
def test_a_tied_program_is_what_it_would_be_without(folder):
    """Its environment, its descriptors and its exit are its own; nothing of the one in between is left."""
    spec = nasty_spec(folder, "shows_itself.py", environment={"A": "1", "LC_CTYPE": "C.UTF-8"}, kind=Kind.INSTALLER)
    started = spawn(spec, "a1", "nonce", folder)
    seen = json.loads(read_line(started))
    assert reap(started) == 0
    assert set(seen["environment"]) == {"A", "LC_CTYPE", "XCORE_CONTROL", "XCORE_NONCE", "XCORE_CHILD"}
    assert seen["fds"] == [0, 1, 2]


def test_a_tied_program_that_is_not_there_is_a_failed_start(folder):
    """Said by whoever starts it, and not by a program in between."""
    spec = replace(nasty_spec(folder, "x", kind=Kind.INSTALLER), command=("/no/such/program",))
    with pytest.raises(SpawnError, match=r"cannot start 'nasty\.1' with /no/such/program: No such file or directory"):
        spawn(spec, "a1", "nonce", folder)
    assert list(folder.run.iterdir()) == []
