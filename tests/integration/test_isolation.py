"""What a plugin can see and reach from its process."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugin_runtime.protocol import Call, Error
from plugin_runtime.wire import Decoder, encode
from tests.integration.project import ROOT, Project

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

SECRETS = {
    "DATA_URL": "sqlite:///elsewhere.db",
    "XCORE__SUPERVISOR__SAMPLE_INTERVAL": "1",
    "DEPLOY_TOKEN": "s3cret-token",
    "AWS_SECRET_ACCESS_KEY": "s3cret-key",
    "DB_PASSWORD": "s3cret-password",
}


@pytest.fixture(scope="module")
def system(shared_project: Project) -> Iterator[Project]:
    shared_project.add_app("bench", "workbench", env={"MINE": "yes"})
    shared_project.add_app("other", "workbench", env={"OTHERS_SETTING": "private"})
    (shared_project.plugins / "other" / ".env").write_text("OTHERS_PASSWORD=private\n")
    return shared_project.up(**SECRETS, HARMLESS="passed on")


@pytest.fixture(scope="module")
def seen(system):
    return system.http.get("/bench/look-around").raise_for_status().json()


def test_its_environment_holds_no_secret(system, seen):
    """Neither ours, nor the operator's, nor another plugin's; but what it was given, and what is harmless."""
    environment = seen["environment"]
    assert environment["MINE"] == "yes"
    assert environment["HARMLESS"] == "passed on"
    assert not set(SECRETS) & set(environment)
    assert not {"OTHERS_SETTING", "OTHERS_PASSWORD"} & set(environment)
    assert {name for name in environment if name.startswith("XCORE")} == {"XCORE_CHILD", "XCORE_DATA_DIR", "XCORE_TREE"}
    assert environment["XCORE_CHILD"] == "bench.1"
    assert environment["XCORE_DATA_DIR"] == str(system.data("bench"))
    admin = (system.state / "admin.token").read_text().strip()
    assert admin not in json.dumps(seen)


def test_another_plugin_got_its_own_settings(system):
    """The manifest's variables and the folder's dotenv file."""
    environment = system.http.get("/other/look-around").json()["environment"]
    assert (environment["OTHERS_SETTING"], environment["OTHERS_PASSWORD"]) == ("private", "private")


def test_it_holds_no_descriptor_of_ours(system, seen):
    """stdin is empty, stdout and stderr are its own; no database, no listening socket, no log of ours."""
    descriptors = seen["descriptors"]
    assert descriptors["0"] == "/dev/null"
    run = f"{system.state / 'run'}/"
    assert descriptors["1"].startswith(run)
    assert descriptors["2"].startswith(run)
    assert descriptors["1"] != descriptors["2"]
    assert not [target for target in descriptors.values() if target.endswith((".db", ".db-wal", ".log", ".lock"))]
    others = {target for name, target in descriptors.items() if int(name) > 2}
    assert not [target for target in others if target.startswith("/") and not target.startswith("/dev/")]
    assert not others & listening_inodes(system)


def listening_inodes(system: Project) -> set[str]:
    """The TCP sockets on which the gateway listens, as descriptors show them."""
    port = f":{int(system.url.rpartition(':')[2]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()][1:]
    found = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(port) and row[3] == "0A"}
    assert found
    return found


def test_nothing_of_ours_is_importable_but_the_runtime(seen):
    """A plugin that has a ``supervisor`` or ``tests`` of its own must not meet ours."""
    assert seen["importable"] == ["plugin_runtime"]
    assert str(ROOT) not in seen["path"]
    assert "" not in seen["path"]


def test_the_command_socket_refuses_a_worker(project):
    """Whoever may open it is the operator, except what we run ourselves."""
    call = encode(Call("system.stop", actor="operator"), 1)
    project.add_code("caller", CALLER.format(path=str(project.state / "run" / "command.sock"), call=call))
    project.up()

    answer = Decoder().feed(bytes.fromhex(project.http.get("/caller/").text))[0].message

    assert isinstance(answer, Error)
    assert answer.status == 403
    assert "cannot command it" in answer.message
    assert project.xcore("status").returncode == 0


CALLER = """
import socket

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect({path!r})
        connection.sendall({call!r})
        body = connection.recv(65536).hex().encode()
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": body}})
"""


def test_a_link_wants_its_secret(system):
    """Another process that finds a worker's socket gets no answer out of it."""
    links = list((system.state / "run").glob("*.link"))
    assert len(links) == 2
    for link in links:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(link))
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"HTTP" not in connection.recv(65536)
    assert system.http.get("/bench/pid").status_code == 200


def test_the_state_folder_is_the_operators_alone(system):
    """It holds tokens, and sockets that give power over everything."""
    assert system.state.stat().st_mode & 0o077 == 0
    assert (system.state / "run").stat().st_mode & 0o077 == 0
    for name in ("admin.token", "run/command.sock", "run/control.sock"):
        assert (system.state / name).stat().st_mode & 0o077 == 0, name
