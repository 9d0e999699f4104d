import asyncio
import json
import os
import stat
from pathlib import Path

import pytest

from supervisor.environments import Interpreter
from supervisor.environments.interpreters import Interpreters, own
from supervisor.environments.runner import Completed
from supervisor.errors import EnvironmentBuildError, SpawnError
from tests.fakes.runners import ForbiddenRunner, ScriptedRunner, SubprocessRunner

OWN = Interpreter(Path("/opt/python3.11"), "3.11.7")


class Machine:
    """Pythons that are files with their answer in them, on PATH and below pyenv's folder."""

    def __init__(self, folder):
        self.folder = folder
        self.memory = folder / "state" / "interpreters.json"
        self.environment = {"PATH": f"{folder}/bin:relative:{folder}/missing", "PYENV_ROOT": f"{folder}/pyenv"}
        self.runner = ScriptedRunner(lambda call: Completed(0, tail=(Path(call.command[0]).read_text(),)))

    def install(self, place, version, level="final", implementation="cpython", abi=""):
        file = self.folder / place
        file.parent.mkdir(parents=True, exist_ok=True)
        numbers = [*map(int, version.split(".")), level]
        file.write_text("xcore-probe:" + json.dumps([numbers, implementation, abi]))
        return file

    def choose(self, *constraints, runner=None, preferred=OWN):
        interpreters = Interpreters(runner or self.runner, self.environment, self.memory, preferred)
        return asyncio.run(interpreters.choose("shop", *constraints))


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.mark.parametrize(
    "constraints", [(), (None,), ("",), (">=3.9",), ("^3.9",), ("~3.11",), ("3.11.*", "<4"), ("^2.7 || ^3.9",)]
)
def test_the_supervisors_own_python_is_taken_where_it_fits(machine, constraints):
    """It is known to work, and to find it no process is started."""
    machine.install("bin/python3.12", "3.12.1")
    assert machine.choose(*constraints, runner=ForbiddenRunner()) == OWN


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        ("<3.11", "3.10.13"),
        ("~3.9", "3.9.18"),
        ("~=3.9.0", "3.9.18"),
        (">=3.12", "3.13.0"),
        ("^3.12,<3.13", "3.12.4"),
        ("!=3.11.*", "3.13.0"),
    ],
)
def test_else_the_newest_installed_one_that_fits(machine, constraint, expected):
    """In the order of versions, not of names: 3.10 is newer than 3.9, and 3.12.4 than 3.12.1."""
    machine.install("bin/python3.10", "3.10.13")
    for version in ("3.9.18", "3.13.0", "3.12.1", "3.12.4"):
        machine.install(f"pyenv/versions/{version}/bin/python{version.rpartition('.')[0]}", version)
    assert machine.choose(constraint).version == expected


def test_all_constraints_must_allow_it(machine):
    """A plugin in the base environment has to agree with both."""
    machine.install("bin/python3.12", "3.12.1")
    machine.install("bin/python3.13", "3.13.0")
    assert machine.choose(">=3.12", "<3.13").version == "3.12.1"


def test_nothing_that_fits_is_an_error_that_lists_what_was_found(machine):
    """So the operator knows what to install, and that we looked."""
    python = machine.install("bin/python3.9", "3.9.18")
    with pytest.raises(EnvironmentBuildError, match=r"'shop'.*requires-python = '>=3\.99'.*pyenv") as caught:
        machine.choose(">=3.99")
    assert f"3.9.18 at {python}" in caught.value.problem
    assert str(OWN) in caught.value.problem


@pytest.mark.parametrize("constraint", ["three", ">="])
def test_a_constraint_that_cannot_be_read_is_an_error_with_an_example(machine, constraint):
    """The author sees what was written and what to write."""
    with pytest.raises(EnvironmentBuildError, match=r"is not a version constraint; write it like"):
        machine.choose(constraint)


@pytest.mark.parametrize(
    "odd",
    [
        {"version": "3.12.0", "level": "beta"},
        {"version": "3.12.0", "implementation": "pypy"},
        {"version": "3.8.1"},
    ],
)
def test_only_released_cpython_from_3_9_on_is_used(machine, odd):
    """Whatever the file is called: wheels are made for releases, and the guest runs on 3.9 and later."""
    machine.install("bin/python3.12", **odd)
    with pytest.raises(EnvironmentBuildError):
        machine.choose("!=3.11.*")


def test_files_that_do_not_answer_are_passed_over(machine):
    """A broken installation must not hide a working one."""
    broken = machine.install("bin/python3.13", "3.13.0")
    not_started = machine.install("bin/python3.12", "3.12.0")
    machine.install("bin/python3.10", "3.10.13")

    def play(call):
        if call.command[0] == str(not_started):
            raise SpawnError("probe", call.command[0], OSError(8, "Exec format error"))
        return (
            Completed(1) if call.command[0] == str(broken) else Completed(0, tail=(Path(call.command[0]).read_text(),))
        )

    assert machine.choose("!=3.11.*", runner=ScriptedRunner(play)).version == "3.10.13"


def test_pyenvs_shims_are_not_started(machine):
    """They are shell scripts around what lies in the versions folder."""
    machine.install("pyenv/shims/python3.12", "3.12.1")
    machine.environment["PATH"] = f"{machine.folder}/pyenv/shims"
    with pytest.raises(EnvironmentBuildError):
        machine.choose("==3.12.*", runner=ForbiddenRunner())


def test_a_link_stands_for_what_it_leads_to(machine):
    """A venv on PATH may be gone tomorrow, its base will not; and nobody is asked twice."""
    base = machine.install("base/bin/python3.12", "3.12.1")
    for place in ("bin/python3.12", "pyenv/versions/x/bin/python3.12"):
        link = machine.folder / place
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(base)
    assert machine.choose(">=3.12").path == base
    assert len(machine.runner.calls) == 1


def test_every_python_is_asked_once_even_across_restarts(machine):
    """An unchanged system starts without asking anybody."""
    machine.install("bin/python3.13", "3.13.0", level="alpha")
    expected = Interpreter(machine.install("bin/python3.12", "3.12.1"), "3.12.1")
    assert machine.choose(">=3.12") == expected
    assert machine.choose(">=3.12", runner=ForbiddenRunner()) == expected


def test_a_python_that_was_replaced_is_asked_again(machine):
    """apt upgrades in place."""
    python = machine.install("bin/python3.12", "3.12.1")
    machine.choose(">=3.12")
    machine.install("bin/python3.12", "3.12.2")
    os.utime(python, ns=(1, 1))
    assert machine.choose(">=3.12").version == "3.12.2"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', '{"a": ["x"]}'])
def test_a_damaged_memory_is_forgotten(machine, content):
    """Everything in it can be asked again."""
    machine.memory.parent.mkdir()
    machine.memory.write_text(content)
    machine.install("bin/python3.12", "3.12.1")
    assert machine.choose(">=3.12").version == "3.12.1"


def test_the_tag_tells_free_threaded_builds_apart():
    """Their wheels are different ones."""
    assert Interpreter(Path("/p"), "3.13.0").tag == "cp313"
    assert Interpreter(Path("/p"), "3.13.0", "t").tag == "cp313t"
    assert Interpreter(Path("/p"), "3.13.0", "t").minor == "3.13t"


def test_all_that_are_installed_can_be_listed(machine):
    """The preferred one first, each once."""
    for version in ("3.9.18", "3.13.0"):
        machine.install(f"bin/python{version.rpartition('.')[0]}", version)
    machine.install("bin/python3.12", "3.12.0", level="beta")
    interpreters = Interpreters(machine.runner, machine.environment, machine.memory, OWN)
    assert [found.version for found in asyncio.run(interpreters.installed())] == ["3.11.7", "3.13.0", "3.9.18"]


@pytest.mark.process
def test_a_real_python_answers(tmp_path):
    """The question is one that every Python understands."""
    link = tmp_path / "bin" / Path(own().path).name
    link.parent.mkdir()
    link.symlink_to(own().path)
    interpreters = Interpreters(
        SubprocessRunner(), {"PATH": str(link.parent)}, tmp_path / "memory.json", Interpreter(Path("/x"), "3.9.0")
    )
    found = asyncio.run(interpreters.choose("shop", f"=={own().version}"))
    assert (found.version, found.path) == (own().version, own().path.resolve())
    assert found.path.stat().st_mode & stat.S_IXUSR
