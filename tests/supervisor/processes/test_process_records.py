"""Records of processes: written whole, read by whoever comes next, and never a reason to fail."""

import logging
import os
from dataclasses import replace

import pytest

from plugin_runtime.protocol import Kind
from supervisor.guard.records import read_records
from supervisor.guard.selection import Identity
from supervisor.processes.process_records import ProcessRecord, ProcessRecords, boot_id
from supervisor.processes.process_stat import read_process_stat
from tests.fakes.processes import state_folder


def record(token="ab12", **fields) -> ProcessRecord:
    """Of the test's own process."""
    ours = read_process_stat(os.getpid())
    defaults = {
        "nonce": "n",
        "id": "hello.1",
        "name": "hello",
        "kind": Kind.WORKER,
        "generation": "g",
        "command": ("python", "-I"),
        "pid": os.getpid(),
        "start_ticks": ours.start_ticks,
        "boot_id": boot_id(),
        "restarts": 2,
        "settings": {"link_secret": b"\x00\xff", "nested": {"list": [1, "two", None]}},
    }
    return ProcessRecord(token, **{**defaults, **fields})


@pytest.fixture
def folder(tmp_path):
    return state_folder(tmp_path)


@pytest.fixture
def records(folder):
    return ProcessRecords(folder)


def test_what_was_written_is_read(records):
    """With bytes, which settings hold, and everything nested."""
    records.write(record())
    assert records.read_all() == [record()]


def test_the_oldest_process_is_first(records):
    """Of two of one name the last one is the newest."""
    old, new = record("cc", start_ticks=1), record("aa", start_ticks=2)
    records.write(new)
    records.write(old)
    assert records.read_all() == [old, new]


def test_a_later_record_of_the_same_incarnation_takes_the_place_of_the_first(records):
    """It is being ended, for example."""
    records.write(record())
    records.write(record(leaving=True))
    assert [found.leaving for found in records.read_all()] == [True]


def test_a_removed_one_is_not_found(records, folder):
    """Nothing of it stays, and a second time is no error."""
    records.write(record())
    records.remove("ab12")
    records.remove("ab12")
    assert records.read_all() == []
    assert list(folder.run.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"token": 1}', b"\xff", b'{"kind": "dragon"}'], ids=repr
)
def test_one_that_makes_no_sense_is_logged_and_removed(records, folder, content, caplog):
    """A disk that was full, a hand that edited: the others are taken over all the same."""
    records.write(record())
    folder.process_record("zz").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert records.read_all() == [record()]
    assert "zz.process" in caplog.text
    assert not folder.process_record("zz").exists()


def test_unknown_fields_of_a_newer_version_are_passed_over(records, folder):
    """A supervisor that is set back to the version before takes over, too."""
    records.write(record())
    path = folder.process_record("ab12")
    path.write_text(path.read_text().replace('{"token"', '{"colour": "red", "token"', 1))
    assert records.read_all() == [record()]


def test_a_full_disk_is_a_warning(records, folder, caplog, monkeypatch):
    """The process runs on; only its adoption is lost."""
    folder.run.chmod(0o500)
    monkeypatch.setattr("pathlib.Path.write_text", _no_space)
    records.write(record())
    folder.run.chmod(0o700)
    assert "Cannot write down process" in caplog.text
    assert "No space left" in caplog.text


def _no_space(*_, **__):
    raise OSError(28, "No space left on device")


def test_a_process_is_known_by_its_start_and_this_boot():
    """Never by the pid alone."""
    assert record().is_alive
    assert not replace(record(), start_ticks=record().start_ticks - 1).is_alive
    assert not replace(record(), boot_id="another").is_alive
    assert not record(pid=2**22 + 1).is_alive


def test_its_age_is_that_of_the_process():
    """Seconds since it was started, by a clock that goes on while the machine sleeps."""
    assert record().age > 0.0
    assert record(start_ticks=10**15).age == 0.0


def test_the_guard_reads_them_too(records, folder):
    """What it needs of them, and nothing of another boot: pids and start ticks begin anew with each."""
    records.write(record())
    records.write(record("bb", boot_id="another"))
    folder.process_record("zz").write_bytes(b"{")
    assert read_records(folder.run) == {Identity(os.getpid(), record().start_ticks): "hello.1"}
