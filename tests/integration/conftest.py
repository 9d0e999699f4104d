"""Projects for the tests, with environments that are built once per run of them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.project import Project


@pytest.fixture(scope="session")
def environments() -> Iterator[Path]:
    """What all projects have in common: built by a first one, so that no two ever build the same side by side."""
    with tempfile.TemporaryDirectory(prefix="xcore-envs-") as folder:
        first = Project(Path(folder))
        first.add_app("first", "workbench")
        try:
            first.up()
        finally:
            first.close()
        yield Path(folder)


@pytest.fixture
def project(environments: Path) -> Iterator[Project]:
    """An empty project; whatever runs in it is stopped at the end, and must have left nothing."""
    made = Project(environments)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared_project(environments: Path) -> Iterator[Project]:
    """A project for all tests of one module."""
    made = Project(environments)
    yield made
    made.close()
