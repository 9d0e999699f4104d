"""The guard's log."""

import re

from supervisor.guard.log import GuardLog


def test_a_line_looks_like_those_of_all_logs(tmp_path):
    """Time, instance, stream, text; readable by its owner alone."""
    path = tmp_path / "guard.log"
    log = GuardLog(path, "guard")
    log.say("Ending 2 processes")
    log.say("Everything is ended")
    first, second = path.read_text().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z guard err Ending 2 processes", first)
    assert second.endswith(" guard err Everything is ended")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_process_cannot_forge_a_line_by_its_name(tmp_path):
    """It may call itself anything, and its name is told."""
    path = tmp_path / "guard.log"
    GuardLog(path, "guard").say("Sending SIGTERM to a\n2026 guard err b\x1b[2J (pid 1)")
    assert len(path.read_text().splitlines()) == 1
    assert "\x1b" not in path.read_text()


def test_where_there_is_no_folder_it_is_told_on_stderr(tmp_path, capsys):
    """The state folder may be gone by then; the work is done all the same."""
    GuardLog(tmp_path / "gone" / "guard.log", "guard").say("Everything is ended")
    assert capsys.readouterr().err.endswith(" guard err Everything is ended\n")
