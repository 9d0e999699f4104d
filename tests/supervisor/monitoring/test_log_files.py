"""Log files: rotation, reading from the end, and a writer that never makes anybody wait."""

import resource
import signal
import threading
import tracemalloc
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.monitoring import log_files
from supervisor.monitoring.log_files import LogFiles, LogWriter, QueueLimits, Rotation
from tests.fakes.moved_clock import MovedClock
from tests.fakes.processes import wait_until


def numbered(start: int, stop: int) -> bytes:
    """Lines of ten bytes each."""
    return b"".join(b"%09d\n" % number for number in range(start, stop))


# --- files ---


def test_no_file_grows_over_its_size_and_old_ones_go(tmp_path):
    """Row 19: a flood stays within rotation, exactly, however large the pieces are that arrive."""
    files = LogFiles(tmp_path, Rotation(size=95, files=3))
    files.append("a", numbered(0, 4))
    files.append("a", numbered(4, 40))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "a.log": numbered(36, 40),
        "a.log.1": numbered(27, 36),
        "a.log.2": numbered(18, 27),
    }


def test_one_file_only_is_begun_anew(tmp_path):
    """files = 1 means: nothing older is kept."""
    files = LogFiles(tmp_path, Rotation(size=30, files=1))
    files.append("a", numbered(0, 5))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.log": numbered(3, 5)}


def test_a_line_larger_than_a_file_gets_one_of_its_own(tmp_path):
    """It cannot be divided, and must not be lost or looped on."""
    files = LogFiles(tmp_path, Rotation(size=30, files=4))
    files.append("a", b"x\n" + b"y" * 50 + b"\nz\n")
    assert [(tmp_path / name).read_bytes() for name in ("a.log.2", "a.log.1", "a.log")] == [
        b"x\n",
        b"y" * 50 + b"\n",
        b"z\n",
    ]


def test_only_we_may_read_a_log(tmp_path):
    """What a plugin prints may be secret."""
    LogFiles(tmp_path).append("a", b"x\n")
    assert (tmp_path / "a.log").stat().st_mode & 0o777 == 0o600


def test_a_deleted_log_is_begun_anew(tmp_path):
    """An operator's rm or logrotate must not send all later lines to a file without a name."""
    files = LogFiles(tmp_path)
    files.append("a", b"old\n")
    (tmp_path / "a.log").unlink()
    files.append("a", b"new\n")
    assert (tmp_path / "a.log").read_bytes() == b"new\n"


def test_a_write_that_fails_half_way_leaves_no_torn_line(tmp_path):
    """Row 32: write(2) on a full disk takes what fits; the rest would be joined with the next line."""
    files = LogFiles(tmp_path)
    files.append("a", numbered(0, 10))
    with file_size_limit(155), pytest.raises(OSError, match="File too large"):
        files.append("a", numbered(10, 30))
    files.append("a", b"after\n")
    assert (tmp_path / "a.log").read_bytes() == numbered(0, 10) + b"after\n"


@contextmanager
def file_size_limit(size: int):
    """A partial write and then an error, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


# --- reading from the end ---


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=40), max_size=60),
    st.integers(0, 70),
    st.integers(60, 300),
)
def test_the_tail_is_the_end_of_all_that_is_kept(tmp_path_factory, lines, wanted, size):
    """Across rotated files, for any number of lines, and none but whole ones."""
    files = LogFiles(tmp_path_factory.mktemp("logs"), Rotation(size=size, files=1000))
    for line in lines:
        files.append("a", f"{line}\n".encode())
    assert files.read_tail("a", wanted) == lines[max(len(lines) - wanted, 0) :]


def test_the_tail_of_what_never_logged_is_empty(tmp_path):
    """A plugin that was just added has no log; that is no error."""
    assert LogFiles(tmp_path).read_tail("nobody", 10) == []


def test_the_tail_ends_where_older_files_are_gone(tmp_path):
    """More is asked for than is kept."""
    files = LogFiles(tmp_path, Rotation(size=30, files=2))
    files.append("a", numbered(0, 10))
    assert files.read_tail("a", 100) == numbered(6, 10).decode().split()


def test_a_tail_is_read_in_bounded_memory(tmp_path, monkeypatch):
    """Lines may be long, and whoever asks may ask for a million of them."""
    monkeypatch.setattr(log_files, "_TAIL_BYTES", 256 * 1024)
    files = LogFiles(tmp_path)
    for number in range(80):
        files.append("a", f"{number} {'x' * 100_000}\n".encode())
    tracemalloc.start()
    try:
        tail = files.read_tail("a", 1_000_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [line.split()[0] for line in tail] == ["78", "79"]
    assert peak < 3 * 1024 * 1024


def test_a_file_that_is_rotated_while_it_is_read_is_not_read_twice(tmp_path):
    """It is the same file under its next name."""
    files = LogFiles(tmp_path, Rotation(files=3))
    files.append("a", b"1\n2\n")
    (tmp_path / "a.log.1").hardlink_to(tmp_path / "a.log")
    assert files.read_tail("a", 10) == ["1", "2"]


# --- the writer ---


class HeldFiles(LogFiles):
    """A disk that takes nothing until it is let go."""

    def __init__(self, folder) -> None:
        super().__init__(folder)
        self.go = threading.Event()
        self.entered = threading.Event()

    def append(self, name: str, data: bytes) -> None:
        self.entered.set()
        self.go.wait()
        super().append(name, data)


@contextmanager
def writing(files: LogFiles, **limits: int):
    writer = LogWriter(files, MovedClock(), QueueLimits(**limits))
    writer.start()
    try:
        yield writer
    finally:
        writer.close()
        assert not writer._thread.is_alive()


def test_a_line_has_time_instance_and_stream(tmp_path):
    """The form that people and `xcore logs` read: UTC, milliseconds."""
    with writing(LogFiles(tmp_path)) as writer:
        writer.write("hello", "hello.1", "out", ["one", "two"])
        writer.write("hello", "hello.2", "err", ["three"])
    assert (tmp_path / "hello.log").read_text(encoding="utf-8").splitlines() == [
        "2023-11-14T22:13:20.000Z hello.1 out one",
        "2023-11-14T22:13:20.000Z hello.1 out two",
        "2023-11-14T22:13:20.000Z hello.2 err three",
    ]


def test_writing_never_waits_and_what_does_not_fit_is_counted(tmp_path):
    """Row 19: a slow disk costs lines, not time or memory; the log says how many, at their place."""
    files = HeldFiles(tmp_path)
    with writing(files, log=1000, total=10_000) as writer:
        writer.write("hello", "hello.1", "out", ["first"])
        files.entered.wait()
        for number in range(100):
            writer.write("hello", "hello.1", "out", [f"line {number}"])
        assert writer._size <= 1000
        files.go.set()
        wait_until(lambda: not writer._size, "the queue is written")
        writer.write("hello", "hello.1", "out", ["last"])
    lines = [line.split(" ", 1)[1] for line in (tmp_path / "hello.log").read_text(encoding="utf-8").splitlines()]
    kept = len(lines) - 3
    assert 0 < kept < 100
    assert lines == [
        "hello.1 out first",
        *(f"hello.1 out line {number}" for number in range(kept)),
        f"... {100 - kept} lines dropped",
        "hello.1 out last",
    ]


def test_who_floods_loses_lines_of_its_own_only(tmp_path):
    """Neighbours' logs stay complete."""
    files = HeldFiles(tmp_path)
    with writing(files, log=1000, total=10_000) as writer:
        for _ in range(100):
            writer.write("flood", "flood.1", "out", ["x" * 100])
        writer.write("calm", "calm.1", "out", ["all is well"])
        files.go.set()
    assert "all is well" in (tmp_path / "calm.log").read_text(encoding="utf-8")
    assert "lines dropped" in (tmp_path / "flood.log").read_text(encoding="utf-8")


def test_all_logs_together_are_bounded(tmp_path):
    """Many plugins that flood at once."""
    files = HeldFiles(tmp_path)
    with writing(files, log=1000, total=2000) as writer:
        for number in range(50):
            writer.write(f"p{number}", "x.1", "out", ["x" * 100])
        assert writer._size <= 2000
        files.go.set()
    assert sum("lines dropped" in path.read_text(encoding="utf-8") for path in tmp_path.iterdir()) > 30


def test_a_log_on_a_full_disk_recovers_and_says_what_was_lost(tmp_path, monkeypatch, caplog):
    """Row 32: one error message, no busy loop, other logs go on, and the count when it works again."""
    monkeypatch.setattr(log_files, "RETRY_INTERVAL", 0.01)
    caplog.set_level("INFO", "supervisor.monitoring.log_files")
    (tmp_path / "full.log").symlink_to("/dev/full")
    with writing(LogFiles(tmp_path)) as writer:
        writer.write("full", "full.1", "out", ["a", "b"])
        wait_until(lambda: "No space left" in caplog.text, "the failure is logged")
        writer.write("fine", "fine.1", "out", ["x"])
        wait_until((tmp_path / "fine.log").exists, "another log is written")
        (tmp_path / "full.log").unlink()
        wait_until((tmp_path / "full.log").exists, "the log is written again")
        writer.write("full", "full.1", "out", ["c"])
    lines = [line.split(" ", 1)[1] for line in (tmp_path / "full.log").read_text(encoding="utf-8").splitlines()]
    assert lines == ["... 2 lines dropped", "full.1 out c"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_closing_gives_up_on_a_disk_that_hangs(tmp_path):
    """The supervisor's own end must not depend on it."""
    files = HeldFiles(tmp_path)
    writer = LogWriter(files, MovedClock())
    writer.start()
    writer.write("hello", "hello.1", "out", ["x"])
    writer.close(timeout=0.05)
    assert writer._thread.is_alive()
    files.go.set()
    writer.close()
    assert not writer._thread.is_alive()


def test_closing_ends_while_a_log_cannot_be_written(tmp_path, caplog):
    """What is lost then is lost; it is tried once."""
    (tmp_path / "full.log").symlink_to("/dev/full")
    with writing(LogFiles(tmp_path)) as writer:
        writer.write("full", "full.1", "out", ["a"])
        wait_until(lambda: "No space left" in caplog.text, "the failure is logged")
