"""/tasks/* and /admin/tasks: what becomes of the supervisor's answers on their way."""

import json

import pytest

from gateway.admin import create_admin
from gateway.control import CALL_TIMEOUT
from gateway.errors import OperationFailedError
from tests.fakes.backend import TOKENS, FakeSupervisor, ask, is_error_model

DEAD = {
    "name": "dead",
    "state": "failed",
    "pid": None,
    "uptime": 0.0,
    "cpu_percent": None,
    "cpu_seconds": None,
    "memory_mb": None,
    "retrying": 4,
}
STATES = {
    "pending", "installing", "starting", "running", "degraded", "stalled", "draining", "stopping", "backoff", "idle",
    "exited", "failed", "disabled", "refused",
}  # fmt: skip


@pytest.fixture
def supervisor():
    return FakeSupervisor()


@pytest.fixture
def get(supervisor):
    def get(path):
        return ask(supervisor, "GET", path, TOKENS["admin"]).raise_for_status().json()

    return get


@pytest.fixture
def post(supervisor):
    def post(path, **request):
        return ask(supervisor, "POST", path, TOKENS["superadmin"], **request).raise_for_status().json()

    return post


def task(supervisor, **facts):
    """The same task, otherwise."""
    return {**supervisor.answers["tasks.show"], **facts}


def test_resources_are_those_of_the_processes(supervisor, get):
    """The founding keys, and two of ours; a task without a process has nulls, and fails nobody else."""
    supervisor.answers["tasks.list"] = [task(supervisor), task(supervisor, **DEAD)]
    assert get("/tasks/resources") == {
        "sweep": {
            "tid": 43,
            "pid": 43,
            "cpu_time": 1.5,
            "cpu_percent": 0.5,
            "duration": 9.5,
            "memory_mb": 30.0,
            "retrying": 1,
        },
        "dead": {
            "tid": None,
            "pid": None,
            "cpu_time": None,
            "cpu_percent": None,
            "duration": 0.0,
            "memory_mb": None,
            "retrying": 4,
        },
    }


@pytest.mark.parametrize("state", sorted(STATES))
def test_stopped_is_what_has_ended_or_shall_not_run(supervisor, get, state):
    """All other states keep their names, in the list and in the summary."""
    supervisor.answers["tasks.list"] = [task(supervisor, state=state)]
    status = "stopped" if state in {"exited", "disabled"} else state
    assert get("/tasks/list") == {"tasks": [{"name": "sweep", "status": status}]}
    assert get("/tasks/summary") == {"summary": [{"name": "sweep", "status": status, "uptime": 9.5}]}


@pytest.mark.parametrize(
    ("before", "pid", "after", "status"),
    [
        ("running", 43, "running", "running"),
        ("starting", 43, "starting", "starting"),
        ("disabled", None, "pending", "pending"),
        ("disabled", None, "starting", "pending"),
        ("failed", None, "failed", "pending"),
        ("backoff", None, "backoff", "pending"),
        ("idle", None, "idle", "idle"),
        ("disabled", None, "idle", "idle"),
    ],
)
def test_a_start_is_pending_where_there_was_something_to_start(supervisor, post, before, pid, after, status):
    """Not for a task that has a process already, nor for one that has jobs only."""
    supervisor.answers["tasks.show"] = task(supervisor, state=before, pid=pid)
    supervisor.answers["tasks.start"] = task(supervisor, state=after, pid=pid)
    assert post("/tasks/start?name=sweep") == {"name": "sweep", "status": status}
    assert supervisor.calls[-1][:2] == ("tasks.start", {"name": "sweep", "wait": 0.0})


def test_a_start_that_is_waited_for_says_what_came_of_it(supervisor, post):
    """As a restart does; the supervisor's own 504 comes first."""
    supervisor.answers["tasks.show"] = task(supervisor, state="disabled", pid=None)
    supervisor.answers["tasks.start"] = task(supervisor, state="backoff", pid=None)
    assert post("/tasks/start?name=sweep&wait=5") == {"name": "sweep", "status": "backoff"}
    assert supervisor.calls[-1][1:] == ({"name": "sweep", "wait": 5.0}, "token:the-superadmin", 5.0 + CALL_TIMEOUT)


def test_a_stop_may_take_as_long_as_tasks_take_to_stop(supervisor, post):
    """stop_timeout may be minutes; giving up before would be an error where there is none."""
    supervisor.answers["tasks.stop"] = task(supervisor, state="disabled")
    assert post("/tasks/stop?name=sweep") == {"name": "sweep", "status": "stopped"}
    assert supervisor.calls[0][3] == 600 + CALL_TIMEOUT


@pytest.mark.parametrize(
    ("state", "status", "success"),
    [
        ("running", "running", True),
        ("idle", "idle", True),
        ("exited", "stopped", False),
        ("failed", "failed", False),
        ("starting", "starting", False),
    ],
)
def test_a_restart_has_succeeded_when_the_task_runs(supervisor, post, state, status, success):
    """One that has jobs and no service has nothing to run."""
    supervisor.answers["tasks.restart"] = task(supervisor, state=state)
    assert post("/tasks/restart?name=sweep") == {"name": "sweep", "status": status, "success": success}


def test_a_restart_that_a_broken_file_kept_from_changing_anything_has_not_succeeded(supervisor, post):
    """What runs is what the file said before."""
    supervisor.answers["tasks.restart"] = task(supervisor, error={"phase": "import", "message": "no module"})
    assert post("/tasks/restart?name=sweep") == {"name": "sweep", "status": "running", "success": False}


@pytest.mark.parametrize(("query", "wait"), [("", 600.0), ("&wait=5", 5.0), ("&wait=0", 0.0)])
def test_a_restart_waits_longer_than_the_supervisor(supervisor, post, query, wait):
    """Its own 504 must come before our impatience."""
    post(f"/tasks/restart?name=sweep{query}")
    assert supervisor.calls[0][1:] == ({"name": "sweep", "wait": wait}, "token:the-superadmin", wait + CALL_TIMEOUT)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/tasks/start?name=x"),
        ("POST", "/tasks/stop?name=x"),
        ("POST", "/tasks/restart?name=x"),
        ("GET", "/tasks/meta?name=x"),
        ("GET", "/admin/tasks/x"),
        ("GET", "/admin/tasks/x/logs"),
    ],
)
def test_an_unknown_task_is_404(supervisor, method, path):
    """In the supervisor's own words."""
    supervisor.failure = OperationFailedError("UnknownName", "no task named 'x'", {}, 404)
    response = ask(supervisor, method, path, TOKENS["superadmin"])
    assert (response.status_code, response.json()["message"]) == (404, "no task named 'x'")


def test_records_have_the_founding_keys_and_no_others(get):
    """``status`` is whether it is started at boot."""
    assert get("/tasks/scheduler") == [
        {"id": "u1", "title": "Sweep", "type": "service", "module": "sweep", "moduleDir": "core", "status": True}
    ]


def test_cron_lists_jobs_with_their_next_run(supervisor, get):
    """Null where there is none."""
    (job,) = supervisor.answers["jobs.list"]
    supervisor.answers["jobs.list"] = [job, {**job, "id": "sweep.over", "name": "over", "next_run": None}]
    assert get("/tasks/cron") == [
        {"id": "sweep.clean", "name": "clean", "next_run": 1700000000.5, "trigger": "every 10 minutes"},
        {"id": "sweep.over", "name": "over", "next_run": None, "trigger": "every 10 minutes"},
    ]


def test_metrics_and_threads_are_the_supervisors(get):
    """Threads of every process of ours, so ``process`` is new."""
    assert get("/tasks/metrics") == {
        "cpu_percent": 1.5,
        "memory_percent": 20.0,
        "active_threads": 9,
        "active_processes": 4,
    }
    assert get("/tasks/threads") == [
        {"process": "gateway.1", "id": 7, "name": "MainThread", "alive": True, "daemon": False, "native": 42}
    ]


def test_metadata_is_shown_as_it_is_written(get):
    """Functions by their names."""
    assert get("/tasks/meta?name=sweep") == {"type": "service", "con": [{"func": "clean", "name": "clean"}]}


def test_a_task_is_shown_in_full(get):
    """All that the supervisor knows, in the list as well."""
    shown = get("/admin/tasks/sweep")
    assert get("/admin/tasks") == [shown]
    assert (shown["meta_file"], shown["jobs"], shown["enabled"]) == ({"colour": "blue"}, ["sweep.clean"], True)
    assert get("/admin/tasks/sweep/logs") == ["one", "two"]


# --- configuration ----------------------------------------------------------------------------------------------


def test_the_section_is_shown_and_changed(supervisor, get, post):
    """A change names the key as it was given."""
    assert get("/tasks/config") == {"tasks": {"max_retries": 3}}
    assert post("/tasks/config/update?key=tasks.max_retries", json=5) == {
        "success": True,
        "updated": {"tasks.max_retries": 5},
    }
    assert post("/tasks/config/autorestart?value=0") == {"success": True, "updated": {"tasks.auto_restart": False}}
    assert supervisor.calls[-1][1] == {"value": False}
    assert post("/tasks/reload") == {"changed": ["tasks.max_retries"], "restarted": [], "needs_restart": []}


@pytest.mark.parametrize("value", [None, True, 0, 1.5, "x", [], {}, ["*.x", "*.y"], {"a": {"b": [None]}}, "[" * 100])
def test_a_new_value_may_be_any_json(supervisor, post, value):
    """Null too, which takes a setting back to nothing. Whether it fits, the supervisor says."""
    post("/tasks/config/update?key=log.file", content=json.dumps(value))
    assert supervisor.calls[0][1] == {"key": "log.file", "value": value}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"secret",
        b"{'secret': 1}",
        b"[1,",
        b"NaN",
        b"-Infinity",
        b"\xff",
        b'"\\ud800"',
        b"9" * 30,
        b"9" * 5000,
        b"[" * 600 + b"]" * 600,
        b"[" * 100_000,
    ],
    ids=lambda body: body[:12].decode(errors="replace"),
)
def test_a_body_that_is_no_json_value_is_422_and_not_repeated(supervisor, body):
    """Nor is one that could not be sent on: it would cost the gateway its connection."""
    response = ask(supervisor, "POST", "/tasks/config/update?key=log.file", TOKENS["superadmin"], content=body)
    assert response.status_code == 422
    assert is_error_model(response)
    assert response.json()["type"] == "Validation"
    assert response.json()["extension"]["problems"][0]["place"] == ["body"]
    assert "secret" not in response.text
    assert supervisor.calls == []


@pytest.mark.parametrize(("kind", "status"), [("Configuration", 422), ("Conflict", 409), ("UnwritableFile", 507)])
def test_what_the_supervisor_says_of_a_change_is_passed_on(supervisor, kind, status):
    """The value does not fit; a variable overrides the key; the disk is full."""
    supervisor.failure = OperationFailedError(kind, "tasks.max_retries: no", {"hint": "x"}, status)
    response = ask(supervisor, "POST", "/tasks/config/update?key=tasks.max_retries", TOKENS["superadmin"], json="x")
    assert response.status_code == status
    assert response.json() == {"type": kind, "message": "tasks.max_retries: no", "extension": {"hint": "x"}}


# --- the models -------------------------------------------------------------------------------------------------


def test_the_openapi_document_has_the_founding_names():
    """Generated clients call them so."""
    document = create_admin(FakeSupervisor().backend).openapi()
    founding = {
        "TaskResource", "TaskResourcesResponse", "TaskStatusResponse", "TaskListResponse", "RestartService",
        "TaskManager", "ExceptionResponse",
    }  # fmt: skip
    schemas = document["components"]["schemas"]
    assert founding <= schemas.keys()
    assert list(schemas["TaskManager"]["properties"]) == ["id", "title", "type", "module", "moduleDir", "status"]
    assert list(schemas["RestartService"]["properties"]) == ["name", "status", "success"]


def test_every_answer_of_a_route_has_a_named_model():
    """Or is a list of such; lines of a log are text."""
    paths = create_admin(FakeSupervisor().backend).openapi()["paths"]
    found = 0
    for path, methods in paths.items():
        if not path.startswith(("/tasks", "/admin/tasks", "/admin/jobs", "/admin/runs")):
            continue
        for method, operation in methods.items():
            (answer,) = (content for code, content in operation["responses"].items() if code.startswith("2"))
            schema = answer["content"]["application/json"]["schema"]
            found += 1
            assert "$ref" in schema.get("items", schema) or path.endswith("/logs"), (method, path)
    assert found > 25


def test_the_value_of_an_update_is_documented_as_a_body():
    """Though it is read by hand."""
    paths = create_admin(FakeSupervisor().backend).openapi()["paths"]
    assert paths["/tasks/config/update"]["post"]["requestBody"]["required"] is True


def newer(answer):
    """What a supervisor of a later version would say: one more key in every object."""
    if isinstance(answer, list):
        return [newer(item) for item in answer]
    if not isinstance(answer, dict):
        return answer
    return {**{key: newer(value) for key, value in answer.items()}, "later": {"x": [1]}}


@pytest.mark.parametrize(
    "path",
    [
        "/tasks/resources",
        "/tasks/list",
        "/tasks/scheduler",
        "/tasks/cron",
        "/tasks/metrics",
        "/tasks/summary",
        "/tasks/threads",
        "/admin/tasks",
        "/admin/tasks/sweep",
        "/admin/jobs",
        "/admin/jobs/sweep.clean",
        "/admin/jobs/sweep.clean/next",
        "/admin/runs",
        "/admin/runs/3f2a91c0",
        "/admin/runs/3f2a91c0/log",
    ],
)
def test_a_key_that_a_newer_supervisor_adds_breaks_nothing(supervisor, get, path):
    """An upgrade replaces the processes one by one: the answers stay as they were."""
    before = get(path)
    supervisor.answers = {operation: newer(answer) for operation, answer in supervisor.answers.items()}
    if isinstance(before, dict) and "meta_file" in before:
        before["meta_file"]["later"] = {"x": [1]}  # the author's own keys, whatever they are
    after = get(path)
    if path == "/admin/tasks":
        before[0]["meta_file"]["later"] = {"x": [1]}
    assert after == before


def test_orders_understand_a_newer_supervisor_as_well(supervisor, post):
    """They read what they need and no more."""
    supervisor.answers = {operation: newer(answer) for operation, answer in supervisor.answers.items()}
    assert post("/tasks/start?name=sweep") == {"name": "sweep", "status": "running"}
    assert post("/tasks/restart?name=sweep") == {"name": "sweep", "status": "running", "success": True}
    assert post("/admin/jobs/sweep.clean/run")["id"] == "3f2a91c0"
    assert post("/tasks/reload") == {"changed": ["tasks.max_retries"], "restarted": [], "needs_restart": []}
