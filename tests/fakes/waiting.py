"""Waiting in an event loop for something that tells nobody when it happens."""

import asyncio

DEADLINE = 5.0
"""Seconds; generous, since it is only used up by a failing test."""


async def until(condition, what: str = "the condition", deadline: float = DEADLINE) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline
    while not condition():
        assert loop.time() < end, f"{what}: not within {deadline} s"
        await asyncio.sleep(0.001)


async def settle(turns: int = 10) -> None:
    """Let everything run that can run now; for asserting that something does not happen."""
    for _ in range(turns):
        await asyncio.sleep(0)
