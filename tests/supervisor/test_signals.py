"""What operators send."""

import asyncio
import logging
import os
import signal
import threading

import pytest

from supervisor.signals import hold_signals, signals_followed
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


def test_signals_that_are_held_come_when_they_are_followed_again():
    """As across execve(2), which keeps what is blocked and pending: a stop during an upgrade is not lost."""

    async def main():
        told = []
        hold_signals()
        # To this thread: a signal to the process goes to any that does not block it, such as those of a test runner.
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        with signals_followed(stop=told.append, reload=told.append):
            await until(lambda: told == ["SIGTERM"], "it has come", DEADLINE)

    asyncio.run(main())


def test_what_comes_to_another_thread_while_they_are_held_waits_too():
    """Nobody is told any more what this program does not do any more: the next one is."""

    async def main():
        told = []
        with signals_followed(stop=pytest.fail, reload=pytest.fail):
            hold_signals()
            for number in (signal.SIGTERM, signal.SIGHUP):
                thread = threading.Thread(target=catch, args=(number,))
                thread.start()
                await asyncio.to_thread(thread.join)
            await until(lambda: signal.sigpending() >= {signal.SIGTERM, signal.SIGHUP}, "they wait", DEADLINE)
        with signals_followed(stop=told.append, reload=told.append):
            await until(lambda: sorted(told) == ["SIGHUP", "SIGTERM"], "they have come", DEADLINE)

    def catch(number):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        signal.pthread_kill(threading.get_ident(), number)

    asyncio.run(main())


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2], ids=lambda number: number.name)
def test_signals_without_a_meaning_are_logged_and_not_ignored(number, caplog):
    """Row 27: by default they end the process; ignored, they would be so in all that it executes."""
    caplog.set_level(logging.INFO, "supervisor.signals")

    async def main():
        with signals_followed(stop=pytest.fail, reload=pytest.fail):
            assert signal.getsignal(number) is not signal.SIG_IGN
            os.kill(os.getpid(), number)
            await until(lambda: number.name in caplog.text, "it is logged", DEADLINE)

    asyncio.run(main())
    assert signal.getsignal(number) is signal.SIG_DFL
