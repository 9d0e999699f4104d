"""A supervisor that dies, or is replaced, while everything goes on: the next one takes it over."""

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest

from tests.integration.project import Project, is_alive

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

SERVING = ("gateway", "worker", "task", "job")

TASK = """
import time
from pathlib import Path


def lasting():
    while not Path("go").exists():
        time.sleep(0.01)
    print("the run has seen it")


def inside():
    lasting()


def service_main(service):
    number = 0
    while not service.wait(0.01):
        number += 1
        print(f"line {number}", flush=True)
"""
CON = """[
    {"func": lasting, "name": "lasting", "days": 1, "timeout": 60, "overlap": "queue"},
    {"func": inside, "name": "inside", "days": 1, "shared": True},
]"""


@pytest.fixture
def system(project: Project) -> Project:
    """Two gateways, two plugins, and a task that never rests."""
    project.configure(gateway={"processes": 2})
    project.add_app("hello", "workbench", instances=2)
    project.add_app("other", "workbench")
    project.add_task("counting", TASK, con=CON)
    project.up()
    everything = {"gateway.1", "gateway.2", "hello.1", "hello.2", "other.1", "counting"}
    project.wait_until(lambda: pids(project, *SERVING).keys() == everything, "all of it serves, not only one gateway")
    return project


def pids(system: Project, *kinds: str) -> dict[str, int]:
    """By id, of what runs."""
    processes = system.admin.get("/admin/processes").raise_for_status().json()
    return {found["id"]: found["pid"] for found in processes if found["kind"] in kinds and found["state"] == "running"}


@contextmanager
def load(system: Project, path: str) -> Iterator[list[int]]:
    """Requests in several threads, one after the other in each; their statuses are there at the end."""
    stop, statuses = Event(), []

    def work() -> None:
        while not stop.is_set():
            statuses.append(client.get(path).status_code)

    with system.client() as client, ThreadPoolExecutor(4) as pool:
        works = [pool.submit(work) for _ in range(4)]
        try:
            yield statuses
        finally:
            stop.set()
        for done in works:
            done.result()


def kill_supervisor(system: Project) -> None:
    """Alone; what it ran goes on."""
    system.process.kill()
    system.process.wait()
    system.process = None


def come_back(system: Project) -> None:
    """Start the next supervisor; return when everything that is wanted has its process."""
    before = system.log.count(" Tasks: ")
    system.start()
    system.wait_until(lambda: system.log.count(" Tasks: ") > before, "everything is settled")


def replace_supervisor(system: Project) -> None:
    kill_supervisor(system)
    come_back(system)


def numbers(system: Project) -> list[int]:
    """The lines of the service that are in its log, in order."""
    return [int(number) for number in re.findall(r" counting out line (\d+)", system.plugin_log("counting"))]


def test_everything_goes_on_under_the_next_supervisor(system):
    """Row 23: the same processes, and not one failed request."""
    before = pids(system, *SERVING)
    with load(system, "/hello/pid") as statuses:
        replace_supervisor(system)
    assert set(statuses) == {200}
    system.wait_until(lambda: pids(system, *SERVING) == before, f"the same processes serve: {before}")
    assert system.health()["status"] == "ok"
    assert system.http.get("/openapi.json").json()["paths"]


def test_its_log_has_no_gap(system):
    """What is printed while nobody reads waits in the FIFO."""
    system.wait_until(lambda: len(numbers(system)) > 10, "the service prints")
    replace_supervisor(system)
    seen = len(numbers(system))
    system.wait_until(lambda: len(numbers(system)) > seen + 10, "it goes on printing")
    found = numbers(system)
    # One line may have been read and not yet written at the moment of the kill; a kill -9 asks nobody.
    missing = set(range(1, found[-1])) - set(found)
    assert len(missing) <= 25
    assert found == sorted(set(found))


def test_a_worker_that_was_taken_over_is_supervised_like_any_other(system):
    """Its death is recorded with its signal, and another one follows at once, forked from a template."""
    replace_supervisor(system)
    pid = system.pid("other")
    os.kill(pid, signal.SIGKILL)
    assert system.http.get("/other/pid").raise_for_status().json() != pid
    record = system.wait_until(lambda: next((e for e in system.exits("other") if e["pid"] == pid), None), "its record")
    assert (record["cause"], record["signal"]) == ("signal", signal.SIGKILL)


def test_the_exit_code_of_one_that_was_taken_over_is_known(system):
    """From the kernel: the supervisor is not its parent."""
    replace_supervisor(system)
    pid = system.pid("other")
    system.http.get("/other/leave", params={"code": 3})
    record = system.wait_until(lambda: next((e for e in system.exits("other") if e["pid"] == pid), None), "its record")
    assert (record["cause"], record["exit_code"]) == ("crash", 3)


def test_one_that_died_meanwhile_is_recorded_and_replaced(system):
    """Nobody saw it: cause unknown. Its callers notice nothing."""
    pid = system.pid("other")
    kill_supervisor(system)
    os.kill(pid, signal.SIGKILL)
    come_back(system)
    assert system.http.get("/other/pid").raise_for_status().json() != pid
    record = system.wait_until(lambda: next((e for e in system.exits("other") if e["pid"] == pid), None), "its record")
    assert (record["cause"], record["message"]) == ("unknown", "it ended while there was no supervisor")


def test_what_is_not_wanted_any_more_is_ended(system):
    """Code that changed, a plugin that is gone: the new supervisor runs what is there now, and nothing else."""
    system.expect_log("Plugin other goes on as it was")
    changed, gone, unchanged = pids(system, "worker")["hello.1"], system.pid("other"), pids(system, "task")
    kill_supervisor(system)
    with (system.plugins / "hello" / "main.py").open("a") as code:
        code.write("\n# changed\n")
    (system.plugins / "other").rename(system.folder / "elsewhere")
    come_back(system)
    system.wait_until(lambda: not is_alive(changed) and not is_alive(gone), "both have ended")
    assert system.http.get("/hello/pid").raise_for_status().json() != changed
    assert pids(system, "task") == unchanged
    record = system.wait_until(
        lambda: next((e for e in system.exits("hello") if e["pid"] == changed), None), "a record"
    )
    assert (record["cause"], record["exit_code"]) == ("reload", 0)


def test_two_versions_of_what_must_be_alone_never_run_side_by_side(project):
    """A service, a worker of an exclusive plugin: the old one ends before the new one begins."""
    project.add_app("solo", "workbench", exclusive=True)
    project.add_task("counting", TASK, con=CON)
    project.up()
    before = pids(project, "worker", "task")
    kill_supervisor(project)
    with (project.plugins / "solo" / "main.py").open("a") as code:
        code.write("\n# changed\n")
    project.add_task("counting", TASK + "\n# changed\n", con=CON)
    come_back(project)

    def replaced() -> dict[str, int] | None:
        now = pids(project, "worker", "task")
        return now if now.keys() == before.keys() and not set(now.values()) & set(before.values()) else None

    after = project.wait_until(replaced, "both are another version")
    for name, pid in before.items():
        assert project.log.index(f"{name} (pid {pid}) ended") < project.log.index(
            f"{name} (pid {after[name]}): started"
        )


def test_a_supervisor_that_cannot_start_leaves_what_it_found_to_its_guard(project):
    """Nobody else could end one that is stopped: it lives on for as long as another supervisor may come, no longer."""
    project.configure(supervisor={"adopt_grace": 3})
    project.add_app("other", "workbench")
    project.up()
    pid = project.pid("other")
    os.kill(pid, signal.SIGSTOP)
    kill_supervisor(project)
    with socket.create_server(("127.0.0.1", 0)) as held:
        project.configure(supervisor={"adopt_grace": 3}, gateway={"port": held.getsockname()[1]})
        failed = project.xcore("up")
    assert failed.returncode == 1
    assert "cannot listen on" in failed.stderr
    project.wait_until(lambda: not project.processes(), "its guard has ended everything")
    project.configure()


def test_a_template_that_does_not_end_keeps_no_plugin_from_starting(system):
    """It is of no use to the next supervisor, which starts another one; stopped it does not even get the SIGTERM."""
    pid = system.wait_until(
        lambda: pids(system, "template").get(system.plugin("other")["template"]), "there is a template"
    )
    worker = system.pid("other")
    os.kill(pid, signal.SIGSTOP)
    kill_supervisor(system)
    try:
        os.kill(worker, signal.SIGKILL)
        come_back(system)
        assert system.http.get("/other/pid").raise_for_status().json() != worker
    finally:
        os.kill(pid, signal.SIGCONT)
    system.wait_until(lambda: not is_alive(pid), "it ends")


def test_a_run_goes_on_and_ends_well(system):
    """In the middle of a run of a process of its own: same row, same start, and its outcome."""
    run = system.run_job("counting.lasting")
    started = system.wait_until(lambda: system.runs("counting.lasting")[0]["started"], "it has begun")
    pid = system.wait_until(lambda: pids(system, "job"), "its process runs")
    replace_supervisor(system)
    system.wait_until(lambda: pids(system, "job") == pid, "it says again that it runs")
    assert system.runs("counting.lasting")[0]["outcome"] is None
    (system.folder / "go").touch()
    ended = system.finished(run)
    assert (ended["outcome"], ended["started"], ended["actor"]) == ("succeeded", started, run["actor"])
    assert ended["log_tail"][-1] == "the run has seen it"
    assert len(system.runs("counting.lasting")) == 1


def test_a_run_that_ends_while_there_is_no_supervisor_tells_the_next_one(system):
    """It waits with its last word, for as long as somebody may come."""
    run = system.run_job("counting.lasting")
    system.wait_until(lambda: pids(system, "job"), "its process runs")
    kill_supervisor(system)
    (system.folder / "go").touch()
    come_back(system)
    assert system.finished(run)["outcome"] == "succeeded"


def test_a_run_inside_its_service_goes_on(system):
    """Not begun a second time, and its end is on record."""
    run = system.run_job("counting.inside")
    system.wait_until(lambda: system.runs("counting.inside")[0]["started"], "it has begun")
    replace_supervisor(system)
    (system.folder / "go").touch()
    assert system.finished(run)["outcome"] == "succeeded"
    said = system.wait_until(lambda: re.findall("the run has seen it", system.plugin_log("counting")), "it is logged")
    assert len(said) == 1


def test_what_a_worker_leaves_behind_that_was_taken_over_is_ended(system):
    """Row 13: it is no child of the supervisor, and what it leaves does not come to it as an orphan."""
    replace_supervisor(system)
    pid = system.pid("other")
    left = system.http.get("/other/grandchildren").json()
    os.kill(pid, signal.SIGKILL)
    system.wait_until(lambda: not any(map(is_alive, left)), "what it left is gone", within=5.0)
    assert system.http.get("/other/pid").is_success


def test_a_record_of_another_process_is_no_reason_to_touch_it(system):
    """Row 23: a pid that was given away, here to a process that is none of ours."""
    kill_supervisor(system)
    path = next(path for path in (system.state / "run").glob("*.process") if '"other.1"' in path.read_text())
    record = json.loads(path.read_text())
    Path(path).write_text(json.dumps({**record, "pid": os.getpid()}))
    come_back(system)
    assert system.http.get("/other/pid").raise_for_status().json() not in {os.getpid(), record["pid"]}
    system.wait_until(lambda: not is_alive(record["pid"]), "who is on no record is refused, and ends")


def test_one_that_is_stopped_with_sigstop_is_taken_over_like_the_rest(system):
    """It says nothing until it may go on; nobody waits for it."""
    pid = system.pid("other")
    os.kill(pid, signal.SIGSTOP)
    kill_supervisor(system)
    system.start()
    try:
        system.wait_until(
            lambda: "gateway.2 (pid" in system.log.partition("taking over")[2], "the gateways are taken over"
        )
        assert system.http.get("/hello/pid").is_success
    finally:
        os.kill(pid, signal.SIGCONT)
    system.wait_for_state("other", "running")
    assert system.pid("other") == pid


def test_an_upgrade_replaces_the_supervisor_and_nothing_else(system):
    """Same pid of its own, same processes, not one failed request, and a run that goes on."""
    run = system.run_job("counting.lasting")
    system.wait_until(lambda: pids(system, "job"), "its process runs")
    before = pids(system, "supervisor", *SERVING)
    with load(system, "/hello/pid") as statuses:
        done = system.xcore("upgrade", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pid"] == before["supervisor"]
    assert set(statuses) == {200}
    ours = ("supervisor", *SERVING)
    system.wait_until(lambda: pids(system, *ours) == before, f"the same processes serve: {before}")
    (system.folder / "go").touch()
    assert system.finished(run)["outcome"] == "succeeded"


def test_a_run_that_waits_for_its_turn_at_an_upgrade_begins_after_it(system):
    """The same run, as soon as the one before has ended."""
    first = system.run_job("counting.lasting")
    system.wait_until(lambda: pids(system, "job"), "its process runs")
    second = system.run_job("counting.lasting")
    assert system.xcore("upgrade").returncode == 0
    waiting = system.runs("counting.lasting")[0]
    assert (waiting["id"], waiting["started"], waiting["outcome"]) == (second["id"], None, None)
    (system.folder / "go").touch()
    ended = [system.finished(run) for run in (first, second)]
    assert [run["outcome"] for run in ended] == ["succeeded", "succeeded"]
    assert ended[1]["started"] >= ended[0]["finished"]
    assert len(system.runs("counting.lasting")) == 2


def test_what_an_upgraded_supervisor_runs_is_still_its_own(system):
    """It stays their parent: exit codes as before."""
    assert system.xcore("upgrade").returncode == 0
    pid = system.pid("other")
    system.http.get("/other/leave", params={"code": 3})
    record = system.wait_until(lambda: next((e for e in system.exits("other") if e["pid"] == pid), None), "its record")
    assert (record["cause"], record["exit_code"]) == ("crash", 3)


def test_an_upgrade_to_what_does_not_start_is_refused(system):
    """There is no way back, so it is tried before."""
    before = pids(system, "supervisor", *SERVING)
    (system.folder / "config.json").write_text("{")
    done = system.xcore("upgrade", "--config", "config.json")
    system.configure(gateway={"processes": 2})
    assert done.returncode == 1
    assert "cannot upgrade: what is installed does not start" in done.stderr
    assert pids(system, "supervisor", *SERVING) == before
