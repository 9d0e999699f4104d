"""From the schema of the first release to that of this one, with rows in it, on both databases."""

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from plugin_runtime.task_views import RunView
from supervisor.store.audit import AuditEntry
from supervisor.store.database import Database
from supervisor.store.engine import sqlite_url
from supervisor.store.migrate import OURS, Migrations
from supervisor.store.settings import StoreSettings

RUN = RunView("r1", "reports.cleanup", 1.0, 3.5, "failed", 2.5, "ValueError", "Traceback", ["ü"])
SKIPPED = RunView("r2", "reports.cleanup", None, 60.0, "skipped")
CREATED = AuditEntry(1.0, "operator", "tokens.create", "ci", "succeeded", {"role": "admin"}, id="1")
REVOKED = AuditEntry(2.0, "operator", "tokens.revoke", "ci", "succeeded", id="2")

INSERT_RUN = text(
    "INSERT INTO runs (id, job, started, finished, outcome, duration, exception, traceback, log_tail)"
    " VALUES (:id, :job, :started, :finished, :outcome, :duration, :exception, :traceback, :log_tail)"
)
INSERT_ENTRY = text(
    "INSERT INTO audit (time, actor, action, target, detail, outcome)"
    " VALUES (:time, :actor, :action, :target, :detail, :outcome)"
)


@pytest.fixture
def first_release(tmp_path):
    """Its revisions."""
    folder = tmp_path / "first"
    shutil.copytree(OURS, folder, ignore=shutil.ignore_patterns("__pycache__", "000[2-9]*"))
    return Migrations(folder)


def fill(url, migrations):
    """Make a database of an older schema, with rows as its program wrote them."""

    def rows(session):
        for run in (RUN, SKIPPED):
            session.execute(INSERT_RUN, vars(run) | {"log_tail": json.dumps(run.log_tail)})
        for entry in (CREATED, REVOKED):
            session.execute(INSERT_ENTRY, vars(entry) | {"detail": json.dumps(entry.detail)})

    async def main():
        database = await Database.open(url, StoreSettings(), migrations)
        await database.write("fill", rows)
        await database.close()

    asyncio.run(main())


def test_what_the_first_release_stored_comes_along(url, scenario, first_release):
    """Row 42: nothing is lost, new columns say that nothing is known, and rows are counted on from where they were."""
    assert first_release.head == "0001"
    fill(url, first_release)
    with scenario(url) as (store, run):
        assert run(store.runs.runs()) == [SKIPPED, RUN]
        assert run(store.audit.entries()) == [REVOKED, CREATED]
        begun = replace(RUN, id="r3", finished=None, outcome=None)
        run(store._record([begun, replace(RUN, exception="TypeError")]))
        entry = replace(CREATED, id="3")
        run(store.audit.audit(entry))
        assert run(store.runs.runs()) == [begun, SKIPPED, replace(RUN, exception="TypeError")]
        assert run(store.audit.entries()) == [entry, REVOKED, CREATED]


@pytest.mark.process
@pytest.mark.slow
def test_killed_between_the_old_table_and_the_new_one_nothing_is_lost(tmp_path, scenario, first_release):
    """Row 42: SQLite's tables are changed by replacing them; for a moment there is none."""
    path = tmp_path / "state" / "manager.db"
    fill(sqlite_url(path), first_release)
    program = f"""
import os
from pathlib import Path
from sqlalchemy import Engine, event
from supervisor.store.migrate import Migrations
from supervisor.store.settings import StoreSettings
from supervisor.store.sqlite_file import SqliteFile

@event.listens_for(Engine, "before_cursor_execute")
def kill(connection, cursor, statement, *_):
    if statement.startswith("ALTER TABLE _alembic_tmp_runs RENAME"):
        os.kill(os.getpid(), 9)

SqliteFile(Path({str(path)!r}), StoreSettings(), Migrations()).prepare()
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    killed = subprocess.run([sys.executable, "-c", program], env=environment, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT id FROM runs ORDER BY sequence").fetchall() == [("r1",), ("r2",)]
    with scenario(sqlite_url(path)) as (store, run):
        assert run(store.runs.runs()) == [SKIPPED, RUN]
    assert [file.name for file in path.parent.iterdir()] == ["manager.db"]
