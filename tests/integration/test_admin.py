"""The admin interface over HTTP: who may do what, and whether what it shows is true."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import psutil
import pytest

from tests.integration.project import Project, is_alive

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

READS = (
    "/admin/plugins",
    "/admin/plugins/bench",
    "/admin/plugins/bench/logs",
    "/admin/processes",
    "/admin/resources",
    "/admin/exits",
)


@pytest.fixture(scope="module")
def system(shared_project: Project) -> Iterator[Project]:
    shared_project.add_app("bench", "workbench", instances=2)
    return shared_project.up()


def token(system: Project, role: str, name: str) -> str:
    made = system.admin.post("/admin/tokens", json={"name": name, "role": role})
    assert made.status_code == 201, made.text
    return made.json()["token"]


@pytest.mark.parametrize("path", READS)
def test_nothing_is_shown_without_a_token(system, path):
    """401 in the one error model, with the scheme to use."""
    response = system.http.get(path)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["type"] == "Unauthorized"


@pytest.mark.parametrize("path", READS)
def test_a_wrong_token_is_as_good_as_none(system, path):
    """A text that looks like a token is none."""
    with system.client("xc_" + "A" * 43) as client:
        assert client.get(path).status_code == 401


@pytest.mark.parametrize(
    ("role", "read", "change"), [("user", 403, 403), ("admin", 200, 403), ("root", 200, 403), ("superadmin", 200, 202)]
)
def test_each_role_may_do_what_it_may(system, role, read, change):
    """A plugin's user sees nothing here, admin and root read, superadmin changes."""
    with system.client(token(system, role, f"role of {role}")) as client:
        for path in READS:
            assert client.get(path).status_code == read, path
        assert client.post("/admin/plugins/bench/restart", params={"wait": 30}).status_code == change


def test_health_is_open(system):
    """Whoever watches the system from outside needs no token."""
    health = system.http.get("/health")
    assert health.status_code == 200
    assert health.json()["status"] == "ok"
    assert health.json()["plugins"]["bench"].items() >= {"state": "running", "ready": 2, "wanted": 2}.items()


def test_a_revoked_token_ends_at_once(system):
    """The answer to the revocation comes when every gateway refuses the token already."""
    with system.client(token(system, "admin", "short-lived")) as client:
        assert client.get("/admin/plugins").status_code == 200
        assert system.admin.delete("/admin/tokens/short-lived").status_code == 204
        assert client.get("/admin/plugins").status_code == 401


def test_tokens_are_nowhere_at_rest_but_hashed(system):
    """Neither the database nor a log gives away a token; only the file for the operator holds theirs."""
    text = token(system, "admin", "secretive")
    with system.client(text) as client:
        client.get("/admin/plugins", params={"with": "it"})
    kept = [
        path for path in system.state.rglob("*") if path.is_file() and not path.is_relative_to(system.state / "envs")
    ]
    assert not [path for path in kept if text.encode() in path.read_bytes()]
    assert text not in system.log
    file = system.state / "admin.token"
    admin = file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path for path in kept if admin.encode() in path.read_bytes()] == [file]
    assert (system.state / "manager.db").stat().st_mode & 0o077 == 0
    with closing(sqlite3.connect(f"file:{system.state / 'manager.db'}?mode=ro", uri=True)) as database:
        hashes = [row[0] for row in database.execute("SELECT hash FROM tokens")]
    assert all(len(value) == 64 for value in hashes)


def test_the_command_line_makes_lists_and_revokes_tokens(system):
    """The CLI needs no token itself: whoever may open the command socket is the operator."""
    made = system.xcore("token", "create", "--role", "admin", "--name", "made by hand")
    assert made.returncode == 0, made.stderr
    with system.client(made.stdout.strip()) as client:
        assert client.get("/admin/plugins").status_code == 200
        assert "made by hand" in system.xcore("token", "list").stdout
        assert system.xcore("token", "revoke", "made by hand").returncode == 0
        assert client.get("/admin/plugins").status_code == 401
    assert system.xcore("token", "revoke", "made by hand").returncode == 1


def test_a_restart_that_is_waited_for_is_done_when_it_answers(system):
    """202 with the plugin, whose processes are all other ones then and serve."""
    before = {instance["pid"] for instance in system.plugin("bench")["instances"]}

    restarted = system.admin.post("/admin/plugins/bench/restart", params={"wait": 30})

    assert restarted.status_code == 202
    instances = restarted.json()["instances"]
    assert [instance["state"] for instance in instances] == ["running", "running"]
    assert before.isdisjoint(instance["pid"] for instance in instances)
    assert not any(map(is_alive, before))
    records = [system.exit_of("bench", pid) for pid in before]
    assert {(record["cause"], record["actor"]) for record in records} == {("operator", "token:admin")}


def test_a_restart_is_accepted_before_it_is_done(system):
    """Without ``wait`` the answer does not wait for it."""
    before = {instance["pid"] for instance in system.plugin("bench")["instances"]}
    assert system.admin.post("/admin/plugins/bench/restart").status_code == 202
    system.wait_until(
        lambda: before.isdisjoint(instance["pid"] for instance in system.plugin("bench")["instances"]),
        "all workers are other ones",
    )
    system.wait_for_state("bench", "running")


def test_no_request_fails_during_a_restart_by_an_operator(system):
    """Requests in flight end, later ones go to another instance or wait."""
    restarting = system.admin.post("/admin/plugins/bench/restart")
    assert restarting.status_code == 202
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        assert system.http.get("/bench/pid").status_code == 200
        assert system.http.post("/bench/sink", content=b"x" * 1000).json() == 1000
    system.wait_for_state("bench", "running")


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/restart"), ("GET", "/logs")])
def test_an_unknown_plugin_is_not_found(system, method, path):
    """404 in the one error model, naming what was asked for."""
    response = system.admin.request(method, f"/admin/plugins/nobody{path}")
    assert response.status_code == 404
    assert set(response.json()) == {"type", "message", "extension"}
    assert "nobody" in response.json()["message"]


def test_an_unknown_path_is_not_found(system):
    """The error model holds where nothing is served at all."""
    response = system.http.get("/no/such/place")
    assert response.status_code == 404
    assert response.json()["type"] == "NotFound"


def test_every_process_is_listed_with_a_living_pid(system):
    """Supervisor, guard, gateway, template and each worker: exactly the processes that there are."""

    def agreed() -> list[dict]:
        listed = system.admin.get("/admin/processes").json()
        is_all = len(listed) == 6 and {process["pid"] for process in listed} == set(system.processes())
        return listed if is_all else []

    listed = system.wait_until(agreed, "those that were replaced are gone, and what is listed is what there is")
    assert {(process["kind"], process["id"]) for process in listed} == {
        ("supervisor", "supervisor"),
        ("guard", "guard"),
        ("gateway", "gateway.1"),
        ("template", "_plugins.1.template"),
        ("worker", "bench.1"),
        ("worker", "bench.2"),
    }
    assert listed[0]["pid"] == system.process.pid


def test_resources_are_real(system):
    """What is shown agrees with what the kernel says of the same process, once it has started up."""

    def agreeing():
        views = system.admin.get("/admin/resources").json()
        return views if all(map(_agrees, views)) else None

    views = system.wait_until(agreeing, "the figures are those of the kernel")
    ids = {view["id"] for view in views}
    assert ids == {"supervisor", "guard", "gateway.1", "_plugins.1.template", "bench.1", "bench.2"}


def _agrees(view) -> bool:
    process = psutil.Process(view["pid"])
    return (
        view["memory_mb"] == pytest.approx(process.memory_info().rss / 2**20, rel=0.3)
        and view["threads"] == process.num_threads()
        and 0 < view["cpu_seconds"] <= sum(process.cpu_times()[:2]) + 0.02
        and view["open_files"] == pytest.approx(process.num_fds(), abs=5)
    )


def test_a_plugin_shows_the_figures_of_its_instances(system):
    """Memory of each, and how many requests it had."""
    system.http.get("/bench/pid")

    def known():
        instances = system.plugin("bench")["instances"]
        return all(_memory_agrees(instance) for instance in instances) and any(i["requests"] for i in instances)

    system.wait_until(known, "memory and requests of the instances are shown")


def _memory_agrees(instance) -> bool:
    return instance["memory_mb"] == pytest.approx(psutil.Process(instance["pid"]).memory_info().rss / 2**20, rel=0.3)


def test_the_end_of_a_log_is_shown(system):
    """``tail`` lines, the last one last, with time, instance and stream. Instances write independently."""
    for number in range(5):
        system.http.get("/bench/say", params={"text": f"line {number} of five"})
    expected = {f"line {number} of five" for number in range(5)}

    def lines(tail: int) -> list[str]:
        return system.admin.get("/admin/plugins/bench/logs", params={"tail": tail}).json()

    system.wait_until(lambda: {line.partition(" out ")[2] for line in lines(5)} == expected, "all lines are written")
    assert lines(3) == lines(5)[2:]
    assert all(line.split()[1] in {"bench.1", "bench.2"} for line in lines(5))
    assert system.xcore("plugin", "logs", "bench", "--tail", "3").stdout.splitlines() == lines(3)


def test_status_of_the_command_line_agrees_with_the_interface(system):
    """One source of truth: both show what the supervisor knows."""
    shown = system.xcore("status")
    assert shown.returncode == 0
    assert str(system.process.pid) in shown.stdout
    assert system.url in shown.stdout
    assert "2/2" in shown.stdout


def test_a_restart_by_the_command_line_is_done_when_it_returns(system):
    """The same operation as over HTTP, by the operator."""
    before = {instance["pid"] for instance in system.plugin("bench")["instances"]}

    restarted = system.xcore("plugin", "restart", "bench", "--json")

    assert restarted.returncode == 0, restarted.stderr
    instances = json.loads(restarted.stdout)["instances"]
    assert [instance["state"] for instance in instances] == ["running", "running"]
    assert before.isdisjoint(instance["pid"] for instance in instances)
    assert {system.exit_of("bench", pid)["actor"] for pid in before} == {"operator"}


@pytest.mark.parametrize("command", ["show", "restart", "logs"])
def test_the_command_line_knows_no_unknown_plugin(system, command):
    """Exit code 1 and one line that names it."""
    failed = system.xcore("plugin", command, "nobody")
    assert failed.returncode == 1
    assert "no plugin named 'nobody'" in failed.stderr
    assert failed.stdout == ""


def test_the_command_line_asks_a_remote_system_with_a_token(system):
    """``--url`` goes through the gateway, with the rights of the token in XCORE_TOKEN."""
    secret = token(system, "admin", "remote")
    listed = system.xcore("plugin", "list", "--json", "--url", system.url, XCORE_TOKEN=secret)
    assert listed.returncode == 0, listed.stderr
    assert [plugin["name"] for plugin in json.loads(listed.stdout)] == ["bench"]
    assert system.xcore("plugin", "list", "--url", system.url).returncode == 1
    refused = system.xcore("plugin", "restart", "bench", "--url", system.url, XCORE_TOKEN=secret)
    assert refused.returncode == 1
    assert "superadmin" in refused.stderr
