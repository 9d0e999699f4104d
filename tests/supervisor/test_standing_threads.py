"""Threads that are there before they are needed."""

import signal
import threading

import pytest

from supervisor.errors import XcoreError
from supervisor.signals import FOLLOWED
from supervisor.standing_threads import standing_threads


def test_no_thread_is_started_when_one_is_needed(monkeypatch):
    """Row 33: where the limit of processes is reached, starting one fails."""
    with standing_threads(3) as threads:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        together = threading.Barrier(3)
        assert sorted(threads.map(lambda _: together.wait(10), range(3))) == [0, 1, 2]


def test_none_of_them_is_given_a_signal():
    """They outlive the handlers: a signal to one of them would end the process, or be lost."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with standing_threads(1) as threads:
        assert threads.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result(10) >= FOLLOWED
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_too_few_threads_are_one_clear_error_and_none_stays(monkeypatch):
    """At the start, where it is easy to do something about it."""
    start, started = threading.Thread.start, []

    def start_one(thread):
        if started:
            refuse(thread)
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_one)
    with pytest.raises(XcoreError, match="cannot start 3 threads: can't start new thread"):
        standing_threads(3)
    started[0].join(10)
    assert not started[0].is_alive()


def refuse(thread):
    raise RuntimeError("can't start new thread")
