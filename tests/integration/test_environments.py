"""Environments of a running system: built anew, pruned, kept from a full disk, never half built."""

import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.project import XCORE, Project
from tests.integration.test_reload import code, load

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

LONG = 110.0
"""Seconds for real installers on a loaded machine."""


@pytest.fixture
def own(project: Project, environments: Path) -> Project:
    """A project whose environments nobody shares; those of all projects are copied into it."""
    for name in ("envs", "runtime"):
        (project.state / name).unlink()
        subprocess.run(["cp", "-a", environments / name, project.state / name], check=True)
    return project


def add_shop(project: Project, dependency: str = "six", version: object = 1) -> None:
    """A plugin with an environment of its own. Its app needs no more than the standard library."""
    project.add_code("shop", BARE.format(version=version))
    require(project, dependency)


BARE = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}})
    await send({{"type": "http.response.body", "body": b"{version}"}})
"""


def require(project: Project, dependency: str) -> None:
    text = '[project]\nname = "shop"\nversion = "1"\ndependencies = ["{}"]\n[tool.xcore]\napp = "main:app"\n'
    draft = project.folder / "pyproject.toml"
    draft.write_text(text.format(dependency))
    draft.rename(project.plugins / "shop" / "pyproject.toml")


def builds(project: Project, owner: str = "shop") -> list[str]:
    """Names of its environments that are whole."""
    return sorted(path.parent.name for path in (project.state / "envs" / owner).glob("*/complete.json"))


def installers(project: Project) -> list[int]:
    """Pids of the Poetry processes that install, by the records that the supervisor keeps of them."""
    found = []
    for record in (project.state / "run").glob("*.process"):
        with suppress(FileNotFoundError, ValueError):  # it ends, or is just being written
            known = json.loads(record.read_text())
            if known["kind"] == "installer" and "poetry" in known["command"]:
                found.append(known["pid"])
    return found


def wait_for_installer(project: Project) -> int:
    return project.wait_until(lambda: installers(project), "an installer runs", LONG)[0]


def test_an_environment_is_built_anew_while_the_old_one_serves_and_old_ones_go(own):
    """Row 47: no request fails; steps, lines and the log are told; two environments are kept, and never a third."""
    add_shop(own)
    own.start()
    own.wait_until(own.gateway_file.exists, "the gateway is announced")
    seen = own.wait_until(lambda: own.plugin("shop")["progress"], "a step is shown")
    assert seen["step"]
    assert "(" in own.xcore("plugin", "list").stdout
    own.wait_for_state("shop", "running", within=LONG)
    assert "installing dependencies" in own.log
    (first,) = builds(own)
    with load(own, "/shop/x", clients=2) as failures:
        done = own.xcore("plugin", "install", "shop", timeout=LONG)
        assert done.returncode == 0, done.stderr
        assert "installing dependencies\n" in done.stderr
        again = own.xcore("plugin", "install", "shop", timeout=LONG)
        assert again.returncode == 0, again.stderr
    assert failures == []
    own.wait_until(lambda: builds(own) == [f"{first}.2", f"{first}.3"], "the first one is removed")
    shown = own.plugin("shop")
    assert (shown["state"], shown["error"], shown["progress"]) == ("running", None, None)
    assert "built" in Path(shown["build_log"]).read_text().splitlines()[-1]
    worker = Path(f"/proc/{own.pid('shop')}/cmdline").read_text()
    assert f"/{first}.3/bin/python" in worker
    rolled_back = own.xcore("plugin", "rollback", "shop")
    assert rolled_back.returncode == 0, rolled_back.stderr
    assert f"/{first}.2/bin/python" in Path(f"/proc/{own.pid('shop')}/cmdline").read_text()
    assert len(builds(own)) == 2


def test_what_is_killed_while_it_builds_is_built_again_and_never_used_half_built(own):
    """Row 46: first the installer, then the supervisor; nobody has to ask for anything."""
    add_shop(own)
    own.expect_log("Plugin shop cannot be served")
    own.start()
    os.killpg(wait_for_installer(own), signal.SIGKILL)
    own.wait_until(lambda: "killed by signal 9" in own.log, "the kill is told", LONG)
    wait_for_installer(own)
    assert builds(own) == []
    own.kill()
    own.up()
    own.wait_for_state("shop", "running", within=LONG)
    (whole,) = builds(own)
    assert f"/{whole}/bin/python" in Path(f"/proc/{own.pid('shop')}/cmdline").read_text()
    own.wait_until(
        lambda: [path.name for path in (own.state / "envs" / "shop").iterdir()] == [whole], "the half built one is gone"
    )


SEED = """
from fastapi import APIRouter

PREFIX = "/app/" + "moved"
PLUGIN_INFO = {"version": "1", "author": "tests", "Api_prefix": PREFIX}
router = APIRouter(prefix=PREFIX)


@router.get("/where")
def where():
    return __name__


class Plugin:
    def run(self): ...
"""
NEEDS_FASTAPI = '[project]\nname = "todo"\nversion = "1"\ndependencies = ["fastapi"]\n'


def test_callers_of_a_plugin_that_is_installed_for_the_first_time_learn_that(own):
    """Only its code can tell its prefix, and that cannot be imported yet: the default is held for it until then."""
    own.configure(gateway={"parking": {"seconds": 0.2}})
    own.add_run_py("todo", SEED)
    (own.plugins / "todo" / "pyproject.toml").write_text(NEEDS_FASTAPI)
    own.start()
    wait_for_installer(own)
    own.wait_until(own.gateway_file.exists, "the gateway is announced")
    answer = own.http.get("/app/todo/where")
    error = answer.json()
    assert (answer.status_code, error["type"], error["extension"]["state"]) == (503, "PluginUnavailable", "installing")
    assert "it is being installed" in error["message"]
    assert "retry-after" in answer.headers
    assert own.plugin("todo")["prefix"] == "/app/todo"
    own.wait_for_state("todo", "running", within=LONG)
    assert own.http.get("/app/moved/where").json() == "plugins.todo.run"
    assert own.http.get("/app/todo/where").status_code == 404


def test_offline_nothing_is_fetched_and_what_is_missing_is_named(own):
    """Also by the version that takes this one's place."""
    own.add_code("hello", code(1))
    add_shop(own)
    own.expect_log("cannot build the environment of 'shop'")
    own.up([XCORE, "up", "--offline"])
    assert own.http.get("/hello/version").json() == 1
    shop = own.plugin("shop")
    assert shop["state"] == "failed"
    assert "start it once without --offline" in shop["error"]["message"] + shop["error"]["hint"]
    upgraded = own.xcore("upgrade")
    assert upgraded.returncode == 0, upgraded.stderr
    own.forget_clients()
    own.wait_until(lambda: own.plugin("shop")["state"] == "failed", "the next one is offline, too")
    assert own.http.get("/hello/version").json() == 1
    assert "shop.installer" not in json.dumps(own.exits("shop"))
    assert builds(own) == []
    install = own.xcore("plugin", "install", "shop", timeout=LONG)
    assert install.returncode == 1
    assert "offline" in install.stderr
