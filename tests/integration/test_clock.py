"""The wall clock of the machine is set to another time while everything runs (libfaketime): row 35."""

import importlib.util
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.project import Project
from tests.machine import lacks

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

HOUR = 3600.0
DAY = 24 * HOUR
FAR_MINUTE = (time.localtime().tm_min + 30) % 60
"""Of an hour; does not come while the test runs."""

CODE = """
def work():
    pass


def service_main(service):
    service.wait(100000)
"""


def library() -> Path:
    spec = importlib.util.find_spec("libfaketime")
    if spec is None or spec.origin is None:
        lacks("libfaketime")
    return next(Path(spec.origin).parent.rglob("libfaketime.so.1"))


@pytest.fixture
def set_clock(project: Project, tmp_path: Path) -> Iterator[Callable[[float], None]]:
    """Set the wall clock of all processes of the project so many seconds off; the monotonic one stays right."""
    offset = tmp_path / "offset"

    def set_clock(seconds: float) -> None:
        draft = tmp_path / "draft"
        draft.write_text(f"{seconds:+.0f}\n")
        draft.replace(offset)

    set_clock(0)
    project.add_task(
        "timed",
        CODE,
        con=f"""[
            {{"func": work, "name": "often", "seconds": 0.5}},
            {{"func": work, "name": "rare", "minutes": 5}},
            {{"func": work, "name": "hourly", "interval": "cron", "cron_params": "{FAR_MINUTE} * * * *"}},
        ]""",
    )
    project.add_app("web", "workbench")
    # The library reads a file at every look at the clock: beside other tests a transaction takes longer than it may.
    project.expect_log("database is in trouble")
    project.up(
        LD_PRELOAD=str(library()),
        FAKETIME_TIMESTAMP_FILE=str(offset),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
        DONT_FAKE_MONOTONIC="1",
    )
    return set_clock


@pytest.mark.parametrize("jump", [2 * HOUR, -DAY], ids=["two hours on", "a day back"])
def test_a_clock_that_is_set_restarts_nothing_and_intervals_go_on(project, set_clock, jump):
    """Same processes, no negative uptime; intervals by elapsed time, cron by the new clock, nothing in a burst."""
    project.wait_until(lambda: project.runs("timed.often", "succeeded"), "the job runs")
    pids = {row["id"]: row["pid"] for row in project.admin.get("/admin/processes").json() if row["kind"] != "job"}
    rare = project.job("timed.rare")["next_run"]
    before = len(project.runs("timed.often"))
    set_clock(jump)

    jumped = time.time() + jump
    project.wait_until(
        lambda: [run for run in project.runs("timed.often", "succeeded") if abs(run["started"] - jumped) < HOUR / 2],
        "it runs by the new clock",
    )
    moved = project.wait_until(
        lambda: (due := project.job("timed.rare")["next_run"]) and abs(due - (rare + jump)) < 10 and due,
        "the due moment has moved along",
    )
    assert moved > 0
    hourly = project.wait_until(
        lambda: (due := project.job("timed.hourly")["next_run"]) and 0 < due - (time.time() + jump) <= HOUR and due,
        "that minute of the new clock",
    )
    assert (time.localtime(hourly).tm_min, hourly % 60) == (FAR_MINUTE, 0)
    assert len(project.runs("timed.often")) - before < 30
    rows = [row for row in project.admin.get("/admin/processes").json() if row["kind"] != "job"]
    assert {row["id"]: row["pid"] for row in rows} == pids
    assert all(row["uptime"] >= 0 for row in rows)
    assert all(row["restarts"] == 0 for row in rows)
    assert [run["outcome"] for run in project.runs("timed.hourly")] in ([], ["missed"])
    assert project.http.get("/web/pid").is_success
