"""What operators send."""

import asyncio
import os
import signal

from supervisor.signals import signals_followed
from tests.fakes.waiting import DEADLINE, until


def test_signals_ask_to_stop_and_to_reload_by_their_names():
    """The log says who asked; afterwards everything is as before."""

    async def main():
        told = []
        with signals_followed(stop=lambda name: told.append(("stop", name)), reload=told.append):
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                os.kill(os.getpid(), number)
                count = len(told)
                await until(lambda count=count: len(told) > count, number.name, DEADLINE)
        assert told == [("stop", "SIGTERM"), "SIGHUP", ("stop", "SIGINT")]

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)
    asyncio.run(main())
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)) == before
