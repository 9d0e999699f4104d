"""What builds have printed is kept, and never takes more of the disk than it may."""

import os

import pytest

from supervisor.environments import build_log
from supervisor.environments.build_log import KEPT, BuildLogs


@pytest.fixture
def logs(tmp_path):
    return BuildLogs(tmp_path)


def test_the_last_few_logs_of_each_owner_are_kept(tmp_path, logs):
    """By number: the newest is told of, the oldest goes."""
    for number in range(KEPT + 7):
        with logs.begin("shop", "abc") as log:
            log.line(f"build {number}")
    with logs.begin("other", "abc"):
        pass
    assert len(list((tmp_path / "shop").iterdir())) == KEPT
    assert logs.latest("shop").name == f"{KEPT + 7:06}-abc.log"
    assert f"build {KEPT + 6}\n" in logs.latest("shop").read_text()
    assert logs.latest("other").name == "000001-abc.log"
    assert logs.latest("nobody") is None


def test_a_flood_ends_at_the_limit_and_the_outcome_is_there_all_the_same(logs, monkeypatch):
    """How it ended is what people look for."""
    monkeypatch.setattr(build_log, "SIZE", 1000)

    def flood():
        with logs.begin("shop", "abc") as log:
            log.step("installing")
            for _ in range(10_000):
                log.line("x" * 50)
            raise RuntimeError("exit code 3")

    with pytest.raises(RuntimeError):
        flood()
    text = logs.latest("shop").read_text()
    assert len(text) < 1500
    assert text.count("the rest is left out") == 1
    assert text.splitlines()[-1].endswith("exit code 3")


def test_what_was_said_before_a_step_is_on_disk_when_it_begins(logs):
    """Whoever looks on sees how far it is, and a kill loses little."""
    with logs.begin("shop", "abc") as log:
        log.line("made the venv")
        log.step("resolving")
        assert "made the venv\n" in log.path.read_text()


def test_a_log_that_cannot_be_written_costs_nothing_but_itself(tmp_path, logs, caplog):
    """The build goes on, and its error names no file that is not there."""
    (tmp_path / "shop").write_text("a file where a folder should be")
    with logs.begin("shop", "abc") as log:
        log.step("installing")
        log.line("done")
    assert log.path is None
    assert "Cannot keep what a build says" in caplog.text


def test_bytes_that_are_no_text_are_kept_escaped(logs):
    """Output is decoded elsewhere; what is left of it must not fail here."""
    with logs.begin("shop", "abc") as log:
        log.line(os.fsdecode(b"\xff"))
    assert "\\udcff" in log.path.read_text()
