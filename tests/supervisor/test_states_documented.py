"""docs/reference/states.md says what every state, event and cause means."""

from pathlib import Path
from typing import get_args

import pytest

from plugin_runtime.protocol import Cause, PluginState, State
from supervisor.child_events import Event

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "states.md"


def section(heading: str) -> dict[str, str]:
    """First and second column of the table below ``heading``."""
    _, _, text = PAGE.read_text().partition(f"\n## {heading}\n")
    rows = [line.strip("|").split("|") for line in text.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    return {row[0].strip(" `"): row[1].strip() for row in rows}


@pytest.mark.parametrize(
    ("heading", "members"),
    [("States of one process", State), ("States of a plugin or task", PluginState), ("Causes of an exit", Cause)],
)
def test_every_member_is_documented_with_its_meaning(heading, members):
    """A state or cause that people see has a sentence for people; one that is gone has none left."""
    documented = section(heading)
    assert list(documented) == [member.value for member in members]
    assert all(meaning.endswith(".") for meaning in documented.values())


def test_every_event_has_a_row():
    """An event without a row is an event nobody decided about."""
    documented = section("What happens to a process, and the state after it")
    assert list(documented) == [event.__name__ for event in get_args(Event)]
