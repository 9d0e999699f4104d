"""Which modules a template may import before any plugin."""

import json
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from plugin_runtime.imported import installed

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
