"""What settings can say about themselves beyond their values."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.problems import annotation_at, dotted
from supervisor.config.settings import Settings, SnapshotSettings
from supervisor.config.source import validate
from supervisor.errors import ConfigurationError
from supervisor.spelling import nearest_or_all


@pytest.mark.parametrize(
    "name", ["__init__.py", "run.py", "pyproject.toml", "poetry.lock", "index.html", "settings.toml", "data.json"]
)
def test_code_and_templates_count_by_default(name):
    """The old system's lists ignored some of these, so that changes of them went unnoticed."""
    assert not SnapshotSettings().ignores(name)


@pytest.mark.parametrize(
    "name", ["__pycache__", ".git", ".venv", "node_modules", "x.pyc", "shop.db", "shop.db-wal", "a.sqlite3", "x.log",
             ".run.py.swp", "run.py~", "4913", ".env"]
)  # fmt: skip
def test_caches_databases_and_editor_files_do_not(name):
    """They change all the time and are no code."""
    assert SnapshotSettings().ignores(name)


def test_extensions_may_be_written_as_in_the_old_configuration():
    """ ".log" and "*.log" are the same; hidden files count where they are wanted."""
    settings = SnapshotSettings(extensions=(".log", "*.tmp"), filenames=("build",), hidden=False)
    assert settings.patterns == ("*.log", "*.tmp", "build")
    assert [name for name in ("a.log", "a.tmp", "build", ".env", "a.py") if settings.ignores(name)] == [
        "a.log", "a.tmp", "build",
    ]  # fmt: skip


def test_manifest_and_lock_count_whatever_the_settings_say():
    """A change of them rebuilds the environment."""
    assert not SnapshotSettings(extensions=("*.toml", "*.lock", "*")).ignores("pyproject.toml")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)


@st.composite
def documents(draw):
    """A document with one or two keys of ours and values of any kind."""
    document = {}
    for section in draw(st.lists(st.sampled_from(sorted(Settings.model_fields)), min_size=1, max_size=2)):
        model = annotation_at(Settings, (section, "x") if section in {"plugins", "tasks"} else (section,))
        value = {draw(st.sampled_from(sorted(model.model_fields))): draw(VALUES)}
        document[section] = {"x": value} if section in {"plugins", "tasks"} else value
    return document


@given(documents())
def test_any_document_is_taken_or_refused_with_a_printable_sentence(document):
    """Whatever the values, the outcome is settings or one error that names a key of the document."""
    try:
        settings = validate(Path("config.json"), document)
    except ConfigurationError as error:
        refused = str(error)
    else:
        settings.model_dump_json()
        return
    refused.encode()
    places = tuple(f"config.json: {section}{mark}" for section in document for mark in ".:")
    assert refused.startswith(places)


@given(st.text(max_size=12), st.lists(st.text(min_size=1, max_size=12), min_size=1))
def test_a_suggestion_is_always_something_known(word, known):
    """Never an invention."""
    hint = nearest_or_all(word, known)
    assert any(f"{candidate!r}" in hint or candidate in hint for candidate in known)


def test_keys_are_dotted_with_indexes_and_quotes():
    """As in TOML, so that they can be found."""
    assert dotted(("a", 0, "b c", "$d", 'e"')) == r'a[0]."b c".$d."e\""'
