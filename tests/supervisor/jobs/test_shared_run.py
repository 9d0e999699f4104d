"""Runs inside the process of a service."""

import asyncio

import pytest

from plugin_runtime.protocol import Cause, State
from plugin_runtime.task_protocol import RunFinished, RunJob
from plugin_runtime.views import ExitView
from supervisor.errors import ConflictError
from supervisor.jobs.shared_run import SharedRun
from tests.fakes.jobs import FakeService, job, request
from tests.fakes.moved_clock import MovedClock
from tests.fakes.waiting import until

ID = request().id
DEATH = ExitView("1", "reports", "reports", "task", "crash", 1, None, "", 0.0, 1.0, [])


class Listener:
    def __init__(self):
        self.ends = []
        self.is_ready = False

    def ready(self, run):
        self.is_ready = True

    def ended(self, run, view):
        self.ends.append(view)


class Scene:
    def __init__(self, timeout=0.0, last_word=0.01):
        self.clock = MovedClock()
        self.listener = Listener()
        self.service = FakeService(State.RUNNING)
        spec = job(shared=True, timeout=timeout)
        self.run = SharedRun(request(1, spec), self.service, self.clock, self.listener, last_word)
        self.run.begin()
        self.clock.advance(1.5)

    @property
    def end(self):
        (view,) = self.listener.ends
        return view


def test_the_service_is_told_to_run_it_and_says_how_it_ended():
    """Its process is the service's, and its duration what it took."""
    scene = Scene()
    assert scene.service.sent == [RunJob(ID, "cleanup", 0.0)]
    assert scene.listener.is_ready
    scene.run.finished(RunFinished(ID, "failed", "ValueError: no", "Traceback ..."))
    assert (scene.end.outcome, scene.end.exception, scene.end.traceback) == (
        "failed",
        "ValueError: no",
        "Traceback ...",
    )
    assert (scene.end.pid, scene.end.duration) == (4711, 1.5)


@pytest.mark.parametrize(("timeout", "left"), [(0.0, 0.0), (10.0, 8.5), (1.0, 0.001)])
def test_what_is_asked_again_has_what_is_left_of_its_time(timeout, left):
    """An order that was lost begins the run only then, and we wait no longer for it than before; 0 would be any."""

    async def main():
        scene = Scene(timeout)
        scene.run.ask_again()
        assert scene.service.sent[1:] == [RunJob(ID, "cleanup", left)]

    asyncio.run(main())


def test_the_end_of_the_service_is_the_end_of_its_runs():
    scene = Scene()
    scene.run.service_ended(DEATH)
    assert (scene.end.outcome, scene.end.message) == (
        "crashed",
        "the service that it ran in ended (crash, exit code 1)",
    )


def test_it_cannot_be_killed():
    """There is no way to end a thread: whoever wants it gone has to stop the service."""
    scene = Scene()
    scene.run.stop(Cause.OVERLAP, "scheduler")
    assert scene.listener.ends == []
    assert scene.run.view.outcome is None


def test_a_service_that_does_not_report_the_timeout_does_not_hold_up_the_job_for_ever():
    """Its word may be lost with a connection."""

    async def main():
        scene = Scene(timeout=0.01)
        await until(lambda: scene.listener.ends, "it is over")
        assert scene.end.outcome == "timed_out"
        assert "did not report" in scene.end.message

    asyncio.run(main())


def test_a_service_that_reports_the_timeout_is_believed():
    async def main():
        scene = Scene(timeout=0.01)
        scene.run.finished(RunFinished(ID, "timed_out"))
        await asyncio.sleep(0.03)
        assert (scene.end.outcome, scene.end.message) == ("timed_out", "")

    asyncio.run(main())


@pytest.mark.parametrize("state", [State.STARTING, State.BACKOFF, State.STOPPING, State.EXITED, State.FAILED])
def test_a_service_that_does_not_run_takes_no_runs(state):
    """Skipped, with the reason."""
    with pytest.raises(ConflictError, match=f"the service that it would run in is {state.value}"):
        SharedRun(request(), FakeService(state), MovedClock(), Listener())


def test_without_a_service_there_are_no_shared_runs():
    with pytest.raises(ConflictError, match="there is no service"):
        SharedRun(request(), None, MovedClock(), Listener())


def test_a_service_without_its_control_channel_takes_no_runs():
    """It would never hear of them."""
    service = FakeService(State.RUNNING)
    service.incarnation.connection = None
    with pytest.raises(ConflictError):
        SharedRun(request(), service, MovedClock(), Listener())
