"""The guest in the oldest and the newest Python it promises, with frameworks of their time."""

import contextlib
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from plugin_runtime.protocol import Description, ExitCode, Failed, Hello, MakeSchema, Ready, Schema
from plugin_runtime.task_protocol import ListThreads, RunFinished, RunJob, TaskDescription, Threads
from plugin_runtime.template_protocol import Imported
from tests import machine
from tests.fakes.control_server import FakeSupervisor
from tests.fakes.guests import Guest, link_get, make_plugin, make_task, outcome
from tests.fakes.processes import nothing_left_behind
from tests.fakes.templates import Template

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
        if ready.has_schema:
            supervisor.send(MakeSchema())
            supervisor.wait_for(Schema)
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


FOUNDING = """
import asyncio
from typing import List, Optional

import plugin_runtime
from admin.dependencies import require_admin
from auth.dependencies import get_current_user
from fastapi import APIRouter, Depends
from pydantic import BaseModel

PLUGIN_INFO = {"version": "1", "author": "Ada", "Api_prefix": "/app/hello"}
router = APIRouter(prefix="/hello")


class Settings(BaseModel):
    port: int
    hosts: List[str] = []
    colour: Optional[str] = None


SETTINGS = plugin_runtime.settings(Settings)


@router.get("/me")
async def me(user=Depends(get_current_user)):
    return [user, user.role, SETTINGS.port, SETTINGS.hosts]


@router.get("/admin")
def admin(user: dict = Depends(require_admin)):
    return user["role"]


class Plugin:
    def run(self): ...

    async def concured(self):
        try:
            print("begun", flush=True)
            await asyncio.sleep(600)
        finally:
            print("ended", flush=True)
"""


def test_what_the_founding_system_gave_its_plugins_is_there(tmp_path, environment):
    """With the frameworks of any time: who asks, the own job, typed settings."""
    settings = make_plugin(tmp_path, {"run.py": FOUNDING}, concured_lock=str(tmp_path / "lock"))
    variables = {"HELLO_PORT": "8000", "HELLO_HOSTS": '["a"]'}
    user, admin = {"id": "7", "email": "a@b.c", "role": "user"}, {"id": None, "email": None, "role": "admin"}
    with (
        FakeSupervisor(tmp_path / "c.sock", settings) as supervisor,
        Guest(supervisor, environment.python, environment.packages, variables) as process,
    ):
        assert process.stdout.readline() == "begun\n"
        assert link_get(settings, "/app/hello/me", user=user) == (200, [user, "user", 8000, ["a"]])
        assert [link_get(settings, "/app/hello/admin", user=who)[0] for who in (None, user, admin)] == [401, 403, 200]
        supervisor.send(MakeSchema())
        assert b'"scheme":"bearer"' in supervisor.wait_for(Schema).document
        supervisor.stop_guest()
        assert outcome(process) == (ExitCode.OK, "ended\n", "")


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({}, "HELLO_PORT is missing"),
        ({"HELLO_PORT": "x"}, "HELLO_PORT: "),
        ({"HELLO_PORT": "1", "HELLO_HOSTS": "a"}, "JSON"),
    ],
)
def test_a_setting_that_is_wrong_is_named(tmp_path, environment, variables, problem):
    """Both versions of pydantic put it in words of their own."""
    settings = make_plugin(tmp_path, {"run.py": FOUNDING})
    with (
        FakeSupervisor(tmp_path / "c.sock", settings) as supervisor,
        Guest(supervisor, environment.python, environment.packages, variables) as process,
    ):
        failed = supervisor.wait_for(Failed)
        assert outcome(process)[0] == ExitCode.START_FAILED
    assert (failed.type, failed.phase) == ("SettingsError", "import")
    assert problem in failed.message


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


def test_a_template_forks_a_worker(tmp_path, environment):
    """What has to be made good after a fork differs between versions; none of them says a word about it."""
    files = {"run.py": RUN.format(router_prefix="/hello"), "models.py": "VERSION = 7\n"}
    settings = make_plugin(tmp_path, files)
    with (
        nothing_left_behind(),
        Template(tmp_path, ["fastapi"], python=environment.python, packages=environment.packages) as template,
    ):
        worker = template.wait_until_ready().fork(settings=settings)
        supervisor = template.supervisor
        supervisor.wait_for(Ready, child="hello.1")
        assert supervisor.of(Hello, "hello.1")[0].python.startswith(environment.version)
        assert link_get(settings, "/app/hello/sync") == (200, [7, "http://testserver/app/hello/sync"])
        supervisor.send(ListThreads(), 99, child="hello.1")
        threads = {thread.name: thread.native for thread in supervisor.answer_to(99).threads}
        supervisor.stop_guest(child="hello.1")
        assert worker.outcome() == (ExitCode.OK, "", "")
    assert threads["MainThread"] == worker.pid
    assert not any("fastapi" in word.modules for word in supervisor.of(Imported))


TASK = """
import asyncio, sys
from datetime import datetime

def quick(): print("quick", sys.version_info[1])
async def gentle(): await asyncio.sleep(0)
def fails(): raise ValueError("no luck")
async def slow(): await asyncio.sleep(600)

metadata["con"] = [
    {"func": quick, "name": "quick", "interval": "date", "date": datetime(2030, 1, 31), "shared": True},
    {"func": "gentle", "name": "gentle", "interval": "cron", "cron_params": {"hour": 3}, "shared": True},
    {"func": fails, "name": "fails", "shared": True},
    {"func": slow, "name": "slow", "shared": True},
]
"""
SYNC = """
def service_main(service):
    while service.running:
        service.wait(60)
"""
ASYNC = """
async def service_main(service):
    while service.running:
        await service.wait_async(60)
"""
DEAF = """
import time

def service_main(service):
    try:
        print("begun")
        service.wait(60)
        print("asked")
        time.sleep(600)
    finally:
        print("woken")
"""


@pytest.fixture
def task(tmp_path, environment):
    """Starts the task program with these settings."""

    @contextlib.contextmanager
    def started(code, **settings):
        with (
            FakeSupervisor(tmp_path / "c.sock", make_task(tmp_path, code, **settings)) as supervisor,
            Guest(supervisor, environment.python, environment.packages, program="task") as process,
        ):
            yield supervisor, process

    return started


def test_the_module_of_a_task_is_described(task):
    """Read and checked in the interpreter that runs it."""
    with task(TASK + SYNC, purpose="describe") as (supervisor, process):
        description = supervisor.wait_for(TaskDescription)
        assert outcome(process)[0] == ExitCode.OK
    assert description.errors == []
    assert [job.trigger["type"] for job in description.jobs] == ["date", "cron", "interval", "interval"]


@pytest.mark.parametrize("code", [SYNC, ASYNC], ids=["sync", "async"])
def test_a_service_runs_jobs_and_ends_when_it_is_asked_to(task, environment, code):
    """Event loops, threads and signals differ between versions; what authors rely on must not."""
    with task(TASK + code) as (supervisor, process):
        supervisor.wait_for(Ready)
        finished = {}
        for count, job in enumerate(("quick", "gentle", "fails", "slow"), 1):
            supervisor.send(RunJob(job, job, 0.2 if job == "slow" else 0.0))
            word = supervisor.wait_for(RunFinished, count)
            finished[word.run] = (word.outcome, word.exception)
        supervisor.send(ListThreads(), request_id=3)
        supervisor.wait_for(Threads)
        supervisor.stop_guest()
        code, text, errors = outcome(process)
    assert (code, text) == (ExitCode.OK, f"quick {environment.version.partition('.')[2]}\n"), errors
    assert finished == {
        "quick": ("succeeded", None),
        "gentle": ("succeeded", None),
        "fails": ("failed", "ValueError: no luck"),
        "slow": ("timed_out", None),
    }
    assert {"MainThread", "xcore-control"} <= {thread.name for thread in supervisor.answers[3].threads}


def test_a_service_is_interrupted_in_its_sleep(task):
    """SIGTERM asks first and interrupts then."""
    with task(DEAF) as (supervisor, process):
        assert process.stdout.readline() == "begun\n"
        supervisor.stop_guest()
        assert process.stdout.readline() == "asked\n"
        process.send_signal(signal.SIGTERM)
        code, text, errors = outcome(process)
    assert (code, text) == (ExitCode.OK, "woken\n"), errors


@pytest.mark.parametrize(
    ("job", "result"), [("quick", "succeeded"), ("gentle", "succeeded"), ("fails", "failed"), ("slow", None)]
)
def test_a_run_has_a_process_of_its_own(task, job, result):
    """Sync or async; one that is stopped says nothing."""
    with task(TASK + SYNC, purpose="run", job=job, run="3f2a91c0") as (supervisor, process):
        supervisor.wait_for(Ready)
        if result is None:
            supervisor.stop_guest()
        code, _, errors = outcome(process)
    assert code == (ExitCode.OK if result == "succeeded" else ExitCode.FAILED), errors
    assert [word.outcome for word in supervisor.of(RunFinished)] == ([result] if result else [])
