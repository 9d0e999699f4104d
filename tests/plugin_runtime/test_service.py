"""The object that authors of services are given, and what becomes of service_main."""

import asyncio
import os
import signal
import sys
import threading
import time

import pytest

from plugin_runtime import service as service_module
from plugin_runtime.protocol import ExitCode, Ready, Stop
from plugin_runtime.service import Service, ServiceProcess
from plugin_runtime.task_protocol import RunFinished, RunJob
from tests.fakes.control_channel import FakeChannel, own_signals
from tests.fakes.control_server import eventually

STOP = Stop("operator", 5.0)


@pytest.fixture
def channel():
    with own_signals():
        yield FakeChannel()


def run(channel, service_main, jobs=None) -> int:
    return ServiceProcess("reports", service_main, jobs or {}, channel).run()


def after(seconds, function, *arguments) -> threading.Timer:
    timer = threading.Timer(seconds, function, arguments)
    timer.start()
    return timer


def terminate() -> None:
    signal.raise_signal(signal.SIGTERM)


# --- the object --------------------------------------------------------------------------------------------------


def test_the_service_knows_what_the_founding_system_told():
    """name, start_time, thread_id, target, running."""

    def service_main(service): ...

    service = Service("reports", service_main)
    assert (service.name, service.target, service.running) == ("reports", service_main, True)
    assert time.time() - 5 < service.start_time <= time.time()
    assert service.thread_id == threading.get_native_id()


def test_wait_sleeps_while_the_service_shall_run():
    """The sync pattern: while service.running: ...; service.wait(60)."""
    service = Service("reports", print)
    began = time.monotonic()
    assert service.wait(0.05) is False
    assert time.monotonic() - began >= 0.05
    assert service.wait(0) is service.wait(-1) is False


def test_wait_returns_at_once_when_the_service_shall_end():
    """Whoever said so, and however often it is asked."""
    service = Service("reports", print)
    timer = after(0.05, setattr, service, "running", False)
    assert service.wait(600) is True
    assert service.wait(600) is service.wait(1e12) is True
    timer.join()
    service.running = False
    assert service.wait(600) is True


def test_everybody_who_waits_is_woken():
    """A service may have threads of its own, each with its own pause."""
    service = Service("reports", print)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(service.wait(600))) for _ in range(5)]
    for thread in threads:
        thread.start()
    service.running = False
    for thread in threads:
        thread.join(10)
    assert answers == [True] * 5


def test_running_may_be_taken_back():
    """It belongs to the author."""
    service = Service("reports", print)
    service.running = False
    service.running = True
    assert service.running
    assert service.wait(0.01) is False


def test_running_that_is_taken_back_while_somebody_waits_leaves_nobody_sleepless():
    """Else every later wait would return at once, and a loop around it spin."""
    service = Service("one", print)
    for _ in range(300):
        waiting = threading.Thread(target=service.wait, args=(60,))
        waiting.start()
        service.running = False
        service.running = True
        service.running = False  # whoever sleeps on after the change of mind
        waiting.join()
        service.running = True
        assert service.wait(0.001) is False
        began = time.monotonic()
        service.wait(0.002)
        assert time.monotonic() - began >= 0.001


def test_wait_is_woken_by_a_signal_handler():
    """A handler runs on the thread that waits, in the middle of it: a lock of that thread would be held for ever."""
    service = Service("reports", print)

    def stop(number, frame):
        service.running = False

    with own_signals():
        signal.signal(signal.SIGTERM, stop)
        timer = after(0.05, os.kill, os.getpid(), signal.SIGTERM)
        assert service.wait(600) is True
        timer.join()


def test_wait_async_does_the_same_in_an_event_loop():
    """Without blocking it, and woken from any thread."""
    service = Service("reports", print)

    async def main():
        assert await service.wait_async(0.01) is False
        waiting = [asyncio.create_task(service.wait_async(600)) for _ in range(3)]
        await asyncio.sleep(0)
        thread = threading.Thread(target=setattr, args=(service, "running", False))
        thread.start()
        assert await asyncio.gather(*waiting) == [True] * 3
        assert await service.wait_async(600) is True
        thread.join()

    asyncio.run(main())
    service.running = False  # nobody waits any more


# --- a sync service ----------------------------------------------------------------------------------------------


def test_a_sync_service_is_ready_before_it_is_called(channel):
    """On the main thread, without an event loop that could be watched."""

    def service_main(service):
        assert len(channel.of(Ready)) == channel.beats == 1
        assert channel.loop is None
        assert threading.current_thread() is threading.main_thread()
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()

    assert run(channel, service_main) == ExitCode.OK


def test_stop_asks_by_running(channel):
    """And by nothing else: what it is doing is finished."""

    def service_main(service):
        channel.receive(STOP)
        assert not service.running
        assert service.wait(600)

    assert run(channel, service_main) == ExitCode.OK


def test_a_sigterm_that_nobody_announced_asks_by_running(channel):
    """An operator's kill ends a service as well as the supervisor's Stop."""

    def service_main(service):
        terminate()
        assert not service.running

    assert run(channel, service_main) == ExitCode.OK


@pytest.mark.parametrize("ask", ["stop", "sigterm"])
def test_the_next_sigterm_raises_in_the_service(channel, ask):
    """``finally`` blocks run, ``except Exception`` does not catch it."""
    steps = []

    def service_main(service):
        channel.receive(STOP) if ask == "stop" else terminate()
        try:
            try:
                terminate()
                time.sleep(600)
            except Exception:  # noqa: BLE001 - as authors write it
                steps.append("caught")
        finally:
            steps.append("finally")

    assert run(channel, service_main) == ExitCode.OK
    assert steps == ["finally"]


def test_a_sleep_is_interrupted_by_the_signal(channel):
    """The service does not listen; the signal comes from outside while it sleeps."""

    def service_main(service):
        channel.receive(STOP)
        timer = after(0.05, os.kill, os.getpid(), signal.SIGTERM)
        try:
            time.sleep(600)
        finally:
            timer.join()

    assert run(channel, service_main) == ExitCode.OK


def test_every_sigterm_raises_again(channel):
    """Who swallows the first one gets the next."""
    swallowed = []

    def service_main(service):
        channel.receive(STOP)
        for _ in range(3):
            try:
                terminate()
            except BaseException as error:  # noqa: BLE001 - as authors write it
                swallowed.append(error)

    assert run(channel, service_main) == ExitCode.OK
    assert len(swallowed) == 3


def test_a_sigterm_after_the_end_does_nothing(channel):
    """The process has still to say how it ended; the default action would kill it first."""
    run(channel, lambda service: channel.receive(STOP))
    terminate()


def test_a_service_that_is_stopped_before_it_began_is_not_called(channel):
    """The message waits from before there was a listener."""
    channel.attach = lambda listener: listener.tell(listener.received, STOP)
    assert run(channel, lambda service: pytest.fail("it was called")) == ExitCode.OK


@pytest.mark.parametrize(
    ("code", "exit_code", "text"),
    [
        (None, 0, ""),
        (0, 0, ""),
        (3, 3, ""),
        (True, 1, ""),
        ("no configuration", 1, "no configuration\n"),
    ],
)
def test_sys_exit_of_a_service_means_what_it_means_in_a_program(channel, capsys, code, exit_code, text):
    def service_main(service):
        sys.exit(code)

    assert run(channel, service_main) == exit_code
    assert capsys.readouterr().err == text


def test_sys_exit_in_finally_decides_also_after_an_interruption(channel):
    def service_main(service):
        channel.receive(STOP)
        try:
            terminate()
        finally:
            sys.exit(5)

    assert run(channel, service_main) == 5


@pytest.mark.parametrize(
    "error", [ValueError("no luck"), KeyboardInterrupt("no luck"), asyncio.CancelledError("no luck")]
)
def test_what_a_service_raises_is_shown_without_frames_of_ours(channel, capsys, error):
    """Exit code 1, a crash; the traceback is all that its author has."""

    def service_main(service):
        raise error

    assert run(channel, service_main) == ExitCode.FAILED
    shown = capsys.readouterr().err
    assert f"{type(error).__name__}: no luck\n" in shown
    assert "in service_main" in shown
    assert "interruption.py" not in shown


def test_a_lost_supervisor_ends_the_service_in_order_and_then_by_interruption(channel, monkeypatch):
    """Before the control thread ends it by force; the exit code says why."""
    monkeypatch.setattr(service_module, "LOST_DRAIN", 0.05)
    seen = []

    def service_main(service):
        channel.lose(ExitCode.PARENT_LOST)
        seen.append(service.running)
        try:
            time.sleep(600)
        finally:
            seen.append("finally")

    assert run(channel, service_main) == ExitCode.PARENT_LOST
    assert seen == [False, "finally"]


# --- an async service --------------------------------------------------------------------------------------------


def test_an_async_service_is_the_main_task_of_a_loop_that_is_watched(channel):
    """Ready is said when the loop turns; a loop that stands still is seen."""

    async def service_main(service):
        assert channel.loop is asyncio.get_running_loop()
        assert len(channel.of(Ready)) == channel.beats == 1
        assert threading.current_thread() is threading.main_thread()

    assert run(channel, service_main) == ExitCode.OK


class Callable:
    async def __call__(self, service):
        await asyncio.sleep(0)


def decorated(service):
    """What a decorator without functools.wraps makes of a coroutine function."""
    return Callable()(service)


@pytest.mark.parametrize("service_main", [Callable(), decorated])
def test_whatever_returns_a_coroutine_is_async(channel, service_main):
    """A coroutine that nobody awaits would be a service that did nothing and succeeded."""
    assert run(channel, service_main) == ExitCode.OK
    assert channel.loop is not None
    assert len(channel.of(Ready)) == 1


def test_stop_reaches_an_async_service_while_its_loop_is_blocked(channel):
    """From the control thread: who only looks at running must see it."""

    async def service_main(service):
        timer = after(0.02, channel.receive, STOP)
        assert service.wait(600)
        assert await service.wait_async(600)
        timer.join()

    assert run(channel, service_main) == ExitCode.OK


def test_the_next_sigterm_cancels_an_async_service(channel):
    """``finally`` blocks run and may await."""
    steps = []

    async def service_main(service):
        channel.receive(STOP)
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(600)
        finally:
            await asyncio.sleep(0)
            steps.append("finally")

    assert run(channel, service_main) == ExitCode.OK
    assert steps == ["finally"]


def test_a_first_sigterm_only_asks_an_async_service(channel):
    async def service_main(service):
        os.kill(os.getpid(), signal.SIGTERM)
        assert await service.wait_async(600)

    assert run(channel, service_main) == ExitCode.OK


@pytest.mark.parametrize(
    ("error", "exit_code", "text"),
    [
        (ValueError("no luck"), 1, "ValueError: no luck"),
        (asyncio.CancelledError("no luck"), 1, "CancelledError"),
        (SystemExit(3), 3, ""),
        (SystemExit("no luck"), 1, "no luck\n"),
        (SystemExit(), 0, ""),
    ],
)
def test_what_an_async_service_raises_ends_it_as_a_sync_one(channel, capsys, error, exit_code, text):
    """A cancellation that nobody asked for is a crash, too."""

    async def service_main(service):
        await asyncio.sleep(0)
        raise error

    assert run(channel, service_main) == exit_code
    assert text in capsys.readouterr().err


def test_a_task_that_ends_the_process_ends_the_service(channel):
    """sys.exit() in any task of a loop ends the loop: so it does under asyncio.run."""
    cancelled = []

    async def leave():
        sys.exit(4)

    async def service_main(service):
        task = asyncio.create_task(leave())
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            cancelled.append(task)
            raise

    assert run(channel, service_main) == 4
    assert len(cancelled) == 1


# --- shared runs -------------------------------------------------------------------------------------------------


def test_shared_runs_of_an_async_service_are_awaited_in_its_loop(channel):
    """They may use what belongs to it."""
    loops = []

    async def job():
        loops.append(asyncio.get_running_loop())

    async def service_main(service):
        channel.receive(RunJob("r1", "job"))
        while not channel.of(RunFinished):
            await asyncio.sleep(0.001)
        assert loops == [asyncio.get_running_loop()]

    assert run(channel, service_main, {"job": job}) == ExitCode.OK
    assert channel.of(RunFinished) == [RunFinished("r1", "succeeded")]


def test_shared_runs_of_a_sync_service_have_a_thread_each(channel):
    def job():
        assert threading.current_thread() is not threading.main_thread()

    def service_main(service):
        channel.receive(RunJob("r1", "job"))
        eventually(lambda: channel.of(RunFinished))

    assert run(channel, service_main, {"job": job}) == ExitCode.OK
    assert channel.of(RunFinished) == [RunFinished("r1", "succeeded")]


def test_a_run_that_the_end_of_its_service_cancels_says_nothing(channel):
    """Why the service ended is known to the supervisor; a failure of the run would be a lie."""
    began = threading.Event()

    async def job():
        began.set()
        await asyncio.sleep(600)

    async def service_main(service):
        channel.receive(RunJob("r1", "job"))
        while not began.is_set():
            await asyncio.sleep(0.001)

    assert run(channel, service_main, {"job": job}) == ExitCode.OK
    eventually(lambda: not any(thread.name == "job job" for thread in threading.enumerate()))
    assert channel.of(RunFinished) == []
