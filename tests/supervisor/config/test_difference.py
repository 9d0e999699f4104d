"""What a reload says has changed: keys as the reference lists them."""

import json

import pytest

from supervisor.config.difference import changes, with_live_keys
from supervisor.config.settings import Settings
from supervisor.config.source import load


@pytest.fixture
def loaded(tmp_path):
    """The configuration that a document and an environment make."""

    def loaded(document, **environ):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(document))
        return load(path, environ)

    return loaded


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, []),
        ({"manager": {"tasks": {"max_retries": 7}}}, [("manager.tasks.max_retries", True)]),
        ({"manager": {"tasks": {"max_retries": 3, "interval": 2}}}, []),
        ({"manager": {"dotenv": None}}, [("manager.dotenv", True)]),
        ({"manager": {"snapshot": {"hidden": False}}}, [("manager.snapshot.hidden", True)]),
        (
            {"supervisor": {"sample_interval": 1}, "gateway": {"port": 1, "parking": {"mb": 1}}},
            [("gateway.port", False), ("gateway.parking.mb", True), ("supervisor.sample_interval", True)],
        ),
        ({"gateway": {"cors_origins": ["*"]}}, [("gateway.cors_origins", True)]),
        ({"tasks": {"sweep": {"max_age": 5}}}, [("tasks.sweep.max_age", True)]),
        ({"tasks": {"sweep": {"restart": "on-failure"}, "mail": {}}}, []),
        ({"tasks": {"my.sweep": {"env": {"A": "1", "B": "2"}}}}, [('tasks."my.sweep".env', True)]),
        ({"plugins": {"shop": {"instances": 1}}}, [("plugins.shop.instances", True)]),
        ({"manager": {"plugins": {"entry_point": "main"}}}, [("manager.plugins.entry_point", False)]),
    ],
    ids=json.dumps,
)
def test_keys_that_differ_are_named_with_whether_they_are_live(loaded, document, expected):
    """In both directions; a default that is written is none, except where it wins over a manifest."""
    before, after = loaded({}), loaded(document)
    assert [(change.key, change.live) for change in changes(before, after)] == expected
    assert [(change.key, change.live) for change in changes(after, before)] == expected


def test_what_is_not_live_stays_as_it_was(loaded):
    """A part of the system that reads the configuration anew must not be the only one to follow a key."""
    waiting = {
        "manager": {"plugins": {"directory": "./other"}, "tasks": {"directory": "./jobs"}},
        "supervisor": {"state_dir": "./state", "adopt_grace": 1, "restart": {"delay": 9}, "heartbeat": {"hung": 20}},
    }
    live = {
        "manager": {"tasks": {"auto_restart": False}},
        "supervisor": {"sample_interval": 9},
        "plugins": {"shop": {"instances": 2}},
        "tasks": {"sweep": {"max_age": 5}},
    }
    both = {
        "manager": {**waiting["manager"], "tasks": {**waiting["manager"]["tasks"], "auto_restart": False}},
        "supervisor": {**waiting["supervisor"], "sample_interval": 9},
        "plugins": live["plugins"],
        "tasks": live["tasks"],
    }
    before = loaded({})
    variables = {"DATA_URL": "sqlite:///other.db", "LOG_LEVEL": "DEBUG"}
    assert with_live_keys(before, loaded(waiting, **variables)) == before
    assert with_live_keys(before, loaded(both, **variables)) == loaded(live)


def test_variables_without_a_key_go_by_their_names(loaded):
    """Their values may be secrets."""
    before, after = loaded({}), loaded({}, DATA_URL="postgresql://u:secret@h/d", LOG_LEVEL="debug")
    assert [(change.key, change.live) for change in changes(before, after)] == [
        ("DATA_URL", False),
        ("LOG_LEVEL", False),
    ]


def test_what_the_environment_sets_counts_as_what_the_file_says(loaded):
    """The dotenv file may have changed, and nothing else."""
    before, after = loaded({}), loaded({}, XCORE__TASKS__sweep__MAX_AGE="5")
    assert [change.key for change in changes(before, after)] == ["tasks.sweep.max_age"]


def test_every_key_is_found_when_it_differs(loaded):
    """A key that is added to the settings is compared without a word here."""
    before = loaded({})
    for section in ("manager", "gateway", "supervisor"):
        for path in _keys(Settings.model_fields[section].annotation, (section,)):
            model = _with(getattr(before, section), path[1:])
            after = type(before)(**{**vars(before), section: model})
            assert [change.key for change in changes(before, after)] == [".".join(path)]


def _keys(model, place):
    for name, field in model.model_fields.items():
        if field.json_schema_extra is None:
            yield from _keys(field.annotation, (*place, name))
        else:
            yield (*place, name)


def _with(model, path):
    """A copy with another value, valid or not, at ``path``."""
    value = object() if len(path) == 1 else _with(getattr(model, path[0]), path[1:])
    return model.model_copy(update={path[0]: value})
