"""What a machine must have for all tests: other Pythons, a PostgreSQL server.

A newcomer's machine may lack them: then the tests that need them are skipped, and say so. Where nothing may be left
out, XCORE_TEST_COMPLETE=1 (set by .ci/run) turns the same into a failure.
"""

import os
from pathlib import Path
from typing import NoReturn

import pytest

COMPLETE = "XCORE_TEST_COMPLETE"


def lacks(what: str) -> NoReturn:
    """End a test that needs ``what``."""
    if os.environ.get(COMPLETE) == "1":
        pytest.fail(f"no {what} on this machine, and {COMPLETE}=1 asks for all tests")
    pytest.skip(f"no {what} on this machine")


def find_python(version: str) -> Path | None:
    """An interpreter of this minor version, "3.9"; pyenv's shims are passed by: they start what somebody has chosen."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    folders = [Path(entry) for entry in os.get_exec_path() if Path(entry) != pyenv / "shims"]
    folders += sorted((pyenv / "versions").glob(f"{version}.*/bin"), reverse=True)
    found = (folder / f"python{version}" for folder in folders)
    return next((path for path in found if os.access(path, os.X_OK)), None)


def python(version: str) -> Path:
    """Like find_python, for a test that cannot do without."""
    return find_python(version) or lacks(f"Python {version} on PATH or below pyenv's versions")
