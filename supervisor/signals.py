"""Signals that operators and service managers send to the supervisor, and to commands that take long."""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

Told = Callable[[str], None]
"""Given the signal's name; called in the event loop."""


FOLLOWED = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2})


def hold_signals() -> None:
    """Let those that come from now on wait for the program that takes this one's place: they outlive execve(2).

    This thread holds them, which has to be the only one when the event loop is closed: that makes them end the process
    again, and the kernel hands a signal to any thread that does not hold it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, FOLLOWED)


@contextmanager
def signals_left_to_others() -> Iterator[None]:
    """Have threads begun meanwhile never be given any: for those that are there until the event loop is closed."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, FOLLOWED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def signals_followed(*, stop: Told, reload: Told) -> Iterator[None]:
    """Have SIGTERM and SIGINT call ``stop``, SIGHUP ``reload``; afterwards they do what they do by default.

    SIGUSR1 and SIGUSR2, which would end the process, are logged. They have a handler: what is ignored stays ignored in
    every program that we execute. SIGPIPE is Python's to ignore, and Popen's to give back.
    """
    loop = asyncio.get_running_loop()
    told = {
        signal.SIGTERM: stop,
        signal.SIGINT: stop,
        signal.SIGHUP: reload,
        signal.SIGUSR1: _pass_over,
        signal.SIGUSR2: _pass_over,
    }
    try:
        for number, tell in told.items():
            loop.add_signal_handler(number, _tell_unless_held, number, tell)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FOLLOWED)  # see hold_signals
        yield
    finally:
        # Held, they keep their handlers until the loop is closed: threads that still run do not hold them.
        if not _are_held():
            for number in told:
                loop.remove_signal_handler(number)


@contextmanager
def cancelled_by_signals() -> Iterator[None]:
    """Have SIGTERM and SIGHUP cancel this task, as asyncio has ^C do, unless whoever started us wants them ignored."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine always runs in one
    ended = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in ended:
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in ended:
            loop.remove_signal_handler(number)


def _are_held() -> bool:
    return signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def _tell_unless_held(number: signal.Signals, tell: Told) -> None:
    if _are_held():  # another thread was given it; sent to this one alone, it waits
        signal.pthread_kill(threading.get_ident(), number)
    else:
        tell(number.name)


def _pass_over(name: str) -> None:
    logger.info("Passed over %s: it has no meaning here", name)
