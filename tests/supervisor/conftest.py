"""For all tests of the supervisor."""

import pytest

from tests.fakes import processes


@pytest.fixture
def nothing_left_behind():
    """Fail a test that leaves a process or a descriptor behind; it is a subreaper meanwhile, as the supervisor is."""
    with processes.nothing_left_behind():
        yield
