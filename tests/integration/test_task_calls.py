"""Background tasks and jobs that call plugins: as whom, and what such a call does not notice."""

import json
import os
import signal
from collections.abc import Iterator

import httpx
import pytest

from tests.integration.project import DEADLINE, Project, written

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

CALLS = """
import asyncio
import json
import os
from pathlib import Path

import plugin_runtime

FOLDER = Path(os.environ["XCORE_DATA_DIR"]).parent
library = plugin_runtime.sync_client("library")
gentle_library = plugin_runtime.client("library")


def note(name, answer):
    answer.raise_for_status()
    with (FOLDER / name).open("a") as file:
        file.write(json.dumps(answer.json()) + "\\n")


def ask():
    note("ask", library.get("/see"))


async def ask_gently():
    note("ask_gently", await gentle_library.get("/see"))


async def ask_in_thread():
    note("ask_in_thread", await asyncio.to_thread(library.get, "/see"))


def ask_inside():
    note("ask_inside", library.get("/see"))
"""
"""Code of the founding task and of a plugin's jobs alike. An answer that is an error fails what asks."""
SERVICE = """
def service_main(service):
    note("service", library.get("/see"))
    service.wait(100000)
"""
ASYNC_SERVICE = """
async def service_main(service):
    note("async_service", await gentle_library.get("/see"))
    await service.wait_async(100000)
"""
CON = """[
    {"func": ask, "name": "ask", "days": 1},
    {"func": ask_gently, "name": "ask_gently", "days": 1},
    {"func": ask_in_thread, "name": "ask_in_thread", "days": 1},
    {"func": ask_inside, "name": "ask_inside", "days": 1, "shared": True},
]"""
LASTING = """
import time


def lasting(name):
    while not (FOLDER / "enough").exists():
        note(name, library.get("/see"))
        time.sleep(0.02)


def job_of_task():
    lasting("job_of_task")


def job_of_plugin():
    lasting("job_of_plugin")
"""
LASTING_SERVICE = """
def service_main(service):
    while not service.wait(0.02):
        note("service", library.get("/see"))
"""
TELLING = """
from plugin_runtime.local_side import LOCAL_SIDE


def telling():
    ask()
    print(LOCAL_SIDE.key)
"""
APP = """
async def app(scope, receive, send):
    while scope["type"] == "lifespan":
        await send({"type": (await receive())["type"] + ".complete"})
"""


def add_plugin_with_job(project: Project, code: str, job: str) -> None:
    """Plugin ``shop``, which has this job."""
    project.add_code("shop", APP)
    (project.plugins / "shop" / "jobs.py").write_text(code)
    with (project.plugins / "shop" / "pyproject.toml").open("a") as manifest:
        manifest.write(f'[[tool.xcore.jobs]]\nname = "{job}"\nentry = "jobs:{job}"\ninterval = {{ days = 1 }}\n')


def seen(project: Project, name: str) -> list[dict]:
    """What the called plugin saw of the calls that are noted under this name."""
    return [json.loads(line) for line in written(project.state / "data" / name).splitlines()]


# --- as whom --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def system(shared_project: Project) -> Iterator[Project]:
    shared_project.add_app("library", "library", prefix="/books/v1")
    add_plugin_with_job(shared_project, CALLS, "ask_gently")
    shared_project.add_task("asking", CALLS + SERVICE, con=CON)
    shared_project.add_task("gentle", CALLS + ASYNC_SERVICE)
    return shared_project.up()


@pytest.mark.parametrize(
    ("job", "caller"),
    [
        ("asking.ask", "job:asking.ask"),
        ("asking.ask_gently", "job:asking.ask_gently"),
        ("asking.ask_in_thread", "job:asking.ask_in_thread"),
        ("asking.ask_inside", "task:asking"),
        ("shop.ask_gently", "job:shop.ask_gently"),
    ],
)
def test_a_run_asks_as_its_job_under_its_own_id(system, job, caller):
    """So that what a plugin logs of it leads to the run. Nobody asked for it: there is no user."""
    run = system.finished(system.run_job(job))
    assert run["outcome"] == "succeeded", run
    body = seen(system, job.partition(".")[2])[-1]
    assert (body["caller"], body["request_id"], body["user"], body["hops"]) == (caller, run["id"], None, 1)
    assert body["path"] == "/books/v1/see"


@pytest.mark.parametrize(("task", "name"), [("asking", "service"), ("gentle", "async_service")])
def test_a_service_asks_as_its_task(system, task, name):
    """Each call has a request id of its own."""
    body = system.wait_until(lambda: seen(system, name), "it has asked")[0]
    assert (body["caller"], body["user"], body["hops"]) == (f"task:{task}", None, 1)
    assert body["request_id"]


def test_a_run_that_asks_for_what_is_not_there_reads_why(project):
    """The error is the gateway's, with the nearest name."""
    project.add_app("library", "library")
    code = "import plugin_runtime\ndef ask():\n    print(plugin_runtime.sync_client('libary').get('/').text)\n"
    project.add_task("asking", code, con='[{"func": ask, "name": "ask", "days": 1}]')
    project.up()
    run = project.finished(project.run_job("asking.ask"))
    assert run["outcome"] == "succeeded", run
    assert json.loads(run["log_tail"][-1])["extension"] == {"plugin": "libary", "nearest": "library"}


# --- what a call does not notice ------------------------------------------------------------------------------


def reload_the_called(project: Project) -> None:
    """It takes a while to be ready, and the old worker is gone before: whoever calls waits."""
    pid = project.pid("library")
    with (project.plugins / "library" / "main.py").open("a") as code:
        code.write("\nimport time\ntime.sleep(0.3)\n")
    wait_for_another_worker(project, pid)


def kill_the_called(project: Project) -> None:
    pid = project.pid("library")
    os.kill(pid, signal.SIGKILL)
    wait_for_another_worker(project, pid)


def wait_for_another_worker(project: Project, pid: int) -> None:
    project.wait_until(lambda: seen(project, "service")[-1]["pid"] != pid, "another worker answers")


def upgrade(project: Project) -> None:
    done = project.xcore("upgrade")
    assert done.returncode == 0, done.stderr


def kill_supervisor(project: Project) -> None:
    project.process.kill()
    project.process.wait()
    project.process = None


def replace_supervisor(project: Project) -> None:
    before = project.log.count(" Tasks: ")
    kill_supervisor(project)
    project.start()
    project.wait_until(lambda: project.log.count(" Tasks: ") > before, "another one has taken over")


@pytest.mark.parametrize("deed", [reload_the_called, kill_the_called, upgrade, replace_supervisor])
def test_no_call_of_a_task_or_a_job_fails(project, deed):
    """Services and runs go on, with the keys they have; where the plugin has no worker for a moment they wait."""
    names = ("service", "job_of_task", "job_of_plugin")
    project.add_app("library", "library", exclusive=True)
    add_plugin_with_job(project, CALLS + LASTING, "job_of_plugin")
    jobs = '[{"func": job_of_task, "name": "job_of_task", "days": 1}, {"func": ask, "name": "ask", "days": 1}]'
    project.add_task("asking", CALLS + LASTING + LASTING_SERVICE, con=jobs)
    project.up()
    runs = [project.run_job("asking.job_of_task"), project.run_job("shop.job_of_plugin")]

    def wait_for_answers() -> None:
        before = {name: len(seen(project, name)) for name in names}
        project.wait_until(
            lambda: all(len(seen(project, name)) >= count + 20 for name, count in before.items()), "more answers"
        )

    wait_for_answers()
    service = project.task("asking")["pid"]
    deed(project)
    wait_for_answers()
    assert project.finished(project.run_job("asking.ask"))["outcome"] == "succeeded"
    (project.state / "data" / "enough").touch()
    assert [project.finished(run)["outcome"] for run in runs] == ["succeeded", "succeeded"]
    assert {name: {body["caller"] for body in seen(project, name)} for name in names} == {
        "service": {"task:asking"},
        "job_of_task": {"job:asking.job_of_task"},
        "job_of_plugin": {"job:shop.job_of_plugin"},
    }
    assert project.task("asking")["pid"] == service


def test_what_begins_while_a_supervisor_takes_over_may_call_at_once(project):
    """Gateways are told last, when all is settled; a plugin that takes for ever to start puts that off."""
    project.add_app("library", "library")
    project.add_app("caller", "caller")
    project.add_task("asking", CALLS + SERVICE)
    project.up()
    project.wait_until(lambda: seen(project, "service"), "the service has asked")
    worker, service = project.pid("caller"), project.task("asking")["pid"]
    kill_supervisor(project)
    for pid in (worker, service):
        os.kill(pid, signal.SIGKILL)
    project.add_app("never", "never_ready", stop_timeout=1)
    project.start()
    project.wait_until(lambda: len(seen(project, "service")) == 2, "another service has asked")
    answer = project.http.get("/caller/before-any-request").json()
    assert (answer["status"], answer["body"]["caller"]) == (200, "caller")
    project.exit_of("asking", service)
    assert {record["pid"] for record in project.exits("asking")} == {service}


def test_the_key_of_a_run_that_has_ended_is_worth_nothing(project):
    """It was said to one process, and that is gone."""
    project.add_app("library", "library")
    project.add_task("asking", CALLS + TELLING, con='[{"func": telling, "name": "telling", "days": 1}]')
    project.up()
    run = project.finished(project.run_job("asking.telling"))
    assert run["outcome"] == "succeeded", run
    transport = httpx.HTTPTransport(uds=str(project.state / "run" / "local.sock"))
    with httpx.Client(transport=transport, base_url="http://localhost", timeout=DEADLINE) as client:
        client.headers["X-Xcore-Key"] = run["log_tail"][-1]
        project.wait_until(lambda: client.get("/~library/see").status_code == 403, "its key is forgotten")
