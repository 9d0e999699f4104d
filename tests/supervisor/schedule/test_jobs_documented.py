"""docs/reference/jobs.md says what the schedule does."""

import re
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from supervisor.config.plugin_keys import Job
from supervisor.schedule import timetable, triggers
from supervisor.schedule.cron_fields import FIELDS, LAST_YEAR
from supervisor.schedule.triggers import TriggerError, parse_trigger
from supervisor.store.settings import StoreSettings

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "jobs.md").read_text()
BERLIN = ZoneInfo("Europe/Berlin")
CRONTAB = ["minute", "hour", "day of the month", "month", "day of the week"]
WORDS = PAGE.replace("\n", " ")


def rows(heading: str) -> list[list[str]]:
    text = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line] for line in lines]


def accepts(params) -> bool:
    try:
        parse_trigger({"type": "cron", "cron_params": params}, BERLIN)
    except TriggerError:
        return False
    return True


EXAMPLES = [row for row in rows("Time zones") if row[0] != "Cron"]


@pytest.mark.parametrize(("line", "start", "moments"), EXAMPLES, ids=[" ".join(row[:2]) for row in EXAMPLES])
def test_the_examples_of_summer_time_are_right(line, start, moments):
    """Whoever plans around them wakes up at night otherwise."""
    trigger = parse_trigger({"type": "cron", "cron_params": line.strip("`"), "timezone": "Europe/Berlin"}, BERLIN)
    at, found = datetime.fromisoformat(start).replace(tzinfo=BERLIN).timestamp(), []
    for _ in moments.split(", "):
        at = trigger.next_after(at)
        found.append(trigger.local(at).replace(":00+", "+"))
    assert ", ".join(found) == moments


def bounds(field: str) -> list[int]:
    (values,) = [row[1] for row in rows("Cron") if row[0] == field]
    low, high = map(int, re.match(r"(\d+)-(\d+)", values.strip("*")).groups())
    return [low - 1, low, high, high + 1]


@pytest.mark.parametrize("name", CRONTAB)
def test_a_field_of_a_crontab_line_takes_the_values_of_the_table(name):
    """And none next to them."""
    values = [" ".join(str(value) if field == name else "*" for field in CRONTAB) for value in bounds(name)]
    assert [accepts(line) for line in values] == [False, True, True, False]


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_of_a_map_takes_the_values_of_the_table(name):
    """And none next to them."""
    assert [accepts({name: value}) for value in bounds(f"`{name}`")] == [False, True, True, False]


def test_the_keys_of_a_plugins_job_are_all_there():
    """In the table that puts both ways to declare a job side by side."""
    table = PAGE.partition("\n| What | Task | Plugin |\n")[2].partition("\n\n")[0]
    named = {key for row in table.splitlines() for key in re.findall(r"`(\w+)", row.split("|")[3])}
    assert named == set(Job.model_fields) - {"name", "entry"}


@pytest.mark.parametrize(
    "words",
    [
        f"from {triggers.SHORTEST_INTERVAL:g} s to {triggers.YEAR / 86400:.0f} days",
        f"1970-{LAST_YEAR}",
        f"{timetable.PUNCTUAL:g} s are always granted",
        f"by at most {timetable.STEP:.0f} s",
        f"by at most {timetable.CORRECTION / 3600:.0f} hours",
        f"newest {StoreSettings().kept_runs:,} runs are kept, for {StoreSettings().kept_run_age / 86400:.0f} days",
    ],
)
def test_the_numbers_are_those_of_the_code(words):
    """Two places that must not drift apart."""
    assert words in WORDS
