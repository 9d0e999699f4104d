"""One run of a job: how its end is told."""

import asyncio
import os
import signal
import sys
import threading
import time

import pytest

from plugin_runtime.job_run import JobRun
from plugin_runtime.protocol import ExitCode, Ready, Stop
from plugin_runtime.task_protocol import Outcome, RunFinished
from plugin_runtime.wire import encode
from tests.fakes.control_channel import FakeChannel, own_signals

STOP = Stop("job_timeout", 5.0)


@pytest.fixture
def channel():
    with own_signals():
        yield FakeChannel()


def run(channel, function) -> tuple[int, list[RunFinished]]:
    code = JobRun("3f2a91c0", function, channel).run()
    return code, channel.of(RunFinished)


def later(function, *arguments) -> threading.Timer:
    timer = threading.Timer(0.05, function, arguments)
    timer.start()
    return timer


def returns():
    return 5


async def returns_later():
    await asyncio.sleep(0)
    return 5


def leaves_well():
    sys.exit()


async def leaves_well_later():
    sys.exit(0)


@pytest.mark.parametrize("job", [returns, returns_later, leaves_well, leaves_well_later], ids=lambda job: job.__name__)
def test_a_run_that_returns_has_succeeded(channel, job):
    """Whatever it returns; so has one that leaves with code 0."""
    assert run(channel, job) == (ExitCode.OK, [RunFinished("3f2a91c0", Outcome.SUCCEEDED.value)])
    assert len(channel.of(Ready)) == 1


def test_a_run_is_on_the_main_thread_without_a_loop_that_is_watched(channel):
    """It may keep its thread busy for as long as its timeout allows."""

    def job():
        assert threading.current_thread() is threading.main_thread()
        assert channel.loop is None
        assert len(channel.of(Ready)) == channel.beats == 1
        asyncio.run(asyncio.sleep(0))

    assert run(channel, job)[0] == ExitCode.OK


class UnprintableError(Exception):
    def __str__(self):
        raise RuntimeError


def fails():
    raise ValueError("no such report")


async def fails_later():
    await asyncio.sleep(0)
    raise ValueError("no such report")


def fails_in_turn():
    try:
        fails()
    except ValueError as error:
        raise KeyError("cause") from error


@pytest.mark.parametrize(
    ("job", "exception", "parts"),
    [
        (fails, "ValueError: no such report", ["in fails", 'raise ValueError("no such report")']),
        (fails_later, "ValueError: no such report", ["in fails_later"]),
        (fails_in_turn, "KeyError: 'cause'", ["ValueError: no such report", "direct cause", "KeyError: 'cause'"]),
        (lambda: sys.exit(3), "SystemExit: 3", ["sys.exit(3)"]),
        (lambda: sys.exit("no luck"), "SystemExit: no luck", []),
        (
            lambda: _raise(KeyboardInterrupt()),
            "KeyboardInterrupt",
            [],
        ),
        (lambda: _raise(asyncio.CancelledError()), "CancelledError", []),
        (lambda: _raise(UnprintableError()), "UnprintableError: <exception str() failed>", []),
        (lambda: _raise(ValueError("\udcff")), "ValueError: \\udcff", []),
        (lambda x: x, "TypeError: ", ["missing 1 required positional argument"]),
    ],
)
def test_a_run_that_raises_has_failed(channel, capsys, job, exception, parts):
    """The exception in one line, the traceback as people read it, without frames of ours; also in the log."""
    code, (finished,) = run(channel, job)
    assert code == ExitCode.FAILED
    assert finished.outcome == Outcome.FAILED.value
    assert finished.exception.startswith(exception)
    assert "interruption.py" not in finished.traceback
    for part in parts:
        assert part in finished.traceback
    assert capsys.readouterr().err == finished.traceback
    encode(finished)


def _raise(error):
    raise error


def test_what_is_told_is_cut_to_what_a_person_reads(channel, capsys):
    """The end of a traceback is what matters."""

    def job():
        raise ValueError("x" * 1_000_000)

    _, (finished,) = run(channel, job)
    assert len(finished.exception) < 5_000
    assert len(finished.traceback) <= 20_000


def test_endless_recursion_fails_like_any_other(channel, capsys):
    def job():
        return job()

    _, (finished,) = run(channel, job)
    assert finished.exception.startswith("RecursionError: maximum recursion depth exceeded")


@pytest.mark.parametrize("how", ["stop", "sigterm"])
def test_stop_interrupts_a_sync_run_where_it_is(channel, how):
    """``finally`` runs; the outcome is the supervisor's to tell, so nothing is said."""
    steps = []

    def job():
        timer = later(channel.receive, STOP) if how == "stop" else later(os.kill, os.getpid(), signal.SIGTERM)
        try:
            time.sleep(600)
        except Exception:  # noqa: BLE001 - as authors write it
            steps.append("caught")
        finally:
            steps.append("finally")
            timer.join()

    assert run(channel, job) == (ExitCode.FAILED, [])
    assert steps == ["finally"]


@pytest.mark.parametrize("how", ["stop", "sigterm"])
def test_stop_cancels_an_async_run(channel, how):
    """``finally`` runs and may await."""
    steps = []

    async def job():
        timer = later(channel.receive, STOP) if how == "stop" else later(os.kill, os.getpid(), signal.SIGTERM)
        try:
            await asyncio.sleep(600)
        finally:
            await asyncio.sleep(0)
            steps.append("finally")
            timer.join()

    assert run(channel, job) == (ExitCode.FAILED, [])
    assert steps == ["finally"]


def test_a_run_that_swallows_the_interruption_says_nothing_either(channel):
    """What it returns while it is interrupted is no success."""

    def job():
        timer = later(channel.receive, STOP)
        try:
            time.sleep(600)
        except BaseException:  # noqa: BLE001 - as authors write it
            timer.join()

    assert run(channel, job) == (ExitCode.FAILED, [])


def test_a_run_that_is_stopped_before_it_began_is_not_called(channel):
    """The message waits from before there was a listener."""
    channel.attach = lambda listener: listener.tell(listener.received, STOP)
    assert run(channel, lambda: pytest.fail("it was called")) == (ExitCode.FAILED, [])


def test_a_stop_that_comes_too_late_takes_nothing_back(channel):
    """The word is out; the signal finds nothing to interrupt."""
    assert run(channel, returns)[0] == ExitCode.OK
    channel.receive(STOP)
    assert len(channel.of(RunFinished)) == 1


def test_a_run_without_a_supervisor_is_interrupted(channel):
    """Nobody would record it; the exit code says why."""

    def job():
        later(channel.lose, ExitCode.PARENT_LOST).join()
        time.sleep(600)

    assert run(channel, job) == (ExitCode.PARENT_LOST, [])
