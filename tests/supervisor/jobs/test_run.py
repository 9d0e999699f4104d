"""Runs as real processes, played by a guest that does as told: every way in which one can end."""

import asyncio
import sys
from types import SimpleNamespace

import pytest

from plugin_runtime.protocol import Cause
from plugin_runtime.task_protocol import Outcome, Overlap
from supervisor.jobs.run import spec_of_run
from supervisor.spec import Limits, RestartWhen
from tests.fakes.job_scene import job_scene
from tests.fakes.jobs import job
from tests.fakes.process_table import guest_spec, with_timeouts
from tests.fakes.processes import exists, state_folder
from tests.fakes.waiting import until

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.usefixtures("nothing_left_behind")]


@pytest.fixture
def play(tmp_path):
    """Have a scenario happen with a manager whose runs do these steps."""

    def play(scenario, *steps, **fields):
        async def main():
            async with job_scene(tmp_path, *steps, **fields) as scene:
                await scenario(scene)

        asyncio.run(main())

    return play


READY = ("hello", "ready")


@pytest.mark.parametrize(
    ("steps", "outcome", "text"),
    [
        ((*READY, "finished:succeeded", "exit:0"), "succeeded", ""),
        ((*READY, "finished:failed", "exit:1"), "failed", "ValueError: no such report"),
        ((*READY, "finished:succeeded", "exit:3"), "succeeded", ""),
        ((*READY, "finished:succeeded", "kill"), "succeeded", ""),
        ((*READY, "exit:3"), "crashed", "without a word, exit code 3"),
        ((*READY, "exit:0"), "crashed", "without a word, exit code 0"),
        ((*READY, "kill"), "crashed", "without a word, SIGKILL"),
        (("kill",), "crashed", "without a word, SIGKILL"),
        (("hello", "fail:no module named flask", "exit:70"), "failed", "ImportError: no module named flask"),
        (("exit:79",), "failed", "its Python is not supported"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_how_a_run_ends(play, steps, outcome, text):
    """Row 51: by itself, in one of the many ways; once, whatever the policy of its host says, and on record."""

    async def scenario(scene):
        view = await scene.runs()
        assert view.outcome == outcome
        assert text in (view.exception or view.message)
        assert view.log_tail == ["about to begin"]
        assert view.duration > 0
        assert view.started <= view.finished
        begun, done = scene.store.put
        assert (begun.outcome, begun.pid, done) == (None, view.pid, view)
        (record,) = scene.exits
        assert (record.kind, record.name, record.instance, record.pid) == (
            "job",
            "reports",
            f"reports.cleanup.{view.id}",
            view.pid,
        )
        assert scene.manager._runner.counts(view.job) == (0, 0)
        await until(lambda: not scene.table.tree.children, "it has left the process table")

    play(scenario, "print:about to begin", *steps)


def test_a_run_is_measured(play):
    """By its beats, and by the kernel."""

    async def scenario(scene):
        view = await scene.runs()
        assert view.peak_memory_mb == 2.0
        assert view.cpu_seconds > 0
        assert view.cpu_seconds == round(view.cpu_seconds, 3)

    play(scenario, *READY, "requests:1", "finished:succeeded", "exit:0")


def test_a_run_that_cannot_be_started_has_failed(play):
    """Not an endless wait, and the next one may try again."""

    async def scenario(scene):
        view = await scene.runs()
        assert view.outcome == "failed"
        assert "No such file or directory" in view.message
        assert (view.pid, view.duration >= 0) == (None, True)
        assert [row.outcome for row in scene.store.put] == ["failed"]
        assert [record.cause for record in scene.exits] == ["start_failed"]
        assert (await scene.end_of(await scene.begins())).outcome == "failed"

    play(scenario, *READY, command=("/nowhere/python",))


def test_a_run_over_its_timeout_is_asked_to_end(play):
    """What it says while it is interrupted is no success."""

    async def scenario(scene):
        view = await scene.runs(timeout=1.0)
        assert (view.outcome, view.message) == ("timed_out", "it took longer than its timeout of 1 s")
        assert view.duration >= 1.0
        (record,) = scene.exits
        assert (record.cause, record.actor, record.exit_code) == ("job_timeout", "supervisor", 0)

    play(scenario, *READY, "obedient")


def test_a_run_over_its_timeout_that_does_not_listen_is_killed(play):
    """After stop_timeout, with SIGKILL."""

    async def scenario(scene):
        view = await scene.runs(timeout=1.0)
        assert view.outcome == "timed_out"
        assert view.duration >= 1.4
        (record,) = scene.exits
        assert (record.cause, record.signal) == ("job_timeout", 9)

    play(scenario, "deaf", *READY, "serve", timeouts=with_timeouts(stop=0.4, term=0.2))


def test_a_run_that_is_never_ready_is_ended(play):
    """An import that hangs, by start_timeout."""

    async def scenario(scene):
        view = await scene.runs()
        assert (view.outcome, view.message) == ("timed_out", "its module was not imported within start_timeout")

    play(scenario, "hello", "pause", timeouts=with_timeouts(start=0.2))


def test_a_run_that_has_finished_and_does_not_exit_is_ended(play):
    """A thread that it left behind keeps it: it has succeeded, but the next one must not wait for ever."""

    async def scenario(scene):
        view = await scene.runs()
        assert view.outcome == "succeeded"
        assert not exists(view.pid)
        assert scene.exits[0].cause == "job_timeout"

    play(scenario, *READY, "finished:succeeded", "serve", timeouts=with_timeouts(stop=0.3, term=0.1))


def test_a_newer_run_kills_the_old_one_and_begins_after_its_death(play):
    """overlap = "kill_old": never both at once."""

    async def scenario(scene):
        scene.declares(job(overlap=Overlap.KILL_OLD))
        old = await scene.begins()
        await until(lambda: scene.table.tree.pids.get(f"reports.cleanup.{old.id}"), "the old one runs")
        new = await scene.begins()
        dead = await scene.end_of(old)
        assert (dead.outcome, dead.message) == ("killed", "a newer run took its place")
        assert scene.exits[0].cause == "overlap"
        await until(lambda: scene.table.tree.pids.get(f"reports.cleanup.{new.id}"), "the newer one runs")
        assert not exists(dead.pid)

    play(scenario, *READY, "serve")


def test_a_queued_run_begins_when_the_one_before_has_ended(play, tmp_path):
    """overlap = "queue": one waits, a third is skipped."""

    async def scenario(scene):
        scene.declares(job(overlap=Overlap.QUEUE))
        first, second, third = [await scene.begins() for _ in range(3)]
        assert (third.outcome, second.outcome) == ("skipped", None)
        shown = await scene.manager.show_job("reports.cleanup")
        assert (shown.running, shown.queued) == (1, 1)
        done = [await scene.end_of(view) for view in (first, second)]
        assert [view.outcome for view in done] == ["succeeded", "succeeded"]
        assert done[0].finished <= done[1].started

    play(scenario, *READY, "finished:succeeded", "exit:0")


def test_shutdown_ends_runs_and_they_are_on_record(play):
    """The manager begins nothing more and the tree ends what runs; the end is recorded all the same."""

    async def scenario(scene):
        scene.declares(job(overlap=Overlap.QUEUE))
        running, waiting = await scene.begins(), await scene.begins()
        await until(lambda: any(child.pid for child in scene.table.tree.children), "it runs")
        await scene.manager.close()
        await scene.table.tree.stop_all(Cause.SHUTDOWN, "supervisor")
        ends = {view.id: (view.outcome, view.message) for view in scene.store.put if view.outcome}
        assert ends == {
            running.id: ("killed", "xcore was stopped"),
            waiting.id: ("skipped", "xcore is stopping"),
        }
        assert len(scene.host.started) == 1

    play(scenario, *READY, "obedient")


class Waiting:
    """Has a template that is never ready: what is to be forked from it waits."""

    owner = "reports"

    def __init__(self):
        self.template = SimpleNamespace(interpreter=sys.executable, is_coming=True, is_ready=False)

    def suits(self, spec):
        return True


async def times_out(scene):
    """Nothing is to be done."""


async def is_replaced(scene):
    await scene.begins()


async def is_stopped(scene):
    await scene.manager.close()
    await scene.table.tree.stop_all(Cause.SHUTDOWN, "supervisor")


@pytest.mark.parametrize(
    ("fields", "ends", "outcome", "message"),
    [
        ({"timeout": 0.1}, times_out, "timed_out", "it took longer than its timeout of 0.1 s"),
        ({"overlap": Overlap.KILL_OLD}, is_replaced, "killed", "a newer run took its place"),
        ({}, is_stopped, "killed", "xcore was stopped"),
    ],
    ids=["timeout", "overlap", "shutdown"],
)
def test_a_run_that_is_stopped_before_it_has_a_process_has_an_outcome_too(play, fields, ends, outcome, message):
    """It waits for its template: without an end on record its job would never run again."""

    async def scenario(scene):
        scene.table.around.origin.enter(Waiting())
        scene.declares(job(**fields))
        view = await scene.begins()
        await until(lambda: scene.table.tree.children, "it waits for its template")
        (child,) = scene.table.tree.children
        await ends(scene)
        dead = await scene.end_of(view)
        assert (dead.outcome, dead.message, dead.pid) == (outcome, message, None)
        assert scene.exits == []
        await until(lambda: child not in scene.table.tree.children, "it has left the process table")

    play(scenario, *READY, "serve", template="reports")


def test_what_a_run_writes_can_be_watched(play):
    """While it runs, and to its end."""

    async def scenario(scene):
        scene.declares(job())
        view = await scene.begins()
        first = await scene.manager.follow(view.id, wait=10)
        assert (first.lines, first.run.outcome) == (["one"], None)
        assert (await scene.manager.show_run(view.id)).log_tail == ["one"]
        await scene.table.tree.stop_all(Cause.OPERATOR, "operator")
        last = await scene.manager.follow(view.id, after=first.next, wait=10)
        assert (last.run.outcome, last.run.message) == ("killed", "it was ended by operator, operator")

    play(scenario, "print:one", *READY, "serve")


def test_a_limit_that_replaces_a_process_does_not_repeat_a_run(tmp_path):
    """Soft limits and ages replace a worker by another one; the job would run twice."""
    spec = guest_spec(
        state_folder(tmp_path),
        limits=Limits(memory_soft_mb=100, memory_hard_mb=200, open_files=64, max_requests=5, max_age=60),
    )
    run = spec_of_run(spec)
    assert run.limits == Limits(memory_hard_mb=200, open_files=64)
    assert run.restart.when is RestartWhen.NEVER


def test_a_run_over_its_memory_limit_is_killed(play):
    """The hard one."""

    async def scenario(scene):
        scene.declares(job())
        view = await scene.begins()
        await until(lambda: any(child.state.value == "running" for child in scene.table.tree.children), "it runs")
        for child in scene.table.tree.children:
            child.check_limits(memory_mb=300)
        dead = await scene.end_of(view)
        assert (dead.outcome, dead.message) == ("killed", "it used more memory than memory_hard_mb")
        assert [record.cause for record in scene.exits] == ["memory_limit"]

    play(scenario, *READY, "serve", limits=Limits(memory_soft_mb=100, memory_hard_mb=200))


def test_a_run_speaks_for_itself_only(play):
    """Its word about another run, or a message that makes no sense, is passed over."""

    async def scenario(scene):
        view = await scene.runs()
        assert view.outcome == Outcome.CRASHED

    play(scenario, *READY, "description", "exit:0")
