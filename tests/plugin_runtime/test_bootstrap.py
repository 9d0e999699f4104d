"""The first file of every guest, run as the supervisor runs it."""

import subprocess
import sys

import pytest

from plugin_runtime.protocol import ExitCode
from plugin_runtime.template_protocol import TASK_PROGRAM, TEMPLATE_PROGRAM, WORKER_PROGRAM
from tests import machine
from tests.fakes.control_server import FakeSupervisor
from tests.fakes.guests import BOOTSTRAP

pytestmark = pytest.mark.process


def run(python, *, packages="", program="", **environment) -> subprocess.CompletedProcess:
    variables = {"PATH": "/usr/bin:/bin", "XCORE_RUNTIME": str(packages), **environment}
    command = [str(python), "-u", str(BOOTSTRAP), *([program] if program else [])]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.7", "3.8"])
def test_a_python_that_is_too_old_is_told_so_in_one_sentence(version):
    """Nothing before the gate may need a newer Python, not even to be parsed."""
    result = run(machine.python(version))
    assert result.returncode == ExitCode.UNSUPPORTED_PYTHON
    assert result.stderr.startswith("cannot run this plugin on Python ")
    assert "3.9" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("program", [WORKER_PROGRAM, TASK_PROGRAM, TEMPLATE_PROGRAM])
def test_a_missing_msgpack_is_a_failed_start(program):
    """Without it there is no control channel: stderr and the exit code have to tell."""
    result = run(sys._base_executable, program=program)
    assert result.returncode == ExitCode.START_FAILED
    assert f"cannot start the {program} with " in result.stderr
    assert "msgpack" in result.stderr


@pytest.mark.parametrize("program", ["", "worker", "task", "template"])
def test_started_by_hand_it_says_who_starts_it(program):
    """People try to run what they find."""
    result = run(sys.executable, program=program)
    assert result.returncode == ExitCode.USAGE
    assert "xcore up" in result.stderr


def test_there_is_no_other_program():
    """A supervisor of another version asks for what this guest does not know."""
    result = run(sys.executable, program="dance")
    assert result.returncode == ExitCode.USAGE
    assert result.stderr == "cannot run program 'dance': there are 'worker', 'task' and 'template'\n"


def test_a_refused_handshake_ends_with_its_own_code_and_the_reason(tmp_path):
    """A supervisor that does not know the process says why, and the guest says it to the log."""
    with FakeSupervisor(tmp_path / "c.sock", refuse="no child 'x' is expected") as supervisor:
        result = run(sys.executable, XCORE_CONTROL=str(supervisor.path), XCORE_NONCE="n", XCORE_CHILD="x")
    assert result.returncode == ExitCode.REFUSED
    assert result.stderr == "cannot join the supervisor: no child 'x' is expected\n"


def test_packages_of_the_plugin_go_before_those_of_the_guest(tmp_path):
    """The runtime folder is last on the path: its msgpack is for plugins that bring none."""
    (tmp_path / "msgpack.py").write_text("raise RuntimeError('the wrong one')\n")
    result = run(sys.executable, packages=tmp_path)
    assert "the wrong one" not in result.stderr
    assert result.returncode == ExitCode.USAGE


def test_a_plugin_that_pins_an_old_msgpack_is_told_so(tmp_path):
    """The plugin's own version wins, so it must be one that works: nothing but a change can heal it."""
    (tmp_path / "msgpack.py").write_text("version = (0, 6, 2)\n")
    result = run(sys._base_executable, packages=tmp_path)
    assert result.returncode == ExitCode.INVALID
    assert "cannot run with msgpack 0.6," in result.stderr
    assert "raise it in the plugin's pyproject.toml" in result.stderr
