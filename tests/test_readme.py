"""README.md and the first how-to: what they tell people to type and to write works.

That the commands do what the pages say is proven on the running system, in tests/integration.
"""

import json
import os
import re
import shlex
import subprocess

import pytest
import typer

from plugin_runtime.protocol import Description, ExitCode, Ready
from supervisor.cli.main import app
from supervisor.config.source import load
from supervisor.preparation.manifest import parse_manifest
from supervisor.preparation.worker_spec import api_prefix
from tests.fakes.control_server import FakeSupervisor
from tests.fakes.guests import Guest, link_get, make_plugin, outcome
from tests.readme import (
    FIRST_PLUGIN,
    README,
    ROOT,
    TASKS_AND_JOBS,
    commands,
    files,
    readme_commands,
    readme_plugin,
)

XCORE = ".venv/bin/xcore"


def xcore_command(words: list[str]):
    """The command of typer's that ``words`` name, and what is left of them."""
    command = typer.main.get_command(app)
    while children := getattr(command, "commands", None):
        command, words = children[words[0]], words[1:]
    return command, words


def test_there_are_commands_and_one_plugin():
    """The two that a newcomer needs come first."""
    assert [command for command in readme_commands() if command.startswith("scripts/")] == [
        "scripts/up",
        "scripts/test",
    ]
    assert readme_plugin()[0] == "plugins/greeter/run.py"


@pytest.mark.parametrize(
    "command", sorted({line for page in (README, FIRST_PLUGIN, TASKS_AND_JOBS) for line in commands(page)})
)
def test_every_command_can_be_typed_as_it_stands(command):
    """A script of ours that is there and can be executed, or a command of xcore with options that it has."""
    program, *words = shlex.split(command)
    if program == "scripts/up":  # which passes its options on
        found, rest = xcore_command(["up", *words])
        found.make_context(program, rest)
    if program == XCORE:
        found, rest = xcore_command(words)
        found.make_context(program, rest)
    else:
        assert os.access(ROOT / program, os.X_OK)
        subprocess.run(["bash", "-n", ROOT / program], check=True, timeout=10)
        assert program.startswith("scripts/")
        assert program == "scripts/up" or words == []


def answer_of(tmp_path, files: dict[str, str], path: str, **settings):
    """What a real worker that serves these files answers to a GET."""
    settings = make_plugin(tmp_path, files, **settings)
    data = tmp_path / "data"
    data.mkdir()
    with (
        FakeSupervisor(tmp_path / "c.sock", settings) as supervisor,
        Guest(supervisor, environment={"XCORE_DATA_DIR": str(data)}) as process,
    ):
        supervisor.wait_for(Ready)
        answer = link_get(settings, path)
        supervisor.stop_guest()
        assert outcome(process) == (ExitCode.OK, "", "")
    return answer


@pytest.mark.process
@pytest.mark.slow
def test_the_smallest_plugin_is_valid_and_answers(tmp_path):
    """Nothing is missing from it, and the address that README gives is right."""
    path, code = readme_plugin()
    name = path.split("/")[1]
    assert f"under `/app/{name}/`" in README.read_text()
    assert answer_of(tmp_path, {"run.py": code}, f"/app/{name}/", plugin=name) == (200, {"message": "Hello, world!"})


@pytest.mark.process
@pytest.mark.slow
def test_the_first_plugin_is_valid_and_answers(tmp_path):
    """With its data in the folder that it is given."""
    code = files(FIRST_PLUGIN)["plugins/notes/run.py"]
    assert answer_of(tmp_path, {"run.py": code}, "/app/notes/", plugin="notes") == (200, [])
    assert (tmp_path / "data" / "notes.db").is_file()


@pytest.mark.process
@pytest.mark.slow
def test_the_app_of_the_second_contract_is_valid_and_answers(tmp_path):
    """Its manifest says where it is served, and it finds its prefix in root_path."""
    written = files(FIRST_PLUGIN)
    manifest = parse_manifest("ping", written["plugins/ping/pyproject.toml"], {})
    described = {"contract": manifest.contract, "entry": manifest.app, "prefix": manifest.prefix}
    answer = answer_of(tmp_path, {"ping.py": written["plugins/ping/ping.py"]}, "/ping/x", plugin="ping", **described)
    assert answer == (200, {"path": "/ping/x", "below": "/ping"})


def test_every_manifest_of_the_how_to_is_valid():
    """Unknown keys are errors, so a page that is out of date would break a newcomer's first plugin."""
    for path, text in files(FIRST_PLUGIN).items():
        if path.endswith("pyproject.toml"):
            assert parse_manifest(path.split("/")[1], text, {}).version == "0.1.0"


def test_the_addresses_are_those_of_the_configuration_and_of_the_examples():
    """Somebody who clicks on them while xcore runs gets an answer."""
    configuration = load(ROOT / "config.json", {})
    prefixes = ["/docs", "/health", *example_prefixes()]
    addresses = re.findall(r"http://127\.0\.0\.1:(\d+)(/[\w/]*)?", README.read_text())
    assert {int(port) for port, _ in addresses} == {configuration.gateway.port}
    paths = {path for _, path in addresses if path}
    assert [path for path in paths if not any(f"{path}/".startswith(f"{prefix}/") for prefix in prefixes)] == []
    assert [prefix for prefix in prefixes if not any(path.startswith(prefix) for path in paths)] == []


def example_prefixes() -> list[str]:
    found = []
    for folder in sorted(path for path in (ROOT / "plugins").iterdir() if path.is_dir()):
        project = folder / "pyproject.toml"
        manifest = parse_manifest(folder.name, project.read_text() if project.exists() else None, {})
        code = "".join(path.read_text() for path in folder.glob("*.py"))
        declared = re.search(r'"Api_prefix": ("[^"]+")', code)
        description = Description(api_prefix=json.loads(declared[1]) if declared else "")
        found.append(api_prefix(manifest, description))
    return found
