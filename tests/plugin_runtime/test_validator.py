"""What counts as a third-party module."""

import types

from plugin_runtime.validator import third_party_modules


def module(file):
    made = types.ModuleType("m")
    made.__file__ = file
    return made


def test_only_installed_top_level_modules_count():
    """A template preloads these: no parts, no standard library, nothing of the plugin or of ours."""
    site = "/env/lib/python3.11/site-packages"
    modules = {
        "pandas": module(f"{site}/pandas/__init__.py"),
        "pandas.core": module(f"{site}/pandas/core/__init__.py"),
        "debian": module("/usr/lib/python3/dist-packages/debian.py"),
        "json": module("/usr/lib/python3.11/json/__init__.py"),
        "msgpack": module(f"{site}/msgpack/__init__.py"),
        "sys": types.ModuleType("sys"),
        "main": module("/plugins/hello/main.py"),
        "namespace": module(None),
    }
    assert third_party_modules(modules) == ["debian", "pandas"]
