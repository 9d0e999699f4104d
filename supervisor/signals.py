"""Signals that operators and service managers send to the supervisor."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Told = Callable[[str], None]
"""Given the signal's name; called in the event loop."""


FOLLOWED = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


def hold_signals() -> None:
    """Let those that come from now on wait for the program that takes this one's place: they outlive execve(2)."""
    signal.pthread_sigmask(signal.SIG_BLOCK, FOLLOWED)


@contextmanager
def signals_followed(*, stop: Told, reload: Told) -> Iterator[None]:
    """Have SIGTERM and SIGINT call ``stop``, SIGHUP ``reload``; afterwards they do what they do by default."""
    loop = asyncio.get_running_loop()
    told = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload}
    try:
        for number, tell in told.items():
            loop.add_signal_handler(number, tell, number.name)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FOLLOWED)  # see hold_signals
        yield
    finally:
        for number in told:
            loop.remove_signal_handler(number)
