"""Runs inside a service's process: each ends once, and none ends another."""

import asyncio
import sys
import threading
import time

import pytest

from plugin_runtime.shared_runs import SharedRuns
from plugin_runtime.task_protocol import Outcome, RunFinished, RunJob
from tests.fakes.control_server import eventually


class Runs:
    """Shared runs of some functions, and what they reported."""

    def __init__(self, **functions):
        self.finished = []
        self.runs = SharedRuns(functions, self.finished.append)

    def run(self, job, timeout=0.0) -> RunFinished:
        """One run to its report."""
        count = len(self.finished)
        self.runs.start(RunJob(f"r{count}", job, timeout))
        eventually(lambda: len(self.finished) > count)
        assert self.finished[count].run == f"r{count}"
        return self.finished[count]


def fails():
    raise ValueError("no such report")


async def fails_later():
    await asyncio.sleep(0)
    raise ValueError("no such report")


def leaves():
    sys.exit(3)


async def leaves_later():
    sys.exit(3)


def decorated():
    """What a decorator without functools.wraps makes of a coroutine function."""
    return fails_later()


@pytest.mark.parametrize("job", [fails, fails_later, decorated], ids=lambda job: job.__name__)
def test_a_failure_is_reported_with_what_its_author_reads(capsys, job):
    """As for a run of its own process, and in the service's log."""
    finished = Runs(job=job).run("job")
    assert (finished.outcome, finished.exception) == (Outcome.FAILED.value, "ValueError: no such report")
    assert "in fails" in finished.traceback
    assert "/shared_runs.py" not in finished.traceback
    eventually(lambda: "ValueError: no such report" in capsys.readouterr().err)


@pytest.mark.parametrize("job", [leaves, leaves_later], ids=lambda job: job.__name__)
def test_a_run_that_ends_the_process_ends_itself_only(capsys, job):
    """sys.exit() in a job must not take the service along."""
    finished = Runs(job=job).run("job")
    assert (finished.outcome, finished.exception) == (Outcome.FAILED.value, "SystemExit: 3")


@pytest.mark.parametrize("job", [leaves_later, fails_later], ids=lambda job: job.__name__)
def test_nothing_that_a_run_raises_reaches_the_services_loop(capsys, job):
    """The loop turns on."""
    runs = Runs(job=job)

    async def service():
        runs.runs.await_in(asyncio.get_running_loop())
        await asyncio.to_thread(runs.run, "job")
        await asyncio.to_thread(runs.run, "job")

    asyncio.run(service())
    assert [finished.outcome for finished in runs.finished] == [Outcome.FAILED.value] * 2


def test_an_unknown_job_is_reported():
    """The file may have changed since the service was started."""
    finished = Runs(job=fails).run("gone")
    assert finished.exception == "LookupError: this service has no job 'gone'; it has: job"


def test_a_sync_run_over_its_time_is_reported_at_once_and_left_alone():
    """A thread cannot be killed; when it ends after all, that says nothing more."""
    release, ended = threading.Event(), threading.Event()

    def job():
        release.wait(60)
        ended.set()

    runs = Runs(job=job)
    assert runs.run("job", timeout=0.05) == RunFinished("r0", Outcome.TIMED_OUT.value)
    assert not ended.is_set()
    release.set()
    assert ended.wait(10)
    eventually(lambda: not any(thread.name == "job job" for thread in threading.enumerate()))
    assert len(runs.finished) == 1


def test_an_async_run_over_its_time_is_cancelled():
    """In a loop of its own, since the service has none."""
    cancelled = threading.Event()

    async def job():
        try:
            await asyncio.sleep(600)
        finally:
            cancelled.set()

    runs = Runs(job=job)
    assert runs.run("job", timeout=0.05) == RunFinished("r0", Outcome.TIMED_OUT.value)
    assert cancelled.wait(10)


def test_an_async_run_over_its_time_is_cancelled_in_the_services_loop():
    cancelled = []

    async def job():
        try:
            await asyncio.sleep(600)
        finally:
            cancelled.append(asyncio.get_running_loop())

    runs = Runs(job=job)

    async def service():
        loop = asyncio.get_running_loop()
        runs.runs.await_in(loop)
        await asyncio.to_thread(runs.run, "job", 0.05)
        while not cancelled:
            await asyncio.sleep(0.001)
        assert cancelled == [loop]

    asyncio.run(service())
    assert runs.finished == [RunFinished("r0", Outcome.TIMED_OUT.value)]


def test_an_async_run_that_blocks_the_loop_is_reported_in_time():
    """Its time is watched by a thread."""
    runs = Runs(job=None)

    async def job():
        while not runs.finished:
            time.sleep(0.001)

    runs.runs = SharedRuns({"job": job}, runs.finished.append)
    assert runs.run("job", timeout=0.05).outcome == Outcome.TIMED_OUT.value


def test_runs_go_on_side_by_side():
    """One that takes long keeps no other waiting."""
    release = threading.Event()
    runs = Runs(slow=lambda: release.wait(60), quick=lambda: None)
    runs.runs.start(RunJob("slow", "slow"))
    runs.runs.start(RunJob("quick", "quick"))
    eventually(lambda: len(runs.finished) == 1)
    release.set()
    eventually(lambda: len(runs.finished) == 2)
    assert [finished.run for finished in runs.finished] == ["quick", "slow"]


def test_a_run_that_is_asked_for_again_is_not_run_again():
    """After a reconnect: its report is repeated, or comes when it ends."""
    release, calls = threading.Event(), []

    def job():
        calls.append(release.wait(60))

    runs = Runs(job=job)
    for _ in range(2):
        runs.runs.start(RunJob("r1", "job"))
    release.set()
    eventually(lambda: len(runs.finished) == 1)
    runs.runs.start(RunJob("r1", "job", 0.001))
    assert [(finished.run, finished.outcome) for finished in runs.finished] == [("r1", "succeeded")] * 2
    runs.runs.start(RunJob("r2", "job"))
    eventually(lambda: len(runs.finished) == 3)
    assert len(calls) == 2


def test_a_process_without_threads_to_spare_says_so(monkeypatch):
    """The control thread, which starts them, must live on."""

    def start(self):
        raise RuntimeError("can't start new thread")

    runs = Runs(job=lambda: None)
    monkeypatch.setattr(threading.Thread, "start", start)
    runs.runs.start(RunJob("r1", "job"))
    assert runs.finished[0].exception == "RuntimeError: can't start new thread"
