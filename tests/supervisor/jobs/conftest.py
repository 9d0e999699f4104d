"""A manager of jobs and everything around it."""

import asyncio

import pytest

from tests.fakes.job_scene import NOW, job_scene
from tests.fakes.moved_clock import MovedClock


@pytest.fixture
def play(tmp_path):
    """Have a scenario happen with a manager whose runs succeed, on a clock that stands still."""

    def play(scenario, *steps, **fields):
        async def main():
            steps_ = steps or ("hello", "ready", "finished:succeeded", "exit:0")
            async with job_scene(tmp_path, *steps_, clock=MovedClock(NOW), **fields) as scene:
                await scenario(scene)

        asyncio.run(main())

    return play
