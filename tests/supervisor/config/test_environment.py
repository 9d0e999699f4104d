"""Variables become keys: names, case, JSON or text, merging, and the dotenv file's form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.environment import Override, leaves, merged, overrides, parse_dotenv
from supervisor.errors import ConfigurationError


def tree_of(variables, tree=None):
    return merged(tree or {}, overrides(variables, "variable", tree or {}))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("XCORE__GATEWAY__PORT", "0", {"gateway": {"port": 0}}),
        ("XCORE__gateway__Port", "0", {"gateway": {"port": 0}}),
        ("XCORE__GATEWAY__METRICS_PUBLIC", "true", {"gateway": {"metrics_public": True}}),
        ("XCORE__GATEWAY__ACCESS_LOG", "off", {"gateway": {"access_log": "off"}}),
        ("XCORE__GATEWAY__HOST", "::1", {"gateway": {"host": "::1"}}),
        ("XCORE__GATEWAY__HOST", '"::1"', {"gateway": {"host": "::1"}}),
        ("XCORE__GATEWAY__CORS_ORIGINS", '["*"]', {"gateway": {"cors_origins": ["*"]}}),
        ("XCORE__MANAGER__PLUGINS__DIRECTORY", "2026", {"manager": {"plugins": {"directory": "2026"}}}),
        ("XCORE__MANAGER__LOG__FILE", "null", {"manager": {"log": {"file": None}}}),
        ("XCORE__MANAGER__LOG__FILE", "7", {"manager": {"log": {"file": "7"}}}),
        ("XCORE__PLUGINS__shop__ENV__Debug", "1", {"plugins": {"shop": {"env": {"Debug": "1"}}}}),
        ("XCORE__PLUGINS__Shop__INSTANCES", "2", {"plugins": {"Shop": {"instances": 2}}}),
        ("XCORE__PLUGINS__SHOP__INSTANCES", "2", {"plugins": {"shop": {"instances": 2}}}),
        ("XCORE__PLUGINS", '{"a": {"instances": 2}}', {"plugins": {"a": {"instances": 2}}}),
        ("XCORE__GATEWAY__PORT", "[1", {"gateway": {"port": "[1"}}),
    ],
)
def test_a_variable_sets_its_key(name, text, expected):
    """JSON where it is JSON, text where it is not or where text is wanted."""
    assert tree_of({name: text}) == expected


def test_a_name_in_capitals_that_the_file_knows_keeps_its_case():
    """Both SHOP and shop may be folders; the file says which one is meant."""
    tree = {"plugins": {"SHOP": {"instances": 1}}}
    assert tree_of({"XCORE__PLUGINS__SHOP__INSTANCES": "2"}, tree) == {"plugins": {"SHOP": {"instances": 2}}}


def test_other_variables_are_none_of_our_business():
    """Only the prefix with two underscores sets keys."""
    assert overrides({"XCORE_TOKEN": "x", "PATH": "/bin", "xcore__gateway__port": "1"}, "variable", {}) == []


def test_objects_merge_and_inner_variables_win_over_outer_ones():
    """Whatever order the environment lists them in."""
    tree = {"gateway": {"port": 1, "host": "h"}}
    variables = {"XCORE__GATEWAY__PORT": "3", "XCORE__GATEWAY": '{"port": 2, "processes": 2}'}
    assert tree_of(variables, tree) == {"gateway": {"port": 3, "host": "h", "processes": 2}}
    assert tree == {"gateway": {"port": 1, "host": "h"}}


@given(st.dictionaries(st.from_regex(r"[a-z]{1,3}", fullmatch=True), st.integers(), min_size=1))
def test_an_object_sets_exactly_its_leaves(value):
    """What counts as overridden is what the merged tree has from the variable."""
    override = Override(("gateway",), value, "variable")
    assert leaves(override) == {f"gateway.{name}" for name in value}
    assert merged({}, [override]) == {"gateway": value}


def test_the_dotenv_file_takes_the_usual_forms():
    """Quotes, export, comments, and references to what is above or in the environment."""
    text = "export A=1\n# no\nB='x y'\nC=${A}-${HOME}-${GONE:-d}\nD=\"q\"  # why\nE\n\nF=\n"
    assert parse_dotenv(text, ".env", {"HOME": "/h"}) == {"A": "1", "B": "x y", "C": "1-/h-d", "D": "q", "F": ""}


def test_a_line_that_is_no_assignment_is_an_error():
    """python-dotenv would skip it with a log line, and a setting would be missing in silence."""
    with pytest.raises(ConfigurationError, match="line 2"):
        parse_dotenv("A=1\n= 5\n", ".env", {})
