"""Background tasks from the outside: found, run each in a process of its own, changed, stopped, and what goes wrong."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.project import Project, is_alive

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

WAITS = """
import os
from pathlib import Path

def service_main(service):
    Path("{name}.pid").write_text(str(os.getpid()))
    try:
        while service.running:
            service.wait(60)
    finally:
        Path("{name}.end").write_text(str(service.running))
"""


def waits(name: str) -> str:
    return WAITS.format(name=name)


@pytest.fixture(scope="module")
def system(shared_project: Project) -> Iterator[Project]:
    shared_project.configure(manager={"tasks": {"interval": 0.2}})
    shared_project.add_task("steady", waits("steady"), title="Steady hand", colour="blue")
    return shared_project.up()


def names(system: Project) -> set[str]:
    return {task["name"] for task in system.admin.get("/tasks/list").json()["tasks"]}


def test_a_task_runs_in_a_process_of_its_own_and_is_described(system):
    """Found by its file, known by what its metadata says, measured as the process it is."""
    task = system.wait_for_task("steady", "running")
    assert task["pid"] == int(system.wait_for_text(system.folder / "steady.pid"))
    assert task["pid"] not in {system.process.pid, None}

    meta = system.admin.get("/tasks/meta", params={"name": "steady"}).json()
    assert (meta["title"], meta["colour"], meta["moduleDir"]) == ("Steady hand", "blue", "core")
    resources = system.wait_until(
        lambda: (found := system.admin.get("/tasks/resources").json())["steady"]["memory_mb"] and found, "it is sampled"
    )
    assert resources["steady"]["pid"] == task["pid"]
    assert {"tid", "cpu_time", "duration", "memory_mb", "retrying", "cpu_percent"} <= set(resources["steady"])
    (summary,) = (row for row in system.admin.get("/tasks/summary").json()["summary"] if row["name"] == "steady")
    assert summary["status"] == "running"
    assert summary["uptime"] > 0
    processes = system.admin.get("/admin/processes", params={"kind": "task"}).json()
    assert [row["id"] for row in processes if row["name"] == "steady"] == ["steady"]


def test_threads_of_every_process_are_listed(system):
    """Supervisor, gateway and task each tell their own."""
    threads = system.admin.get("/tasks/threads").json()
    assert {"supervisor", "gateway.1", "steady"} <= {thread["process"] for thread in threads}
    metrics = system.admin.get("/tasks/metrics").json()
    assert metrics["active_threads"] >= 3
    assert metrics["active_processes"] >= 3


def test_a_stopped_task_ends_in_order_and_stays_stopped_until_started(system):
    """``service.running`` turns false, ``finally`` runs, and a new supervisor knows that it is not wanted."""
    system.add_task("pausing", waits("pausing"))
    system.wait_for_task("pausing", "running")
    pid = int(system.wait_for_text(system.folder / "pausing.pid"))

    answer = system.admin.post("/tasks/stop", params={"name": "pausing"})

    assert answer.json() == {"name": "pausing", "status": "stopped"}
    assert not is_alive(pid)
    assert (system.folder / "pausing.end").read_text() == "False"
    assert system.exit_of("pausing", pid)["cause"] in {"operator", "disabled"}
    system.stop()
    system.up()
    assert system.task("pausing")["pid"] is None
    assert {"name": "pausing", "status": "stopped"} in system.admin.get("/tasks/list").json()["tasks"]

    answer = system.admin.post("/tasks/start", params={"name": "pausing"})

    assert answer.json() == {"name": "pausing", "status": "pending"}
    assert system.wait_for_task("pausing", "running")["pid"] != pid


def test_a_restart_replaces_the_process(system):
    """The answer comes when the new one runs."""
    before = system.wait_for_task("steady", "running")["pid"]

    answer = system.admin.post("/tasks/restart", params={"name": "steady"}).json()

    assert answer == {"name": "steady", "status": "running", "success": True}
    assert system.task("steady")["pid"] != before
    assert not is_alive(before)


@pytest.mark.parametrize("route", ["start", "stop", "restart"])
def test_orders_for_an_unknown_task_are_404(system, route):
    answer = system.admin.post(f"/tasks/{route}", params={"name": "nobody"})
    assert answer.status_code == 404
    assert "nobody" in answer.json()["message"]


def test_a_killed_task_is_started_again(system):
    before = system.wait_for_task("steady", "running")["pid"]

    os.kill(before, signal.SIGKILL)

    system.wait_until(lambda: system.task("steady")["pid"] not in {before, None}, "another process runs")
    record = system.wait_until(lambda: [e for e in system.exits("steady") if e["pid"] == before], "it is recorded")[0]
    assert (record["cause"], record["signal"], record["kind"]) == ("signal", 9, "task")


def test_a_clean_return_is_finished_and_no_crash(system):
    """It did what it was there for: nobody starts it again."""
    system.add_task("brief", "def service_main(service):\n    print('done')\n")

    task = system.wait_for_task("brief", "exited")

    assert task["last_exit"]["cause"] == "finished"
    assert task["restarts"] == 0
    assert any("done" in line for line in task["last_exit"]["log_tail"])
    assert {"name": "brief", "status": "stopped"} in system.admin.get("/tasks/list").json()["tasks"]


def test_a_task_that_raises_is_retried_and_then_failed(system):
    """max_retries restarts, each death recorded with the traceback in its last lines."""
    system.add_task("raises", "def service_main(service):\n    raise ValueError('no luck')\n")

    task = system.wait_for_task("raises", "failed")

    assert task["retrying"] == 4  # the first start and three retries
    assert "given up after 4 crashes" in task["error"]["message"]
    assert "ValueError: no luck" in task["error"]["message"]
    system.exit_of("raises", task["last_exit"]["pid"])
    exits = system.exits("raises")
    assert {record["cause"] for record in exits} == {"crash"}
    assert len(exits) == 4
    assert any("ValueError: no luck" in line for line in exits[0]["log_tail"])


def test_the_command_line_ends_with_1_where_a_task_does_not_get_running(system):
    """As scripts need it, with the reason: one that crashes at once, and a file that cannot be run."""
    system.add_task("hasty", "def service_main(service):\n    raise ValueError('no luck')\n")
    system.wait_for_task("hasty", "failed")
    for order in ("start", "restart"):
        ended = system.xcore("task", order, "hasty")
        assert ended.returncode == 1
        assert "task 'hasty' does not run: " in ended.stderr
        assert "ValueError: no luck" in ended.stderr
    path = system.add_task("hasty", waits("hasty"))
    assert system.xcore("task", "restart", "hasty").returncode == 0
    path.write_text("import nothing_like_this\n")
    ended = system.xcore("task", "restart", "hasty")
    assert ended.returncode == 1
    assert "task 'hasty' is running, but not as its file says: " in ended.stderr
    assert "nothing_like_this" in ended.stderr
    system.expect_log("hasty")


def test_auto_restart_can_be_turned_off_while_running(system):
    """POST /tasks/config/autorestart acts on what runs, and is written to config.json."""
    system.add_task("fragile", waits("fragile"))
    task = system.wait_for_task("fragile", "running")

    answer = system.admin.post("/tasks/config/autorestart", params={"value": "false"})
    assert answer.json()["success"] is True
    os.kill(task["pid"], signal.SIGKILL)

    system.wait_for_task("fragile", "failed")
    assert json.loads((system.folder / "config.json").read_text())["manager"]["tasks"]["auto_restart"] is False
    assert system.admin.get("/tasks/config").json()["tasks"]["auto_restart"] is False
    assert system.task("steady")["state"] == "running"

    system.admin.post("/tasks/config/autorestart", params={"value": "true"}).raise_for_status()
    system.admin.post("/tasks/restart", params={"name": "fragile"}).raise_for_status()
    os.kill(system.wait_for_task("fragile", "running")["pid"], signal.SIGKILL)
    system.wait_until(lambda: system.task("fragile")["restarts"] > 0, "it is started again")


def test_a_changed_file_is_taken_over_and_a_broken_one_is_not(system):
    """A broken save leaves what runs alone and shows why; the next good one replaces it."""
    system.add_task("edited", waits("edited"), version="1")
    before = system.wait_for_task("edited", "running")

    system.add_task("edited", "import nothing_like_this\n" + waits("edited"), version="2")
    broken = system.wait_until(lambda: (t := system.task("edited"))["error"] and t, "the error is shown")
    assert (broken["pid"], broken["version"]) == (before["pid"], "1")
    assert "nothing_like_this" in broken["error"]["message"]

    system.add_task("edited", waits("edited"), version="3")
    system.wait_until(lambda: system.task("edited")["version"] == "3", "the new version is known")
    after = system.wait_until(lambda: (t := system.task("edited"))["pid"] not in {before["pid"], None} and t, "it runs")
    assert after["error"] is None
    assert system.exit_of("edited", before["pid"])["cause"] == "reload"
    assert {e["cause"] for e in system.exits("edited")} == {"reload"}
    system.expect_log("edited")


def test_a_removed_file_retires_the_task(system):
    path = system.add_task("passing", waits("passing"))
    pid = system.wait_for_task("passing", "running")["pid"]

    path.unlink()

    system.wait_until(lambda: "passing" not in names(system), "it is gone from the list")
    system.wait_until(lambda: not is_alive(pid), "its process has ended")


def test_a_link_counts_and_its_target_is_watched(system, tmp_path):
    """backgroundtask/linked.py may lie anywhere."""
    real = system.add_task("real_name", waits("linked")).rename(tmp_path / "elsewhere.py")
    system.expect_log("real_name")  # a look may come before the second renaming
    (system.tasks / "linked.py").symlink_to(real)
    pid = system.wait_for_task("linked", "running")["pid"]

    with real.open("a") as file:
        file.write("\n# another line\n")

    system.wait_until(lambda: system.task("linked")["pid"] not in {pid, None}, "the change is noticed")


def test_an_async_service_runs_and_stops(system):
    system.add_task(
        "turning",
        """
        import asyncio
        from pathlib import Path

        async def service_main(service):
            while service.running:
                await service.wait_async(60)
            Path("turning.end").write_text("in order")
        """,
    )
    pid = system.wait_for_task("turning", "running")["pid"]

    system.admin.post("/tasks/stop", params={"name": "turning"}).raise_for_status()

    assert not is_alive(pid)
    assert (system.folder / "turning.end").read_text() == "in order"


def test_missing_metadata_is_an_error_that_says_which(system):
    """Nothing is silent: state, message and what to write."""
    draft = system.tasks / ".nameless.tmp"
    draft.write_text("metadata = {'type': 'service'}\ndef service_main(service): ...\n")
    draft.rename(system.tasks / "nameless.py")

    task = system.wait_for_task("nameless", "failed")

    for key in ("moduleDir", "description", "version", "author"):
        assert key in task["error"]["message"]
    system.expect_log("nameless")


def test_a_service_that_does_not_listen_is_killed_when_its_time_is_over(project):
    """Sleeps through running = false; SIGTERM interrupts the sleep; who swallows that too is killed."""
    project.configure(tasks={"deaf": {"stop_timeout": 1}, "sleepy": {"stop_timeout": 2}})
    project.add_task(
        "deaf",
        """
        import time
        from pathlib import Path

        def service_main(service):
            while True:
                try:
                    Path("deaf.begun").touch()
                    while True:
                        time.sleep(1000)
                except BaseException:
                    print("not now")
        """,
    )
    project.add_task(
        "sleepy",
        """
        import time
        from pathlib import Path

        def service_main(service):
            try:
                Path("sleepy.begun").touch()
                time.sleep(1000)
            finally:
                Path("sleepy.end").write_text("woken")
        """,
    )
    project.up()

    signals = {}
    for name in ("deaf", "sleepy"):
        pid = project.wait_for_task(name, "running")["pid"]
        project.wait_until((project.folder / f"{name}.begun").exists, f"{name} has begun")
        project.admin.post("/tasks/stop", params={"name": name}).raise_for_status()
        signals[name] = project.exit_of(name, pid)["signal"]

    assert signals == {"deaf": 9, "sleepy": None}
    assert (project.folder / "sleepy.end").read_text() == "woken"


def test_a_hanging_task_is_replaced(project):
    """Row 51: the loop of an async service stands still; a sync one is stopped as a whole (SIGSTOP)."""
    project.configure(supervisor={"heartbeat": {"stalled": 1, "hung": 2, "hang_cpu_limit": 4}})
    project.add_task(
        "blocked",
        """
        import time
        from pathlib import Path

        async def service_main(service):
            if Path("blocked.once").exists():
                await service.wait_async(1000)
                return
            Path("blocked.once").touch()
            time.sleep(1000)
        """,
    )
    project.add_task("stopped", waits("stopped"))
    project.up()
    frozen = project.wait_for_task("stopped", "running")["pid"]
    os.kill(frozen, signal.SIGSTOP)

    for name in ("blocked", "stopped"):
        record = project.wait_until(lambda name=name: project.exits(name), f"{name} is given up")[0]
        assert record["cause"] == "hang"
        project.wait_for_task(name, "running")
    (blocked,) = project.exits("blocked")
    assert "service_main" in (blocked["stacks"] or "")


def test_a_plugins_task_runs_in_the_plugins_environment(project):
    """moduleDir plugins/<name>: its interpreter, its packages, its package ``plugins.<name>``."""
    project.add_example("board")
    project.add_task(
        "digest",
        """
        import json, sys
        from pathlib import Path

        import plugins.board

        def service_main(service):
            Path("digest.json").write_text(json.dumps([sys.prefix, plugins.board.__path__[0]]))
            service.wait(1000)
        """,
        moduleDir="plugins/board",
    )
    project.up()
    project.wait_for_task("digest", "running")

    prefix, package = json.loads(project.wait_for_text(project.folder / "digest.json"))
    assert package == str(project.plugins / "board")
    python = Path(f"/proc/{project.pid('board')}/cmdline").read_text().split("\0")[0]
    assert Path(python).parent.parent.samefile(prefix)


def test_a_task_of_a_plugin_that_is_not_there_says_so(project):
    project.add_task("orphan", waits("orphan"), moduleDir="plugins/nowhere")
    project.expect_log("orphan")
    project.up()

    task = project.wait_for_task("orphan", "failed")

    assert "nowhere" in task["error"]["message"]


def test_what_a_task_prints_is_kept(system):
    system.add_task("talks", "def service_main(service):\n    print('hello from talks')\n    service.wait(1000)\n")
    system.wait_for_task("talks", "running")

    def lines():
        return system.admin.get("/admin/tasks/talks/logs").json()

    system.wait_until(lambda: any("hello from talks" in line for line in lines()), "its line is in the log")
    done = system.xcore("task", "logs", "talks")
    assert "hello from talks" in done.stdout
