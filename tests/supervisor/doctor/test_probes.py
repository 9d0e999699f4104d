"""Every probe for real: once on this machine, and where that can be had on one that lacks something."""

import asyncio
import os
import socket
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from plugin_runtime import protocol
from supervisor.doctor import database, folder, installers, kernel, limits, machine, packages, sockets, throwaway
from supervisor.doctor.finding import NotExaminedError, Result
from supervisor.doctor.project import Project
from supervisor.environments.interpreters import Interpreters, own
from supervisor.environments.package_index import PackageIndex
from supervisor.environments.runner import Completed
from supervisor.errors import SpawnError, StoreCorruptError, XcoreError
from supervisor.processes.reaper import Reaper
from supervisor.state_folder import StateFolder
from supervisor.supervision.programs import Programs
from tests.fakes.processes import descriptors_below, state_folder
from tests.fakes.runners import ScriptedRunner

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


@pytest.fixture
def run(tmp_path):
    """Run a probe that starts programs, as ``xcore doctor`` does."""

    def run(probe, *arguments):
        async def main():
            reaper = Reaper(asyncio.get_running_loop())
            try:
                place = tmp_path / "programs"
                place.mkdir()
                programs = Programs(reaper, state_folder(place), lambda _: None)
                return await probe(programs, tmp_path, *arguments)
            finally:
                reaper.close()

        return asyncio.run(main())

    return run


@contextmanager
def listening(host="127.0.0.1"):
    with socket.create_server((host, 0)) as server:
        yield server.getsockname()[1]


# --- the kernel -----------------------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.parametrize(
    "probe", [kernel.pidfd, kernel.exits_of_others, kernel.subreaper, kernel.stacks, kernel.fork, kernel.proc]
)
def test_the_kernel_does_what_xcore_asks_of_it(run, probe):
    """These tests need all of it; how a stranger ended is told by Linux 6.15 and newer only."""
    finding = run(probe)
    old = probe is kernel.exits_of_others and tuple(map(int, os.uname().release.split(".")[:2])) < (6, 15)
    assert finding.result is (Result.WARNING if old else Result.OK), finding


def test_the_program_and_who_reads_it_agree():
    """It is run by path and shares no code with anybody."""
    assert throwaway.ANSWER == kernel._ANSWER
    assert int(throwaway.signal.SIGRTMIN) + 1 == protocol.STACKS_SIGNAL


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (Completed(0, tail=('xcore-doctor:{"works": null, "error": "no room"}',)), NotExaminedError, "no room"),
        (Completed(1, tail=("Traceback", "ValueError: x")), XcoreError, "exit code 1: ValueError: x"),
        (Completed(0, tail=()), XcoreError, "exit code 0"),
    ],
)
def test_an_experiment_without_an_answer_is_an_error(answer, error, text, tmp_path):
    """Of its own kind where it could not be carried out."""
    with pytest.raises(error, match=text):
        asyncio.run(kernel.pidfd(ScriptedRunner(lambda _: answer), tmp_path))


def test_a_program_that_cannot_be_started_means_that_there_is_no_fork(tmp_path):
    """This check says it; the others only that they could not be carried out."""

    class Refusing:
        async def run(self, *_, **__):
            raise SpawnError("x", "python", BlockingIOError(11, "no room"))

    assert asyncio.run(kernel.fork(Refusing(), tmp_path)).result is Result.MISSING
    with pytest.raises(SpawnError):
        asyncio.run(kernel.pidfd(Refusing(), tmp_path))


@pytest.mark.parametrize(("error", "works"), [(BlockingIOError(11, "no room"), None), (OSError(38, "none"), False)])
def test_an_experiment_tells_a_refusal_from_a_lack_of_room(monkeypatch, error, works):
    """EAGAIN of fork says nothing about what was to be tried."""

    def experiment():
        raise error

    monkeypatch.setitem(throwaway.SUBJECTS, "pidfd", experiment)
    assert throwaway.examine("pidfd") == {"works": works, "error": error.strerror}


# --- the state folder -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("probe", [folder.writable, folder.fifos, folder.locks, folder.file_system, folder.space])
def test_a_folder_on_a_disk_is_fine_and_left_as_it_was(tmp_path, probe):
    """A warning where temporary files are kept in memory, or on a disk that is nearly full."""
    assert probe(tmp_path).result is not Result.MISSING
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_is_judged_by_the_one_that_does(tmp_path):
    """It would be made there."""
    assert folder.ground(tmp_path / "a" / "b") == tmp_path
    assert folder.ground(tmp_path) == tmp_path


def test_a_folder_that_cannot_be_written_to_is_missing():
    """/proc takes files of nobody, not even of root."""
    finding = folder.writable(Path("/proc/self"))
    assert finding.result is Result.MISSING
    assert finding.found.startswith("cannot write to /proc/self: ")


# --- sockets --------------------------------------------------------------------------------------------------


def test_unix_sockets_work(tmp_path_factory):
    """In a folder whose path is as short as a state folder's must be."""
    with folder.scratch(Path("/tmp")) as short:
        assert sockets.unix_sockets(Path(short)).result is Result.OK
        assert list(Path(short).iterdir()) == []


def test_a_path_that_is_too_long_for_a_socket_is_an_error(tmp_path):
    """Judged by its length, since the folder may not exist yet; the socket itself says the same."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    assert sockets.path_length(StateFolder(long)).result is Result.MISSING
    with pytest.raises(OSError, match="too long"):
        sockets.unix_sockets(long)


def test_a_free_port_is_free(tmp_path):
    """And nobody listens on it in between: whoever starts at that moment gets it."""
    with listening() as number:
        pass
    finding = sockets.port("127.0.0.1", number, StateFolder(tmp_path))
    assert finding.found == f"127.0.0.1 port {number} is free"
    assert sockets.port("127.0.0.1", 0, StateFolder(tmp_path)).result is Result.OK


def test_a_port_that_somebody_else_has_is_missing_with_who_it_is(tmp_path):
    with listening() as number:
        finding = sockets.port("127.0.0.1", number, StateFolder(tmp_path))
    assert finding.result is Result.MISSING
    assert f"port {number}: Address already in use; held by " in finding.found
    assert f"(pid {os.getpid()})" in finding.found


def test_a_host_that_is_not_ours_is_missing(tmp_path):
    finding = sockets.port("192.0.2.1", 8082, StateFolder(tmp_path))
    assert (finding.result, "Cannot assign" in finding.found) == (Result.MISSING, True)


def test_a_supervisor_is_known_by_its_command_socket():
    """While it runs the port is its own, whatever is listening there."""
    with folder.scratch(Path("/tmp")) as short:
        state = StateFolder(Path(short))
        state.run.mkdir()
        assert sockets.running(state) is None
        with socket.socket(socket.AF_UNIX) as server, listening() as number:
            server.bind(str(state.command_socket))
            assert sockets.running(state) is None  # as a dead one leaves it
            server.listen()
            assert sockets.running(state) == sockets.Running(os.getpid(), "")
            state.gateway_file.write_text("nonsense")
            assert sockets.running(state) == sockets.Running(os.getpid(), "")
            state.gateway_file.write_text('{"url": "http://x"}')
            assert sockets.running(state) == sockets.Running(os.getpid(), "http://x")
            assert sockets.port("127.0.0.1", number, state).result is Result.OK


# --- limits ---------------------------------------------------------------------------------------------------


def test_limits_are_read(tmp_path):
    """Whatever they are: these tests run with few processes."""
    assert limits.open_files(1).result is not Result.MISSING
    assert limits.process_count(1).result is not Result.MISSING
    assert limits.inotify(tmp_path, 2.0).result is not Result.MISSING


def test_a_low_limit_of_open_files_is_noticed():
    with descriptors_below(60):
        assert limits.open_files(1).result is Result.MISSING


def test_a_folder_that_cannot_be_watched_means_polling(tmp_path):
    """The kernel's reason is told."""
    finding = limits.inotify(tmp_path / "none", 2.0)
    assert (finding.result, finding.found.startswith("No such file or directory; ")) == (Result.WARNING, True)


@pytest.mark.parametrize(
    ("machine", "namespace", "found"), [("8192", "0", "0 watches"), ("9000", "2147483647", "9000 watches")]
)
def test_the_lower_one_of_the_limits_of_machine_and_user_namespace_holds(
    tmp_path, monkeypatch, machine, namespace, found
):
    """A container may have both."""
    (tmp_path / "machine.watches").write_text(machine)
    (tmp_path / "namespace.watches").write_text(namespace)
    places = tuple(f"{tmp_path}/{whose}.{{}}" for whose in ("machine", "namespace"))
    monkeypatch.setattr(limits, "_INOTIFY", places)
    assert limits.inotify(tmp_path, 2.0).found.endswith(f"unlimited instances, {found}")


def test_control_groups_of_both_versions_are_understood():
    """The limit may be that of any group above."""
    text = "12:pids:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/user.slice/x\n"
    assert [str(path) for path in limits._control_groups(text)] == [
        "/sys/fs/cgroup/pids/docker/abc",
        "/sys/fs/cgroup/pids/docker",
        "/sys/fs/cgroup/pids",
        "/sys/fs/cgroup/user.slice/x",
        "/sys/fs/cgroup/user.slice",
        "/sys/fs/cgroup",
    ]


# --- installers -----------------------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.slow
def test_poetry_starts(run, tmp_path):
    """That of the supervisor's own environment, without writing anything for the user."""
    assert run(installers.poetry, os.environ).result is Result.OK


@pytest.mark.process
@pytest.mark.slow
def test_a_virtual_environment_is_made_and_used(run):
    assert run(installers.virtual_environment, own()).result is Result.OK


@pytest.mark.process
def test_an_interpreter_without_venv_is_missing(run, tmp_path):
    """As on Debian without the package python3-venv."""
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho 'No module named venv'\nexit 1\n")
    fake.chmod(0o755)
    finding = run(installers.virtual_environment, installers.Interpreter(fake, "3.11.0"))
    assert finding.result is Result.MISSING
    assert "No module named venv (exit code 1)" in finding.found


def index(programs, url):
    return PackageIndex(programs, os.environ, url)


@pytest.mark.process
@pytest.mark.slow
def test_an_index_that_does_not_answer_is_a_warning_without_its_password(run):
    """What is built goes on working."""
    with listening() as number:
        pass

    async def probe(programs, scratch):
        at = index(programs, f"http://me:secret@127.0.0.1:{number}/simple")
        return await installers.package_index(programs, scratch, os.environ, at)

    finding = run(probe)
    assert finding.result is Result.WARNING
    assert finding.found.startswith(f"http://127.0.0.1:{number}/simple: no answer (")
    assert "secret" not in finding.found


@pytest.mark.process
@pytest.mark.slow
def test_an_index_in_a_folder_must_be_there(run, tmp_path):
    """Nobody is asked over a network then."""

    async def probe(programs, scratch):
        there, gone = (index(programs, f"file://{path}") for path in (scratch, scratch / "none"))
        return [await installers.package_index(programs, scratch, os.environ, at) for at in (there, gone)]

    assert [finding.result for finding in run(probe)] == [Result.OK, Result.WARNING]


@pytest.mark.process
@pytest.mark.slow
def test_interpreters_are_found(run, tmp_path):
    """At least our own."""

    async def probe(programs, scratch):
        return await installers.interpreters(Interpreters(programs, os.environ, scratch / "known.json"))

    assert run(probe).found.startswith(own().version)


# --- the machine ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("probe", [machine.user, machine.clock, machine.first_process, database.sqlite])
def test_the_machine_lets_xcore_run(probe):
    """A warning is fine: containers run as root, with a clock that somebody else keeps right."""
    assert probe().result is not Result.MISSING


def test_a_package_with_a_name_of_ours_is_found_wherever_it_lies(tmp_path, monkeypatch):
    """Behind ours it does no harm until the order changes; in front, xcore.py says so before anything else."""
    assert packages.namesakes().result is Result.OK
    (tmp_path / "supervisor.py").touch()
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    finding = packages.namesakes()
    assert finding.result is Result.WARNING
    assert str(tmp_path / "supervisor.py") in finding.found
    assert str(tmp_path / "gateway" / "__init__.py") in finding.found


# --- the project ----------------------------------------------------------------------------------------------


def test_a_database_is_looked_at_and_left_alone(tmp_path):
    """None is made, and one that is damaged is an error with what to do."""
    default = tmp_path / "manager.db"
    assert database.database(None, default, tmp_path).found == f"{default}: none yet; made at the first start"
    assert not default.exists()
    (tmp_path / "other.db").write_bytes(b"no database at all")
    with pytest.raises(StoreCorruptError, match="not an SQLite database"):
        database.database("sqlite:///other.db", default, tmp_path)


def test_a_project_is_its_configuration_and_how_much_it_runs(tmp_path):
    """Template and workers of each plugin, tasks, gateways, and runs of jobs."""
    (tmp_path / "plugins" / "a").mkdir(parents=True)
    (tmp_path / "plugins" / "b").mkdir()
    (tmp_path / "plugins" / ".hidden").mkdir()
    (tmp_path / "backgroundtask").mkdir()
    (tmp_path / "backgroundtask" / "t.py").touch()
    config = tmp_path / "config.json"
    config.write_text('{"plugins": {"a": {"instances": 3}}, "gateway": {"processes": 2}}')
    project = Project.find(config, {})
    assert project.judge().result is Result.OK
    assert project.processes == 2 + (3 + 1) + 1 + 2 + 8


def test_an_invalid_configuration_is_missing_with_the_place(tmp_path):
    """As ``xcore config check`` says it."""
    config = tmp_path / "config.json"
    config.write_text('{"gateway": {"prot": 1}}')
    finding = Project.find(config, {}).judge()
    assert (finding.result, finding.found) == (Result.MISSING, f"{config}: gateway.prot: unknown key")
    assert "port" in finding.advice
    assert Project.find(tmp_path / "none.json", {}).judge().result is Result.MISSING


def test_without_a_configuration_the_machine_is_judged_for_some_plugins():
    project = Project.find(None, {})
    assert project.judge().found == "there is none here; only the machine was examined"
    assert project.processes == 29
