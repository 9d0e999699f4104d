"""``xcore doctor`` as a program: on this machine, on ones that lack something, and beside a running supervisor."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests import machine
from tests.fakes.processes import CHILDREN
from tests.integration.project import DEADLINE, XCORE, Project

pytestmark = [pytest.mark.process, pytest.mark.slow]

LIMITED_USER = 54321
"""A user who has no processes, so that a limit on them is a number to rely on."""


@pytest.fixture
def place(tmp_path):
    """A project that nothing runs in, with a package index that needs no network."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "index").mkdir()
    project = Project(tmp_path / "shared")
    project.index = {"PIP_INDEX_URL": f"file://{tmp_path}/index"}
    yield project
    assert project.processes() == {}
    project.close()


def report(done):
    """Exit code and checks by their names, of ``doctor --json``; stdout must be that one document."""
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout, done.stderr
    document = json.loads(done.stdout)
    assert document["ok"] == (done.returncode == 0)
    return done.returncode, {check["name"]: check for check in document["checks"]}


def doctor(project, *prefix, options=(), **environment):
    """Run it as the last words of a command."""
    done = subprocess.run(
        [*map(str, prefix), XCORE, "doctor", "--json", *options],
        cwd=project.folder,
        env={**project.environment, **project.index, **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    return report(done)


def results(checks, result):
    return {name for name, check in checks.items() if check["result"] == result}


def everything_in(folder):
    """Of which nothing may be left but what was there."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def scratch_folder(place):
    """For what it makes and removes beside the project."""
    folder = place.folder / "scratch"
    folder.mkdir()
    return folder


def test_a_healthy_machine_lacks_nothing_and_is_left_as_it_was(place):
    """In little time: who has to wait does not ask. Tests of the rest of xcore need this machine to be one."""
    scratch = scratch_folder(place)
    before = everything_in(place.folder)
    started = time.monotonic()
    assert place.xcore("config", "check").returncode == 0
    yardstick = time.monotonic() - started
    started = time.monotonic()
    code, checks = doctor(place, TMPDIR=str(scratch))
    assert time.monotonic() - started < max(5, 10 * yardstick)
    assert (code, results(checks, "missing")) == (0, set())
    assert everything_in(place.folder) == before


def test_without_a_project_the_machine_alone_is_examined(place):
    """As before the first ``xcore init``."""
    (place.folder / "config.json").unlink()
    code, checks = doctor(place)
    assert code == 0
    assert "only the machine" in checks["configuration"]["found"]
    assert {"database", "port", "supervisor", "socket paths"}.isdisjoint(checks)


def test_a_configuration_that_is_not_valid_is_missing_and_the_machine_examined(place):
    """Whoever asks wants to know all that is wrong."""
    (place.folder / "config.json").write_text('{"gateway": {"prot": 1}}')
    code, checks = doctor(place)
    assert (code, results(checks, "missing")) == (1, {"configuration"})
    assert "gateway.prot" in checks["configuration"]["found"]
    assert checks["fork"]["result"] == "ok"


def test_people_get_lines_with_what_to_do(place):
    """Plain ones where nobody watches."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        place.configure(gateway={"port": server.getsockname()[1]})
        done = place.xcore("doctor", **place.index)
    assert (done.returncode, done.stderr) == (1, "")
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("missing: port: cannot listen"))
    assert f"(pid {os.getpid()})" in lines[at]
    assert lines[at + 1 : at + 3] == [
        "  means: xcore does not start",
        "  do: end what holds it, or set gateway.host and gateway.port to another address",
    ]


# --- machines that lack something -----------------------------------------------------------------------------


def test_few_open_files_are_missing_with_the_number_to_set(place):
    """All others are examined within that limit."""
    code, checks = doctor(place, "prlimit", "--nofile=80:80")
    assert (code, results(checks, "missing")) == (1, {"open files"})
    assert "LimitNOFILE=" in checks["open files"]["advice"]


def limited(processes):
    """A command that runs the next one as a user who may have so many processes, with a right to read as we do."""
    if os.geteuid() != 0:
        machine.lacks("right to run as another user")
    rights = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return ["setpriv", f"--reuid={LIMITED_USER}", "--clear-groups", *rights, "prlimit", f"--nproc={processes}"]


@pytest.mark.parametrize("processes", [2, 4, 8])
def test_few_processes_are_missing_and_what_could_not_be_tried_is_not(place, processes):
    """Where fork fails, a report that everything is missing would send people to the wrong places."""
    place.folder.chmod(0o755)  # access(2) knows nothing of rights
    code, checks = doctor(place, *limited(processes))
    assert (code, results(checks, "missing")) == (1, {"fork", "processes"})
    tried = {name for name in results(checks, "warning") if not checks[name]["found"].startswith("not examined: ")}
    assert tried <= {"clock", "process 1", "file system", "disk space"}


def mounted(place, options):
    """A command that runs the next one where ``mounted`` in the project is a file system in memory of its own."""
    private = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*private, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode:
        machine.lacks("right to mount")
    (place.folder / "mounted").mkdir()
    place.configure(supervisor={"state_dir": "./mounted"})
    script = f'mount -t tmpfs -o {options} none mounted && (head -c 1M /dev/zero > mounted/full; true) && exec "$@"'
    return [*private, "sh", "-c", script, "sh"]


@pytest.mark.parametrize(
    ("options", "said"),
    [("ro,size=1m", "Read-only file system"), ("size=200k", "No space left on device")],
    ids=["read-only", "full"],
)
def test_a_state_folder_that_takes_nothing_is_missing(place, options, said):
    """And is one finding: sockets, FIFOs and locks are tried where they can be."""
    code, checks = doctor(place, *mounted(place, options))
    assert (code, results(checks, "missing")) == (1, {"state folder", "disk space"})
    assert checks["state folder"]["found"] == f"cannot write to {place.folder}/mounted: {said}"
    assert "in memory" in checks["file system"]["found"]


def test_a_disk_without_execution_is_missing(place):
    """Environments are built on it, and their compiled packages could not be loaded."""
    code, checks = doctor(place, *mounted(place, "noexec,size=2g"))
    assert (code, results(checks, "missing")) == (1, {"file system"})
    assert "noexec" in checks["file system"]["found"]


@pytest.mark.parametrize(
    ("what", "problem"), [("watches", "No space left on device"), ("instances", "Too many open files")]
)
def test_without_inotify_it_is_told_how_changes_are_noticed(place, what, problem):
    """A warning: nothing is missing. By a real limit where a user namespace may be made, by a filter where not."""
    code, checks = doctor(place, sys.executable, CHILDREN / "few_watches.py", what)
    assert (code, checks["inotify"]["result"]) == (0, "warning")
    assert checks["inotify"]["found"].startswith(f"{problem}; the user may have ")
    assert "noticed by looking every 2 s" in checks["inotify"]["meaning"]


def test_an_index_that_nobody_serves_is_a_warning(place):
    """What is installed goes on working."""
    with socket.socket() as nobody:  # bound, so that no other takes the port, and not listening
        nobody.bind(("127.0.0.1", 0))
        number = nobody.getsockname()[1]
        code, checks = doctor(place, PIP_INDEX_URL=f"http://me:secret@127.0.0.1:{number}/simple")
    assert (code, checks["package index"]["result"]) == (0, "warning")
    assert "secret" not in json.dumps(checks)


def test_a_foreign_package_behind_ours_is_a_warning_and_in_front_the_end(place, tmp_path):
    """supervisord has the name of our package; before anything of ours is imported it is said which one is found."""
    (tmp_path / "supervisor").mkdir()
    (tmp_path / "supervisor" / "__init__.py").touch()
    done = place.xcore("doctor", PYTHONPATH=str(tmp_path), **place.index)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{tmp_path}/supervisor/__init__.py is in front of it" in done.stderr


def test_as_process_1_it_examines_as_ever(place):
    """A container may have nothing else in it."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        machine.lacks("right to make a namespace of processes")
    code, checks = doctor(place, "unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    assert code == 0
    assert checks["process 1"]["found"] == "we are, and reap what is left to us"


# --- beside others --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_who_ends_it_ends_all_that_it_has_started(place, number):
    """Here it waits for an index that accepts and says nothing."""
    scratch = scratch_folder(place)
    before = everything_in(place.folder)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place.index = {"PIP_INDEX_URL": f"http://127.0.0.1:{silent.getsockname()[1]}/simple"}
        place.start((XCORE, "doctor"), TMPDIR=str(scratch), **place.index)
        silent.settimeout(DEADLINE)
        with silent.accept()[0]:
            place.process.send_signal(number)
            assert place.process.wait(DEADLINE) != 0
            place.process = None
            assert place.processes() == {}
    assert everything_in(place.folder) - before <= {"up.log", "up.out"}


@pytest.mark.environment
def test_a_running_supervisor_does_not_notice(project, tmp_path):
    """Same processes, same files, nothing in its log; and what it holds is not taken for somebody else's."""
    project.index = {}
    project.add_app("bench", "workbench")
    project.up()
    pid, processes, log = project.http.get("/bench/pid").json(), set(project.processes()), project.log
    folder = {path for path in everything_in(project.state) if not path.startswith(("envs", "runtime"))}

    code, checks = doctor(project)

    assert (code, results(checks, "missing")) == (0, set())
    assert checks["supervisor"]["found"] == f"process {project.process.pid} runs, {project.url}"
    assert f"process {project.process.pid}," in checks["port"]["found"]
    assert "of the schema of this version" in checks["database"]["found"]
    assert project.http.get("/bench/pid").json() == pid
    assert set(project.processes()) == processes
    assert {path for path in everything_in(project.state) if not path.startswith(("envs", "runtime"))} == folder
    assert project.log == log
    assert project.xcore("status").returncode == 0
