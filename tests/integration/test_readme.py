"""README's commands, typed in what a clone looks like."""

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.integration.project import DEADLINE, ROOT
from tests.readme import readme_commands

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

UP, TEST = "scripts/up", "scripts/test"


@pytest.fixture
def clone(project):
    """The project's folder with everything of the repository in it that the commands need."""
    # It shares the environment: one that is not current would be made anew from the folder, and be lost with it.
    subprocess.run([ROOT / "scripts" / "setup"], check=True)
    for path in ROOT.iterdir():
        if path.name not in {"config.json", "plugins", ".xcore", ".git"}:
            (project.folder / path.name).symlink_to(path)
    project.add_example("board", "hello", "legacy", "library")
    return project


def test_every_command_of_the_readme_works(clone):
    """What people type first must do what the page says."""
    commands = readme_commands()
    assert commands[:2] == [UP, TEST]
    clone.up(program=[UP])
    assert {plugin["state"] for plugin in clone.health()["plugins"].values()} == {"running"}
    up_says = Path(clone.folder / "up.out").read_text()
    for place in (clone.url, f"{clone.url}/docs", str(clone.state / "admin.token")):
        assert place in up_says
    # All tests within one test would run it again; that it sets up and starts them is what is left to see.
    for command in [f"{TEST} --version", *commands[2:]]:
        ended = subprocess.run(
            shlex.split(command),
            cwd=clone.folder,
            env=clone.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        assert ended.returncode == 0, (command, ended.stderr)
