"""One supervisor per state folder, and a manager database that is never harmed."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]


def test_a_second_supervisor_is_refused_and_the_first_undisturbed(project):
    """Within two seconds, with a message that says who is there and what to do."""
    project.add_app("bench", "workbench")
    project.up()
    before = project.http.get("/bench/pid").json()
    started = time.monotonic()
    assert project.xcore("status").returncode == 0
    yardstick = time.monotonic() - started

    started = time.monotonic()
    second = project.xcore("up")

    # Nothing is waited for; on a machine that is busy otherwise, importing alone may take longer.
    assert time.monotonic() - started < max(2, 5 * yardstick)
    assert second.returncode == 1
    assert second.stdout == ""
    assert f"another supervisor (pid {project.process.pid}) runs on it" in second.stderr
    assert "xcore down" in second.stderr
    assert "Traceback" not in second.stderr
    assert project.http.get("/bench/pid").json() == before
    assert project.xcore("status").returncode == 0


def test_status_says_that_nothing_runs(project):
    """Exit code 3, for scripts; also after a supervisor has come and gone."""
    never = project.xcore("status")
    assert never.returncode == 3
    assert "xcore up" in never.stderr
    project.up()
    project.stop()
    assert project.xcore("status").returncode == 3


def test_a_supervisor_that_was_killed_leaves_a_folder_that_the_next_one_takes(project):
    """The lock of a dead supervisor means nothing; what was in ``run/`` its guard has removed after the grace."""
    project.configure(supervisor={"adopt_grace": 0.5})
    project.add_app("bench", "workbench")
    project.up()
    token = (project.state / "admin.token").read_text()
    project.kill()
    assert {path.suffix for path in (project.state / "run").iterdir()} <= {".process"}

    project.up()

    assert (project.state / "admin.token").read_text() == token
    assert project.http.get("/bench/pid").status_code == 200
    project.expect_log("Ending: .*supervisor")


def newer(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE xcore_schema SET version_num = '9999'")


DAMAGES = {
    "empty": lambda database: database.write_bytes(b""),
    "not a database": lambda database: database.write_bytes(b"all lost\n" * 1000),
    "truncated": lambda database: database.write_bytes(database.read_bytes()[:20_000]),
    "damaged inside": lambda database: database.write_bytes(
        database.read_bytes()[:4096] + b"\xff" * 8192 + database.read_bytes()[12288:]
    ),
    "newer": newer,
}


@pytest.fixture(scope="module")
def database_bytes(shared_project):
    """A manager database as an orderly stop leaves it."""
    shared_project.up()
    shared_project.stop()
    return (shared_project.state / "manager.db").read_bytes()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_database_that_is_not_sound_is_refused_untouched(project, database_bytes, damage):
    """A clear error and exit code 1; never overwritten, since it may be all that somebody has left."""
    database = project.state / "manager.db"
    database.write_bytes(database_bytes)
    DAMAGES[damage](database)
    before = database.read_bytes()

    refused = project.xcore("up")

    assert refused.returncode == 1
    assert str(database) in refused.stderr
    assert "Traceback" not in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert database.read_bytes() == before
    assert not list((project.state / "run").iterdir())
    assert not project.processes()


def test_a_directory_in_the_place_of_the_database_is_refused(project):
    """Nothing is made inside it, nothing beside it."""
    database = project.state / "manager.db"
    database.mkdir()
    refused = project.xcore("up")
    assert refused.returncode == 1
    assert "it is a directory" in refused.stderr
    assert list(database.iterdir()) == []


def test_what_was_acknowledged_is_there_after_a_restart(project):
    """Tokens, exits and plugins outlive the supervisor."""
    project.add_app("bench", "workbench")
    project.up()
    made = project.admin.post("/admin/tokens", json={"name": "kept", "role": "admin"}).json()["token"]
    project.stop()
    project.up()
    with project.client(made) as client:
        assert client.get("/admin/plugins").status_code == 200
        assert [record["cause"] for record in client.get("/admin/exits", params={"name": "bench"}).json()] == [
            "shutdown"
        ]
