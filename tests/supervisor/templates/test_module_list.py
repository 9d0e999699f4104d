"""Which modules a template imports, and which packages they bring."""

import pytest

from supervisor.templates import module_list
from supervisor.templates.module_list import ModuleList


def test_packages_are_what_an_installer_brought():
    """Python's own modules are no difference between two plugins."""
    assert ModuleList(["json.decoder", "fastapi", "fastapi.routing", "_socket"]).packages == {"fastapi"}


def test_each_is_kept_once_and_in_order():
    """An import may need what was imported before it."""
    modules = ModuleList(["b", "a", "b"])
    assert (modules.add(["c", "a"]), modules.names) == (["c"], ["b", "a", "c"])


@pytest.mark.parametrize("name", ["", "no name", "x..y", "a" * 201])
def test_what_cannot_be_a_name_is_passed_over(name):
    """They come from foreign code."""
    assert ModuleList([name]).names == []


def test_there_are_never_too_many(monkeypatch):
    """Names made up by a library, or by an enemy."""
    monkeypatch.setattr(module_list, "MOST_MODULES", 2)
    modules = ModuleList(["a"])
    assert (modules.add(["b", "c"]), modules.add(["d"])) == (["b"], [])


def test_what_is_left_out_stays_known():
    """It is not to come back because somebody imports it, and its plugin is still one that does."""
    modules = ModuleList(["json", "odd"])
    modules.leave_out("odd")
    assert (modules.names, modules.packages, modules.add(["odd"])) == (["json"], {"odd"}, [])


def test_what_brings_a_new_package_can_be_told():
    """Another module of a package that is there, and Python's own, bring none."""
    modules = ModuleList(["fastapi"])
    assert modules.of_same_packages(["fastapi.responses", "sqlite3", "sqlalchemy"]) == ["fastapi.responses", "sqlite3"]
