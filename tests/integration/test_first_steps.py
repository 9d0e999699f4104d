"""What a newcomer does first: ``xcore init`` and ``xcore up``."""

import json

import pytest

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]


@pytest.fixture
def fresh(project):
    """A project as ``xcore init`` makes it."""
    (project.folder / "config.json").unlink()
    project.plugins.rmdir()
    made = project.xcore("init")
    assert made.returncode == 0, made.stderr
    return project


def test_init_and_up_serve_a_first_plugin_and_run_a_first_task(fresh):
    """Two commands, and it answers; what is printed says where."""
    configuration = json.loads((fresh.folder / "config.json").read_text())
    configuration["gateway"] = {"port": 0}
    (fresh.folder / "config.json").write_text(json.dumps(configuration))

    fresh.up()

    printed = (fresh.folder / "up.out").read_text()
    assert f"xcore serves {fresh.url}\n" in printed
    for line in (f"{fresh.url}/docs", f"{fresh.url}/health", str(fresh.state / "admin.token")):
        assert line in printed
    assert fresh.http.get("/app/hello/", params={"name": "you"}).json() == {"message": "Hello, you!"}
    assert "hello" in fresh.xcore("plugin", "list").stdout
    fresh.wait_for_task("first", "running")
    fresh.wait_until(lambda: "still here" in fresh.xcore("task", "logs", "first").stdout, "it says something")
    assert "first.tell_load" in fresh.xcore("job", "list").stdout


def test_init_changes_nothing_that_is_there(fresh):
    """Run twice, or in a project of one's own, it does no harm."""
    before = {path: path.read_bytes() for path in fresh.folder.rglob("*") if path.is_file()}
    (fresh.folder / "config.json").write_text('{"mine": true}')
    again = fresh.xcore("init")
    assert again.returncode == 0
    assert (fresh.folder / "config.json").read_text() == '{"mine": true}'
    after = {path: path.read_bytes() for path in fresh.folder.rglob("*") if path.is_file()}
    assert set(after) == set(before)


def test_a_project_without_plugins_runs(project):
    """Nothing to serve is no error: the admin interface and the documentation are there."""
    project.up()
    assert project.health() == {"status": "ok", "plugins": {}}
    assert project.http.get("/docs").status_code == 200
    assert project.admin.get("/admin/plugins").json() == []


def test_a_plugin_directory_that_is_missing_is_said(project):
    """And everything else works."""
    project.plugins.rmdir()
    project.up()
    assert f"There is no plugin directory {project.plugins}" in project.log
    assert project.health()["status"] == "ok"


def test_an_unchanged_project_starts_without_any_installer_or_validator(project):
    """The second start is quick: nothing is built, resolved or validated again."""
    project.add_app("bench", "workbench")
    project.up()
    project.stop()
    first = len(project.log)
    project.up()
    again = project.log[first:]
    assert "validator" not in again
    assert "Building" not in again
    assert project.http.get("/bench/pid").status_code == 200
