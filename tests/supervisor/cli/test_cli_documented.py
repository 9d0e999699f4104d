"""docs/reference/cli.md says what the program says: every command, argument, option and default."""

import ast
import dataclasses
import re

import pytest
import typer

from plugin_runtime import task_views, views
from plugin_runtime.protocol import ExitCode
from supervisor.cli.main import app
from tests.source_code import ROOT

PAGE = (ROOT / "docs" / "reference" / "cli.md").read_text()
SHARED = {"--config", "--json", "--url"}


def commands() -> dict[str, object]:
    """Every command by its words, ``xcore plugin list``, as typer knows it."""
    found = {}

    def walk(command, words):
        for name, child in getattr(command, "commands", {}).items():
            walk(child, [*words, name])
        if not hasattr(command, "commands"):
            found[" ".join(words)] = command

    walk(typer.main.get_command(app), ["xcore"])
    return found


COMMANDS = commands()


def parameters(command, kind: str) -> list:
    return [parameter for parameter in command.params if parameter.param_type_name == kind]


def usage(name: str) -> str:
    """The command with its arguments, as a heading has it."""
    arguments = parameters(COMMANDS[name], "argument")
    return " ".join([name, *(argument.metavar or argument.name.upper() for argument in arguments)])


def sections() -> dict[str, str]:
    """Text below each heading of a command."""
    parts = re.split(r"^(?:### `(xcore .+)`|#.*)$", PAGE, flags=re.MULTILINE)
    return {heading: text for heading, text in zip(parts[1::2], parts[2::2], strict=True) if heading}


def option_rows(text: str) -> dict[str, str]:
    """Default of each option in a table; several spellings are one row."""
    rows = re.findall(r"^\| (`-[^|]+`) \| ([^|]*)\|", text, re.MULTILINE)
    return {names: default.strip() for names, default in rows}


def shown_default(option) -> str:
    if option.required:
        return "required"
    return "" if option.default in {None, "", False} else f"`{option.default}`"


def spelled(option) -> str:
    return ", ".join(f"`{name}`" for name in option.opts)


def test_every_command_has_a_section_with_its_arguments():
    """And none is left of a command that is gone."""
    assert sorted(sections()) == sorted(usage(name) for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_documented_with_its_default(name):
    """Shared options by name, its own ones in a table; no option of another command, or of an earlier day."""
    text = sections()[usage(name)]
    options = parameters(COMMANDS[name], "option")
    shared = {option.opts[0] for option in options} & SHARED
    listed = re.search(r"Options:\s+(.*?)(?:, and\n|\.(?:\s|$))", text, re.DOTALL)
    assert listed
    assert set(re.findall(r"`(--\w+)`", listed[1])) == shared
    own = [option for option in options if option.opts[0] not in SHARED]
    assert option_rows(text) == {spelled(option): shown_default(option) for option in own}


def test_shared_options_mean_the_same_everywhere():
    """One table documents them, so they must have one default."""
    documented = option_rows(PAGE.partition("## Exit codes")[0])
    for command in COMMANDS.values():
        for option in parameters(command, "option"):
            if option.opts[0] in SHARED:
                assert documented[spelled(option)] == shown_default(option)


def test_every_exit_code_of_the_command_line_is_documented():
    """Scripts tell "not running" from "failed"."""
    documented = re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)
    assert [int(code) for code in documented] == [
        ExitCode.OK,
        ExitCode.FAILED,
        ExitCode.USAGE,
        ExitCode.NOT_RUNNING,
    ]


@pytest.mark.parametrize(
    ("heading", "view"),
    [
        ("A plugin", views.PluginView),
        ("An instance", views.InstanceView),
        ("Requests of a plugin", views.TrafficView),
        ("An exit", views.ExitView),
        ("An error of a plugin", views.PluginError),
        ("A token", views.TokenView),
        ("A task", task_views.TaskView),
        ("A job", task_views.JobView),
        ("A run", task_views.RunView),
        ("A moment", task_views.MomentView),
        ("A reload", task_views.ReloadView),
    ],
)
def test_every_key_of_a_json_object_is_documented(heading, view):
    """In the order in which it is printed."""
    text = PAGE.partition(f"### {heading}\n")[2].partition("\n#")[0]
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [field.name for field in dataclasses.fields(view)]


def test_every_key_of_the_status_is_documented():
    """What ``xcore status --json`` prints is the value of the operation, as it is."""
    tree = ast.parse((ROOT / "supervisor" / "system.py").read_text())
    (status,) = (node for node in ast.walk(tree) if getattr(node, "name", "") == "status")
    (printed,) = (node.value for node in ast.walk(status) if isinstance(node, ast.Return))
    text = PAGE.partition("### `xcore status`")[2].partition("\n#")[0]
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [key.value for key in printed.keys]
