"""Plugins that cannot be served: what is said of them, and that nobody else suffers."""

import itertools
import json
from collections.abc import Iterator

import pytest

from tests.integration.project import Project, is_alive

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

RUN_PY = """
from fastapi import APIRouter
PLUGIN_INFO = {"version": "1.0.0", "author": "tests"}
router = APIRouter()
"""


@pytest.fixture(scope="module")
def system(shared_project: Project) -> Iterator[Project]:
    add_code = shared_project.add_code
    add_code("crashing", "import json\n\nraise RuntimeError('no luck today')\n", prefix="/crashing")
    add_code("broken", "async def app(scope, receive, send:\n    pass\n", prefix="/broken")
    add_code("wanting", "import no_such_package_anywhere\n\napp = None\n", prefix="/wanting")
    add_code("leaving", "import os\n\nprint('before the end')\nos._exit(7)\n", prefix="/leaving")
    add_code("misspelt", "app = None\n", prefix="/misspelt", instanses=2)
    add_code("appless", "application = None\n", prefix="/appless")
    add_code("failing", FAILING_STARTUP, prefix="/failing")
    add_code("variable", 'import os\nURL = os.environ["SHOP_URL"]\n', prefix="/variable")
    shared_project.add_run_py("unfinished", RUN_PY)
    shared_project.add_app("well", "workbench")
    shared_project.expect_log("Plugin .* cannot be served")
    shared_project.start()
    shared_project.wait_until(shared_project.gateway_file.exists, "the gateway is announced")
    for name in ("crashing", "broken", "wanting", "leaving", "misspelt", "appless", "unfinished", "variable"):
        shared_project.wait_for_state(name, "failed")
    shared_project.wait_for_state("well", "running")
    return shared_project


FAILING_STARTUP = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "the other service is away"})
"""

ERRORS = {
    "crashing": ("import", "RuntimeError", "no luck today", "main.py:3"),
    "broken": ("import", "SyntaxError", "", "main.py:1"),
    "wanting": ("import", "ModuleNotFoundError", "no_such_package_anywhere", "main.py:1"),
    "leaving": ("import", "ValidatorDied", "exit code 7", ""),
    "misspelt": ("manifest", "PluginInvalid", "instanses", ""),
    "appless": ("manifest", "PluginInvalid", "app", ""),
    "unfinished": ("manifest", "PluginInvalid", "Plugin", "run.py"),
    "variable": ("import", "KeyError", "SHOP_URL", "main.py:2"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_the_error_says_where_and_what(system, name):
    """Phase, kind, message and the line of the plugin's own code."""
    phase, kind, message, location = ERRORS[name]
    error = system.plugin(name)["error"]
    assert error["phase"] == phase
    assert kind in error["type"]
    assert message in error["message"]
    assert location in error["location"]


@pytest.mark.parametrize("name", ERRORS)
def test_a_check_says_what_is_said_of_what_was_deployed(system, name):
    """So an author can mend it before anybody sees it."""
    checked = system.xcore("plugin", "check", name, "--json")
    verdict = json.loads(checked.stdout)
    shown = system.plugin(name)["error"]
    assert (checked.returncode, verdict["ok"]) == (1, False)
    (problem,) = verdict["problems"]
    assert {**problem, "log_tail": shown["log_tail"]} == shown
    assert problem["log_tail"][-1:] == shown["log_tail"][-1:]


SHOWN = {
    "crashing": ">    3 | raise RuntimeError('no luck today')",
    "broken": ">    1 | async def app(scope, receive, send:",
    "wanting": ">    1 | import no_such_package_anywhere",
    "misspelt": "| instanses = 2",
    "appless": '| app = "main:app"',
    "variable": '>    2 | URL = os.environ["SHOP_URL"]',
}


@pytest.mark.parametrize("name", SHOWN)
def test_the_line_that_is_to_blame_is_shown(system, name):
    """Of the code that was tried, marked between its neighbours; over HTTP and on the command line."""
    excerpt = system.plugin(name)["error"]["excerpt"]
    assert [line for line in excerpt if line.startswith(">") and SHOWN[name] in line]
    assert SHOWN[name] in system.xcore("plugin", "show", name).stdout


def test_the_log_says_where_and_what_to_do(system):
    """Who reads only the log need not look elsewhere."""
    (line,) = [line for line in system.log.splitlines() if "Plugin wanting cannot be served" in line]
    assert 'no_such_package_anywhere\' (main.py:1); add "no_such_package_anywhere" to dependencies' in line


def test_a_missing_variable_comes_with_the_place_to_set_it(system):
    """Its name alone says neither that it is one nor whose."""
    assert "set SHOP_URL in the .env of the plugin" in system.plugin("variable")["error"]["hint"]


def test_a_missing_dependency_comes_with_the_command_that_adds_it(system):
    """The author need not look up how."""
    assert "poetry add no_such_package_anywhere" in system.plugin("wanting")["error"]["hint"]
    assert "poetry add no_such_package_anywhere" in system.xcore("plugin", "show", "wanting").stdout


def test_a_misspelt_key_comes_with_the_right_one(system):
    """Unknown keys are errors that suggest the nearest known one."""
    error = system.plugin("misspelt")["error"]
    assert "instances" in f"{error['message']} {error['hint']}".replace("instanses", "")


def test_the_last_lines_of_an_import_that_ended_the_process_are_shown(system):
    """``os._exit`` raises nothing that could be reported: what it printed is all there is."""
    assert any("before the end" in line for line in system.plugin("leaving")["error"]["log_tail"])


@pytest.mark.parametrize("name", ["crashing", "broken", "wanting", "leaving", "appless"])
def test_callers_of_a_failed_plugin_are_told_when_to_try_again(system, name):
    """503 with Retry-After and the plugin's name; not the error, which is the operator's to see."""
    response = system.http.get(f"/{name}/anything")
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    error = response.json()
    assert (error["type"], error["extension"]["plugin"]) == ("PluginUnavailable", name)
    assert "no luck" not in response.text


def test_others_serve(system):
    """A plugin's fault is its own."""
    assert system.http.get("/well/pid").status_code == 200
    assert system.http.get("/docs").status_code == 200


def test_health_is_degraded_and_shows_all(system):
    """Degraded is still 200: a balancer must not take the whole system away for one plugin."""
    response = system.http.get("/health")
    assert response.status_code == 200
    health = response.json()
    assert health["status"] == "degraded"
    assert set(health["plugins"]) == {*ERRORS, "failing", "well"}
    assert health["plugins"]["crashing"].items() >= {"state": "failed", "ready": 0, "wanted": 1}.items()


def test_a_start_up_that_fails_is_tried_again(system):
    """Services come back: the worker is restarted with back-off, and the reason is shown meanwhile."""
    system.wait_until(lambda: system.health()["plugins"]["failing"]["restarts"] >= 2, "it was tried again twice")
    error = system.plugin("failing")["error"]
    assert error["phase"] == "lifespan"
    assert "the other service is away" in error["message"]
    assert {record["cause"] for record in system.exits("failing")} == {"start_failed"}


def test_a_mended_plugin_is_brought_up_by_a_restart(system):
    """No restart of everything for one plugin."""
    (system.plugins / "broken" / "main.py").write_text((system.plugins / "well" / "main.py").read_text())
    restarted = system.admin.post("/admin/plugins/broken/restart", params={"wait": 30})
    assert restarted.status_code == 202
    assert (restarted.json()["state"], restarted.json()["error"]) == ("running", None)
    assert system.http.get("/broken/pid").json() == restarted.json()["instances"][0]["pid"]


def test_a_mended_start_up_is_found_by_a_restart(system):
    """What could not start is made from its folder anew, not from the copy that was found to fail."""
    (system.plugins / "failing" / "main.py").write_text((system.plugins / "well" / "main.py").read_text())
    restarted = system.admin.post("/admin/plugins/failing/restart", params={"wait": 30})
    assert restarted.status_code == 202
    assert (restarted.json()["state"], restarted.json()["error"]) == ("running", None)
    assert system.http.get("/failing/pid").status_code == 200


def test_a_plugin_that_is_never_ready_is_killed_as_a_group(project):
    """At ``start_timeout``, recorded as such, and tried again after growing delays."""
    project.expect_log("Plugin never cannot be served")  # on a machine that is busy with other things
    project.add_app("never", "never_ready", start_timeout=1, stop_timeout=1)
    project.add_app("well", "workbench")
    project.start()
    project.wait_until(project.gateway_file.exists, "the gateway is announced")
    project.wait_until(lambda: len(project.exits("never")) >= 2, "it was tried twice")
    records = project.exits("never")
    assert {record["cause"] for record in records} == {"start_timeout"}
    assert all(0.9 < record["uptime"] < 2.5 for record in records)
    assert {record["signal"] for record in records} == {9}
    grandchildren = (project.data("never") / "grandchildren").read_text().split()
    assert not is_alive(int(grandchildren[0]))
    error = project.plugin("never")["error"]
    assert (error["phase"], error["type"]) == ("lifespan", "start_timeout")
    assert "start_timeout" in error["hint"]
    assert project.http.get("/well/pid").status_code == 200


def test_the_first_failure_is_shown_while_the_next_start_is_under_way(project):
    """The first restart follows at once, and may take long: what went wrong is to be read meanwhile."""
    project.add_code("slow-again", FAILS_ONCE_THEN_WAITS, stop_timeout=1)
    project.start()
    project.wait_until(project.gateway_file.exists, "the gateway is announced")
    error = project.wait_until(lambda: project.plugin("slow-again")["error"], "the error is shown")
    assert error["phase"] == "lifespan"
    assert "not this time" in error["message"]
    project.wait_until((project.data("slow-again") / "again").exists, "the second start is under way")
    assert project.plugin("slow-again")["state"] == "starting"
    assert project.plugin("slow-again")["error"] == error


FAILS_ONCE_THEN_WAITS = """
import asyncio
import os
from pathlib import Path

ONCE, AGAIN = (Path(os.environ["XCORE_DATA_DIR"]) / name for name in ("once", "again"))


async def app(scope, receive, send):
    await receive()
    if not ONCE.exists():
        ONCE.touch()
        await send({"type": "lifespan.startup.failed", "message": "not this time"})
        return
    AGAIN.touch()
    await asyncio.Event().wait()
"""


def test_a_crash_loop_backs_off_and_ends_as_failed(project):
    """Delays grow, the limit makes it failed, and an operator's restart acts at once all the same."""
    project.configure(supervisor={"restart": {"delay": 0.1, "max_delay": 2, "limit": 5}})
    project.add_code("looping", LOOPING, prefix="/looping")
    project.start()
    project.wait_until(project.gateway_file.exists, "the gateway is announced")
    project.wait_for_state("looping", "failed")
    records = project.wait_until(
        lambda: found if len(found := project.exits("looping")) == 5 else None, "all five crashes are recorded"
    )
    assert {record["cause"] for record in records} == {"crash"}
    births = sorted(record["time"] - record["uptime"] for record in records)
    deaths = sorted(record["time"] for record in records)
    pauses = [birth - death for death, birth in zip(deaths, births[1:], strict=False)]
    assert pauses[0] < 0.1
    assert all(later > earlier for earlier, later in itertools.pairwise(pauses))
    assert project.health()["status"] == "degraded"
    error = project.plugin("looping")["error"]
    assert (error["phase"], error["type"]) == ("ready", "crash")
    assert "exit code 9" in error["message"]

    project.admin.post("/admin/plugins/looping/restart", params={"wait": 5})

    project.wait_until(lambda: len(project.exits("looping")) > 5, "it was started again")


LOOPING = """
import asyncio
import os

async def end():
    await asyncio.sleep(0.05)
    os._exit(9)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        app.task = asyncio.ensure_future(end())
        await send({"type": "lifespan.startup.complete"})
        await receive()
"""
