"""Whoever started xcore, and other programs, learn where it answers."""

import json

import pytest

from supervisor.announcement import announce, withdraw
from supervisor.run_folder import make_state_folder
from supervisor.state_folder import StateFolder


@pytest.fixture
def folder(tmp_path):
    folder = StateFolder(tmp_path / "state")
    make_state_folder(folder)
    return folder


def test_the_announcement_is_whole_or_not_there(folder, capsys):
    """Replaced by a rename; nothing else is left, and nothing at all when nobody answers any more."""
    announce(folder, "http://127.0.0.1:1")
    announce(folder, "http://127.0.0.1:2")
    assert json.loads(folder.gateway_file.read_text()) == {"url": "http://127.0.0.1:2"}
    assert list(folder.run.iterdir()) == [folder.gateway_file]
    assert capsys.readouterr().out.splitlines()[0] == "xcore serves http://127.0.0.1:1"
    withdraw(folder)
    withdraw(folder)
    assert list(folder.run.iterdir()) == []


def test_serving_goes_on_where_the_file_cannot_be_written(folder, capsys, caplog):
    """A full disk is no reason to be down; stdout has it all the same."""
    folder.gateway_file.with_suffix(".tmp").mkdir()
    announce(folder, "http://127.0.0.1:1")
    assert "serving goes on" in caplog.text
    assert f"admin token  {folder.admin_token}" in capsys.readouterr().out
