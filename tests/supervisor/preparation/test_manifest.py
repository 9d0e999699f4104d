"""A plugin's manifest: its tables, the operator's overrides, and the place of everything that is wrong."""

import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.plugin_keys import PluginOverrides
from supervisor.errors import PluginInvalidError
from supervisor.preparation.manifest import check_servable, manifest_errors, parse_manifest
from supervisor.spec import RestartWhen

WHOLE = """
[project]
name = "the-shop"
version = "1.2"
authors = [{ name = "Ada", email = "ada@example.org" }, { email = "bob@example.org" }]
requires-python = ">=3.9,<4"

[tool.xcore]
app = "shop.main:app"
prefix = "/shop"
path = "full"
instances = 2
exclusive = false
template = true
preload = ["pandas", "numpy.linalg"]
env = { SHOP_DB = "sqlite:///shop.db" }
env_file = ".env"
health = "/healthz"
restart = "on-failure"
start_timeout = 60
stop_timeout = 30
request_timeout = 0
idle_stop = 0
max_in_flight = 0
max_requests = 0
max_age = 0
memory_soft_mb = 0
memory_hard_mb = 0
open_files = 0
autoreload = true

[[tool.xcore.jobs]]
name = "cleanup"
entry = "shop.jobs:cleanup"
interval = { minutes = 10 }

[[tool.xcore.jobs]]
name = "report"
entry = "shop.jobs:report"
cron = "0 3 * * *"
timezone = "Europe/Berlin"
"""


def refusal(text, overrides=None) -> PluginInvalidError:
    with pytest.raises(PluginInvalidError) as caught:
        parse_manifest("shop", text, overrides or {})
    return caught.value


def test_every_key_of_the_manifest_is_taken():
    """The example of the documentation, whole."""
    manifest = parse_manifest("shop", WHOLE, {})
    assert manifest.contract == "app"
    assert (manifest.plugin, manifest.title, manifest.version) == ("shop", "the-shop", "1.2")
    assert (manifest.author, manifest.requires_python) == ("Ada, bob@example.org", ">=3.9,<4")
    assert (manifest.prefix, manifest.path, manifest.instances) == ("/shop", "full", 2)
    assert (manifest.preload, manifest.env) == (("pandas", "numpy.linalg"), {"SHOP_DB": "sqlite:///shop.db"})
    assert (manifest.restart, manifest.health) == (RestartWhen.ON_FAILURE, "/healthz")
    assert [(job.name, job.cron, job.timezone) for job in manifest.jobs] == [
        ("cleanup", None, None), ("report", "0 3 * * *", "Europe/Berlin"),
    ]  # fmt: skip
    assert manifest.jobs[0].interval.minutes == 10


@pytest.mark.parametrize("text", [None, "", "[tool.other]\nx = 1\n"])
def test_a_plugin_without_a_manifest_has_one_of_defaults(text):
    """run.py alone is enough."""
    manifest = parse_manifest("shop", text, {})
    assert manifest.contract == "seed"
    assert (manifest.instances, manifest.path, manifest.restart) == (1, "auto", RestartWhen.ALWAYS)
    assert (manifest.start_timeout, manifest.stop_timeout) == (60, 30)
    assert (manifest.title, manifest.version, manifest.author, manifest.requires_python) == ("", "", "", "")


def test_a_manifest_is_frozen():
    """What was checked stays as it was checked."""
    with pytest.raises(ValueError):
        parse_manifest("shop", None, {}).instances = 3


def test_overrides_win_and_add_to_the_environment():
    """The operator has the last word; a variable of the manifest stays unless it is set anew."""
    text = '[tool.xcore]\ninstances = 2\nenv = { A = "1", B = "2" }\n'
    overrides = PluginOverrides(instances=3, env={"B": "3", "C": "4"}).given()
    manifest = parse_manifest("shop", text, overrides)
    assert manifest.instances == 3
    assert manifest.env == {"A": "1", "B": "3", "C": "4"}
    assert parse_manifest("shop", text, {}).instances == 2


def test_overrides_may_carry_jobs_and_policies():
    """Any key, also those that are more than a scalar."""
    overrides = PluginOverrides.model_validate(
        {"restart": "never", "jobs": [{"name": "a", "entry": "m:f", "cron": "* * * * *"}]}
    ).given()
    manifest = parse_manifest("shop", WHOLE, overrides)
    assert manifest.restart is RestartWhen.NEVER
    assert [job.name for job in manifest.jobs] == ["a"]


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        ("^3.9", ">=3.9,<4"),
        ("^3", ">=3,<4"),
        ("~3.9", ">=3.9,<3.10"),
        ("~3.9.1", ">=3.9.1,<3.10"),
        ("~3", ">=3,<4"),
        ("3.11.*", "==3.11.*"),
        (">=3.9,<3.13", ">=3.9,<3.13"),
        ("~=3.9", "~=3.9"),
        ("*", ""),
    ],
)
def test_a_manifest_of_poetry_1_is_understood(constraint, expected):
    """Its caret and tilde become the standard's versions."""
    text = (
        '[tool.poetry]\nname = "old"\nversion = "0.1"\nauthors = ["Ada <ada@example.org>", "Bob"]\n'
        f'[tool.poetry.dependencies]\npython = "{constraint}"\n'
    )
    manifest = parse_manifest("old", text, {})
    assert (manifest.title, manifest.version, manifest.author) == ("old", "0.1", "Ada, Bob")
    assert manifest.requires_python == expected


def test_project_goes_before_poetry():
    """Poetry 2 files may have both; the standard one is meant."""
    text = '[project]\nname = "new"\nrequires-python = ">=3.10"\n[tool.poetry]\nname = "old"\nversion = "1"\n'
    manifest = parse_manifest("shop", text + '[tool.poetry.dependencies]\npython = "^3.8"\n', {})
    assert (manifest.title, manifest.version, manifest.requires_python) == ("new", "1", ">=3.10")


@pytest.mark.parametrize(
    ("line", "place", "problem"),
    [
        ("instances = 0", "instances", "must be at least 1, not 0"),
        ("instances = 100000", "instances", "must be at most 256, not 100000"),
        ('instances = "2"', "instances", 'must be a whole number, not "2"'),
        ("instances = 2.0", "instances", "must be a whole number, not 2.0"),
        ("instances = true", "instances", "must be a whole number, not true"),
        ("max_age = inf", "max_age", "must be a finite number, not Infinity"),
        ("stop_timeout = -1", "stop_timeout", "must be at least 0, not -1"),
        ("start_timeout = 0", "start_timeout", "must be more than 0, not 0"),
        ("autoreload = 1979-05-27", "autoreload", 'must be true or false, not "1979-05-27"'),
        ('app = "shop.main"', "app", 'must be "module:attribute", not "shop.main"'),
        ('app = "shop/main.py:app"', "app", 'must be "module:attribute"'),
        ('prefix = "shop"', "prefix", 'must start with "/", not "shop"'),
        ('path = "short"', "path", "must be 'auto', 'full' or 'stripped', not \"short\""),
        ('restart = "often"', "restart", "must be 'always', 'on-failure' or 'never', not \"often\""),
        ('preload = "pandas"', "preload", 'must be a list, not "pandas"'),
        ('preload = ["a b"]', "preload[0]", "must be the dotted name of a module"),
        ("env = { A = 1 }", "env.A", "must be a string, not 1"),
        ('env = { XCORE_NONCE = "x" }', "env.XCORE_NONCE", "must not be set, xcore sets it itself"),
        (r'env = { A = "\u0000" }', "env.A", "must not contain a NUL character"),
        ("env = 5", "env", "must be an object, not 5"),
        ("memory_soft_mb = 2\nmemory_hard_mb = 1", "", "memory_soft_mb must not be above memory_hard_mb"),
        ("exclusive = true\ninstances = 2", "", "exclusive = true allows one instance, not 2"),
        ("[[tool.xcore.jobs]]", "jobs[0].name", "is missing"),
        ('jobs = [{ name = "a", entry = "m:f" }]', "jobs[0]", "needs one of 'interval' and 'cron'"),
        ('jobs = [{ name = "a", entry = "m:f", cron = "* *" }]', "jobs[0].cron", "must have five fields"),
        ('jobs = [{ name = "a", entry = "m:f", interval = {} }]', "jobs[0].interval", "must be longer than no time"),
        ('jobs = [{ name = "a", entry = "m:f", interval = { weeks = 1 } }]', "jobs[0].interval.weeks", "unknown key"),
        ('jobs = [{ name = "a b", entry = "m:f", cron = "* * * * *" }]', "jobs[0].name", "must be of letters"),
        ('jobs = [{ name = "a", entry = "m:f", cron = "* * * * *", timezone = "Europe" }]',
         "jobs[0].timezone", "must be the name of a time zone"),
        ('jobs = [{ name = "a", entry = "m:f", interval.days = 1 }, { name = "a", entry = "m:f", interval.days = 2 }]',
         "", "two jobs are named 'a'"),
    ],
)  # fmt: skip
def test_a_wrong_key_is_named_with_its_place_and_value(line, place, problem):
    """The author finds it without a search."""
    error = refusal(f"[tool.xcore]\n{line}\n")
    assert error.place == f"pyproject.toml [tool.xcore] {place}".rstrip()
    assert error.problem.startswith(problem)


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("[tool.xcore\n", "pyproject.toml", "not valid TOML: .*line 1"),
        ("a = 1\na = 2\n", "pyproject.toml", "not valid TOML: .*line 2"),
        ("a = " + "[" * 50_000, "pyproject.toml", "not valid TOML: nested too deeply"),
        ("a = " + "9" * 5000, "pyproject.toml", "not valid TOML"),
        ("tool = 5", r"pyproject.toml \[tool\]", "must be a table, not 5"),
        ("[tool]\nxcore = []", r"pyproject.toml \[tool\] xcore", "must be a table, not a list"),
        ("[project]\nversion = 1", r"pyproject.toml \[project\] version", "must be a string, not 1"),
        ("[project]\nauthors = 'Ada'", r"pyproject.toml \[project\] authors", 'must be a list, not "Ada"'),
        ("[project]\nrequires-python = '3'", r"pyproject.toml \[project\] requires-python", 'cannot read "3"'),
        ("[tool.poetry.dependencies]\npython = '>=2 || >=3'",
         r"pyproject.toml \[tool.poetry.dependencies\] python", "cannot read"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_understood_is_refused_with_its_place(text, place, problem):
    """Never a traceback of ours for a mistake of theirs."""
    error = refusal(text)
    assert re.fullmatch(place, error.place)
    assert re.match(problem, error.problem)


def test_a_name_with_a_dot_is_for_apps_only():
    """``plugins.shop.v2.run`` would be looked for in a plugin ``shop``."""
    with pytest.raises(PluginInvalidError, match=r"its folder: .* 'shop\.v2' has a dot; rename its folder"):
        check_servable(parse_manifest("shop.v2", None, {}))
    assert [error.place for error in manifest_errors("shop.v2", "[tool.xcore]\nx = 1", {})] == [
        "pyproject.toml [tool.xcore] x",
        "its folder",
    ]
    check_servable(parse_manifest("shop.v2", '[tool.xcore]\napp = "main:app"', {}))
    assert manifest_errors("shop.v2", None, {"app": "main:app"}) == []


def test_an_unknown_key_suggests_the_nearest_one():
    """The most common mistake of all."""
    error = refusal("[tool.xcore]\ninstance = 2\n")
    assert str(error) == ("plugin 'shop': pyproject.toml [tool.xcore] instance: unknown key; did you mean 'instances'?")


def test_an_override_that_does_not_fit_the_manifest_is_the_operators():
    """Each is valid alone; the message names config.json, which was laid over the other."""
    error = refusal("[tool.xcore]\nexclusive = true\n", PluginOverrides(instances=2).given())
    assert error.place == "config.json plugins.shop"
    assert error.problem == "exclusive = true allows one instance, not 2"


@given(st.text(max_size=60))
def test_any_text_gives_a_manifest_or_one_error(text):
    """Plugins come from anywhere."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        assert refusal(text).place == "pyproject.toml"
    else:
        assert parse_manifest("shop", text, {}).plugin == "shop"


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(st.sampled_from(sorted(set(PluginOverrides.model_fields) - {"env", "jobs", "preload"})), st.lists(SCALARS))
def test_a_list_where_none_is_wanted_names_the_key(key, value):
    """No value brings validation itself down, however strange what is in it."""
    with pytest.raises(PluginInvalidError, match=re.escape(f"plugin 'shop': config.json plugins.shop.{key}: must be")):
        parse_manifest("shop", None, {key: value})


@pytest.mark.parametrize(
    ("text", "overrides", "places"),
    [
        (None, {}, []),
        (WHOLE, {}, []),
        (
            '[project]\nname = 1\n[tool.xcore]\nprefx = "/x"\ninstances = 0\n[[tool.xcore.jobs]]\nname = "a"\n',
            {},
            [
                "pyproject.toml [tool.xcore] instances",
                "pyproject.toml [tool.xcore] jobs[0].entry",
                "pyproject.toml [tool.xcore] prefx",
                "pyproject.toml [project] name",
            ],
        ),
        (
            "[tool.xcore]\ninstances = 2\n",
            {"exclusive": True, "max_age": -1},
            ["config.json plugins.shop.max_age"],
        ),
        ("[tool", {}, ["pyproject.toml"]),
        ("tool = 1", {}, ["pyproject.toml [tool]"]),
    ],
)
def test_all_that_is_wrong_can_be_had_at_once(text, overrides, places):
    """An author mends it in one go; the first is what a supervisor says."""
    errors = manifest_errors("shop", text, overrides)
    assert [error.place for error in errors] == places
    if errors:
        assert str(refusal(text, overrides)) == str(errors[0])


@pytest.mark.parametrize(
    ("text", "location", "shown"),
    [
        ('[project]\nname = "x"\n[tool.xcore]\napp = "main:app"\ninstanses = 2\n', "pyproject.toml:5", "instanses = 2"),
        ("[tool.xcore]\nenv = { A = 1 }\n", "pyproject.toml:2", "env = { A = 1 }"),
        ("[tool.xcore]\napp = = 3\n", "pyproject.toml:2", "app = = 3"),
        ("[project]\nname = 3\n", "pyproject.toml:2", "name = 3"),
        ('[tool.xcore]\n[[tool.xcore.jobs]]\nname = "x"\n', "pyproject.toml:1", "[tool.xcore]"),
    ],
)
def test_the_line_that_is_wrong_is_named_and_shown(text, location, shown):
    """As far as it can be found; of what is missing, the table."""
    with pytest.raises(PluginInvalidError) as raised:
        parse_manifest("shop", text, {})
    assert raised.value.location == location
    assert any(line.startswith(">") and line.endswith(f"| {shown}") for line in raised.value.excerpt)


def test_what_config_json_says_has_no_line_in_the_manifest():
    """The operator looks for it elsewhere."""
    with pytest.raises(PluginInvalidError) as raised:
        parse_manifest("shop", "[tool.xcore]\ninstances = 2\n", {"instances": "two"})
    assert (raised.value.location, raised.value.excerpt) == ("", [])
