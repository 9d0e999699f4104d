"""One builder per owner, whichever process it is in."""

import asyncio
import fcntl
import os

from supervisor.environments.build_lock import alone, alone_nowait
from tests.fakes.waiting import until


def test_another_process_is_waited_for(tmp_path):
    """Locks of flock(2) are those of open files: another one stands for another process."""
    owner = tmp_path / "envs" / "shop"
    order = []

    async def build():
        async with alone(owner, lambda: order.append("waits")):
            order.append("built")

    async def main():
        async with alone(owner):
            other = os.open(tmp_path / "envs" / ".shop.lock", os.O_RDWR)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        waiting = asyncio.create_task(build())
        await until(lambda: order)
        async with alone(tmp_path / "envs" / "blog", lambda: order.append("waits for another owner's")):
            order.append("let go")
        os.close(other)
        await until(waiting.done)

    asyncio.run(main())
    assert order == ["waits", "let go", "built"]


def test_giving_up_lets_go(tmp_path):
    """A command that was ended while it waited, or built."""

    async def main():
        async with alone(tmp_path / "shop"):
            waiting = asyncio.create_task(alone(tmp_path / "shop").__aenter__())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(10), alone(tmp_path / "shop"):
            pass

    asyncio.run(main())


def test_who_does_not_wait_learns_whether_it_is_alone(tmp_path):
    """Removing can be done another time."""
    owner = tmp_path / "envs" / "shop"

    async def main():
        with alone_nowait(owner) as is_alone:
            assert is_alone
        async with alone(owner):
            with alone_nowait(owner) as is_alone:
                assert not is_alone
            with alone_nowait(owner.with_name("blog")) as is_alone:
                assert is_alone

    asyncio.run(main())
