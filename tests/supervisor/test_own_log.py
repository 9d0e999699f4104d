"""The supervisor's own log."""

import json
import logging
import re

import pytest

from supervisor.config.source import load
from supervisor.errors import ConfigurationError
from supervisor.own_log import configure_logging


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """Configure logging by a section ``manager.log``; whatever was before is put back."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    levels = {
        name: logging.getLogger(name).level
        for name in ("asyncio", "sqlalchemy", "alembic", "watchdog", "httpx", "httpcore")
    }
    level = root.level

    def configured(**log):
        (tmp_path / "config.json").write_text(json.dumps({"manager": {"log": log}}))
        configure_logging(load(tmp_path / "config.json", {"LOG_LEVEL": "INFO"}))
        return root

    yield configured
    for handler in root.handlers:
        handler.close()
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def test_a_line_has_its_time_in_utc_level_and_origin(configured, capsys):
    """On stderr; stdout is for whoever started us."""
    configured()
    logging.getLogger("supervisor.supervision.child").info("hello.1 (pid %d): started", 7)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO    supervisor\.supervision\.child: hello\.1 \(pid 7\): started\n",
        captured.err,
    )


def test_what_a_message_quotes_cannot_forge_a_line(configured, capsys):
    """Row 20: folder names and plugins' words end up in it."""
    configured()
    logging.getLogger("x").warning("plugin %s", "a\n2026-01-01 ERROR supervisor: all is lost\x1b[2J")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("plugin a\\n2026-01-01 ERROR supervisor: all is lost\\x1b[2J")


def test_it_can_go_to_a_file_instead(configured, tmp_path, capsys):
    """Made with its folder, relative to config.json."""
    configured(console=False, file="logs/xcore.log")
    logging.getLogger("x").warning("hello")
    assert (tmp_path / "logs" / "xcore.log").read_text().endswith("x: hello\n")
    assert capsys.readouterr().err == ""


def test_nothing_at_all_is_possible(configured, capsys):
    """Without logging's last resort, which would print to stderr after all."""
    configured(console=False)
    logging.getLogger("x").error("hello")
    assert capsys.readouterr() == ("", "")


def test_libraries_are_kept_quiet(configured):
    """Their everyday messages concern nobody who operates xcore."""
    configured()
    assert not logging.getLogger("alembic").isEnabledFor(logging.INFO)
    assert logging.getLogger("supervisor").isEnabledFor(logging.INFO)


def test_a_file_that_cannot_be_opened_is_a_clear_error(configured, tmp_path):
    """The key and the path."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(
        ConfigurationError, match=r"config\.json: manager\.log\.file: cannot open .*folder: Is a directory"
    ):
        configured(file="folder")
