"""Our JSON is Python's, with every key once and a bound on depth."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.json_text import MAX_DEPTH, JsonError, parse_json

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


@given(DOCUMENTS)
def test_valid_documents_come_through_unchanged(document):
    """No value is bent on the way."""
    assert parse_json(json.dumps(document)) == document


@given(st.text(alphabet='{}[]",:x1-.e\\ \n', max_size=40))
def test_any_text_is_parsed_or_refused(text):
    """JsonError is the only way out, and what Python's parser refuses we refuse."""
    try:
        expected = json.loads(text)
    except json.JSONDecodeError:
        with pytest.raises(JsonError, match="not valid JSON at line"):
            parse_json(text)
    else:
        with contextlib.suppress(JsonError):  # a key given twice, or too deep
            assert parse_json(text) == expected


def test_the_deepest_allowed_document_is_allowed():
    """The bound is where it says."""
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    with pytest.raises(JsonError, match="nested more than"):
        parse_json("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2))


def test_a_key_given_twice_is_named_by_its_path():
    """Python's parser takes the last one; which of them was meant nobody knows."""
    with pytest.raises(JsonError) as caught:
        parse_json('{"a": [{"b": 1}, {"c": 1, "c": 1}]}')
    assert caught.value.key == ("a", 1, "c")
