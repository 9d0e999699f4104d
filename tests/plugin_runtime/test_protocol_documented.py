"""docs/reference/protocol.md says what the modules of messages say."""

import dataclasses
import inspect
import json
import re
import typing
from enum import Enum
from typing import Any

import pytest

from plugin_runtime import gateway_protocol, protocol, task_protocol, template_protocol, wire
from tests.source_code import ROOT, modules

REFERENCE = ROOT / "docs" / "reference"
PAGE = (REFERENCE / "protocol.md").read_text()
STATES = (REFERENCE / "states.md").read_text()
ENUMS = [
    cls
    for module in (protocol, gateway_protocol, task_protocol, template_protocol)
    for cls in vars(module).values()
    if inspect.isclass(cls) and issubclass(cls, Enum) and cls.__module__ == module.__name__
]
SIMPLE = {str: "text", int: "whole number", float: "number", bool: "true, false", bytes: "bytes", Any: "any"}

GUEST = {"worker", "validator", "task", "template"}
UNSENT = {
    ("supervisor.preparation.validation", "Description"),
    ("supervisor.preparation.validation", "Failed"),
    ("supervisor.tasks.preparation", "Failed"),
    ("supervisor.tasks.preparation", "TaskDescription"),
    ("supervisor.monitoring.threads", "ThreadFacts"),
    ("supervisor.cli.remote", "Error"),
    ("gateway.app", "Health"),
    ("gateway.development", "PluginTrouble"),
    ("gateway.admin.json_body", "Result"),
}
"""Made in the place of somebody who could not speak, or out of an HTTP answer; they never travel."""
SHARED = {"ThreadFacts": {"gateway"}}
"""Made by plugin_runtime.process_facts for the gateway as well."""


def section(heading: str, text: str = PAGE) -> str:
    """What stands below a heading, up to the next one."""
    found = re.search(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no section {heading}"
    return found[1]


def table(text: str) -> list[list[str]]:
    """Cells of the table in a section, without its head."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return rows[2:]


def kind(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Union:
        return f"{kind(arguments[0])} or nil"
    if origin is list:
        return f"list of {kind(arguments[0])}"
    if origin is dict:
        return "map" if arguments[1] is Any else f"map to {kind(arguments[1])}"
    return SIMPLE.get(annotation) or f"`{wire._snake(annotation.__name__)}`"


def default(field: dataclasses.Field) -> str:
    if field.default is field.default_factory is dataclasses.MISSING:
        return "required"
    value = field.default_factory() if field.default is dataclasses.MISSING else field.default
    value = value.decode() if isinstance(value, bytes) else value
    return "`nil`" if value is None else f"`{json.dumps(value)}`"


@pytest.mark.parametrize("name", wire.MESSAGES)
def test_every_message_is_documented_field_by_field(name):
    """Whoever writes another end needs name, type, default and meaning of each."""
    cls = wire.MESSAGES[name]
    hints = typing.get_type_hints(cls)
    documented = table(section(f"`{name}`"))
    assert [row[:3] for row in documented] == [
        [f"`{field.name}`", kind(hints[field.name]), default(field)] for field in dataclasses.fields(cls)
    ]
    assert all(row[3] for row in documented)


def test_no_message_is_documented_that_does_not_exist():
    """A message that was removed or renamed leaves the reference as well."""
    assert sorted(re.findall(r"^### `(\w+)`$", PAGE, re.MULTILINE)) == sorted(wire.MESSAGES)


@pytest.mark.parametrize("name", wire.MESSAGES)
def test_the_senders_of_a_message_are_those_that_make_it(name):
    """Its direction is read off the code: who calls its class."""
    direction = re.match(r"\n(.+?) -> (.+?)\. ", section(f"`{name}`"))
    assert direction
    senders, receivers = (set(part.split(", ")) for part in direction.groups())
    known = {"supervisor", "guard", "gateway", "command line", *GUEST}
    assert senders <= known
    assert receivers <= known - senders
    cls = wire.MESSAGES[name].__name__
    assert makers(cls) | SHARED.get(cls, set()) == {"guest" if sender in GUEST else sender for sender in senders}


def makers(cls: str) -> set[str]:
    """Who constructs a message to send it."""
    return {
        _side(module.name)
        for package in ("plugin_runtime", "supervisor", "gateway")
        for module in modules(package)
        if {cls, f"protocol.{cls}"} & module.called and (module.name, cls) not in UNSENT
    }


def _side(module: str) -> str:
    if module.startswith("supervisor.cli."):
        return "command line"
    if module.startswith("supervisor.guard."):
        return "guard"
    return {"plugin_runtime": "guest"}.get(module.partition(".")[0], module.partition(".")[0])


@pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: enum.__name__)
def test_every_member_of_every_enum_is_documented(enum):
    """A value that people may see in a log or a JSON document has a sentence for people."""
    text = PAGE if enum.__name__ in {"Kind", "Phase", "ExitCode", "TaskPurpose", "Refusal"} else STATES
    headings = {
        "Kind": "Kinds of processes",
        "Phase": "Phases",
        "ExitCode": "Exit codes",
        "Refusal": "Reasons of a refusal",
        "State": "States of one process",
        "PluginState": "States of a plugin or task",
        "Cause": "Causes of an exit",
        "TaskPurpose": "Purposes of a process of the task program",
        "Outcome": "Outcomes of a run",
        "Overlap": "What happens when runs overlap",
    }
    documented = table(section(headings[enum.__name__], text))
    assert [row[0].strip("`") for row in documented] == [str(member.value) for member in enum]
    assert all(row[-1] and row[1] for row in documented)


def test_every_exit_code_bears_its_name():
    """Tests and scripts name them, people read the number."""
    assert [row[:2] for row in table(section("Exit codes"))] == [
        [str(int(code)), f"`{code.name}`"] for code in protocol.ExitCode
    ]


def test_every_constant_is_documented_with_its_value():
    """Limits are part of the contract."""
    contract = {**vars(protocol), **vars(template_protocol)}
    values = {name: value for name, value in contract.items() if name.isupper() and not name.startswith("ENV_")}
    documented = {row[0].strip("`"): row[1] for row in table(section("Constants"))}
    assert set(documented) == set(values)
    versions = ", ".join(map(str, sorted(protocol.ACCEPTED_VERSIONS)))
    assert documented == {
        **{name: str(value) for name, value in values.items()},
        "ACCEPTED_VERSIONS": versions,
        "STACKS_SIGNAL": "SIGRTMIN + 1",
    }
    assert f"Protocol version: {protocol.PROTOCOL_VERSION}." in PAGE


def test_every_environment_variable_is_documented():
    """Plugins read some of them, and must not set any."""
    expected = {f"`{name}`": f"`{value}`" for name, value in vars(protocol).items() if name.startswith("ENV_")}
    assert {row[1]: row[0] for row in table(section("Environment variables"))} == expected
