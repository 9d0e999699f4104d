"""Fixtures for tests that import plugins into the process of the tests."""

import linecache
import os
import sys
from pathlib import Path

import pytest

_OF_TESTS = {"plugins", "shop", "main", "run", "jobs", "reports", "helpers", "task_queue", "auth", "admin"}


@pytest.fixture
def restored_imports():
    """Whatever a test imports, and however, is forgotten after it."""
    lists = [sys.path, sys.path_hooks, sys.meta_path]
    before = [list(items) for items in lists]
    modules = set(sys.modules)
    lines = set(linecache.cache)
    directory = Path.cwd()
    yield
    for items, old in zip(lists, before, strict=True):
        items[:] = old
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] in _OF_TESTS:
            del sys.modules[name]
    for name in set(linecache.cache) - lines:
        del linecache.cache[name]
    sys.path_importer_cache.clear()
    os.chdir(directory)
