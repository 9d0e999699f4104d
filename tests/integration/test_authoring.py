"""From nothing to a plugin that is served: what ``plugin new`` makes runs, and ``plugin check`` says so before."""

import json
import re
import subprocess

import pytest

from tests.integration.project import DEADLINE, XCORE, Project

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

TEMPLATES = ("router", "app", "page", "task")
PREFIXES = {"router": "/app/my-router", "app": "/my-app", "page": "/my-page", "task": "/app/my-task"}
BUILD = 120.0
"""Seconds for commands that build environments."""


@pytest.fixture(scope="module")
def made(shared_project: Project) -> Project:
    """A project with a plugin of every template, checked before it was started."""
    for template in TEMPLATES:
        new = shared_project.xcore("plugin", "new", f"my-{template}", "--template", template)
        assert new.returncode == 0, new.stderr
        checked = shared_project.xcore("plugin", "check", f"my-{template}", "--json", timeout=BUILD)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        verdict = json.loads(checked.stdout)
        assert (verdict["prefix"], verdict["problems"], verdict["skipped"]) == (PREFIXES[template], [], [])
    return shared_project.up()


def test_what_was_checked_is_served_and_nothing_is_built_again(made):
    """The environments of the check are those of the plugins."""
    health = made.health()
    assert health["status"] == "ok"
    assert {plugin["state"] for plugin in health["plugins"].values()} == {"running"}
    assert {name: made.plugin(name)["prefix"] for name in health["plugins"]} == {
        f"my-{template}": prefix for template, prefix in PREFIXES.items()
    }
    assert "Building the environment" not in made.log


@pytest.mark.parametrize("template", ["router", "app"])
def test_a_router_and_an_app_greet_and_are_documented(made, template):
    """Under the prefix that was told."""
    prefix = PREFIXES[template]
    assert made.http.get(f"{prefix}/", params={"name": "Ada"}).json() == {"message": "Hello, Ada!"}
    made.wait_until(lambda: f"{prefix}/" in made.http.get("/openapi.json").json()["paths"], "it is documented")


def test_a_page_finds_its_files_under_its_prefix(made):
    """Links and forms hold wherever it is served; what a visitor writes is text, never markup."""
    page = made.http.get("/my-page/", params={"name": "<b>Ada"}).raise_for_status()
    assert page.headers["content-type"].startswith("text/html")
    assert "<h1>Hello, &lt;b&gt;Ada!</h1>" in page.text
    style = re.search(r'<link rel="stylesheet" href="([^"]+)">', page.text)[1]
    assert style == f"{made.url}/my-page/static/page.css"
    assert made.http.get(style).headers["content-type"].startswith("text/css")
    form = re.search(r'<form action="([^"]+)">', page.text)[1]
    assert "Hello, you!" in made.http.get(form, params={"name": "you"}).text


def test_a_task_measures_for_its_plugin_and_its_job_clears(made):
    """Two processes and a run, one data folder."""
    made.wait_for_task("my-task_task", "running")
    (reading, *_) = made.wait_until(lambda: made.http.get("/app/my-task/").json(), "something is measured")
    assert reading.keys() == {"time", "load"}
    run = made.xcore("job", "run", "my-task_task.clear", "--wait")
    assert (run.returncode, "0 readings deleted" in run.stdout) == (0, True), run.stderr


def test_a_check_changes_nothing_of_what_runs(made):
    """No process is replaced, no route changes, and what it needed is gone."""
    before = made.processes()
    templates = {pid for pid, command in before.items() if command.rstrip().endswith(" template")}
    scratch = made.folder / "scratch"
    scratch.mkdir()
    for template in TEMPLATES:
        assert made.xcore("plugin", "check", f"my-{template}", TMPDIR=str(scratch)).returncode == 0
    # Templates may be renewed meanwhile, by what their forks have imported.
    assert before.keys() - templates <= made.processes().keys()
    assert list(scratch.iterdir()) == []
    assert made.exits("my-router") == []


def test_a_newcomer_is_refused_the_prefix_of_another_before_it_is_deployed(made):
    """Wherever its folder lies."""
    folder = made.folder / "elsewhere" / "twin"
    folder.mkdir(parents=True)
    code = (made.plugins / "my-router" / "run.py").read_text()
    (folder / "run.py").write_text(code)
    checked = made.xcore("plugin", "check", "elsewhere/twin")
    assert checked.returncode == 1
    assert "prefix '/app/my-router' belongs to plugin 'my-router'" in checked.stdout
    (folder / "run.py").write_text(code.replace("/app/my-router", "/app/twin"))
    assert made.xcore("plugin", "check", "elsewhere/twin").returncode == 0


def test_a_check_that_is_ended_leaves_nothing_behind(project):
    """An import may hang, and whoever waits for it may lose patience."""
    project.add_code("hanging", "import threading\nprint('here', flush=True)\nthreading.Event().wait()\n")
    scratch = project.folder / "scratch"
    scratch.mkdir()
    check = subprocess.Popen(
        [XCORE, "plugin", "check", "hanging"],
        cwd=project.folder,
        env={**project.environment, "TMPDIR": str(scratch)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    project.wait_until(lambda: any("bootstrap.py" in line for line in project.processes().values()), "it imports")
    check.terminate()
    assert check.wait(DEADLINE) != 0
    assert project.processes() == {}
    assert list(scratch.iterdir()) == []
