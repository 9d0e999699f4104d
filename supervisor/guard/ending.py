"""How the guard ends what is ours: SIGTERM, then SIGKILL, over and over until nothing is found any more."""

import signal
import time
from collections.abc import Callable, Collection

from supervisor.guard.process_table import send
from supervisor.guard.selection import Identity

TERM_TIME = 2.0
"""Seconds between SIGTERM and SIGKILL: they have had the whole grace to end by themselves."""
KILL_TIME = 5.0
"""Seconds of SIGKILL; what is there after that waits inside the kernel, or forks faster than it can be killed."""
ROUND = 0.05
"""Seconds between two looks at what is left."""


def end_all(
    find: Callable[[], set[Identity]],
    say: Callable[[str], None],
    describe: Callable[[Collection[Identity]], str],
    *,
    term_time: float = TERM_TIME,
    kill_time: float = KILL_TIME,
) -> set[Identity]:
    """End everything that ``find`` finds, each time anew; return what is left, which should be nothing."""
    left = find()
    if left:
        say(f"Sending SIGTERM to {describe(left)}")
    # With SIGCONT: a process that was stopped gets no other signal but SIGKILL.
    left = _repeat(find, [signal.SIGTERM, signal.SIGCONT], term_time, left, once=True)
    if left:
        say(f"Sending SIGKILL to {describe(left)}")
    left = _repeat(find, [signal.SIGKILL], kill_time, left, once=False)
    if left:
        say(f"Cannot end {describe(left)}: still there after {kill_time:g} s of SIGKILL; end it by hand")
    return left


def _repeat(
    find: Callable[[], set[Identity]],
    numbers: list[signal.Signals],
    seconds: float,
    left: set[Identity],
    *,
    once: bool,
) -> set[Identity]:
    """Send the signals to whoever is left, ``once`` to each or in every round, until nobody is or time is up."""
    deadline = time.monotonic() + seconds
    asked: set[Identity] = set()
    while left and time.monotonic() < deadline:
        for identity in left - asked:
            send(identity, numbers)
        if once:
            asked |= left
        time.sleep(ROUND)
        left = find()
    return left
