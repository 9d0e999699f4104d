"""A plugin and a task that were written for the founding system, unchanged."""

import shutil
from collections.abc import Iterator

import pytest

from tests.integration.project import APPS, Project

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

FOUNDING = APPS / "founding"


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def system(shared_project: Project) -> Iterator[Project]:
    shutil.copytree(
        FOUNDING / "events", shared_project.plugins / "events", ignore=shutil.ignore_patterns("__pycache__")
    )
    shared_project.tasks.mkdir()
    shutil.copy(FOUNDING / "reminders.py", shared_project.tasks)
    return shared_project.up()


def test_it_is_served_under_what_it_claims(system):
    """The router's prefix is a tail of Api_prefix: the two are one; the folder is what it is called by."""
    plugin = system.plugin("events")
    facts = {key: plugin[key] for key in ("state", "title", "version", "author", "prefix", "tags", "trigger")}
    assert facts == {
        "state": "running",
        "title": "Events",
        "version": "2.1.0",
        "author": "The founding system",
        "prefix": "/app/event",
        "tags": ["event", "calendar"],
        "trigger": 3,
    }
    assert system.http.post("/app/event/dinner").json() == {"title": "dinner"}
    assert system.http.get("/app/event/").json() == [{"title": "opening"}, {"title": "dinner"}]
    assert system.http.get("/app/events/").status_code == 404


def test_it_finds_itself_where_it_always_was(system):
    """The project is the working directory, ``plugins.<folder>`` its package, its own .env is read."""
    assert system.http.get("/app/event/about/surroundings").json() == {
        "in_project": True,
        "package": "plugins.events",
        "colour": "blue",
    }


def test_nothing_is_written_into_its_folder(system):
    """The host rewrote ``plugin.json`` there; here it is left alone, and no bytecode is put beside the code."""
    assert contents(system.plugins / "events") == {
        path: data for path, data in contents(FOUNDING / "events").items() if "__pycache__" not in path.parts
    }


def test_its_task_runs_with_its_jobs(system):
    """In the plugin's environment, in a process of its own; a job that is not activated is not scheduled."""
    task = system.wait_for_task("reminders", "running")
    assert (task["title"], task["module_dir"], task["meta_file"]) == ("Reminders", "plugins/events", {"room": "b12"})
    system.wait_until(lambda: "reminders began" in system.plugin_log("reminders"), "the service says something")
    cron = system.admin.get("/tasks/cron").raise_for_status().json()
    assert [job["id"] for job in cron] == ["reminders.remind"]
    run = system.xcore("job", "run", "reminders.remind", "--wait")
    assert (run.returncode, "remember opening" in run.stdout) == (0, True), run.stderr


def test_it_passes_its_check(system):
    """What runs would be served again."""
    checked = system.xcore("plugin", "check", "events")
    assert checked.returncode == 0, checked.stdout
