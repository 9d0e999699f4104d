"""docs/reference/tasks.md says what the code does."""

import re

import pytest

from plugin_runtime import control, joining, service, task_metadata
from plugin_runtime.job_declaration import _NAME, CON_KEYS, CRON_PARAMS, REQUIRED, TRIGGERS
from plugin_runtime.service import Service
from plugin_runtime.task_metadata import REQUIRED_KEYS
from plugin_runtime.task_protocol import Overlap
from tests.source_code import ROOT

PAGE = (ROOT / "docs" / "reference" / "tasks.md").read_text()


def table(heading: str) -> dict[str, list[str]]:
    """Cells of the first table below a heading, by the first cell."""
    _, _, text = PAGE.partition(f"\n## {heading}\n")
    lines = [line for line in text.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_the_keys_of_metadata_are_those_that_are_read():
    """In their order, with which of them are required."""
    documented = table("`metadata`")
    assert tuple(documented) == task_metadata.KEYS
    assert [key for key, row in documented.items() if row[1] == "required"] == list(REQUIRED_KEYS)
    assert all(row[0] and row[2] for row in documented.values())


def test_the_keys_of_con_are_those_that_are_read_with_their_defaults():
    """An author looks here first; what is refused must not be documented, and the other way round."""
    documented = {key: row[1] for key, row in table("`con`: the jobs").items()}
    expected = {key: "required" if value == REQUIRED else f"`{_python(value)}`" for key, value in CON_KEYS.items()}
    assert list(documented.items()) == list(expected.items())


def _python(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


@pytest.mark.parametrize(
    ("key", "values"), [("interval", TRIGGERS), ("cron_params", CRON_PARAMS), ("overlap", [o.value for o in Overlap])]
)
def test_the_values_that_a_key_may_have_are_listed(key, values):
    """All of them, and no other."""
    assert set(re.findall(r"`(\w+)`", table("`con`: the jobs")[key][2])) == set(values)


def test_the_attributes_of_the_service_are_documented():
    """The whole object is the author's."""
    documented = re.findall(r"^\| `(?:await )?service\.(\w+)", PAGE, re.MULTILINE)
    assert sorted(documented) == sorted(name for name in dir(Service("x", print)) if not name.startswith("_"))


def test_numbers_on_the_page_are_those_of_the_code():
    """Limits of names and times."""
    assert f"at most {re.search(r',([0-9]+)}', _NAME.pattern)[1]} letters" in PAGE
    assert f"left {joining.EXIT_GRACE:g} s later" in PAGE
    assert service.LOST_DRAIN < control.LOST_GRACE
    assert f"within {control.LOST_GRACE:g} s" in PAGE
