"""Scheduled jobs from the outside: each run a process, each on record, schedules that survive."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.integration.project import Project, is_alive

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

WORK = """
import asyncio
import os
import sys
import time
from pathlib import Path

STARTED = os.getpid()


def note(name):
    with Path(f"{name}.pids").open("a") as file:
        file.write(f"{os.getpid()}\\n")


def quick():
    note("quick")
    print("quick was here")


async def gentle():
    await asyncio.sleep(0)
    note("gentle")


def broken():
    print("about to fail")
    raise ValueError("no such report")


def leaves():
    sys.exit(3)


def dies():
    note("dies")
    time.sleep(1000)


def long():
    note("long")
    try:
        time.sleep(1000)
    finally:
        Path("long.end").write_text("interrupted")


def deaf():
    note("deaf")
    while True:
        try:
            time.sleep(1000)
        except BaseException:
            pass


def inside():
    Path("inside.pid").write_text(str(os.getpid()))


def service_main(service):
    service.wait(100000)
"""

CON = """[
    {"func": quick, "name": "often", "seconds": 0.3},
    {"func": quick, "name": "quick", "days": 1},
    {"func": gentle, "name": "gentle", "days": 1},
    {"func": broken, "name": "broken", "days": 1},
    {"func": leaves, "name": "leaves", "days": 1},
    {"func": dies, "name": "dies", "days": 1},
    {"func": long, "name": "slow", "days": 1, "timeout": 3},
    {"func": deaf, "name": "deaf", "days": 1, "timeout": 1},
    {"func": dies, "name": "skips", "days": 1},
    {"func": dies, "name": "queues", "days": 1, "overlap": "queue"},
    {"func": dies, "name": "replaces", "days": 1, "overlap": "kill_old"},
    {"func": inside, "name": "inside", "days": 1, "shared": True},
    {"func": quick, "name": "asleep", "days": 1, "activate": False},
    {"func": quick, "name": "nightly", "interval": "cron", "cron_params": {"hour": 3, "minute": 30},
     "timezone": "Europe/Berlin"},
]"""


@pytest.fixture(scope="module")
def system(shared_project: Project) -> Iterator[Project]:
    shared_project.configure(tasks={"work": {"stop_timeout": 2}})
    shared_project.add_task("work", WORK, con=CON)
    return shared_project.up()


def test_an_interval_job_runs_again_and_again_each_time_in_another_process(system):
    runs = system.wait_until(lambda: (r := system.runs("work.often", "succeeded")) and len(r) >= 3 and r, "three runs")

    assert len({run["pid"] for run in runs}) == len(runs)
    assert all(run["duration"] > 0 for run in runs)
    assert all(run["actor"] == "scheduler" for run in runs)
    assert all(run["started"] >= run["scheduled"] - 0.05 for run in runs)
    assert runs == sorted(runs, key=lambda run: run["started"], reverse=True)


def test_a_run_by_hand_is_on_record_with_what_it_printed(system):
    run = system.finished(system.run_job("work.quick"))

    assert run["outcome"] == "succeeded"
    assert any("quick was here" in line for line in run["log_tail"])
    assert run["exception"] is run["traceback"] is None
    assert run["peak_memory_mb"] > 1
    assert run["cpu_seconds"] > 0
    assert run["actor"] == "token:admin"
    assert run["scheduled"] is None
    assert system.runs("work.quick")[0]["id"] == run["id"]
    assert system.job("work.quick")["last_run"]["id"] == run["id"]


def test_an_async_job_runs(system):
    assert system.finished(system.run_job("work.gentle"))["outcome"] == "succeeded"


def test_a_failed_run_shows_the_exception_and_where(system):
    run = system.finished(system.run_job("work.broken"))

    assert run["outcome"] == "failed"
    assert run["exception"] == "ValueError: no such report"
    assert "in broken" in run["traceback"]
    assert "plugin_runtime" not in run["traceback"]
    assert any("about to fail" in line for line in run["log_tail"])


def test_a_run_that_leaves_with_a_code_has_failed(system):
    run = system.finished(system.run_job("work.leaves"))
    assert run["outcome"] == "failed"
    assert "3" in run["exception"]


def test_a_run_that_is_killed_from_outside_has_crashed(system):
    run = system.run_job("work.dies")
    system.wait_until((system.folder / "dies.pids").exists, "it works")
    pid = system.admin.get(f"/admin/runs/{run['id']}").json()["pid"]

    os.kill(pid, signal.SIGKILL)

    run = system.finished(run)
    assert run["outcome"] == "crashed"
    record = system.wait_until(lambda: [e for e in system.exits("work") if e["pid"] == pid], "its exit is recorded")[0]
    assert (record["kind"], record["signal"]) == ("job", 9)


@pytest.mark.parametrize(("job", "timeout", "ends"), [("slow", 3, "in order"), ("deaf", 1, "by force")])
def test_a_run_over_its_timeout_is_ended(system, job, timeout, ends):
    """Row 51, overruns: interrupted, so that ``finally`` runs, and killed if that does not end it."""
    run = system.finished(system.run_job(f"work.{job}"))

    assert run["outcome"] == "timed_out"
    assert timeout <= run["duration"] < 10
    assert not is_alive(run["pid"])
    record = system.wait_until(lambda: [e for e in system.exits("work") if e["pid"] == run["pid"]], "it is recorded")[0]
    assert record["cause"] == "job_timeout"
    if ends == "in order":
        assert (system.folder / "long.end").read_text() == "interrupted"


def test_a_run_is_skipped_while_another_has_not_ended(system):
    first = system.run_job("work.skips")
    second = system.run_job("work.skips")

    assert second["outcome"] == "skipped"
    assert "has not ended" in second["message"]
    os.kill(system.wait_until(lambda: pid_of(system, first), "it has a process"), signal.SIGKILL)
    assert system.finished(first)["outcome"] == "crashed"


def test_a_run_waits_for_the_one_before_where_it_is_queued(system):
    """One waits, more are skipped."""
    first, second, third = (system.run_job("work.queues") for _ in range(3))
    assert (second["outcome"], third["outcome"]) == (None, "skipped")
    assert system.job("work.queues")["queued"] == 1

    for run in (first, second):
        os.kill(system.wait_until(lambda run=run: pid_of(system, run), "it has a process"), signal.SIGKILL)
        assert system.finished(run)["outcome"] == "crashed"
    assert system.job("work.queues")["running"] == 0


def test_a_newer_run_takes_the_place_of_the_old_one(system):
    first = system.run_job("work.replaces")
    system.wait_until(lambda: pid_of(system, first), "it has a process")
    second = system.run_job("work.replaces")

    assert system.finished(first)["outcome"] == "killed"
    os.kill(system.wait_until(lambda: pid_of(system, second), "the newer one runs"), signal.SIGKILL)
    assert system.finished(second)["outcome"] == "crashed"


def pid_of(system: Project, run):
    return system.admin.get(f"/admin/runs/{run['id']}").json()["pid"]


def test_a_shared_run_happens_in_the_services_process(system):
    run = system.finished(system.run_job("work.inside"))

    assert run["outcome"] == "succeeded"
    assert int((system.folder / "inside.pid").read_text()) == system.task("work")["pid"]


def test_a_job_that_is_not_activated_is_not_scheduled_but_can_be_run(system):
    assert system.job("work.asleep")["next_run"] is None
    assert "work.asleep" not in {job["id"] for job in system.admin.get("/tasks/cron").json()}
    assert system.finished(system.run_job("work.asleep"))["outcome"] == "succeeded"


def test_cron_jobs_are_listed_with_their_next_run(system):
    jobs = {job["id"]: job for job in system.admin.get("/tasks/cron").json()}

    nightly = jobs["work.nightly"]
    assert nightly["name"] == "nightly"
    assert 0 < nightly["next_run"] - time.time() <= 25 * 3600
    moments = system.admin.get("/admin/jobs/work.nightly/next", params={"count": 400}).json()
    assert {moment["local"][11:16] for moment in moments} == {"03:30"}
    assert len({moment["local"][:10] for moment in moments}) == 400
    assert {moment["local"][-6:] for moment in moments} == {"+01:00", "+02:00"}


def test_a_pause_holds_over_a_restart_of_everything(system):
    answer = system.admin.post("/admin/jobs/work.often/pause").json()
    assert (answer["state"], answer["next_run"]) == ("paused", None)
    system.stop()
    system.up()
    assert system.job("work.often")["state"] == "paused"
    newest = system.runs("work.often")[0]["id"]

    system.admin.post("/admin/jobs/work.often/resume").raise_for_status()

    system.wait_until(lambda: system.runs("work.often")[0]["id"] != newest, "it runs again")


def test_an_unknown_job_is_404(system):
    assert system.admin.get("/admin/jobs/work.nothing").status_code == 404
    assert system.admin.post("/admin/jobs/work.nothing/run").status_code == 404


def test_the_command_line_shows_a_run_live_and_exits_with_its_outcome(system):
    good = system.xcore("job", "run", "work.quick", "--wait")
    bad = system.xcore("job", "run", "work.broken", "--wait")

    assert good.returncode == 0
    assert "quick was here" in good.stdout
    assert bad.returncode == 1
    assert "about to fail" in bad.stdout
    assert "no such report" in bad.stderr


def test_the_next_run_survives_a_restart_and_a_missed_one_is_made_up_for_once_or_recorded(project):
    """No burst: of many runs that a stop swallowed, one is made up for within the grace, else one row says missed."""
    project.add_task(
        "kept",
        """
        from pathlib import Path

        def work():
            pass
        """,
        con="""[
            {"func": work, "name": "later", "hours": 1},
            {"func": work, "name": "patient", "seconds": 1, "misfire_grace_time": 3600},
            {"func": work, "name": "strict", "seconds": 1, "misfire_grace_time": 0.2},
        ]""",
    )
    project.up()
    for job in ("kept.patient", "kept.strict"):
        project.wait_until(lambda job=job: project.runs(job, "succeeded"), f"{job} has run")
    due = project.job("kept.later")["next_run"]
    project.stop()
    stopped = time.time()
    project.wait_until(lambda: time.time() > stopped + 3.5, "several runs are missed")
    project.up()

    assert project.job("kept.later")["next_run"] == pytest.approx(due, abs=0.01)

    def missed() -> list[dict]:
        """Noticed by this supervisor; the one before may have been late, too."""
        runs = project.runs("kept.strict", "missed")
        return [run for run in runs if run["finished"] > stopped and run["scheduled"] < stopped + 1.5]

    assert len(project.wait_until(missed, "the miss is recorded")) == 1
    made_up = project.wait_until(
        lambda: [run for run in project.runs("kept.patient", "succeeded") if run["started"] > stopped + 1], "it runs"
    )
    assert len([run for run in made_up if run["scheduled"] < stopped + 3]) == 1


def test_a_plugins_job_runs_in_the_plugins_environment(project):
    """[[tool.xcore.jobs]] of its manifest."""
    folder = project.plugins / "shop"
    folder.mkdir()
    (folder / "main.py").write_text(
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'lifespan':\n"
        "        raise RuntimeError\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    await send({'type': 'http.response.body', 'body': b'shop'})\n"
    )
    (folder / "jobs.py").write_text(
        "import os\nfrom pathlib import Path\n\n"
        "def cleanup():\n    (Path(os.environ['XCORE_DATA_DIR']) / 'cleaned').write_text(os.getcwd())\n"
    )
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "shop"\nversion = "1.0.0"\nauthors = [{ name = "tests" }]\n'
        '[tool.xcore]\napp = "main:app"\n'
        '[[tool.xcore.jobs]]\nname = "cleanup"\nentry = "jobs:cleanup"\ninterval = { minutes = 10 }\n'
    )
    project.up()

    job = project.wait_until(lambda: project.admin.get("/admin/jobs").json(), "the job is known")[0]
    assert (job["id"], job["kind"], job["owner"]) == ("shop.cleanup", "plugin", "shop")
    run = project.finished(project.run_job("shop.cleanup"))

    assert run["outcome"] == "succeeded", run
    assert (project.data("shop") / "cleaned").read_text() == str(folder)


def test_stopping_everything_ends_runs_in_order_and_on_record(project):
    project.add_task(
        "held",
        """
        import time

        def work():
            time.sleep(1000)
        """,
        con='[{"func": work, "name": "work", "days": 1}]',
    )
    project.up()
    run = project.run_job("held.work")
    project.wait_until(lambda: pid_of(project, run), "it has a process")

    project.stop()
    project.up()

    ended = project.admin.get(f"/admin/runs/{run['id']}").json()
    assert ended["outcome"] == "killed"


def test_a_run_whose_supervisor_was_killed_is_on_record(project):
    project.add_task(
        "cut",
        """
        import time

        def work():
            time.sleep(1000)
        """,
        con='[{"func": work, "name": "work", "days": 1}]',
    )
    project.configure(supervisor={"adopt_grace": 0.5})
    project.up()
    run = project.run_job("cut.work")
    project.wait_until(lambda: pid_of(project, run), "it has a process")

    project.kill()
    project.up()

    ended = project.finished(run)
    assert ended["outcome"] == "crashed"
    assert ended["message"]
