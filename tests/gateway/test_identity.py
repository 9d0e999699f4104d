"""Who is asking."""

import time

import pytest

from gateway.identity import Tokens, user_of
from tests.fakes.tokens import token_record as record


def test_a_known_token_is_found_by_its_hash():
    """The gateway never holds a token itself."""
    tokens = Tokens()
    tokens.replace([record("one"), record("two", name="other")])
    assert tokens.verify("two", 0.0).name == "other"
    assert tokens.verify("three", 0.0) is None
    assert tokens.verify(record("one").hash, 0.0) is None


def test_an_expired_token_is_no_token():
    """The table may be older than the token's end."""
    tokens = Tokens()
    tokens.replace([record("one", expires=100.0)])
    assert tokens.verify("one", 99.9).name == "ci"
    assert tokens.verify("one", 100.0) is None


def test_a_new_table_revokes_what_is_not_in_it():
    """Revocation is pushed as a table without the token."""
    tokens = Tokens()
    tokens.replace([record("one")])
    tokens.replace([record("two")])
    assert tokens.verify("one", 0.0) is None


@pytest.mark.parametrize("value", ["Bearer one", "bearer one", "BEARER  one "])
def test_the_scheme_is_read_in_any_case(value):
    """RFC 9110, 11.1."""
    tokens = Tokens()
    tokens.replace([record("one", expires=time.time() + 60)])
    assert tokens.of_authorization(value).name == "ci"


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic one", "one", "Bearer on", "Bearer one\udcff"])
def test_anything_else_is_nobody(value):
    """Foreign credentials belong to the plugin."""
    tokens = Tokens()
    tokens.replace([record("one"), record("")])
    assert tokens.of_authorization(value) is None


def test_a_plugin_sees_the_role_of_a_token_and_nobody():
    """What goes into the scope's state: no secret, and no id that one day might be a user's."""
    assert user_of(record("one")) == {"id": None, "email": None, "role": "admin"}
