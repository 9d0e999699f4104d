"""Scenes in which children run for real."""

import asyncio

import pytest

from tests.fakes.process_table import process_table
from tests.fakes.processes import state_folder


@pytest.fixture
def run(tmp_path):
    """Let a coroutine function play with a process table."""

    def run(scenario, clock=None):
        async def main():
            async with process_table(state_folder(tmp_path), clock) as table:
                await scenario(table)

        asyncio.run(main())

    return run
