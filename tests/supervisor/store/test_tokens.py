"""API tokens, on both databases."""

import re

import pytest
from sqlalchemy import text

from plugin_runtime.protocol import TokenRecord
from supervisor.errors import ConfigurationError, ConflictError, UnknownNameError
from supervisor.store.tokens import Role, token_hash


@pytest.fixture
def opened(url, scenario, clock):
    with scenario(url, clock=clock) as (store, run):
        yield store.tokens, run


def test_a_new_token_is_shown_once_and_stored_as_its_hash(url, scenario):
    """Who reads the database gains no access."""
    with scenario(url) as (store, run):
        shown, view = run(store.tokens.create("ci", Role.ADMIN))
        assert re.fullmatch(r"xc_[A-Za-z0-9_-]{43}", shown)
        assert (view.name, view.role, view.expires, view.last_used) == ("ci", "admin", None, None)
        stored = run(
            store._database.read(
                "look", lambda session: [tuple(r) for r in session.execute(text("SELECT * FROM tokens"))]
            )
        )
        assert shown not in repr(stored)
        assert token_hash(shown) in stored[0]


def test_valid_tokens_are_what_gateways_compare_with(opened, clock):
    """Expired and revoked ones are missing from the table, which revokes them."""
    tokens, run = opened
    kept, _ = run(tokens.create("kept", Role.SUPERADMIN))
    short, _ = run(tokens.create("short", Role.ADMIN, 1))
    run(tokens.create("gone", Role.ROOT))
    run(tokens.revoke("gone"))
    both = run(tokens.valid())
    assert sorted(both, key=lambda record: record.name) == [
        TokenRecord(token_hash(kept), "kept", "superadmin", None),
        TokenRecord(token_hash(short), "short", "admin", clock.now + 86400),
    ]
    clock.now += 86400
    assert [record.name for record in run(tokens.valid())] == ["kept"]


def test_the_list_shows_expired_tokens_but_not_revoked_ones(opened, clock):
    """The operator sees what there is to clean up, newest first."""
    tokens, run = opened
    run(tokens.create("old", Role.USER, 0.5))
    clock.now += 86400
    run(tokens.create("new", Role.USER))
    assert [view.name for view in run(tokens.get_all())] == ["new", "old"]
    run(tokens.revoke("old"))
    assert [view.name for view in run(tokens.get_all())] == ["new"]


def test_a_name_in_use_is_a_conflict_until_it_is_revoked(opened):
    """Rotation: revoke, create again under the same name; the two have different texts."""
    tokens, run = opened
    first, _ = run(tokens.create("ci", Role.ADMIN))
    with pytest.raises(ConflictError, match="'ci'"):
        run(tokens.create("ci", Role.ADMIN))
    run(tokens.revoke("ci"))
    second, _ = run(tokens.create("ci", Role.ADMIN))
    assert first != second


def test_a_token_is_revoked_by_its_id_before_anothers_name(opened):
    """A name may look like an id; the id decides."""
    tokens, run = opened
    _, view = run(tokens.create("a", Role.ADMIN))
    run(tokens.create(view.id, Role.ADMIN))
    assert run(tokens.revoke(view.id)) == view
    assert [left.name for left in run(tokens.get_all())] == [view.id]


def test_revoking_an_unknown_or_revoked_token_is_an_error(opened):
    """Never a silent success."""
    tokens, run = opened
    run(tokens.create("ci", Role.ADMIN))
    run(tokens.revoke("ci"))
    for name in ("ci", "nobody"):
        with pytest.raises(UnknownNameError, match=name):
            run(tokens.revoke(name))


@pytest.mark.parametrize(("name", "days"), [("", None), (" ", 3), ("x", 0), ("x", -1), ("x", float("nan"))])
def test_a_token_without_name_or_life_time_is_refused(opened, name, days):
    """A token that is expired when made, or cannot be named, is a mistake."""
    tokens, run = opened
    with pytest.raises(ConfigurationError):
        run(tokens.create(name, Role.ADMIN, days))
    assert run(tokens.get_all()) == []


def test_an_unknown_role_is_a_mistake_of_the_caller(opened):
    """The four roles are the contract."""
    tokens, run = opened
    with pytest.raises(ValueError, match="emperor"):
        run(tokens.create("x", "emperor"))
    assert {role.value for role in Role} == {"user", "admin", "root", "superadmin"}
