"""Which modules a template may import before any plugin."""

import importlib.util
import json
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from plugin_runtime import imported
from plugin_runtime.imported import installed, modules_imported_since
from plugin_runtime.template_protocol import LONGEST_NAME, MOST_MODULES, Imported
from plugin_runtime.wire import encode

STANDARD_LIBRARY = Path(os.__file__).parent
SITE = "/env/lib/python3.11/site-packages"


def module(name: str, origin: object) -> ModuleType:
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(name, None, origin=origin)
    return made


@pytest.mark.parametrize(
    ("name", "origin", "counts"),
    [
        ("json", str(STANDARD_LIBRARY / "json" / "__init__.py"), True),
        ("_socket", str(STANDARD_LIBRARY / "lib-dynload" / "_socket.so"), True),
        ("pandas", f"{SITE}/pandas/__init__.py", True),
        ("pandas.core", f"{SITE}/pandas/core/__init__.py", True),
        ("debian", "/usr/lib/python3/dist-packages/debian.py", True),
        ("sys", "built-in", False),
        ("os", "frozen", False),
        ("namespace", None, False),
        ("main", "/plugins/hello/main.py", False),
        ("site_packages", "/plugins/hello/my-site-packages/x.py", False),
        ("plugins.hello.run", "/state/generations/hello/1/run.py", False),
        ("plugin_runtime", f"{SITE}/plugin_runtime/__init__.py", False),
        ("plugin_runtime.wire", f"{SITE}/plugin_runtime/wire.py", False),
        ("plugin_runtime_tools", f"{SITE}/plugin_runtime_tools.py", True),
    ],
)
def test_what_python_or_an_installer_put_there_counts(name, origin, counts):
    """It is the same in every process of an environment, and takes time; the author's own code may change."""
    assert installed({name: module(name, origin)}) == ([name] if counts else [])


def test_a_module_under_a_name_of_its_own_does_not_count():
    """An import of that name brings nothing: pkg_resources.extern, six.moves, py.path, os.path."""
    assert installed({"vendored.six": module("six", f"{SITE}/six.py")}) == []
    assert installed({"made.up": ModuleType("made.up")}) == []
    assert installed({"replaced": "not a module"}) == []
    assert installed({"blocked": None}) == []


def test_the_order_is_kept():
    """A template imports as the first process did: some packages do not bear another order."""
    names = ["zoo.late", "zoo", "apple"]
    assert installed({name: module(name, f"{SITE}/{name}.py") for name in names}) == names


class Modules(dict):
    """In the place of sys.modules, with another thread that imports while they are listed."""

    disturbances = 0

    def __reversed__(self):
        if self.disturbances:
            self.disturbances -= 1
            raise RuntimeError("dictionary changed size during iteration")
        return super().__reversed__()


@pytest.fixture
def modules(monkeypatch):
    """What the process has imported, after the template's last."""
    made = Modules()
    monkeypatch.setattr(imported, "sys", SimpleNamespace(modules=made))
    monkeypatch.setattr(imported, "_last_preloaded", "")
    return made


def test_threads_that_import_meanwhile_do_no_harm(modules):
    """A healthy process must not die of having been asked what it has imported."""
    modules["zoo"] = module("zoo", f"{SITE}/zoo.py")
    modules.disturbances = 3
    assert modules_imported_since() == ["zoo"]
    modules.disturbances = 1_000_000
    with pytest.raises(RuntimeError, match="cannot list the imported modules: other threads go on importing"):
        modules_imported_since()


def test_a_module_that_is_taken_out_meanwhile_is_passed_over(modules, monkeypatch):
    """Some packages remove themselves, or parts of them, when their import fails."""
    modules["zoo"] = module("zoo", f"{SITE}/zoo.py")
    monkeypatch.setattr(imported, "_names_since", lambda: ["gone", "zoo"])
    assert modules_imported_since() == ["zoo"]


def test_a_lazy_module_is_not_imported_by_being_looked_at(tmp_path):
    """importlib's LazyLoader imports at the first attribute that anybody wants of a module."""
    file = tmp_path / "site-packages" / "lazy.py"
    file.parent.mkdir()
    file.write_text("raise AssertionError('it was imported')")
    spec = importlib.util.spec_from_file_location("lazy", file)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    lazy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lazy)
    assert installed({"lazy": lazy}) == ["lazy"]


class Treacherous:
    """An object that stands for a module and answers every question with an error."""

    def __getattribute__(self, name):
        raise KeyError(name)


def test_whatever_stands_for_a_module_is_not_asked():
    """Its answer is code of somebody's, and may be an error of any type."""
    assert installed({"treacherous": Treacherous()}) == []


@pytest.mark.parametrize("name", ["a" * (LONGEST_NAME + 1), "", "zoo.", "not there", "zoo-keeper", "4th", "half\ud800"])
def test_a_name_that_no_import_statement_could_have_does_not_count(name):
    """The supervisor stores these names, and shows them."""
    assert installed({name: module(name, f"{SITE}/zoo.py")}) == []


def test_as_many_modules_are_told_as_fit_into_a_frame(modules):
    """The first ones: the others are imported after them, and perhaps by them."""
    names = [f"\U0001d4d0{number:_>{LONGEST_NAME - 2}}a" for number in range(MOST_MODULES + 1)]
    modules.update({name: module(name, f"{SITE}/{name}.py") for name in names})
    told = modules_imported_since()
    assert told == names[:-1]
    assert encode(Imported(["\U0001d4d0" * LONGEST_NAME] * MOST_MODULES))


PROGRAM = """
import json, os, sys
sys.path.insert(0, os.getcwd())
import csv, an_author
from plugin_runtime import imported

before = imported.modules_imported_since()
imported.remember_preloaded()
import an_author_too, wave
print(json.dumps([before, imported.modules_imported_since()]))
"""


@pytest.mark.process
@pytest.mark.slow
def test_a_process_tells_what_its_template_did_not_bring_along(tmp_path):
    """Without a template all of it, so that the first one knows what to import."""
    for name in ("an_author", "an_author_too"):
        (tmp_path / f"{name}.py").touch()
    command = [sys.executable, "-c", PROGRAM]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    before, since = json.loads(result.stdout)
    assert {"csv", "_csv", "json"} <= set(before)
    assert not {"an_author", "sys", "plugin_runtime.imported"} & set(before)
    assert "wave" in since
    assert not {"csv", "an_author_too", *before} & set(since)
