"""Plugins that call each other: who is asked, what goes along, and what a call does not notice."""

import json
import os
import signal
from pathlib import Path

import httpx
import pytest

from tests.integration.project import DEADLINE

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "vendor=1"}
MIB = 20
BROKEN = "raise RuntimeError('as it was told to')"


@pytest.fixture(scope="module")
def system(shared_project):
    """``caller`` calls ``library``, which lies under another prefix than its name says."""
    shared_project.add_app("library", "library", prefix="/books/v1")
    shared_project.add_app("caller", "caller")
    shared_project.add_app("spare", "library")
    shared_project.add_code("broken", BROKEN, prefix="/broken")
    shared_project.expect_log("Plugin broken cannot be served")
    shared_project.up()
    return shared_project


def calls(project, deed, *, client=None, headers=(), **query):
    """What plugin ``caller`` tells of a call."""
    response = (client or project.http).get(f"/caller/{deed}", params=query, headers=dict(headers))
    assert response.status_code == 200, response.text
    return response.json()


# --- who is asked, and what goes along ------------------------------------------------------------------------


@pytest.mark.parametrize("deed", ["get", "get-in-thread"])
def test_a_path_is_the_plugins_own_whatever_its_prefix(system, deed):
    """So that a prefix can change without a change of those who call."""
    answer = calls(system, deed, path="/see/a%2Fb?c=d")
    assert answer["status"] == 200
    body = answer["body"]
    assert (body["path"], body["query"], body["client"]) == ("/books/v1/see/a%2Fb", "c=d", None)
    assert body["headers"]["host"] == "localhost"


@pytest.mark.parametrize("deed", ["get", "get-in-thread"])
def test_user_request_id_and_trace_go_along(system, deed):
    """The called plugin knows for whom it works, and one trace shows the whole way."""
    headers = {**TRACE, "X-Request-ID": "asked-for-1"}
    body = calls(system, deed, client=system.admin, headers=headers, path="/see")["body"]
    assert body["user"] == {"id": None, "email": None, "role": "superadmin"}
    assert (body["request_id"], body["caller"], body["hops"]) == ("asked-for-1", "caller", 1)
    assert body["headers"]["x-request-id"] == "asked-for-1"
    assert {name: body["headers"][name] for name in TRACE} == TRACE
    assert not [name for name in body["headers"] if name.startswith("x-xcore")]
    assert "authorization" not in body["headers"]


def test_the_user_can_be_left_out(system):
    """What is asked in nobody's name; the request is the same one."""
    body = calls(system, "get-as-nobody", client=system.admin, headers={"X-Request-ID": "r-2"}, path="/see")["body"]
    assert (body["user"], body["request_id"]) == (None, "r-2")


def test_what_no_request_has_led_to_is_asked_in_nobodys_name(system):
    """A call at start-up has a request id of its own."""
    body = calls(system, "before-any-request", client=system.admin)["body"]
    assert (body["user"], body["caller"], body["hops"]) == (None, "caller", 1)
    assert body["request_id"]


def test_what_the_call_says_itself_goes_before(system):
    """A plugin with a tracing library of its own makes its own spans; what looks like ours goes nowhere."""
    own = {"traceparent": "00-11111111111111111111111111111111-2222222222222222-01", "X-Request-ID": "own"}
    fields = json.dumps({**own, "X-Xcore-User": '{"id": "root"}', "X-Xcore-Hops": "9", "Authorization": "Basic eA=="})
    body = calls(system, "get-with-fields", headers=TRACE, fields=fields)["body"]
    assert (body["headers"]["traceparent"], body["request_id"]) == (own["traceparent"], "own")
    assert "tracestate" not in body["headers"]
    assert (body["user"], body["hops"], body["headers"]["authorization"]) == (None, 1, "Basic eA==")


def test_a_redirect_of_the_called_plugin_is_followed(system):
    """It names the path as it is outside."""
    assert calls(system, "get", path="/redirect")["status"] == 307
    answer = calls(system, "get-following", path="/redirect")
    assert (answer["body"]["path"], answer["body"]["query"]) == ("/books/v1/see", "from=redirect")


@pytest.mark.parametrize("path", ["http://example.org/", "https://localhost/~library/see", "http://localhost:1/"])
def test_nothing_leaves_for_another_host(system, path):
    """The key and the user are for nobody but the gateway."""
    assert calls(system, "get", path=path)["error"] == "UnsupportedProtocol"


# --- who may ask ----------------------------------------------------------------------------------------------


def local_client(project):
    path = str(project.state / "run" / "local.sock")
    return httpx.Client(transport=httpx.HTTPTransport(uds=path), base_url="http://localhost", timeout=DEADLINE)


def key_of(project, pid):
    """As the next supervisor would read it."""
    records = [json.loads(path.read_text()) for path in Path(project.state, "run").glob("*.process")]
    return next(record["settings"]["local_key"] for record in records if record["pid"] == pid)


@pytest.mark.parametrize("key", [None, "", "x", ":", "{incarnation}:", "{incarnation}:" + 32 * "0"])
def test_whoever_has_no_key_of_a_worker_is_refused(system, key):
    """Also one who knows which incarnations there are: their sockets are named after them."""
    incarnation = next(Path(system.state, "run").glob("*.link")).stem
    fields = {} if key is None else {"X-Xcore-Key": key.format(incarnation=incarnation)}
    with local_client(system) as client:
        answer = client.get("/~library/see", headers=fields)
    assert (answer.status_code, answer.json()["type"]) == (403, "UnknownCaller")


def test_only_the_owner_may_connect(system):
    """Whatever the umask is."""
    assert (system.state / "run" / "local.sock").stat().st_mode & 0o777 == 0o600


def test_the_public_side_takes_nothing_of_it(system):
    """No field from outside makes a user, and no path by a plugin's name is served."""
    fields = {"X-Xcore-User": '{"id": "root", "role": "superadmin"}', "X-Xcore-Hops": "3", "X-Xcore-Key": "a:b"}
    body = system.http.get("/books/v1/see", headers=fields).json()
    assert body["user"] is None
    assert not {"caller", "hops"} & body.keys()
    assert not [name for name in body["headers"] if "xcore" in name]
    assert system.http.get("/~library/see").status_code == 404


def test_the_key_is_nowhere_to_be_seen(system):
    """Neither in a worker's environment and command line nor in what the plugin sees of its own request."""
    pid = system.pid("caller")
    secret = key_of(system, pid).partition(":")[2]
    assert len(secret) == 32
    for name in ("environ", "cmdline"):
        assert secret.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
    assert secret not in json.dumps(calls(system, "fields-of-own-request"))


def test_the_key_of_a_dead_worker_is_worth_nothing(project):
    """It was said to one process, and that is gone."""
    project.add_app("library", "library")
    project.up()
    pid = project.pid("library")
    with local_client(project) as client:
        client.headers["X-Xcore-Key"] = key_of(project, pid)
        assert client.get("/~library/see").status_code == 200
        assert client.get("/admin/plugins").json()["type"] == "NotFound"
        assert client.get("/library/see").json()["path"] == "/library/see"
        os.kill(pid, signal.SIGKILL)
        project.wait_until(lambda: client.get("/~library/see").status_code == 403, "its key is forgotten")


# --- who is not there -----------------------------------------------------------------------------------------


def test_a_plugin_that_does_not_exist_is_named_with_the_nearest(system):
    """A typing error is seen at a look."""
    answer = calls(system, "get-from", plugin="libary", path="/see")
    assert (answer["status"], answer["body"]["type"]) == (404, "UnknownName")
    assert answer["body"]["extension"] == {"plugin": "libary", "nearest": "library"}


def test_a_plugin_that_has_failed_is_answered_for_as_outside(system):
    """At once, and with the same words."""
    answer = calls(system, "get-from", plugin="broken", path="/")
    outside = system.http.get("/broken/")
    assert (answer["status"], answer["body"]) == (503, outside.json())
    assert answer["retry_after"] == outside.headers["Retry-After"]


def test_a_disabled_plugin_is_as_if_it_were_not_there(system):
    """As for a client from outside, until it is enabled again."""
    assert calls(system, "get-from", plugin="spare", path="/see")["status"] == 200
    assert system.xcore("plugin", "disable", "spare").returncode == 0
    answer = calls(system, "get-from", plugin="spare", path="/see")
    assert (answer["status"], answer["body"]["type"]) == (404, "UnknownName")
    assert system.http.get("/spare/see").status_code == 404
    assert system.xcore("plugin", "enable", "spare").returncode == 0
    assert calls(system, "get-from", plugin="spare", path="/see")["status"] == 200


def test_a_circle_of_calls_ends(project):
    """Two plugins that ask each other would do so until everything waits."""
    other = {"ping": "pong", "pong": "ping"}
    code = (
        "import plugin_runtime\n"
        "other = plugin_runtime.client({other!r})\n"
        "async def app(scope, receive, send):\n"
        "    if scope['type'] != 'http':\n"
        "        return\n"
        "    answer = await other.get('/')\n"
        "    await send({{'type': 'http.response.start', 'status': answer.status_code, 'headers': []}})\n"
        "    await send({{'type': 'http.response.body', 'body': answer.content}})\n"
    )
    for name, called in other.items():
        project.add_code(name, code.format(other=called))
    project.up()
    answer = project.http.get("/ping/")
    assert (answer.status_code, answer.json()["type"]) == (508, "CallLoop")
    assert project.plugin("ping")["traffic"]["requests"] + project.plugin("pong")["traffic"]["requests"] <= 17


def test_at_the_end_of_everything_a_call_fails_at_once(project):
    """Code that runs at shutdown must not wait for a gateway that does not come any more."""
    project.add_app("library", "library")
    project.add_code(
        "last",
        "import os, pathlib, time\n"
        "import httpx, plugin_runtime\n"
        "library = plugin_runtime.client('library')\n"
        "async def app(scope, receive, send):\n"
        "    while scope['type'] == 'lifespan':\n"
        "        message = await receive()\n"
        "        if message['type'] == 'lifespan.shutdown':\n"
        "            begun = time.monotonic()\n"
        "            try:\n"
        "                await library.get('/see')\n"
        "            except httpx.ConnectError:\n"
        "                took = time.monotonic() - begun\n"
        "                pathlib.Path(os.environ['XCORE_DATA_DIR'], 'took').write_text(str(took))\n"
        "        await send({'type': message['type'] + '.complete'})\n",
    )
    project.up()
    project.stop()
    assert float((project.data("last") / "took").read_text()) < 5.0


# --- bodies ---------------------------------------------------------------------------------------------------


def test_large_bodies_are_streamed_both_ways(system):
    """What a request from outside may be, a call may be."""
    assert calls(system, "upload", mib=MIB)["body"] == MIB * 2**20
    assert calls(system, "download", mib=MIB) == MIB * 2**20


# --- what a call does not notice ------------------------------------------------------------------------------


@pytest.fixture
def loaded(project):
    """``caller`` calls ``library`` 50 times a second, half of it from threads, while something is done."""

    def loaded(deed, processes=1):
        project.configure(gateway={"port": 0, "processes": processes})
        project.add_app("library", "library")
        project.add_app("caller", "caller")
        project.up()
        calls(project, "begin-load")
        wait_for_answers(project, 50)
        for _ in range(3):
            deed(project)
            wait_for_answers(project, 50)
        assert calls(project, "end-load")["failures"] == []
        return calls(project, "look-at-load")["answers"]

    return loaded


def wait_for_answers(project, count):
    """As many again as there are."""
    before = sum(calls(project, "look-at-load")["answers"].values())
    project.wait_until(
        lambda: sum(calls(project, "look-at-load")["answers"].values()) >= before + count, f"{count} more answers"
    )


def test_a_restart_of_the_called_plugin_fails_no_call(loaded):
    """The next worker is ready before the old one finishes."""

    def restart(project):
        done = project.xcore("plugin", "restart", "library", "--wait", "30")
        assert done.returncode == 0, done.stderr

    assert loaded(restart).keys() == {"200"}


def test_the_death_of_the_called_plugins_worker_fails_no_get(loaded):
    """It is sent again by the gateway, as for anybody."""

    def kill_worker(project):
        pid = project.pid("library")
        os.kill(pid, signal.SIGKILL)
        project.wait_until(lambda: project.plugin("library")["instances"][0]["pid"] not in {pid, None}, "another one")

    assert loaded(kill_worker).keys() == {"200"}


@pytest.mark.parametrize("processes", [1, 2])
def test_the_death_of_a_gateway_fails_no_get(loaded, processes):
    """It is sent again by the client, to whichever gateway there is or comes."""

    def kill_gateway(project):
        def running():
            found = project.admin.get("/admin/processes", params={"kind": "gateway"}).json()
            return [gateway["pid"] for gateway in found if gateway["state"] == "running"]

        pid = project.wait_until(running, "a gateway serves")[0]
        project.forget_clients()
        os.kill(pid, signal.SIGKILL)

    assert loaded(kill_gateway, processes).keys() == {"200"}


def test_the_replacement_of_gateways_fails_no_call(loaded):
    """Other keys of section gateway: each has a successor."""
    timeouts = iter((70, 71, 72))

    def replace_gateways(project):
        def pids():
            found = project.admin.get("/admin/processes", params={"kind": "gateway"}).json()
            return {process["pid"] for process in found}

        before = pids()
        project.configure(gateway={"port": 0, "idle_timeout": next(timeouts)})
        project.process.send_signal(signal.SIGHUP)
        project.wait_until(lambda: len(pids()) == 1 and not pids() & before, "it is another gateway")

    assert loaded(replace_gateways).keys() == {"200"}


def upgrade(project):
    done = project.xcore("upgrade")
    assert done.returncode == 0, done.stderr


def kill_supervisor(project):
    project.process.kill()
    project.process.wait()
    project.start()
    project.wait_until(lambda: project.xcore("status").returncode == 0, "another supervisor answers")


@pytest.mark.parametrize("deed", [upgrade, kill_supervisor])
def test_another_supervisor_fails_no_call(loaded, deed):
    """It gets the socket back from a gateway; workers go on with the keys they have, and new ones call as well."""

    def replace_the_called_as_well(project):
        deed(project)
        done = project.xcore("plugin", "restart", "library", "--wait", "30")
        assert done.returncode == 0, done.stderr

    assert loaded(replace_the_called_as_well).keys() == {"200"}
