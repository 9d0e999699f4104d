"""kill -9 while writing: the database stays sound, and what was acknowledged is there."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

CHILD = Path(__file__).parents[2] / "children" / "store_writer.py"
MOMENTS = 200
OPENING_MOMENTS = 40
"""So many of them fall while the database is made or opened, the others while it is written to."""

pytestmark = [pytest.mark.process, pytest.mark.slow]


@pytest.fixture
def writers():
    environment = {**os.environ, "PYTHONPATH": str(CHILD.parents[2])}
    command = [sys.executable, CHILD]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process
        process.stdin.close()


def is_sound(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def stored_ids(path):
    with closing(sqlite3.connect(path)) as connection:
        return {row[0] for row in connection.execute("SELECT id FROM exits")}


def wait_for_promise(acknowledged, pid):
    deadline = time.monotonic() + 20
    while not (acknowledged.exists() and f"{pid}-" in acknowledged.read_text()):
        assert time.monotonic() < deadline, "the writer does not write"
        time.sleep(0.002)


@pytest.mark.timeout(300)
def test_killed_while_writing_nothing_acknowledged_is_lost(writers, tmp_path):
    """Row 40: moments from before the file exists to long after; one file takes all the kills, as in a crash loop."""
    path = tmp_path / "state" / "manager.db"
    acknowledged = Path(f"{path}.acknowledged")
    draw = random.Random(42)
    for moment in range(MOMENTS):
        writers.stdin.write(f"{path}\n")
        writers.stdin.flush()
        pid = int(writers.stdout.readline())
        if moment >= OPENING_MOMENTS:
            wait_for_promise(acknowledged, pid)
        longest = 0.05 if path.exists() else 0.5  # until it is made, which takes longer
        time.sleep(draw.uniform(0, longest))  # draws the moment; nothing is waited for
        os.kill(pid, signal.SIGKILL)
        assert writers.stdout.readline() == f"{signal.SIGKILL}\n", "the writer ended by itself"
        if path.exists():
            assert is_sound(path)
    assert is_sound(path)
    promised = set(acknowledged.read_text().split())
    assert len(promised) >= MOMENTS - OPENING_MOMENTS
    assert promised <= stored_ids(path)
