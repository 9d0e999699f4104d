"""A save: the new code answers a moment later and no request fails, or the old one goes on and the error is shown."""

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.integration.project import Project

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

CODE = """
import asyncio
import os
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

VERSION = {version}
app = FastAPI()


@app.get("/version")
def version():
    return VERSION


@app.get("/pid")
def pid():
    return os.getpid()


@app.get("/stream")
async def stream():
    async def lines():
        while True:
            yield b"line"
            await asyncio.sleep(0.05)

    return StreamingResponse(lines())
"""


def code(version: object) -> str:
    return CODE.format(version=repr(version))


def save(project: Project, text: str, name: str = "shop") -> None:
    """As editors do it: another file takes the place of this one."""
    file = project.plugins / name / "main.py"
    draft = file.with_name(".main.py.swp")
    draft.write_text(text)
    draft.rename(file)


def version(project: Project, name: str = "shop") -> object:
    response = project.http.get(f"/{name}/version")
    return response.json() if response.status_code == 200 else None


def wait_for_version(project: Project, wanted: object, name: str = "shop") -> None:
    project.wait_until(lambda: version(project, name) == wanted, f"version {wanted} answers")


@contextmanager
def load(project: Project, path: str = "/shop/version", clients: int = 4) -> Iterator[list[object]]:
    """Ask on and on meanwhile; whatever is no 200 is in the list."""
    done, failures = threading.Event(), []

    def ask_on_and_on() -> None:
        with project.client() as client:
            while not done.is_set():
                try:
                    response = client.get(path)
                except httpx.HTTPError as error:
                    failures.append(error)
                else:
                    if response.status_code != 200:
                        failures.append((response.status_code, response.text))
                time.sleep(0.005)

    threads = [threading.Thread(target=ask_on_and_on) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield failures
    finally:
        done.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def system(project: Project) -> Project:
    project.add_code("shop", code(1), instances=2)
    project.add_code("other", code("other"))
    return project.up()


def test_saved_code_answers_and_no_request_fails(system):
    """Row 29: under load, several saves, each followed; the neighbour's process is the same all the time."""
    other = system.http.get("/other/pid").json()
    with load(system) as failures:
        for number in (2, 3, 4):
            save(system, code(number))
            wait_for_version(system, number)
    assert failures == []
    plugin = system.plugin("shop")
    assert (plugin["state"], plugin["error"], len(plugin["instances"])) == ("running", None, 2)
    assert system.http.get("/other/pid").json() == other
    system.wait_until(lambda: len(system.exits("shop")) == 6, "the old workers are gone")
    assert {record["cause"] for record in system.exits("shop")} == {"reload"}


def test_a_broken_save_is_shown_and_the_old_code_goes_on(system):
    """Row 8 and 48: the error names the line; mended, it is gone. Taken back, too."""
    system.expect_log(r"ERROR .* Plugin shop goes on as it was")
    with load(system) as failures:
        save(system, "def broken(:\n")
        system.wait_until(lambda: system.plugin("shop")["error"], "the error is shown")
        error = system.plugin("shop")["error"]
        assert (error["phase"], error["type"], error["location"]) == ("import", "SyntaxError", "main.py:1")
        assert (version(system), system.plugin("shop")["state"]) == (1, "running")
        generation = system.plugin("shop")["generation"]
        assert system.plugin("shop")["outdated"]
        assert f"generation {generation} serves, its newest code does not: SyntaxError" in system.xcore("status").stdout
        save(system, code(2))
        wait_for_version(system, 2)
        system.wait_until(lambda: system.plugin("shop")["error"] is None, "the error is gone")
        assert not system.plugin("shop")["outdated"]
        save(system, "raise RuntimeError('no database')\n")
        system.wait_until(lambda: system.plugin("shop")["error"], "the error is shown")
        assert "no database" in system.plugin("shop")["error"]["message"]
        save(system, code(2))
        system.wait_until(lambda: system.plugin("shop")["error"] is None, "the error is gone")
    assert failures == []
    assert version(system) == 2


KILLED = ["supervisor", "gateway", "template", "old worker", "new worker"]

WAITING = """
import time
from pathlib import Path

while not Path({go!r}).exists():
    time.sleep(0.01)
"""


def kill_supervisor(system: Project) -> None:
    """Alone; what it ran goes on."""
    system.process.kill()
    system.process.wait()
    system.process = None


def come_back(system: Project) -> None:
    before = system.log.count(" Tasks: ")
    system.start()
    system.wait_until(lambda: system.log.count(" Tasks: ") > before, "everything is settled")


def processes(system: Project, kind: str, name: str) -> dict[int, str]:
    """Their generations by pid."""
    found = system.admin.get("/admin/processes", params={"kind": kind}).raise_for_status().json()
    return {one["pid"]: one["generation"] for one in found if one["name"] == name and one["pid"]}


def kill_while_two_generations_run(system: Project, kind: str, text: str, go: Path) -> None:
    """Save code that does not become ready before ``go`` exists, kill one of that kind, then let it go on."""
    old = processes(system, "worker", "shop")
    save(system, text)
    system.wait_until(lambda: len(processes(system, "worker", "shop")) == 4, "the new workers start")
    if kind == "new worker":
        os.kill(min(processes(system, "worker", "shop").keys() - old.keys()), signal.SIGKILL)
    elif kind == "old worker":
        os.kill(min(old), signal.SIGKILL)
    else:
        kill_one(system, kind)
    assert version(system) == 1
    go.touch()
    wait_for_version(system, 2)


@pytest.mark.parametrize("kind", KILLED)
def test_whatever_is_killed_while_new_code_is_imported(system, kind, tmp_path):
    """Nothing of the new generation serves yet: the old one goes on, and the new one takes over when it can."""
    system.expect_log(r"ERROR .* Plugin shop goes on as it was")
    go = tmp_path / "go"
    with load(system) as failures:
        kill_while_two_generations_run(system, kind, WAITING.format(go=str(go)) + code(2), go)
    assert_kept(failures, kind)
    assert_one_generation(system)


def kill_one(system: Project, kind: str) -> None:
    if kind == "supervisor":
        kill_supervisor(system)
        come_back(system)
    else:
        name = {"gateway": "gateway", "template": "_plugins"}.get(kind, "shop")
        system.wait_until(lambda: is_killed(processes(system, kind, name)), f"a {kind} is killed")
        if kind == "gateway":  # its connections are gone with it
            system.forget_clients()


def is_killed(pids: Iterable[int]) -> bool:
    """Whether one of them was still there to be killed: a template may be renewed at any moment."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
    return False


def assert_kept(failures: list[object], kind: str) -> None:
    """Only what was in flight in a gateway is lost, with that gateway."""
    assert [failure for failure in failures if kind != "gateway" or not isinstance(failure, httpx.HTTPError)] == []


def assert_one_generation(system: Project) -> None:
    system.wait_until(lambda: system.plugin("shop")["state"] == "running", "all of it runs")
    wanted = system.plugin("shop")["generation"]
    system.wait_until(lambda: set(processes(system, "worker", "shop").values()) == {wanted}, "one generation runs")
    assert len(processes(system, "worker", "shop")) == 2


SLOW = """
from contextlib import asynccontextmanager
import asyncio
from pathlib import Path


@asynccontextmanager
async def lifespan(app):
    while not Path({go!r}).exists():
        await asyncio.sleep(0.01)
    yield
"""


@pytest.mark.parametrize("kind", KILLED)
def test_whatever_is_killed_while_new_workers_start_up(system, kind, tmp_path):
    """They run beside the old ones, and nobody sends them anything; of a mixture nothing is ever left."""
    system.expect_log(r"ERROR .* Plugin shop goes on as it was")
    go = tmp_path / "go"
    text = SLOW.format(go=str(go)) + code(2).replace("FastAPI()", "FastAPI(lifespan=lifespan)")
    with load(system) as failures:
        kill_while_two_generations_run(system, kind, text, go)
    assert_kept(failures, kind)
    assert_one_generation(system)


@pytest.mark.parametrize("kind", ["supervisor", "gateway", "template", "worker"])
def test_whatever_is_killed_while_old_workers_drain(system, kind):
    """The switch is done: the new generation stays, the old one leaves."""
    with load(system) as failures, system.client() as client, client.stream("GET", "/shop/stream") as stream:
        assert stream.status_code == 200
        save(system, code(2))
        wait_for_version(system, 2)
        if kind == "worker":
            new = system.plugin("shop")["generation"]
            os.kill(
                next(pid for pid, generation in processes(system, "worker", "shop").items() if generation == new),
                signal.SIGKILL,
            )
        else:
            kill_one(system, kind)
        assert version(system) == 2
    assert_kept(failures, kind)
    assert_one_generation(system)
