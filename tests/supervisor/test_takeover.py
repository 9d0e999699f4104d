"""What a supervisor finds of the one before it."""

import os

import pytest

from plugin_runtime.protocol import Cause, Kind
from supervisor.process_records import ProcessRecord, ProcessRecords, boot_id
from supervisor.takeover import Takeover
from tests.fakes.processes import state_folder

RECORD = ProcessRecord(
    token="ab12",
    nonce="n",
    id="hello.1",
    name="hello",
    kind=Kind.WORKER,
    generation="g",
    command=("python", "-I"),
    pid=os.getpid(),
    start_ticks=1,  # not ours: who had our pid then is dead
    boot_id=boot_id(),
    restarts=0,
    settings={},
)


@pytest.fixture
def folder(tmp_path):
    return state_folder(tmp_path)


def test_who_died_is_reported_and_forgotten(folder):
    """Nobody saw how."""
    ProcessRecords(folder).write(RECORD)
    reported = []
    Takeover(folder).begin(None, None, reported.append)
    assert [(view.instance, view.pid, view.cause) for view in reported] == [("hello.1", RECORD.pid, Cause.UNKNOWN)]
    assert not list(folder.run.iterdir())


def test_a_supervisor_that_is_killed_before_it_reports_a_death_leaves_that_to_the_next(folder):
    """The database is opened after the folder was looked at: a kill in between loses no record."""
    ProcessRecords(folder).write(RECORD)
    folder.process_record("ab12").with_suffix(".out").touch()
    Takeover(folder)
    assert [path.name for path in folder.run.iterdir()] == ["ab12.process"]
    reported = []
    Takeover(folder).begin(None, None, reported.append)
    assert len(reported) == 1
