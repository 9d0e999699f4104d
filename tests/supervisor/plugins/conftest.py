"""Scenes in which plugins run for real."""

import asyncio

import pytest

from tests.fakes.plugin_scene import plugin_scene
from tests.fakes.processes import nothing_left_behind


@pytest.fixture
def run(tmp_path):
    """Let a coroutine function play with plugins around it, which must leave nothing behind."""

    def run(scenario):
        async def main():
            async with plugin_scene(tmp_path) as at:
                await scenario(at)

        with nothing_left_behind():
            asyncio.run(main())

    return run
