"""docs/reference/states.md says what every state, event and cause means."""

from itertools import product
from pathlib import Path
from typing import get_args

import pytest

from gateway.admin.task_models import STOPPED, status_of
from plugin_runtime.protocol import Cause, PluginState, State
from supervisor.jobs.view import state_of
from supervisor.supervision.child_events import Event
from tests.fakes.jobs import job

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "states.md"


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


def test_the_words_for_what_does_not_run_are_those_that_are_said():
    """Three interfaces tell of the same thing; whoever reads two of them needs to know."""
    states = {
        state_of(job(activate=activate), None, paused=paused) for activate, paused in product((True, False), repeat=2)
    }
    tasks = {PluginState.DISABLED.value, PluginState.EXITED.value, PluginState.IDLE.value}
    assert set(section("Words for what does not run")) == states | tasks | {STOPPED}
    assert {status_of({"state": state.value}) for state in (PluginState.DISABLED, PluginState.EXITED)} == {STOPPED}
