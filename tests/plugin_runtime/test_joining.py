"""What a process says of itself when it has joined."""

import io

import pytest

from plugin_runtime import joining
from plugin_runtime.joining import tell_imports
from plugin_runtime.template_protocol import Imported
from tests.fakes.control_channel import FakeChannel


@pytest.fixture
def channel():
    return FakeChannel()


def raise_an_error(*_):
    raise ValueError("Imported of 9000000 bytes is over 8388608")


def test_what_was_imported_is_told(channel, monkeypatch):
    """In one message, and in none where there is nothing."""
    monkeypatch.setattr(joining, "modules_imported_since", list)
    tell_imports(channel)
    monkeypatch.setattr(joining, "modules_imported_since", lambda: ["zoo"])
    tell_imports(channel)
    assert channel.sent == [Imported(["zoo"])]


@pytest.mark.parametrize("where", ["in sys.modules", "in the channel"])
def test_imports_that_cannot_be_told_are_no_reason_to_die(channel, monkeypatch, capsys, where):
    """The process serves, or its run has succeeded; only the next one starts slower."""
    monkeypatch.setattr(joining, "modules_imported_since", raise_an_error if "modules" in where else lambda: ["zoo"])
    monkeypatch.setattr(channel, "send", raise_an_error)
    tell_imports(channel)
    assert capsys.readouterr().err == (
        "Cannot tell what was imported, the next process starts slower: "
        "ValueError('Imported of 9000000 bytes is over 8388608')\n"
    )


def test_a_closed_stderr_is_no_reason_to_die_either(channel, monkeypatch):
    """Code that makes itself a daemon closes it."""
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(joining.sys, "stderr", closed)
    monkeypatch.setattr(joining, "modules_imported_since", raise_an_error)
    tell_imports(channel)
    assert channel.sent == []
