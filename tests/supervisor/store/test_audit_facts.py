"""What an audit entry tells of the arguments of an operation."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.store.audit_facts import LONGEST, audit_facts
from supervisor.store.models import storable_json


@pytest.mark.parametrize(
    ("arguments", "target", "detail"),
    [
        ({}, "", {}),
        ({"name": "hello", "wait": 3.0}, "hello", {"wait": 3.0}),
        ({"id": "reports.cleanup"}, "reports.cleanup", {}),
        ({"key": "tasks.interval", "value": [1, {"a": True}]}, "tasks.interval", {"value": [1, {"a": True}]}),
        ({"id": 7, "name": "both"}, "both", {"id": 7}),
        ({"name": ["odd"]}, "['odd']", {}),
        ({"wait": 1, "active": False}, "", {"wait": 1, "active": False}),
    ],
)  # fmt: skip
def test_the_target_is_the_argument_that_names_it(arguments, target, detail):
    """The first of name, id, key; all others are the detail."""
    assert audit_facts(arguments) == (target, detail)


@pytest.mark.parametrize(
    ("arguments", "detail"),
    [
        ({"name": "ada", "password": "hunter2"}, {"password": "***"}),
        ({"name": "ada", "new_token": ["hunter2"]}, {"new_token": "***"}),
        ({"key": "smtp.password", "value": {"deep": "hunter2"}}, {"value": "***"}),
        ({"key": "mail", "value": {"API_KEY": "hunter2", "port": 25}}, {"value": {"API_KEY": "***", "port": 25}}),
        ({"url": "postgresql://ada:hunter2@host/db"}, {"url": "postgresql://ada:***@host/db"}),
        ({"urls": ["https://ada:hunter2@host/"]}, {"urls": ["https://ada:***@host/"]}),
    ],
)
def test_secrets_are_hidden_wherever_they_lie(arguments, detail):
    """The record is read by others than those who know them."""
    assert audit_facts(arguments)[1] == detail


def deep(levels):
    value = None
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("x" * 1_000_000, "[1000002 characters]"),
        ("://a:" * 100_000, "[500002 characters]"),
        (list(range(1000)), "[4890 characters]"),
        (math.nan, "nan"),
        ({"a": math.inf, "token": "hunter2"}, "{'a': inf, 'token': '***'}"),
        ({b"token": b"\xff", 1: 2}, {"b'token'": "***", "1": 2}),
        (b"\xff", "b'\\xff'"),
        (deep(100_000), "[nested too deeply]"),
    ],
    ids=["long", "a trap", "many", "nan", "infinity", "keys", "bytes", "deep"],
)
def test_whatever_was_sent_leaves_a_record(value, told):
    """Who asks must not be able to keep it from the record, nor to fill the disk by it."""
    _, detail = audit_facts({"value": value})
    assert detail == {"value": told}
    assert json.loads(storable_json(detail)) == detail


def test_a_long_target_is_not_told():
    """Unknown names are put on record as well."""
    assert audit_facts({"name": "x" * (LONGEST - 2)})[0] == "x" * (LONGEST - 2)
    assert audit_facts({"name": "x" * LONGEST})[0] == "[2002 characters]"
    assert audit_facts({"name": deep(100_000)})[0] == "[nested too deeply]"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@given(st.dictionaries(st.text(), JSON, max_size=3))
def test_the_detail_of_anything_can_be_stored(arguments):
    """Whatever came over the wire."""
    _, detail = audit_facts(arguments)
    json.loads(storable_json(detail))
