"""The records of plugins, on both databases."""

from dataclasses import replace

import pytest

from supervisor.errors import ConflictError, UnknownNameError
from supervisor.store.repository import PluginChanges, PluginFacts

HELLO = PluginFacts("hello", "1.0", "Ada", "/app/hello", ["greeting"], trigger=2)


@pytest.fixture
def opened(url, scenario, clock):
    with scenario(url, clock=clock) as (store, run):
        yield store.plugins, run


def test_an_added_plugin_is_found_with_all_its_fields(opened, clock):
    """Everything the founding document stored is stored."""
    plugins, run = opened
    added = run(plugins.add(HELLO))
    assert run(plugins.get("hello")) == added
    assert (added.name, added.version, added.author, added.api_prefix) == ("hello", "1.0", "Ada", "/app/hello")
    assert (added.tag_for_identified, added.trigger, added.active) == (["greeting"], 2, True)
    assert added.add_time == added.update_time == clock.now
    assert len(added.id) == 36


def test_a_name_is_added_only_once(opened):
    """The name is the identity; the first record stays as it was."""
    plugins, run = opened
    first = run(plugins.add(HELLO))
    with pytest.raises(ConflictError, match="'hello'"):
        run(plugins.add(PluginFacts("hello", "2.0", "Eve", "/other")))
    assert run(plugins.get_all()) == [first]


def test_an_unknown_name_is_an_error_that_says_what_is_known(opened):
    """404 with a hint, from every operation that names one plugin."""
    plugins, run = opened
    run(plugins.add(HELLO))
    for operation in (plugins.get("hallo"), plugins.delete("hallo")):
        with pytest.raises(UnknownNameError, match="known: hello"):
            run(operation)


def test_what_could_never_say_what_it_is_can_be_disabled(opened):
    """A folder whose code is broken, or that has no prefix yet: the operator's word is kept all the same."""
    plugins, run = opened
    row = run(plugins.status("broken", active=False))
    assert (row.name, row.version, row.active) == ("broken", "", False)
    run(plugins.register(replace(HELLO, name="broken")))
    assert (run(plugins.get("broken")).active, run(plugins.get("broken")).version) == (False, HELLO.version)


def test_update_writes_what_is_given_and_the_time(opened, clock):
    """None means: leave it."""
    plugins, run = opened
    added = run(plugins.add(HELLO))
    clock.now += 5
    updated = run(plugins.update("hello", PluginChanges(version="1.1", tag_for_identified=[]), active=False))
    assert (updated.version, updated.tag_for_identified, updated.author) == ("1.1", [], "Ada")
    assert (updated.add_time, updated.update_time) == (added.add_time, added.add_time + 5)
    assert run(plugins.get("hello")) == updated
    assert updated.active


def test_what_was_served_while_the_database_was_away_can_be_scaled_and_changed(opened):
    """It could not be registered; what it says of itself is written when it is next."""
    plugins, run = opened
    scaled = run(plugins.scale("shop", 3))
    assert (scaled.instances, scaled.active, scaled.version) == (3, True, "")
    updated = run(plugins.update("other", PluginChanges(author="Eve"), active=True))
    assert (updated.author, updated.active, updated.instances) == ("Eve", True, None)
    run(plugins.register(replace(HELLO, name="shop")))
    assert (run(plugins.get("shop")).instances, run(plugins.get("shop")).version) == (3, HELLO.version)


def test_an_update_that_changes_nothing_leaves_the_time(opened, clock):
    """Every start registers every plugin; update_time must not mean "last start"."""
    plugins, run = opened
    added = run(plugins.add(HELLO))
    clock.now += 5
    assert run(plugins.register(HELLO)) == added


def test_register_inserts_a_new_plugin_as_active(opened):
    """Dropping a folder is enough to be served."""
    plugins, run = opened
    assert run(plugins.register(HELLO)).active


def test_register_never_touches_what_the_operator_decided(opened, clock):
    """A disabled plugin stays disabled when its code changes."""
    plugins, run = opened
    before = run(plugins.register(HELLO))
    run(plugins.status("hello", active=False))
    after = run(plugins.register(PluginFacts("hello", "2.0", "Ada", "/new")))
    assert (after.active, after.version, after.api_prefix, after.id) == (False, "2.0", "/new", before.id)


def test_lists_are_split_by_the_operators_wish(opened):
    """get_all_active and get_all_not_active share out get_all, sorted by name."""
    plugins, run = opened
    for name in ("b", "C", "a"):
        run(plugins.add(PluginFacts(name, "1", "x", f"/{name}")))
    run(plugins.status("a", active=False))
    assert [row.name for row in run(plugins.get_all())] == ["C", "a", "b"]
    assert [row.name for row in run(plugins.get_all_active())] == ["C", "b"]
    assert [row.name for row in run(plugins.get_all_not_active())] == ["a"]


def test_delete_forgets_and_returns_what_was_known(opened):
    """Its name is free afterwards."""
    plugins, run = opened
    added = run(plugins.add(HELLO))
    assert run(plugins.delete("hello")) == added
    assert run(plugins.get_all()) == []
    assert run(plugins.add(HELLO)).id != added.id


def test_text_of_any_length_and_origin_is_stored(opened):
    """No short-string cuts; what a database cannot hold is replaced, never refused."""
    plugins, run = opened
    long = "ü" * 100_000
    run(plugins.add(PluginFacts("x", long, "NUL\0 and \udc80", "/x", ["\0", "\udc80", "𝄞"])))
    row = run(plugins.get("x"))
    assert row.version == long
    assert row.author == "NUL\ufffd and ?"
    assert row.tag_for_identified == ["\0", "?", "𝄞"]


def test_a_rule_of_the_schema_is_a_conflict_not_trouble(opened):
    """A row that breaks a rule says nothing about the database's health."""
    plugins, run = opened
    with pytest.raises(ConflictError):
        run(plugins.add(PluginFacts("x", None, "a", "/x")))  # type: ignore[arg-type]  the point of the test
    assert run(plugins.get_all()) == []
