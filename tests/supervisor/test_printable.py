"""What people read is what was written, and nothing obeys it."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.own_log import FORMAT, OneLineFormatter
from supervisor.printable import harmless, one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, Größe, 日本語\t!", "plain text, Größe, 日本語\t!"),
        ("a\nb", "a\\nb"),
        ("a\r\nb", "a\\nb"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\u202eevil", "\\u202eevil"),
        ("", ""),
    ],
)
def test_foreign_text_is_one_line_without_commands(text, shown):
    """A folder's name or an error message cannot end a line of ours, nor move the cursor of who reads it."""
    assert one_line(text) == shown


@given(st.text())
def test_one_line_is_one_line_for_every_reader(text):
    """Whatever else ends lines for somebody is escaped as well."""
    assert len(one_line(text).splitlines()) <= 1


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\n"))))
def test_lines_stay_as_many_as_they_were(lines):
    """Escaping never joins or splits lines."""
    assert len(harmless(lines)) == len(lines)


def test_a_log_record_is_one_line_whatever_it_quotes():
    """A plugin's name cannot forge a line of the supervisor's log."""
    record = logging.makeLogRecord({"msg": "Plugin %s is there", "args": ("x\nERROR forged",), "levelname": "INFO"})
    assert "\n" not in OneLineFormatter(FORMAT).format(record)
