"""The guest in the oldest and the newest Python it promises, with frameworks of their time."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from plugin_runtime.protocol import Description, ExitCode, Failed, Hello, Ready, Schema
from tests import machine
from tests.fakes.control_server import FakeSupervisor
from tests.fakes.guests import Guest, link_get, make_plugin, outcome

pytestmark = [pytest.mark.environment, pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(600)]

OLD = ("3.9", ("fastapi==0.95.2", "pydantic==1.10.*", "flask==2.2.*", "werkzeug==2.2.*"))
NEW = ("3.13", ("fastapi==0.165.*", "flask==3.*"))

RUN = """
from fastapi import APIRouter, Request
from pydantic import BaseModel
from .models import VERSION

PLUGIN_INFO = {{"version": "1", "author": "Ada", "Api_prefix": "/app/hello"}}
router = APIRouter(prefix="{router_prefix}")


class Item(BaseModel):
    name: str


@router.get("/x", response_model=Item)
async def x(request: Request):
    return Item(name=str(request.url_for("x")))


@router.get("/sync")
def sync(request: Request):
    return [VERSION, str(request.url)]


class Plugin:
    def run(self): ...
"""

APP = """
from fastapi import FastAPI, Request
app = FastAPI()

@app.on_event("startup")
async def start():
    app.state.started = True

@app.get("/x")
async def x(request: Request):
    return [app.state.started, str(request.url), str(request.url_for("x"))]
"""

FLASK = """
from flask import Flask, jsonify, request, url_for
app = Flask(__name__)

@app.get("/x")
def x():
    return jsonify([request.path, url_for("x")])
"""


@dataclass(frozen=True)
class Environment:
    """A plugin's interpreter and what the guest itself needs in it."""

    version: str
    python: str
    packages: str


def pip_install(python: Path, folder: Path, *requirements: str) -> None:
    # By the interpreter's own pip: that of this environment may not know so old a Python any more.
    command = [python, "-m", "pip", "install", "-q", "--no-input", "--target", folder, *requirements]
    subprocess.run(command, check=True, timeout=400, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module", params=[OLD, NEW], ids=lambda param: f"Python {param[0]}")
def environment(request, tmp_path_factory) -> Environment:
    version, requirements = request.param
    python = machine.python(version)
    root = tmp_path_factory.mktemp("environment")
    subprocess.run([python, "-m", "venv", "--without-pip", root / "venv"], check=True, timeout=100)
    pip_install(python, root / "venv" / "lib" / f"python{version}" / "site-packages", *requirements)
    pip_install(python, root / "packages", "msgpack", "a2wsgi")
    return Environment(version, str(root / "venv" / "bin" / "python"), str(root / "packages"))


def served(tmp_path, environment, settings, *paths):
    """Answers of a worker to these paths, and what it said of itself."""
    with (
        FakeSupervisor(tmp_path / "c.sock", settings) as supervisor,
        Guest(supervisor, environment.python, environment.packages) as process,
    ):
        ready = supervisor.wait_for(Ready)
        assert supervisor.of(Hello)[0].python.startswith(environment.version)
        answers = [link_get(settings, path) for path in paths]
        supervisor.stop_guest()
        code, _, errors = outcome(process)
    assert code == ExitCode.OK, errors
    return ready, answers, supervisor


@pytest.mark.parametrize("router_prefix", ["/app/hello", "/hello", ""])
def test_a_router_is_served_at_its_public_path(tmp_path, environment, router_prefix):
    """Whatever the router's prefix, in any FastAPI."""
    files = {"run.py": RUN.format(router_prefix=router_prefix), "models.py": "VERSION = 7\n"}
    settings = make_plugin(tmp_path, files)
    ready, answers, supervisor = served(tmp_path, environment, settings, "/app/hello/x", "/app/hello/sync")
    url = "http://testserver/app/hello"
    assert answers == [(200, {"name": f"{url}/x"}), (200, [7, f"{url}/sync"])]
    assert ready.framework.startswith("fastapi 0.")
    assert b'"paths":{"/x":' in supervisor.of(Schema)[0].document


def test_a_fastapi_app_finds_itself_below_its_prefix(tmp_path, environment):
    """Old Starlette needs stripped paths for it, new ones the full path; url_for is right in both."""
    settings = make_plugin(tmp_path, {"main.py": APP}, contract="app", entry="main:app")
    ready, answers, _ = served(tmp_path, environment, settings, "/app/hello/x")
    url = "http://testserver/app/hello/x"
    assert answers == [(200, [True, url, url])]
    assert ready.path_mode == ("stripped" if environment.version == OLD[0] else "full")


def test_a_wsgi_app_is_served_by_a2wsgi(tmp_path, environment):
    """It sees SCRIPT_NAME and PATH_INFO as WSGI has them."""
    settings = make_plugin(tmp_path, {"main.py": FLASK}, contract="app", entry="main:app")
    ready, answers, _ = served(tmp_path, environment, settings, "/app/hello/x")
    assert answers == [(200, ["/x", "/app/hello/x"])]
    assert ready.framework.startswith("flask ")


def test_a_broken_module_is_reported(tmp_path, environment):
    """Tracebacks of every Python are trimmed alike, and show the lines that ran."""
    settings = make_plugin(
        tmp_path, {"main.py": "import deep\n", "deep.py": "1 / 0\n"}, contract="app", entry="main:app"
    )
    with (
        FakeSupervisor(tmp_path / "c.sock", settings) as supervisor,
        Guest(supervisor, environment.python, environment.packages) as process,
    ):
        failed = supervisor.wait_for(Failed)
        assert outcome(process)[0] == ExitCode.START_FAILED
    assert (failed.type, failed.location) == ("ZeroDivisionError", "deep.py:1")
    assert "    1 / 0\n" in failed.traceback
    assert "plugin_runtime" not in failed.traceback
    assert "importlib" not in failed.traceback


def test_a_plugin_is_validated(tmp_path, environment):
    """In the plugin's own interpreter, whatever runs the supervisor."""
    files = {"run.py": RUN.format(router_prefix="/hello"), "models.py": "VERSION = 7\n"}
    settings = make_plugin(tmp_path, files, validate_only=True)
    with (
        FakeSupervisor(tmp_path / "c.sock", settings) as supervisor,
        Guest(supervisor, environment.python, environment.packages) as process,
    ):
        description = supervisor.wait_for(Description)
        assert outcome(process)[0] == ExitCode.OK
    assert description.errors == []
    assert (description.api_prefix, description.router_prefix) == ("/app/hello", "/hello")
    assert {"fastapi", "pydantic", "starlette"} <= set(description.modules)
