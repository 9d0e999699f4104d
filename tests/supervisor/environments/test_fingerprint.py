from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.environments import Interpreter
from supervisor.environments.fingerprint import fingerprint
from supervisor.environments.project import parse

PYTHON = Interpreter(Path("/usr/bin/python3.11"), "3.11.7")
TEXT = """
[project]
name = "shop"
version = "1"
dependencies = ["six"]
[tool.xcore]
prefix = "/shop"
"""


def of(text=TEXT, lock=None, python=PYTHON):
    return fingerprint(parse("shop", text, lock), python)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('version = "1"', 'version = "2"'),
        ('name = "shop"', 'name = "store"'),
        ('prefix = "/shop"', 'prefix = "/store"\ninstances = 4'),
        ("[tool.xcore]", "[tool.ruff]\nline-length = 99\n[dependency-groups]\ndev = ['pytest']\n[tool.xcore]"),
    ],
)
def test_other_keys_of_pyproject_rebuild_nothing(old, new):
    """An environment costs seconds to minutes; a new description must not."""
    assert old in TEXT
    assert of(TEXT.replace(old, new)) == of()
    assert of(TEXT.replace(old, new), lock="locked") == of(lock="locked")


@pytest.mark.parametrize(
    "other",
    [
        {"text": TEXT.replace("six", "seven")},
        {"text": TEXT + "[tool.poetry.dependencies]\nseven = '*'"},
        {"text": TEXT + "[[tool.poetry.source]]\nname = 'house'\nurl = 'https://example.org'"},
        {"text": TEXT.replace("version", "requires-python = '>=3.11'\nversion")},
        {"lock": "locked"},
        {"python": Interpreter(PYTHON.path, "3.11.8")},
        {"python": Interpreter(Path("/opt/python3.11"), "3.11.7")},
    ],
)
def test_whatever_changes_the_installed_packages_makes_another_environment(other):
    """Else a plugin would run with packages of yesterday."""
    assert of(**other) != of()


def test_another_lock_makes_another_environment():
    """The lock says exactly what is installed."""
    assert of(lock="six 1.16") != of(lock="six 1.17")


@given(st.dictionaries(st.sampled_from(["six", "attrs", "idna"]), st.text("0123456789.*^~", max_size=5), min_size=1))
def test_the_order_of_dependencies_does_not_matter(dependencies):
    """TOML tables have no order."""
    lines = [f'{name} = "{version}"' for name, version in dependencies.items()]
    texts = ["[tool.poetry.dependencies]\n" + "\n".join(order) for order in (lines, lines[::-1])]
    assert of(texts[0]) == of(texts[1])
