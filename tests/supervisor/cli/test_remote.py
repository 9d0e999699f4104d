"""Operations over HTTP, against a real server on loopback."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from supervisor.cli.remote import _ROUTES, UnreachableError, call
from supervisor.errors import XcoreError

pytestmark = pytest.mark.slow


class Gateway(ThreadingHTTPServer):
    """Answers everything with ``answer`` (status, body), or by path with ``answers``, and keeps the requests."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = (200, b"{}")
        self.answers = {}
        self.requests = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.requests.append((self.command, self.path, self.headers.get("authorization"), body))
        status, answer = self.server.answers.get(self.path, self.server.answer)
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_DELETE = do_GET  # noqa: N815 - names of http.server

    def log_message(self, *_):
        pass


@pytest.fixture
def gateway():
    with Gateway() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


@pytest.fixture
def remote(xcore, gateway, monkeypatch):
    """Run a command with --url and a token."""
    monkeypatch.setenv("XCORE_TOKEN", "secret")

    def remote(*arguments):
        return xcore(*arguments, "--url", gateway.url)

    return remote


@pytest.mark.parametrize(
    ("operation", "arguments", "method", "path", "body"),
    [
        ("plugins.show", {"name": "my shop/x"}, "GET", "/admin/plugins/my%20shop%2Fx", b""),
        ("plugins.reload", {"name": "shop", "wait": 5.0}, "POST", "/admin/plugins/shop/reload?wait=5.0", b""),
        ("plugins.rollback", {"name": "shop", "wait": 5.0}, "POST", "/admin/plugins/shop/rollback?wait=5.0", b""),
        ("plugins.install", {"name": "shop", "wait": 5.0}, "POST", "/admin/plugins/shop/install?wait=5.0", b""),
        ("plugins.enable", {"name": "shop", "wait": 5.0}, "POST", "/admin/plugins/shop/enable?wait=5.0", b""),
        ("plugins.disable", {"name": "shop", "wait": 5.0}, "POST", "/admin/plugins/shop/disable?wait=5.0", b""),
        ("plugins.delete", {"name": "shop"}, "DELETE", "/admin/plugins/shop", b""),
        ("plugins.restart", {"name": "shop", "wait": 5.0}, "POST", "/admin/plugins/shop/restart?wait=5.0", b""),
        ("plugins.logs", {"name": "shop", "tail": 7}, "GET", "/admin/plugins/shop/logs?tail=7", b""),
        ("exits.list", {"name": None, "limit": 3}, "GET", "/admin/exits?limit=3", b""),
        ("tokens.create", {"name": "ci", "role": "admin"}, "POST", "/admin/tokens", b'{"name":"ci","role":"admin"}'),
        ("tokens.revoke", {"id": "ci"}, "DELETE", "/admin/tokens/ci", b""),
        ("tasks.meta", {"name": "my task"}, "GET", "/tasks/meta?name=my+task", b""),
        ("tasks.logs", {"name": "sweep", "tail": 7}, "GET", "/admin/tasks/sweep/logs?tail=7", b""),
        ("jobs.run", {"id": "shop.clean up"}, "POST", "/admin/jobs/shop.clean%20up/run", b""),
        ("jobs.next", {"id": "shop.x", "count": 3}, "GET", "/admin/jobs/shop.x/next?count=3", b""),
        ("runs.list", {"job": "shop.x", "limit": 3}, "GET", "/admin/runs?job=shop.x&limit=3", b""),
        (
            "runs.follow",
            {"id": "3f2a91c0", "after": 4, "wait": 25.0},
            "GET",
            "/admin/runs/3f2a91c0/log?after=4&wait=25.0",
            b"",
        ),
    ],
)
def test_each_operation_is_a_route(gateway, operation, arguments, method, path, body):
    """Names in the path are quoted; the token travels in a header, never in the URL."""
    call(f"{gateway.url}/", "secret", operation, 5.0, arguments)
    assert gateway.requests == [(method, path, "Bearer secret", body)]


@pytest.mark.parametrize(
    ("operation", "arguments", "path"),
    [
        ("tasks.start", {"name": "my task"}, "/tasks/start?name=my+task"),
        ("tasks.stop", {"name": "my task"}, "/tasks/stop?name=my+task"),
        ("tasks.restart", {"name": "my task", "wait": 5.0}, "/tasks/restart?name=my+task&wait=5.0"),
    ],
)
def test_an_order_to_a_task_returns_the_task(gateway, operation, arguments, path):
    """Its route answers in the founding system's shape; the command prints the same as on the machine itself."""
    gateway.answer = (200, b'{"name": "my task", "state": "running"}')
    assert call(gateway.url, "secret", operation, 5.0, arguments)["state"] == "running"
    assert [request[:2] for request in gateway.requests] == [("POST", path), ("GET", "/admin/tasks/my%20task")]


def test_a_token_that_is_missing_or_no_longer_good_is_told_with_where_to_put_one(gateway):
    """The gateway speaks of a header, which nobody writes who types a command."""
    gateway.answer = (401, b'{"type": "Unauthorized", "message": "this needs a token"}')
    with pytest.raises(XcoreError, match=r"^this needs a token; .* XCORE_TOKEN, .*xcore token create"):
        call(gateway.url, "", "plugins.list", 5.0, {})


def test_an_order_that_is_refused_is_not_followed_by_a_question(gateway):
    """The refusal is the answer."""
    gateway.answer = (409, b'{"type": "Conflict", "message": "it is stopped"}')
    with pytest.raises(XcoreError, match="it is stopped"):
        call(gateway.url, "secret", "tasks.restart", 5.0, {"name": "sweep"})
    assert len(gateway.requests) == 1


@pytest.mark.parametrize(
    ("operation", "arguments", "path", "body"),
    [
        ("config.update", {"key": "log.file", "value": None}, "/tasks/config/update?key=log.file", b"null"),
        ("config.update", {"key": "a", "value": [1, "x"]}, "/tasks/config/update?key=a", b'[1,"x"]'),
        ("config.autorestart", {"value": False}, "/tasks/config/autorestart?value=false", b""),
    ],
)
def test_a_change_of_the_configuration_returns_what_was_changed(gateway, operation, arguments, path, body):
    """The value is the whole body, and null is a value."""
    gateway.answer = (200, b'{"success": true, "updated": {"a": 1}}')
    assert call(gateway.url, "secret", operation, 5.0, arguments) == {"a": 1}
    assert gateway.requests == [("POST", path, "Bearer secret", body)]


def test_without_a_token_no_header_is_sent(gateway):
    """/health is open."""
    call(gateway.url, "", "system.status", 5.0, {})
    assert gateway.requests[0][2] is None


def test_the_routes_are_those_of_the_gateway():
    """Both sides of the table: what the CLI asks for is there."""
    from gateway.admin import create_admin
    from tests.fakes.backend import FakeSupervisor

    documented = create_admin(FakeSupervisor().backend).openapi()["paths"]
    paths = {re.sub(r"\{\w+\}", "{}", path): methods for path, methods in documented.items()}
    for method, path in _ROUTES.values():
        assert method.lower() in paths.get(re.sub(r"\{\w+\}", "{}", path), {}), f"{method} {path}"


def test_an_error_model_is_an_error_with_its_message(remote, gateway):
    """Exit code 1."""
    gateway.answer = (404, json.dumps({"type": "UnknownName", "message": "no plugin named 'x'"}).encode())
    assert remote("plugin", "show", "x") == (1, "", "xcore: no plugin named 'x'\n")


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>hello</html>"),
        (502, b"<html>bad gateway</html>"),
        (401, b'{"detail": "no"}'),
        (307, b""),
        (200, b'"x"'),
    ],
)
def test_whatever_else_answers_there_is_not_xcore(remote, gateway, answer):
    """A proxy in between, another service: one sentence, no traceback, nothing printed as if it were an answer."""
    gateway.answer = answer
    outcome = remote("plugin", "list")
    assert (outcome.code, outcome.out) == (1, "")
    assert f"answered {answer[0]}, but not as xcore does" in outcome.err


def test_health_that_is_down_is_an_answer(remote, gateway):
    """503 with a body that says so."""
    body = {"status": "down", "plugins": {"hello": {"state": "running", "ready": 1, "wanted": 1, "restarts": 0}}}
    gateway.answer = (503, json.dumps(body).encode())
    outcome = remote("status")
    assert (outcome.code, outcome.out) == (0, f"{gateway.url}: down\nhello: running, 1 of 1 ready\n")
    assert json.loads(remote("status", "--json").out) == body


def test_status_from_afar_names_tasks_in_trouble_for_who_may_see_them(xcore, gateway, monkeypatch):
    """Without a token nobody is asked for more than /health."""
    error = {"message": "no module; install it"}
    gateway.answers = {
        "/health": (200, b'{"status": "ok", "plugins": {}}'),
        "/admin/tasks": (200, json.dumps([{"name": "sweep", "state": "failed", "error": error}]).encode()),
    }
    for token, said in [("secret", "task sweep is failed: no module\n"), ("", "")]:
        monkeypatch.setenv("XCORE_TOKEN", token)
        assert xcore("status", "--url", gateway.url).out == f"{gateway.url}: ok\n{said}"


def test_nobody_there_is_exit_code_3(xcore):
    """As on this machine; the address is named."""
    with Gateway() as server:
        url = server.url
    outcome = xcore("status", "--url", url)
    assert (outcome.code, outcome.out) == (3, "")
    assert f"cannot reach {url}" in outcome.err
    with pytest.raises(UnreachableError):
        call(url, "", "system.status", 5.0, {})


@pytest.mark.parametrize("url", ["nonsense", "ftp://host", "http://127.0.0.1:port", ""])
def test_an_address_that_is_none_is_a_sentence(url):
    """Whatever httpx calls it."""
    with pytest.raises(XcoreError, match="cannot ask"):
        call(url, "", "system.status", 5.0, {})


def test_some_things_can_only_be_asked_on_the_machine_itself(gateway):
    """Stopping everything, for one."""
    with pytest.raises(XcoreError, match=r"system\.stop can only be asked for on the machine itself; leave --url out"):
        call(gateway.url, "secret", "system.stop", 5.0, {})
    assert gateway.requests == []
