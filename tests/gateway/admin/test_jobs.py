"""/admin/jobs and /admin/runs: what becomes of the supervisor's answers on their way."""

import pytest

from gateway.control import CALL_TIMEOUT
from gateway.errors import OperationFailedError
from tests.fakes.backend import JOB, RUN, TOKENS, FakeSupervisor, ask

WIRE_RUN = {
    "id": "3f2a91c0",
    "job": "sweep.clean",
    "started": 1.0,
    "finished": 3.0,
    "outcome": "succeeded",
    "duration": 2.0,
    "exception": None,
    "traceback": None,
    "log_tail": ["done"],
    "scheduled": None,
    "actor": "scheduler",
    "pid": 44,
    "peak_memory_mb": None,
    "cpu_seconds": None,
    "message": "",
    "from_memory": False,
}


@pytest.fixture
def supervisor():
    return FakeSupervisor()


def test_a_job_is_shown_with_its_last_run(supervisor):
    """As the supervisor sees it, in lists as well."""
    shown = ask(supervisor, "GET", "/admin/jobs/sweep.clean", TOKENS["admin"]).json()
    assert shown["last_run"] == WIRE_RUN
    assert (shown["id"], shown["trigger"], shown["next_run"]) == (JOB.id, JOB.trigger, JOB.next_run)
    assert ask(supervisor, "GET", "/admin/jobs", TOKENS["admin"]).json() == [shown]


def test_a_run_by_hand_is_accepted_and_shown(supervisor):
    """202: it has been asked for, and its id is what to follow it by."""
    response = ask(supervisor, "POST", "/admin/jobs/sweep.clean/run", TOKENS["superadmin"])
    assert (response.status_code, response.json()) == (202, WIRE_RUN)


def test_moments_are_shown_for_programs_and_for_people(supervisor):
    """With the offset that summer time makes of it."""
    response = ask(supervisor, "GET", "/admin/jobs/sweep.clean/next?count=1", TOKENS["admin"])
    assert response.json() == [{"time": 1700000000.0, "local": "2023-11-14T23:13:20+01:00"}]


def test_runs_are_listed_and_shown(supervisor):
    """The same row."""
    assert ask(supervisor, "GET", "/admin/runs", TOKENS["admin"]).json() == [WIRE_RUN]
    assert ask(supervisor, "GET", f"/admin/runs/{RUN.id}", TOKENS["admin"]).json() == WIRE_RUN


def test_following_a_run_waits_longer_than_the_supervisor(supervisor):
    """A long poll: an answer without lines is an answer, not a failure."""
    response = ask(supervisor, "GET", "/admin/runs/3f2a91c0/log?after=4&wait=30", TOKENS["admin"])
    assert response.json() == {"run": WIRE_RUN, "lines": ["done"], "next": 1}
    assert supervisor.calls[0][1:] == (
        {"id": "3f2a91c0", "after": 4, "wait": 30.0},
        "token:the-admin",
        30 + CALL_TIMEOUT,
    )


@pytest.mark.parametrize(
    "job", ["sweep.reload", "reload.run", "my shop.clean", "größe.täglich", "a.b.c-d_e", "..", "x.%"]
)
def test_no_name_of_a_job_hides_a_route_or_is_hidden_by_one(supervisor, job):
    """Tasks and jobs are named by their authors."""
    import urllib.parse

    quoted = urllib.parse.quote(job, safe="").replace(".", "%2E")  # httpx would take dots for steps in a path
    for method, path, operation in [
        ("GET", f"/admin/jobs/{quoted}", "jobs.show"),
        ("GET", f"/admin/jobs/{quoted}/next", "jobs.next"),
        ("POST", f"/admin/jobs/{quoted}/run", "jobs.run"),
        ("POST", f"/admin/jobs/{quoted}/pause", "jobs.pause"),
        ("POST", f"/admin/jobs/{quoted}/resume", "jobs.resume"),
    ]:
        assert ask(supervisor, method, path, TOKENS["superadmin"]).is_success, path
        asked, arguments, *_ = supervisor.calls[-1]
        assert (asked, arguments["id"]) == (operation, job)


def test_reload_reads_modules_and_so_may_take_its_time(supervisor):
    """It is no job, though it stands where their names do."""
    assert ask(supervisor, "POST", "/admin/jobs/reload", TOKENS["superadmin"]).is_success
    ((operation, _, _, timeout),) = supervisor.calls
    assert (operation, timeout) == ("jobs.reload", 600.0)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/admin/jobs/x"),
        ("GET", "/admin/jobs/x/next"),
        ("POST", "/admin/jobs/x/run"),
        ("POST", "/admin/jobs/x/pause"),
        ("POST", "/admin/jobs/x/resume"),
        ("GET", "/admin/runs/x"),
        ("GET", "/admin/runs/x/log"),
    ],
)
def test_an_unknown_job_or_run_is_404(supervisor, method, path):
    """In the supervisor's own words."""
    supervisor.failure = OperationFailedError("UnknownName", "no job named 'x'", {}, 404)
    response = ask(supervisor, method, path, TOKENS["superadmin"])
    assert (response.status_code, response.json()["message"]) == (404, "no job named 'x'")
