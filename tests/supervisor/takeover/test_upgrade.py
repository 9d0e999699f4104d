"""Whether what is installed may take the place of this supervisor."""

import asyncio
import sys
from pathlib import Path

import pytest

from supervisor.environments.runner import Completed
from supervisor.errors import ConflictError
from supervisor.takeover.upgrade import Upgrade, own_program

UP = ["/usr/bin/python3", "-X", "dev", "/opt/xcore/bin/xcore", "up", "--config", "c.json"]


class FakePrograms:
    """Runs nothing; ends as it is told."""

    def __init__(self, *ends):
        self.ends = list(ends)
        self.commands = []

    async def run(self, command, **options):
        self.commands.append(list(command))
        return self.ends.pop(0)


@pytest.fixture(autouse=True)
def _started_by_up(monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", UP)


def upgrade(*ends):
    """The programs that were tried, and who asked for it in the end."""
    programs, asked = FakePrograms(*ends), []
    subject = Upgrade(programs, Path("/project/c.json"), upgrade.grace, asked.append)
    try:
        asyncio.run(subject.upgrade("operator"))
    finally:
        upgrade.tried, upgrade.asked = programs.commands, asked


def test_what_starts_and_accepts_the_configuration_takes_over():
    """Both are tried, with the program that this supervisor was started with."""
    upgrade(Completed(0), Completed(0))
    imports, check = upgrade.tried
    assert imports[-2:] == ["-c", "import supervisor.app, gateway.app"]
    assert check == [sys.executable, *UP[1:4], "config", "check", "--config", "/project/c.json"]
    assert upgrade.asked == ["operator"]


upgrade.grace = 10.0


def test_what_would_end_before_the_next_one_is_there_is_a_reason_to_refuse(monkeypatch):
    """Nothing would be left to take over."""
    monkeypatch.setattr(upgrade, "grace", 1.0)
    with pytest.raises(ConflictError, match=r"cannot upgrade: what runs ends 1 s after this supervisor"):
        upgrade(Completed(0), Completed(0))
    assert upgrade.tried == []


@pytest.mark.parametrize(
    "ends",
    [
        (Completed(1, tail=("Traceback", "SyntaxError: no")),),
        (Completed(0), Completed(1, tail=("SyntaxError: no",))),
        (Completed(0, tail=("SyntaxError: no",), timed_out=True),),
    ],
    ids=["import", "configuration", "time"],
)
def test_what_does_not_start_is_refused_with_its_last_words(ends):
    """There is no way back, so it is tried before."""
    with pytest.raises(ConflictError, match=r"cannot upgrade: what is installed does not start: .*SyntaxError: no"):
        upgrade(*ends)
    assert upgrade.asked == []


def test_a_supervisor_that_something_else_started_cannot_execute_itself(monkeypatch):
    """Nobody knows how it would be started again."""
    monkeypatch.setattr(sys, "orig_argv", ["python3", "-c", "run()"])
    with pytest.raises(ConflictError, match="was not started by 'xcore up'"):
        own_program()
