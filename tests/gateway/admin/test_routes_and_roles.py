"""Every route of the admin interface, for everybody who may come."""

import re
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from gateway.admin import create_admin
from gateway.errors import OperationFailedError, SupervisorAwayError
from plugin_runtime.protocol import Health, PluginHealth, PluginSchema
from tests.fakes import backend
from tests.fakes.backend import TOKENS, FakeSupervisor, is_error_model

READ = {"admin", "root", "superadmin"}
OWN = {"superadmin"}
OPEN = None

FACTS = {"version": "", "author": "", "tag_for_identified": [], "trigger": 1}

ROUTES = [
    ("GET", "/admin/plugins", READ, 200, "plugins.list", {"active": None}),
    ("GET", "/admin/plugins?active=true", READ, 200, "plugins.list", {"active": True}),
    ("GET", "/admin/plugins/hello", READ, 200, "plugins.show", {"name": "hello"}),
    ("POST", "/admin/plugins", OWN, 201, "plugins.add", {**FACTS, "name": "shop", "api_prefix": "/shop"}),
    ("PATCH", "/admin/plugins/hello", OWN, 200, "plugins.update", {"name": "hello", "api_prefix": "/hi"}),
    ("DELETE", "/admin/plugins/hello", OWN, 200, "plugins.delete", {"name": "hello"}),
    ("POST", "/admin/plugins/hello/restart", OWN, 202, "plugins.restart", {"name": "hello", "wait": 0.0}),
    (
        "POST",
        "/admin/plugins/hello/scale?instances=3",
        OWN,
        202,
        "plugins.scale",
        {"name": "hello", "instances": 3, "wait": 0.0},
    ),
    ("POST", "/admin/plugins/hello/reload", OWN, 202, "plugins.reload", {"name": "hello", "wait": 0.0}),
    ("POST", "/admin/plugins/hello/reload?wait=5", OWN, 202, "plugins.reload", {"name": "hello", "wait": 5.0}),
    ("POST", "/admin/plugins/hello/rollback", OWN, 202, "plugins.rollback", {"name": "hello", "wait": 0.0}),
    ("POST", "/admin/plugins/hello/rollback?wait=5", OWN, 202, "plugins.rollback", {"name": "hello", "wait": 5.0}),
    ("POST", "/admin/plugins/hello/install", OWN, 202, "plugins.install", {"name": "hello", "wait": 0.0}),
    ("POST", "/admin/plugins/hello/install?wait=5", OWN, 202, "plugins.install", {"name": "hello", "wait": 5.0}),
    ("POST", "/admin/plugins/hello/enable", OWN, 202, "plugins.enable", {"name": "hello", "wait": 0.0}),
    ("POST", "/admin/plugins/hello/enable?wait=5", OWN, 202, "plugins.enable", {"name": "hello", "wait": 5.0}),
    ("POST", "/admin/plugins/hello/disable", OWN, 202, "plugins.disable", {"name": "hello", "wait": 0.0}),
    ("POST", "/admin/plugins/hello/disable?wait=5", OWN, 202, "plugins.disable", {"name": "hello", "wait": 5.0}),
    ("POST", "/admin/plugins/hello/restart?wait=5", OWN, 202, "plugins.restart", {"name": "hello", "wait": 5.0}),
    ("GET", "/admin/plugins/hello/logs", READ, 200, "plugins.logs", {"name": "hello", "tail": 100}),
    ("GET", "/admin/plugins/hello/logs?tail=3", READ, 200, "plugins.logs", {"name": "hello", "tail": 3}),
    ("GET", "/admin/processes", READ, 200, "processes.list", {"kind": None}),
    ("GET", "/admin/processes?kind=worker", READ, 200, "processes.list", {"kind": "worker"}),
    ("GET", "/admin/resources", READ, 200, "resources.list", {}),
    ("GET", "/admin/exits", READ, 200, "exits.list", {"name": None, "limit": 100, "kind": None}),
    (
        "GET",
        "/admin/exits?name=hello&limit=5&kind=template",
        READ,
        200,
        "exits.list",
        {"name": "hello", "limit": 5, "kind": "template"},
    ),
    ("GET", "/tasks/resources", READ, 200, "tasks.list", {}),
    ("POST", "/tasks/start?name=sweep", OWN, 200, "tasks.start", {"name": "sweep", "wait": 0.0}),
    ("POST", "/tasks/start?name=sweep&wait=5", OWN, 200, "tasks.start", {"name": "sweep", "wait": 5.0}),
    ("POST", "/tasks/stop?name=sweep", OWN, 200, "tasks.stop", {"name": "sweep"}),
    ("POST", "/tasks/restart?name=sweep", OWN, 200, "tasks.restart", {"name": "sweep", "wait": 600.0}),
    ("POST", "/tasks/restart?name=sweep&wait=5", OWN, 200, "tasks.restart", {"name": "sweep", "wait": 5.0}),
    ("GET", "/tasks/list", READ, 200, "tasks.list", {}),
    ("GET", "/tasks/meta?name=sweep", READ, 200, "tasks.meta", {"name": "sweep"}),
    ("GET", "/tasks/scheduler", READ, 200, "tasks.list", {}),
    ("GET", "/tasks/cron", READ, 200, "jobs.list", {"active": True}),
    ("GET", "/tasks/metrics", READ, 200, "system.metrics", {}),
    ("GET", "/tasks/summary", READ, 200, "tasks.list", {}),
    ("GET", "/tasks/threads", READ, 200, "threads.list", {}),
    ("GET", "/tasks/config", READ, 200, "config.show", {}),
    (
        "POST",
        "/tasks/config/update?key=tasks.max_retries",
        OWN,
        200,
        "config.update",
        {"key": "tasks.max_retries", "value": 5},
    ),
    ("POST", "/tasks/config/autorestart?value=false", OWN, 200, "config.autorestart", {"value": False}),
    ("POST", "/tasks/reload", OWN, 200, "config.reload", {}),
    ("GET", "/admin/tasks", READ, 200, "tasks.list", {}),
    ("GET", "/admin/tasks/sweep", READ, 200, "tasks.show", {"name": "sweep"}),
    ("GET", "/admin/tasks/sweep/logs", READ, 200, "tasks.logs", {"name": "sweep", "tail": 100}),
    ("GET", "/admin/tasks/sweep/logs?tail=3", READ, 200, "tasks.logs", {"name": "sweep", "tail": 3}),
    ("GET", "/admin/jobs", READ, 200, "jobs.list", {"owner": None, "active": None}),
    ("GET", "/admin/jobs?owner=sweep&active=false", READ, 200, "jobs.list", {"owner": "sweep", "active": False}),
    ("POST", "/admin/jobs/reload", OWN, 200, "jobs.reload", {}),
    ("GET", "/admin/jobs/sweep.clean", READ, 200, "jobs.show", {"id": "sweep.clean"}),
    ("GET", "/admin/jobs/sweep.clean/next", READ, 200, "jobs.next", {"id": "sweep.clean", "count": 10}),
    ("GET", "/admin/jobs/sweep.clean/next?count=400", READ, 200, "jobs.next", {"id": "sweep.clean", "count": 400}),
    ("POST", "/admin/jobs/sweep.clean/run", OWN, 202, "jobs.run", {"id": "sweep.clean"}),
    ("POST", "/admin/jobs/sweep.clean/pause", OWN, 200, "jobs.pause", {"id": "sweep.clean"}),
    ("POST", "/admin/jobs/sweep.clean/resume", OWN, 200, "jobs.resume", {"id": "sweep.clean"}),
    ("GET", "/admin/runs", READ, 200, "runs.list", {"job": None, "limit": 100}),
    ("GET", "/admin/runs?job=sweep.clean&limit=5", READ, 200, "runs.list", {"job": "sweep.clean", "limit": 5}),
    ("GET", "/admin/runs/3f2a91c0", READ, 200, "runs.show", {"id": "3f2a91c0"}),
    ("GET", "/admin/runs/3f2a91c0/log", READ, 200, "runs.follow", {"id": "3f2a91c0", "after": 0, "wait": 0.0}),
    (
        "GET",
        "/admin/runs/3f2a91c0/log?after=7&wait=30",
        READ,
        200,
        "runs.follow",
        {"id": "3f2a91c0", "after": 7, "wait": 30.0},
    ),
    ("GET", "/admin/tokens", OWN, 200, "tokens.list", {}),
    ("POST", "/admin/tokens", OWN, 201, "tokens.create", {"name": "ci", "role": "admin", "expires_days": None}),
    ("DELETE", "/admin/tokens/ci", OWN, 204, "tokens.revoke", {"id": "ci"}),
    ("GET", "/health", OPEN, 200, None, None),
    ("HEAD", "/health", OPEN, 200, None, None),
    ("GET", "/openapi.json", OPEN, 200, None, None),
    ("GET", "/docs", OPEN, 200, None, None),
    ("GET", "/redoc", OPEN, 200, None, None),
    ("GET", "/docs/static/swagger-ui.css", OPEN, 200, None, None),
]


BODIES = {
    ("POST", "/admin/plugins"): {"name": "shop", "Api_prefix": "/shop"},
    ("PATCH", "/admin/plugins/hello"): {"Api_prefix": "/hi"},
    ("POST", "/admin/tokens"): {"name": "ci", "role": "admin"},
    ("POST", "/tasks/config/update?key=tasks.max_retries"): 5,
}


def ask(supervisor, method, path, token=None, **request):
    if (method, path) in BODIES and "content" not in request:
        request.setdefault("json", BODIES[method, path])
    return backend.ask(supervisor, method, path, token, **request)


@pytest.mark.parametrize("who", [None, "forged", *TOKENS])
@pytest.mark.parametrize(("method", "path", "roles", "status", "operation", "arguments"), ROUTES)
def test_every_route_lets_in_exactly_the_roles_it_names(who, method, path, roles, status, operation, arguments):
    """Without a token 401, with too small a role 403, and then nothing has been asked of the supervisor."""
    supervisor = FakeSupervisor()
    response = ask(supervisor, method, path, TOKENS.get(who, who))
    if roles is OPEN:
        assert response.status_code == status
        return
    expected = 401 if who in {None, "forged"} else status if who in roles else 403
    assert response.status_code == expected
    if expected == status:
        asked, given, actor, _ = supervisor.calls[-1]
        assert (asked, given, actor) == (operation, arguments, f"token:the-{who}")
        return
    assert supervisor.calls == []
    assert is_error_model(response)
    assert (response.headers.get("www-authenticate") == "Bearer") == (expected == 401)


def test_the_table_above_has_every_route():
    """A new route is not let in without its row."""
    covered = {(method, path.split("?")[0]) for method, path, *_ in ROUTES}
    for route in api_routes():
        pattern = re.sub(r"\{\w+\}", r"[^/]+", route.path)
        for method in route.methods:
            assert any(method == known and re.fullmatch(pattern, path) for known, path in covered), route.path


def api_routes():
    app = create_admin(FakeSupervisor().backend)
    found = [route for route in walk(app.routes) if isinstance(route, APIRoute)]
    assert len(found) > 10
    return found


def walk(routes):
    """FastAPI keeps included routers as one route each."""
    for route in routes:
        inner = getattr(getattr(route, "original_router", None), "routes", None)
        if inner is None:
            yield route
        else:
            yield from walk(inner)


def test_every_route_is_documented():
    """docs/reference/api.md is what people read."""
    text = (Path(__file__).parents[3] / "docs/reference/api.md").read_text()
    for route in api_routes():
        for method in route.methods:
            assert f"{method} `{route.path}" in text, f"{method} {route.path} is not in docs/reference/api.md"


@pytest.mark.parametrize(
    "authorization", ["Basic dG9rZW4=", "Bearer", "Bearer ", "token-of-superadmin", "Bearer\ttoken"]
)
def test_other_credentials_are_none(authorization):
    """401, never a 500."""
    response = ask(FakeSupervisor(), "GET", "/admin/plugins", headers={"Authorization": authorization})
    assert response.status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/admin/nothing", 404),
        ("GET", "/admin/plugins/", 404),
        ("PUT", "/admin/plugins", 405),
        ("HEAD", "/admin/plugins", 405),
        ("GET", "/admin/processes?kind=nonsense", 422),
        ("GET", "/admin/exits?limit=0", 422),
        ("GET", "/admin/plugins/hello/logs?tail=many", 422),
        ("POST", "/admin/plugins/hello/restart?wait=-1", 422),
        ("POST", "/admin/plugins/hello/scale", 422),
        ("POST", "/admin/plugins/hello/scale?instances=0", 422),
        ("POST", "/admin/plugins/hello/scale?instances=257", 422),
        ("POST", "/tasks/start", 422),
        ("POST", "/tasks/restart?name=sweep&wait=601", 422),
        ("POST", "/tasks/config/autorestart?value=perhaps", 422),
        ("POST", "/tasks/config/update", 422),
        ("GET", "/tasks/", 404),
        ("GET", "/admin/tasks/sweep/logs?tail=0", 422),
        ("GET", "/admin/jobs/sweep.clean/next?count=1001", 422),
        ("GET", "/admin/runs?limit=0", 422),
        ("GET", "/admin/runs?limit=1001", 422),
        ("GET", "/admin/runs/3f2a91c0/log?wait=31", 422),
        ("GET", "/admin/runs/3f2a91c0/log?after=-1", 422),
        ("GET", "/admin/runs/3f2a91c0/log?after=99999999999999999999", 422),
    ],
)
def test_every_failure_has_the_error_model(method, path, status):
    """404, 405 and 422 of the framework as well."""
    response = ask(FakeSupervisor(), method, path, TOKENS["superadmin"])
    assert response.status_code == status
    assert method == "HEAD" or is_error_model(response)


@pytest.mark.parametrize(
    "body",
    [{}, {"name": ""}, {"name": "x", "role": "emperor"}, {"name": "x", "role": "admin", "expires_days": -1}, []],
)
def test_a_body_that_is_not_valid_says_where_but_not_what(body):
    """What was sent may be secret and is not repeated."""
    response = ask(FakeSupervisor(), "POST", "/admin/tokens", TOKENS["superadmin"], json=body)
    assert response.status_code == 422
    assert response.json()["extension"]["problems"]
    assert "emperor" not in response.text


def test_what_the_supervisor_refuses_is_passed_on_with_its_status():
    """Its words are for the caller."""
    supervisor = FakeSupervisor()
    supervisor.failure = OperationFailedError("UnknownName", "no plugin named 'x'", {"hint": "known: hello"}, 404)
    response = ask(supervisor, "GET", "/admin/plugins/x", TOKENS["admin"])
    assert response.status_code == 404
    assert response.json() == {
        "type": "UnknownName",
        "message": "no plugin named 'x'",
        "extension": {"hint": "known: hello"},
    }


def test_without_a_supervisor_the_admin_interface_says_503():
    """Plugins are served on; the message says so."""
    supervisor = FakeSupervisor()
    supervisor.failure = SupervisorAwayError("plugins.list", "the supervisor is away")
    response = ask(supervisor, "GET", "/admin/plugins", TOKENS["admin"])
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert is_error_model(response)


def test_a_mistake_of_ours_is_a_500_without_details():
    """The log has them."""
    supervisor = FakeSupervisor()
    supervisor.failure = ZeroDivisionError("secret detail")
    response = ask(supervisor, "GET", "/admin/plugins", TOKENS["admin"])
    assert response.status_code == 500
    assert is_error_model(response)
    assert "secret detail" not in response.text


def test_waiting_for_a_restart_waits_longer_than_the_supervisor():
    """Its own 504 must come before our impatience."""
    supervisor = FakeSupervisor()
    ask(supervisor, "POST", "/admin/plugins/hello/restart?wait=60", TOKENS["superadmin"])
    assert supervisor.calls[0][3] > 60


def test_a_new_token_is_shown_once():
    """With the view of it."""
    response = ask(FakeSupervisor(), "POST", "/admin/tokens", TOKENS["superadmin"])
    assert response.json()["token"] == "secret"
    assert response.json()["name"] == "ci"


@pytest.mark.parametrize(("status", "code"), [("ok", 200), ("degraded", 200), ("down", 503)])
def test_health_is_open_and_down_is_503(status, code):
    """Load balancers read the status code."""
    supervisor = FakeSupervisor()
    supervisor.seen_health = Health(status, {"hello": PluginHealth("running", 1, 1, 0)})
    response = ask(supervisor, "GET", "/health")
    assert response.status_code == code
    assert response.json() == {
        "status": status,
        "plugins": {"hello": {"state": "running", "ready": 1, "wanted": 1, "restarts": 0}},
    }


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_documentation_loads_nothing_from_the_internet(page):
    """Sites without it read their documentation too."""
    text = ask(FakeSupervisor(), "GET", page).text
    assert "https://" not in text
    assert "/docs/static/" in text


def test_the_openapi_document_has_the_core_and_every_plugin():
    """And follows every change of them."""
    supervisor = FakeSupervisor()
    document = b'{"openapi": "3.1.0", "info": {}, "paths": {"/items": {"get": {"operationId": "items"}}}}'
    supervisor.backend.catalogue.update(PluginSchema("hello", "/hello", "h1", document))
    paths = ask(supervisor, "GET", "/openapi.json").json()["paths"]
    assert {"/hello/items", "/admin/plugins", "/health"} <= paths.keys()
    supervisor.backend.catalogue.update(PluginSchema("hello", "/hello", "h2", b""))
    assert "/hello/items" not in ask(supervisor, "GET", "/openapi.json").json()["paths"]


def test_allowed_origins_and_no_others_may_call_from_a_browser():
    """gateway.cors_origins."""
    for origin, allowed in [("https://ui.example", True), ("https://evil.example", False)]:
        response = ask(FakeSupervisor(), "GET", "/health", headers={"Origin": origin})
        assert ("access-control-allow-origin" in response.headers) is allowed
