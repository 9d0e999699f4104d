import tomllib

import pytest

from supervisor.environments.project import parse, read
from supervisor.errors import EnvironmentBuildError


def installable(text, lock=None):
    return tomllib.loads(parse("shop", text, lock).installable("3.11.7"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", False),
        ("[tool.xcore]\nprefix = '/shop'", False),
        ("[project]\nname = 'shop'\ndependencies = []", False),
        ("[project]\ndependencies = ['six']", True),
        ("[tool.poetry.dependencies]\npython = '^3.9'", False),
        ("[tool.poetry.dependencies]\npython = '^3.9'\nsix = '*'", True),
    ],
)
def test_only_named_dependencies_ask_for_an_environment_of_ones_own(text, expected):
    """What has nothing to install runs in the base environment."""
    assert parse("shop", text).has_dependencies is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("[project]\nrequires-python = '>=3.10'", ">=3.10"),
        ("[tool.poetry.dependencies]\npython = '^3.9'", "^3.9"),
        ("[project]\nrequires-python = '>=3.10'\n[tool.poetry.dependencies]\npython = '^3.12'", ">=3.10"),
        ("[project]\nrequires-python = 3", None),
    ],
)
def test_the_python_wanted_is_read_from_both_places_that_poetry_knows(text, expected):
    """[project] comes first, as in Poetry."""
    assert parse("shop", text).requires_python == expected


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("[tool.poetry.dependencies]\nmine = { path = '../mine' }", "mine"),
        ("[tool.poetry.dependencies]\nmine = [{ path = './a', markers = 'x' }, { version = '1' }]", "mine"),
        ("[tool.poetry.group.main.dependencies]\nmine = { path = '../mine' }", "mine"),
        ("[project]\ndependencies = ['six', 'mine[fast] @ file:///srv/mine']", "mine"),
    ],
)
def test_a_path_dependency_is_refused_by_name(text, culprit):
    """It cannot be installed from a copy, and a message that names it saves a search."""
    with pytest.raises(EnvironmentBuildError, match=f"path dependency '{culprit}'"):
        parse("shop", text).check()


def test_all_path_dependencies_are_named_at_once():
    """Or they are mended one after the other."""
    text = "[tool.poetry.dependencies]\nmine = { path = '../mine' }\nyours = { path = '../yours' }"
    with pytest.raises(EnvironmentBuildError, match="path dependencies 'mine', 'yours' in"):
        parse("shop", text).check()


@pytest.mark.parametrize("text", ["[project]\ndependencies = ['six @ https://example.org/file:six.whl']", "a = 'path'"])
def test_what_only_looks_like_a_path_is_not_refused(text):
    """A URL may hold any text."""
    assert parse("shop", text).path_dependencies() == []


def test_without_a_lock_only_the_main_dependencies_are_resolved_and_for_this_python_alone():
    """A plugin that says nothing about Python would be resolved for versions its dependencies never knew."""
    document = installable(
        """
        [project]
        name = "shop"
        version = "1.2"
        readme = "missing.md"
        dependencies = ["six"]
        optional-dependencies = { fast = ["uvloop"] }
        [dependency-groups]
        dev = ["pytest"]
        [tool.poetry.group.dev.dependencies]
        local = { path = "../tools" }
        [tool.poetry.requires-plugins]
        evil = "*"
        [[tool.poetry.source]]
        name = "house"
        url = "https://example.org/simple"
        """
    )
    assert document == {
        "project": {"name": "shop", "version": "0", "dependencies": ["six"], "requires-python": "==3.11.7"},
        "tool": {"poetry": {"package-mode": False, "source": [{"name": "house", "url": "https://example.org/simple"}]}},
    }


def test_a_legacy_project_is_resolved_for_this_python_alone():
    """The same for pyproject.toml files from before [project]."""
    document = installable("[tool.poetry]\nname='x'\n[tool.poetry.dependencies]\npython='>=2.7'\nsix='*'")
    assert document == {"tool": {"poetry": {"package-mode": False, "dependencies": {"python": "==3.11.7", "six": "*"}}}}


def test_with_a_lock_everything_stays_that_its_hash_covers():
    """Else Poetry would call a good lock stale."""
    document = installable(
        """
        [project]
        name = "shop"
        authors = [{ name = "A" }]
        dynamic = ["version", "dependencies"]
        requires-python = ">=3.9"
        optional-dependencies = { fast = ["uvloop"] }
        [dependency-groups]
        dev = ["pytest"]
        [tool.poetry.dependencies]
        six = "*"
        """,
        lock="# locked",
    )
    assert document == {
        "project": {
            "name": "shop",
            "version": "0",
            "dynamic": ["dependencies"],
            "requires-python": ">=3.9",
            "optional-dependencies": {"fast": ["uvloop"]},
        },
        "dependency-groups": {"dev": ["pytest"]},
        "tool": {"poetry": {"package-mode": False, "dependencies": {"six": "*"}}},
    }


def test_a_name_that_poetry_would_refuse_is_replaced():
    """The plugin's title is no reason to fail."""
    assert installable("[project]\nname = 'My shop!'\ndependencies = ['six']")["project"]["name"] == "xcore-plugin"


@pytest.mark.parametrize("text", ["[project", "a = " + "[" * 5000])
def test_broken_toml_is_reported_with_the_file(text):
    """Never a traceback of the parser."""
    with pytest.raises(EnvironmentBuildError, match=r"'shop'.*pyproject\.toml is not valid TOML"):
        parse("shop", text)


def test_the_lock_beside_a_pyproject_is_read_with_it(tmp_path):
    """Both or the one; none is no error."""
    file = tmp_path / "pyproject.toml"
    assert read("shop", file) is None
    file.write_text("[project]\ndependencies = ['six']")
    assert read("shop", file).lock is None
    (tmp_path / "poetry.lock").write_text("# locked")
    assert read("shop", file).lock == "# locked"


@pytest.mark.parametrize("make", ["mkfifo", "mkdir", "latin"])
def test_a_pyproject_that_is_no_text_file_is_an_error_and_never_waited_for(tmp_path, make):
    """Opening a FIFO would stop the event loop for good."""
    import os

    file = tmp_path / "pyproject.toml"
    {"mkfifo": os.mkfifo, "mkdir": os.mkdir, "latin": lambda f: f.write_bytes(b"name = '\xe9'")}[make](file)
    with pytest.raises(EnvironmentBuildError, match=r"pyproject\.toml"):
        read("shop", file)
