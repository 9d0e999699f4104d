"""What plugins of the founding system find around them: its host's modules, their own job, place and settings."""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.project import Project

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

RUN = """
import os
from pathlib import Path
from typing import Optional

import plugin_runtime
from admin.dependencies import require_admin, require_superuser
from auth.dependencies import get_current_user
from fastapi import APIRouter, Depends
from pydantic import BaseModel

PLUGIN_INFO = {"version": "1", "author": "Ada"}
router = APIRouter(prefix="/app/shop")


class Settings(BaseModel):
    port: int
    hosts: list[str] = []
    colour: Optional[str] = None


def surroundings():
    settings = plugin_runtime.settings(Settings)
    return {
        "in_project": Path("plugins/shop/run.py").is_file(),
        "package": __name__,
        "settings": [settings.port, settings.hosts, settings.colour],
    }


@router.get("/surroundings")
def look_around():
    return surroundings()


@router.get("/me")
async def me(user=Depends(get_current_user)):
    return {**user, "same": user.role == user["role"]}


@router.get("/admin")
async def admin(user=Depends(require_admin)):
    return user.role


@router.get("/superuser")
async def superuser(user=Depends(require_superuser)):
    return user.role


@router.get("/neighbour")
def neighbour():
    try:
        import plugins.other
    except ImportError as error:
        return str(error)


class Plugin:
    def run(self): ...
"""
JOBS = """
import json
from plugins.shop.run import surroundings

def look():
    print("job", json.dumps(surroundings()))
"""
TASK = """
import json
from plugins.shop.run import surroundings

def service_main(service):
    print("task", json.dumps(surroundings()))
    while service.running:
        service.wait(60)
"""
DOTENV = """SHOP_PORT=8000
SHOP_HOSTS='["a", "b"]'

s3cret without a name
SHOP_COLOUR=blue
"""
SURROUNDINGS = {"in_project": True, "package": "plugins.shop.run", "settings": [8000, ["a", "b"], "blue"]}


@pytest.fixture(scope="module")
def system(shared_project: Project) -> Iterator[Project]:
    shared_project.add_run_py("shop", RUN)
    folder = shared_project.plugins / "shop"
    (folder / "jobs.py").write_text(JOBS)
    (folder / ".env").write_text(DOTENV)
    job = '[[tool.xcore.jobs]]\nname = "look"\nentry = "jobs:look"\ninterval = { days = 1 }\n'
    (folder / "pyproject.toml").write_text(job)
    shared_project.add_task("looks", TASK, moduleDir="plugins/shop")
    return shared_project.up()


@pytest.fixture(scope="module")
def tokens(system: Project) -> dict[str, str]:
    """One of each role."""
    roles = ("user", "admin", "root", "superadmin")
    commands = {role: ("token", "create", "--role", role, "--name", f"a-{role}", "--json") for role in roles}
    return {role: json.loads(system.xcore(*command).stdout)["token"] for role, command in commands.items()}


def status(system: Project, path: str, token: str) -> int:
    with system.client(token) as client:
        return client.get(f"/app/shop/{path}").status_code


def test_a_plugin_learns_who_asks_from_the_modules_it_always_imported(system, tokens):
    """The gateway has verified the token; the plugin never sees it."""
    with system.client(tokens["user"]) as client:
        user = client.get("/app/shop/me").raise_for_status().json()
    assert user.keys() == {"id", "email", "role", "same"}
    assert (user["id"], user["email"], user["role"], user["same"]) == (None, None, "user", True)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("me", {"user", "admin", "root", "superadmin"}),
        ("admin", {"admin", "root", "superadmin"}),
        ("superuser", {"superadmin"}),
    ],
)
def test_roles_open_what_they_always_opened(system, tokens, path, allowed):
    """401 for nobody, 403 for the wrong one."""
    expected = {"": 401, "xcore_made-up": 401, **{role: 200 if role in allowed else 403 for role in tokens}}
    found = {name: status(system, path, tokens.get(name, name)) for name in expected}
    assert found == expected


def test_identity_cannot_be_brought_along(system):
    """Nothing that a client sends is taken for the gateway's word."""
    headers = {"X-Xcore-User": '{"role": "superadmin"}', "Authorization": "Bearer {}"}
    answer = system.http.get("/app/shop/me", headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_docs_ask_for_the_token(system):
    """The routes of the plugin show what they need, in the merged document."""

    def operation():
        return system.http.get("/openapi.json").json()["paths"].get("/app/shop/admin")

    found = system.wait_until(operation, "the plugin's document is merged")
    ((name, _),) = found["get"]["security"][0].items()
    scheme = system.http.get("/openapi.json").json()["components"]["securitySchemes"][name]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")


def test_a_worker_its_task_and_its_job_find_the_same_surroundings(system):
    """The project as working directory, the package's name, the .env, the settings."""
    assert system.http.get("/app/shop/surroundings").json() == SURROUNDINGS
    run = system.finished(system.run_job("shop.look"))
    assert run["outcome"] == "succeeded", run
    system.wait_for_task("looks", "running")
    said = system.wait_until(lambda: f"task {json.dumps(SURROUNDINGS)}" in system.plugin_log("looks"), "it has looked")
    assert said
    system.wait_until(lambda: f"job {json.dumps(SURROUNDINGS)}" in system.plugin_log("shop"), "so has the job")


def test_a_line_of_its_dotenv_file_that_cannot_be_read_is_noted(system):
    """By file and number; what stands in it may be secret."""
    problem = "cannot read .env, line 4: it is left out; write NAME=value, or # for a comment"
    assert system.plugin("shop")["notes"] == [problem]
    shown = system.xcore("plugin", "show", "shop")
    assert problem in shown.stdout
    assert "s3cret" not in shown.stdout + system.log


def test_another_plugins_package_comes_with_what_to_do(system):
    """It is another process."""
    assert system.http.get("/app/shop/neighbour").json() == (
        "cannot import 'plugins.other' in plugin 'shop': every plugin lives in a process of its own; "
        "call it over HTTP with plugin_runtime.client('other')"
    )


OWN_JOB = """
import asyncio, os
from pathlib import Path
from fastapi import APIRouter

VERSION = {version}
DATA = Path(os.environ["XCORE_DATA_DIR"])
PLUGIN_INFO = {{"version": "1", "author": "Ada"}}
router = APIRouter(prefix="/app/worker")

def note(event):
    with (DATA / "events").open("a") as file:
        file.write(f"{{event}} {{VERSION}} {{os.environ['XCORE_CHILD']}}\\n")

@router.get("/version")
async def version():
    return VERSION

@router.get("/held")
async def held():
    with (DATA / "holding").open("a") as file:
        file.write("held\\n")
    while not (DATA / "go-on").exists():
        await asyncio.sleep(0.01)
    return VERSION

class Plugin:
    def run(self): ...

    async def concured(self):
        note("begun")
        try:
            {work}
        finally:
            note("ended")
"""


def write_own_job(project: Project, version: object, work: str = "await asyncio.Event().wait()") -> None:
    save_run_py(project, OWN_JOB.format(version=repr(version), work=work))


def save_run_py(project: Project, text: str) -> None:
    """As editors do it."""
    path = project.plugins / "worker" / "run.py"
    draft = path.with_name(".run.py.swp")
    draft.write_text(text)
    draft.rename(path)


def events(project: Project) -> list[str]:
    path = project.data("worker") / "events"
    return path.read_text().splitlines() if path.exists() else []


def wait_for_events(project: Project, *wanted: str) -> None:
    project.wait_until(lambda: events(project) == list(wanted), f"{wanted}, found {events(project)}")


@pytest.fixture
def own_job(project: Project) -> Project:
    """Plugin ``worker`` with two instances."""
    (project.plugins / "worker").mkdir()
    (project.plugins / "worker" / "pyproject.toml").write_text("[tool.xcore]\ninstances = 2\n")
    write_own_job(project, 1)
    return project


def test_the_own_job_runs_in_the_first_instance_and_never_twice_at_once(own_job):
    """Over a reload, a restart, a death and a stop of everything; validators and templates have run nothing."""
    own_job.up()
    wait_for_events(own_job, "begun 1 worker.1")
    write_own_job(own_job, 2)
    second = ["begun 1 worker.1", "ended 1 worker.1", "begun 2 worker.1"]
    wait_for_events(own_job, *second)
    own_job.xcore("plugin", "restart", "worker").check_returncode()
    third = [*second, "ended 2 worker.1", "begun 2 worker.1"]
    wait_for_events(own_job, *third)
    os.kill(own_job.pid("worker"), signal.SIGKILL)
    fourth = [*third, "begun 2 worker.1"]
    wait_for_events(own_job, *fourth)
    own_job.stop()
    wait_for_events(own_job, *fourth, "ended 2 worker.1")


def test_a_generation_that_is_not_taken_has_not_begun_its_job(own_job):
    """Its first instance is ready, its second is not: all of it is taken away, and the old job has gone on."""
    own_job.up()
    wait_for_events(own_job, "begun 1 worker.1")
    own_job.expect_log("Plugin worker goes on as it was .* not here")
    code = OWN_JOB.format(version=2, work="pass")
    broken = "import os\nif os.environ['XCORE_CHILD'] == 'worker.2': raise ValueError('not here')\n"
    save_run_py(own_job, broken + code)
    own_job.wait_until(lambda: own_job.plugin("worker")["error"], "the error is shown")
    own_job.wait_until(lambda: own_job.plugin("worker")["state"] == "running", "the old one goes on")
    assert own_job.http.get("/app/worker/version").json() == 1
    assert events(own_job) == ["begun 1 worker.1"]


def test_the_next_job_does_not_wait_for_the_requests_of_the_old_worker(own_job):
    """The old one ends with the order to stop, while the requests are still being finished."""
    own_job.up()
    wait_for_events(own_job, "begun 1 worker.1")
    with ThreadPoolExecutor() as pool, own_job.client() as client:
        answers = [pool.submit(client.get, "/app/worker/held") for _ in range(4)]  # some of them at either instance
        holding = own_job.data("worker") / "holding"
        own_job.wait_until(lambda: holding.exists() and holding.read_text() == "held\n" * 4, "all are being served")
        write_own_job(own_job, 2)
        wait_for_events(own_job, "begun 1 worker.1", "ended 1 worker.1", "begun 2 worker.1")
        assert not any(answer.done() for answer in answers)
        (own_job.data("worker") / "go-on").touch()
        assert {answer.result().json() for answer in answers} == {1}


def test_a_job_that_fails_is_noted_and_its_worker_serves_on(own_job):
    """No restart for it; a new start of the process begins it again."""
    write_own_job(own_job, 1, "raise ValueError('no such queue')")
    own_job.up()
    note = own_job.wait_until(lambda: own_job.plugin("worker")["notes"], "the failure is noted")[0]
    assert note.startswith("Plugin.concured has failed: ValueError: no such queue")
    plugin = own_job.plugin("worker")
    assert (plugin["state"], plugin["error"], plugin["instances"][0]["restarts"]) == ("running", None, 0)
    own_job.wait_until(lambda: "raise ValueError('no such queue')" in own_job.plugin_log("worker"), "it is in the log")
    write_own_job(own_job, 2)
    own_job.wait_until(lambda: own_job.plugin("worker")["notes"] == [], "the note has gone with its process")
