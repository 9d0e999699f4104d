"""The CLI as a user runs it, without a process per command."""

import sys
from typing import NamedTuple

import pytest

from supervisor.cli.main import main
from tests.fakes.supervisor_thread import SupervisorThread


class Outcome(NamedTuple):
    """How one command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project as the working directory."""
    monkeypatch.chdir(tmp_path)
    for variable in ("DATA_URL", "LOG_LEVEL", "XCORE_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


@pytest.fixture
def xcore(project, monkeypatch, capsys):
    """Run one command."""

    def xcore(*arguments):
        monkeypatch.setattr(sys, "argv", ["xcore", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Outcome(int(ended.value.code or 0), *capsys.readouterr())

    return xcore


@pytest.fixture
def supervisor(project):
    """A supervisor of the project that answers as the test says."""
    run = project / ".xcore" / "run"
    run.mkdir(parents=True)
    with SupervisorThread(run / "command.sock") as supervisor:
        yield supervisor
