"""Scenes in which tasks run for real."""

import pytest

from tests.fakes.processes import nothing_left_behind
from tests.fakes.task_scene import run_scene


@pytest.fixture
def run(tmp_path):
    """Let a coroutine function play in a scene of its own, which must leave nothing behind."""

    def run(scenario, **settings):
        with nothing_left_behind():
            run_scene(tmp_path, scenario, **settings)

    return run
