"""Runs that end when the test says so: what begins, what waits, what never begins."""

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from plugin_runtime.protocol import Cause
from plugin_runtime.task_protocol import Outcome, Overlap
from supervisor.errors import ConflictError
from supervisor.jobs.records import RunRecords
from supervisor.jobs.runner import Runner
from tests.fakes.jobs import FakeFactory, FakeRunHistory, job
from tests.fakes.moved_clock import MovedClock


class Scene:
    """A runner whose other turns of the event loop come when the test lets them."""

    def __init__(self, starts=2, *, stops=True):
        self.rows = []
        self.clock = MovedClock()
        self.factory = FakeFactory(self.clock, stops=stops)
        self.records = RunRecords(FakeRunHistory(), self.rows.append, kept_runs=100_000)
        self.turns = []
        self.runner = Runner(self.factory, self.records, self.clock, starts=starts, soon=self.turns.append)

    def turn(self):
        """Let happen what was left for another turn, and what that leaves."""
        while self.turns:
            self.turns.pop(0)()

    def asks(self, spec, actor="operator", scheduled=None):
        """A request, and the turn after it."""
        view = self.runner.request(spec, actor, scheduled)
        self.turn()
        return view

    def ends(self, run, outcome=Outcome.SUCCEEDED):
        run.ends(outcome)
        self.turn()

    def ended(self):
        return [(row.id, row.outcome, row.message) for row in self.rows if row.outcome]


def test_a_run_is_on_record_from_its_beginning_to_its_end():
    """A supervisor that is killed meanwhile leaves a row without an outcome."""
    scene = Scene()
    view = scene.asks(job(), "scheduler", 60.0)
    assert (view.started, view.outcome, view.scheduled, view.actor) == (None, None, 60.0, "scheduler")

    (run,) = scene.factory.made
    scene.clock.advance(2.0)
    scene.ends(run)

    begun, done = scene.rows
    assert (begun.id, begun.outcome, begun.finished) == (view.id, None, None)
    assert (done.id, done.outcome, done.duration) == (view.id, "succeeded", 2.0)
    assert done.started == begun.started


def test_a_run_is_skipped_while_the_one_before_has_not_ended():
    """By the default rule; the skip is a row, too."""
    scene = Scene()
    scene.asks(job())
    view = scene.asks(job())
    assert (view.outcome, view.message, view.started) == ("skipped", "the run before has not ended", None)
    assert scene.runner.counts(job().id) == (1, 0)
    assert view in scene.rows


def test_a_run_that_is_over_before_it_could_be_made_is_no_hindrance():
    """Its host cannot start it now: skipped with the reason, and the next one has its turn."""
    scene = Scene()
    scene.factory.plan = [ConflictError("its environment is being built"), None]
    first = scene.asks(job(overlap=Overlap.QUEUE))
    second = scene.asks(job(overlap=Overlap.QUEUE))
    assert scene.ended() == [(first.id, "skipped", "its environment is being built")]
    assert [run.request.id for run in scene.factory.made] == [second.id]


def test_a_mistake_of_the_host_is_one_failed_run():
    """Logged, on record, and neither an endless run nor a lost place."""
    scene = Scene(starts=1)
    scene.factory.plan = [RuntimeError("bug"), None]
    first, second = scene.asks(job("a")), scene.asks(job("b"))
    assert scene.ended() == [(first.id, "failed", "failed inside xcore; its log has the details")]
    assert [run.request.id for run in scene.factory.made] == [second.id]


def test_no_more_runs_start_at_once_than_allowed():
    """And the one that was asked for first is the first to start."""
    scene = Scene(starts=2)
    views = [scene.asks(job(f"job{number}")) for number in range(4)]
    assert [run.request.id for run in scene.factory.made] == [view.id for view in views[:2]]

    scene.factory.made[1].gets_ready()
    scene.turn()
    assert [run.request.id for run in scene.factory.made] == [view.id for view in views[:3]]

    scene.ends(scene.factory.made[0], Outcome.CRASHED)
    assert [run.request.id for run in scene.factory.made] == [view.id for view in views]
    assert scene.runner.counts(job("job3").id) == (1, 0)


def test_many_starts_that_fail_at_once_are_many_turns():
    """The event loop serves others between them."""
    scene = Scene(starts=2)
    scene.factory.plan = [ConflictError("no")] * 100
    for number in range(100):
        scene.runner.request(job(f"job{number}"), "scheduler")
    turns = 0
    while scene.turns:
        scene.turns.pop(0)()
        turns += 1
    assert turns >= 50
    assert len(scene.ended()) == 100


def test_a_newer_run_begins_when_the_old_one_is_dead():
    """Never two at once, however long the old one takes to die."""
    scene = Scene(stops=False)
    spec = job(overlap=Overlap.KILL_OLD)
    old = scene.asks(spec)
    new = scene.asks(spec, "token:ci")
    (run,) = scene.factory.made
    assert run.stopped == [(Cause.OVERLAP, "token:ci")]
    assert scene.runner.counts(spec.id) == (1, 1)

    scene.ends(run, Outcome.KILLED)
    assert [made.request.id for made in scene.factory.made] == [old.id, new.id]


def test_a_newer_run_takes_the_place_of_one_that_waits_for_its_start():
    """It never begins: there is nothing to kill."""
    scene = Scene(starts=1)
    spec = job(overlap=Overlap.KILL_OLD)
    scene.asks(job("other"))
    old = scene.asks(spec)
    new = scene.asks(spec)
    assert scene.ended() == [(old.id, "skipped", "a newer run took its place")]
    scene.ends(scene.factory.made[0])
    assert [made.request.id for made in scene.factory.made[1:]] == [new.id]


def test_closing_puts_on_record_what_will_not_begin():
    """What has begun is ended by others, and recorded as ever; what is asked for later is skipped."""
    scene = Scene(starts=1)
    spec = job(overlap=Overlap.QUEUE)
    first, queued, unadmitted = scene.asks(spec), scene.asks(spec), scene.asks(job("other"))

    scene.runner.close()
    late = scene.asks(job("late"))
    scene.ends(scene.factory.made[0], Outcome.KILLED)

    stopping = "xcore is stopping"
    assert scene.ended() == [
        (unadmitted.id, "skipped", stopping),
        (queued.id, "skipped", stopping),
        (late.id, "skipped", stopping),
        (first.id, "killed", ""),
    ]
    assert len(scene.factory.made) == 1


def test_handing_over_leaves_on_record_what_waits():
    """Also what is asked for later; nothing of it begins here, whatever ends meanwhile. The oldest is first."""
    scene = Scene(starts=1)
    patient = job("patient", overlap=Overlap.QUEUE)
    first, unadmitted = scene.asks(job(overlap=Overlap.QUEUE)), scene.asks(patient)
    queued = [scene.asks(job(overlap=Overlap.QUEUE)), scene.asks(patient)]

    scene.runner.close(handing_over=True)
    late = scene.asks(job("late"), "scheduler", 60.0)
    scene.ends(scene.factory.made[0])

    assert scene.ended() == [(first.id, "succeeded", "")]
    assert [row.id for row in scene.rows[1:-1]] == [view.id for view in (unadmitted, *queued, late)]
    assert all((row.outcome, row.started) == (None, None) for row in scene.rows[1:-1])
    assert len(scene.factory.made) == 1


def test_a_miss_is_a_row():
    """Whether or not a run of the job goes on."""
    scene = Scene()
    view = scene.runner.missed(job(), "scheduler", 60.0, "due at noon, noticed 45 s late")
    assert (view.outcome, view.scheduled, view.message) == ("missed", 60.0, "due at noon, noticed 45 s late")
    assert scene.rows == [view]
    assert scene.runner.counts(job().id) == (0, 0)


JOBS = [job(rule.value, overlap=rule) for rule in Overlap]


class Bookkeeping(RuleBasedStateMachine):
    """Any order of requests, starts, ends and turns."""

    def __init__(self):
        super().__init__()
        self.scene = Scene(starts=2, stops=False)
        self.asked = []
        self.live = []
        self.closed = False

    def _running(self):
        done = {row.id for row in self.scene.rows if row.outcome}
        return [run for run in self.scene.factory.made if run.request.id not in done]

    @rule(number=st.integers(0, len(JOBS) - 1), fails=st.sampled_from([None, None, None, ConflictError("no")]))
    def request(self, number, fails):
        self.scene.factory.plan = [fails] if fails else []
        self.asked.append(self.scene.runner.request(JOBS[number], "scheduler", 1.0).id)

    @rule()
    def turn(self):
        self.scene.turn()

    @precondition(lambda self: self._running())
    @rule(data=st.data())
    def one_gets_ready(self, data):
        data.draw(st.sampled_from(self._running())).gets_ready()

    @precondition(lambda self: self._running())
    @rule(data=st.data(), outcome=st.sampled_from(list(Outcome)))
    def one_ends(self, data, outcome):
        data.draw(st.sampled_from(self._running())).ends(outcome)

    @rule()
    def close(self):
        self.closed = True
        self.scene.runner.close()

    @invariant()
    def never_two_runs_of_a_job_at_once(self):
        assert max(Counter(run.request.job.id for run in self._running()).values(), default=0) <= 1

    @invariant()
    def at_most_one_waits(self):
        for spec in JOBS:
            running, queued = self.scene.runner.counts(spec.id)
            assert running <= 1
            assert queued <= (0 if spec.overlap is Overlap.SKIP else 1)
            assert running >= queued

    @invariant()
    def every_run_ends_at_most_once(self):
        assert max(Counter(row.id for row in self.scene.rows if row.outcome).values(), default=0) <= 1
        assert max(Counter(row.id for row in self.scene.rows if not row.outcome).values(), default=0) <= 1

    @invariant()
    def a_run_that_was_skipped_has_not_begun(self):
        begun = {row.id for row in self.scene.rows if not row.outcome}
        assert not begun & {row.id for row in self.scene.rows if row.outcome == "skipped" and row.message}

    def teardown(self):
        """Let everything end: each run that was asked for has exactly one end, and nothing is left on the books."""
        self.scene.turn()
        while running := self._running():
            self.scene.ends(running[0])
        ends = Counter(row.id for row in self.scene.rows if row.outcome)
        assert ends == Counter(self.asked)
        assert all(self.scene.runner.counts(spec.id) == (0, 0) for spec in JOBS)


Bookkeeping.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBookkeeping = pytest.mark.slow(Bookkeeping.TestCase)
