"""A plugin's dotenv file: what is read, and what is said of the rest."""

import pytest

from supervisor.config.dotenv_file import read_dotenv


def test_variables_are_taken_as_they_are_written():
    """A ``$`` in a password is a ``$``."""
    found = read_dotenv("# a comment\nA=1\nexport B='two words'\nC=${A}\n\nEMPTY=\n")
    assert dict(found.variables) == {"A": "1", "B": "two words", "C": "${A}", "EMPTY": ""}
    assert found.problems == []


@pytest.mark.parametrize("line", ["s3cret", "s3cret: 5", "A 1", "'open", "=1", "A='open"])
def test_a_line_that_is_no_assignment_is_named_by_its_number(line):
    """What stands in it may be secret; the lines around it hold."""
    found = read_dotenv(f"A=1\n\n{line}\nB=2\n")
    assert dict(found.variables) == {"A": "1", "B": "2"}
    assert found.problems == ["line 3: it is left out; write NAME=value, or # for a comment"]


@pytest.mark.parametrize("line", ["PASSWORD=a\0b", "PASS\0WORD=ab", "PASSWORD='a\0b'"])
def test_a_line_with_a_nul_is_left_out(line):
    """No process can be given such a variable: each start would fail, and nothing would name the line."""
    found = read_dotenv(f"A=1\n{line}\nB=2\n")
    assert dict(found.variables) == {"A": "1", "B": "2"}
    assert found.problems == ["line 2: it is left out; remove the NUL character in it"]
