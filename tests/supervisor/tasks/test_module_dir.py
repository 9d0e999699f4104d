"""Whose environment a task runs in, by what its module says."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.tasks.module_dir import literal_module_dir, plugin_of

PROJECT = Path("/srv/project")


@pytest.mark.parametrize(
    ("module_dir", "plugin"),
    [
        ("plugins/shop", "shop"),
        ("./plugins/shop", "shop"),
        ("plugins/shop/", "shop"),
        ("plugins/shop/tasks", "shop"),
        ("./extensions/shop", "shop"),
        ("/srv/project/extensions/shop/tasks", "shop"),
        ("core", None),
        ("", None),
        ("plugins", None),
        ("plugins/", None),
        ("./extensions", None),
        ("backgroundtask", None),
        ("plugins/../shop", None),
        ("/srv/other/shop", None),
        ("extensionsx/shop", None),
    ],
)
def test_a_plugins_folder_marks_a_plugins_task(module_dir, plugin):
    """``plugins/<name>`` wherever plugins lie, and what lies there."""
    assert plugin_of(module_dir, PROJECT / "extensions", PROJECT) == plugin


def test_core_is_core_where_plugins_lie_in_the_projects_folder_itself():
    """Nobody means a plugin of that name."""
    assert plugin_of("core", PROJECT, PROJECT) is None
    assert plugin_of("", PROJECT.parent, PROJECT) is None
    assert plugin_of("./shop", PROJECT, PROJECT) == "shop"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("metadata = {'type': 'x', 'moduleDir': 'plugins/shop'}", "plugins/shop"),
        ("metadata: dict[str, str] = {'moduleDir': 'plugins/shop'}", "plugins/shop"),
        ("metadata = dict(moduleDir='plugins/shop')", "plugins/shop"),
        ("metadata = {**BASE, 'moduleDir': 'plugins/shop'}", "plugins/shop"),
        ("metadata = BASE | {'moduleDir': 'plugins/shop'}", "plugins/shop"),
        ("metadata = {}\nmetadata['moduleDir'] = 'plugins/shop'", "plugins/shop"),
        ("other = {'moduleDir': 'a'}\nmetadata = {'moduleDir': 'plugins/shop'}", "plugins/shop"),
        ("metadata = {'moduleDir': FOLDER}", None),
        ("metadata = {'moduleDir': 1}", None),
        ("metadata = make()  # moduleDir", None),
        ("metadata = {'type': 'x'}", None),
        ("if True:\n    metadata = {'moduleDir': 'plugins/shop'}", None),
        ("metadata: dict\n'moduleDir'", None),
        ("metadata = {'moduleDir': 'plugins/shop'", None),
        ("metadata = {'moduleDir': '\0'}", None),
        ("", None),
    ],
)
def test_what_is_written_in_so_many_words_is_found(source, found):
    """As a hint: all the rest only importing the module can tell."""
    assert literal_module_dir(source) == found


def test_a_backslash_too_few_is_no_matter_of_ours():
    """Python's parser warns of it, and here warnings are errors."""
    assert literal_module_dir("pattern = '\\d'\nmetadata = {'moduleDir': 'plugins/shop'}") == "plugins/shop"


@pytest.mark.parametrize(
    "source",
    ["x = " + "(" * 100_000, "x = " + "-" * 100_000 + "1", "x = a" + ".b" * 100_000, "x = " + "+".join("1" * 100_000)],
    ids=["brackets", "signs", "attributes", "sums"],
)
def test_a_module_nested_too_deeply_for_the_parser_has_no_hint(source):
    """It must not end the supervisor, nor hold it up."""
    assert literal_module_dir(f"{source}\nmetadata = {{'moduleDir': 'plugins/shop'}}") is None


@given(st.text(alphabet="./plugins\0 \n\\é-", max_size=30))
def test_any_text_is_a_plugins_name_without_slashes_or_nobodys(module_dir):
    """Whatever authors write."""
    found = plugin_of(module_dir, PROJECT / "plugins", PROJECT)
    assert found is None or (found and "/" not in found and found not in {".", ".."})
