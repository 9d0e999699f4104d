"""Runs of a supervisor that died: which of them can go on, and with what."""

import asyncio
from dataclasses import replace

import pytest

from plugin_runtime.protocol import Kind
from plugin_runtime.task_protocol import Outcome, Overlap
from supervisor.errors import ConflictError, StoreUnavailableError
from supervisor.jobs.former_runs import FormerRun, FormerRuns
from supervisor.jobs.records import RunRecords
from supervisor.jobs.runner import Runner
from supervisor.processes.process_records import ProcessRecord
from supervisor.processes.survivors import Survivors
from tests.fakes.jobs import FakeFactory, FakeRunHistory, job, run_view
from tests.fakes.moved_clock import MovedClock

PROCESS = ProcessRecord(
    "aa", "n", "reports.cleanup.00000001", "reports", Kind.JOB, "g", ("python",), 100, 10**15, "boot", 0, {}
)
SHARED = job("inside", shared=True)


def found(*records, rows=(), clock=None):
    """Former runs that have been read."""
    former = FormerRuns(Survivors(records), clock or MovedClock())
    kept = asyncio.run(former.load(FakeRunHistory(*rows)))
    return former, kept


def test_a_run_whose_process_lives_is_handed_over_once():
    """With its row; and its process is nobody else's from then on."""
    survivors = Survivors([PROCESS])
    former = FormerRuns(survivors, MovedClock())
    row = run_view(1, actor="scheduler", scheduled=60.0)
    assert asyncio.run(former.load(FakeRunHistory(row))) == {row.id}
    assert former.take(job()) == [FormerRun(row, 0.0, PROCESS)]
    assert former.take(job()) == []
    assert not survivors


def test_a_run_of_another_job_stays():
    """Its job is declared later, or never."""
    former, _ = found(PROCESS, rows=[run_view(1)])
    assert former.take(job("other")) == []
    assert former.take(job("cleanup", owner="other")) == []
    assert len(former.take(job())) == 1


def test_a_run_whose_row_was_not_written_goes_on_all_the_same():
    """Its supervisor died first; that it runs is what counts."""
    former, kept = found(PROCESS, clock=MovedClock())
    (run,) = former.take(job())
    assert kept == set()
    assert (run.view.id, run.view.job, run.view.outcome) == ("00000001", "reports.cleanup", None)


def test_where_nobody_survived_nothing_is_read():
    """The usual start: whatever is open in the database ended with its supervisor."""
    former, kept = found(rows=[run_view(1)])
    assert (kept, former.were_found) == (set(), False)


def test_a_database_in_trouble_is_no_reason_to_lose_a_run(caplog):
    """Its process is known from its record."""
    history = FakeRunHistory()
    history.error = StoreUnavailableError("cannot list the open runs: it is away")
    former = FormerRuns(Survivors([PROCESS]), MovedClock())
    assert asyncio.run(former.load(history)) == set()
    assert "Cannot read which runs were under way" in caplog.text
    assert len(former.take(job())) == 1


def test_a_shared_run_is_handed_over_with_the_jobs_of_its_service():
    """It has no process of its own; its age is that of its row."""
    clock = MovedClock()
    row = run_view(1, "reports.inside", started=clock.time() - 5.0)
    service = replace(PROCESS, id="reports", kind=Kind.TASK)
    former, _ = found(service, rows=[row, run_view(2)], clock=clock)
    assert former.take_shared("reports", [job(), SHARED]) == []  # another process serves, which knows nothing of it
    former.service_survived("reports")
    assert former.take_shared("reports", [job(), SHARED]) == [(SHARED, FormerRun(row, 5.0, None))]
    assert former.take_shared("reports", [SHARED]) == []


def test_a_shared_run_ends_with_its_service():
    """The next process of the service must not be asked for it: it would begin it anew."""
    former, _ = found(PROCESS, rows=[run_view(1, "reports.inside")])
    former.service_survived("reports")
    former.service_ended("reports")
    assert former.take_shared("reports", [SHARED]) == []


def test_a_run_that_had_not_begun_is_handed_over_once():
    """It has no process; whoever declares its job begins it, the oldest first, as long as it is not given up."""
    waiting = [run_view(number, started=None) for number in (2, 3)]
    former, kept = found(PROCESS, rows=[run_view(1), *waiting, run_view(4, "reports.other", started=None)])
    assert kept > former.waiting == {view.id for view in waiting} | {"00000004"}
    assert former.take_waiting(job()) == waiting
    assert former.take_waiting(job()) == []
    former.forget_waiting()
    assert former.take_waiting(job("other")) == []
    assert len(former.take(job())) == 1


class Scene:
    """A runner that goes on with runs."""

    def __init__(self):
        self.rows = []
        self.clock = MovedClock()
        self.factory = FakeFactory(self.clock)
        self.records = RunRecords(FakeRunHistory(), self.rows.append)
        self.runner = Runner(self.factory, self.records, self.clock, soon=lambda work: work())


def test_a_run_that_goes_on_keeps_its_id_and_its_place():
    """The next one of its job waits for it, by the rules of overlap."""
    scene = Scene()
    row = run_view(1, actor="scheduler", scheduled=60.0)
    scene.runner.resume(job(), FormerRun(row, 3.0, PROCESS))
    (run,) = scene.factory.made
    assert (run.request.id, run.request.actor, run.request.scheduled) == (row.id, "scheduler", 60.0)
    assert scene.runner.counts("reports.cleanup") == (1, 0)
    assert scene.runner.request(job(), "operator").outcome == "skipped"
    run.ends(Outcome.SUCCEEDED)
    assert scene.rows[-1].id == row.id
    assert scene.runner.counts("reports.cleanup") == (0, 0)


def test_only_one_run_of_a_job_goes_on(caplog):
    """Two at a time there are only while one takes the other's place: the newest is the one."""
    scene = Scene()
    scene.runner.resume(job(), FormerRun(run_view(2), 1.0, PROCESS))
    scene.runner.resume(job(), FormerRun(run_view(1), 3.0, PROCESS))
    assert [run.request.id for run in scene.factory.made] == ["00000002"]
    assert "Run 00000001 of job reports.cleanup is given up" in caplog.text


@pytest.mark.parametrize("error", [ConflictError("the service that it ran in is gone"), RuntimeError("a mistake")])
def test_a_run_that_cannot_go_on_leaves_its_place(error):
    """And has an outcome."""
    scene = Scene()
    scene.factory.plan = [error]
    scene.runner.resume(job(), FormerRun(run_view(1), 1.0, None))
    assert scene.rows[-1].outcome in {"skipped", "failed"}
    assert scene.runner.counts("reports.cleanup") == (0, 0)


def test_a_run_that_was_handed_over_is_the_same_run_and_goes_by_the_rule_of_overlap():
    """After the one that goes on, and before what is due from now on."""
    scene = Scene()
    spec = job(overlap=Overlap.QUEUE)
    waiting = run_view(2, started=None, actor="scheduler", scheduled=60.0)
    former, _ = found(PROCESS, rows=[run_view(1), waiting])
    scene.runner.take_over(spec, former)
    assert scene.runner.counts(spec.id) == (1, 1)
    assert scene.runner.request(spec, "operator").outcome == "skipped"
    scene.factory.made[0].ends(Outcome.SUCCEEDED)
    assert [replace(run.view, started=None, pid=None) for run in scene.factory.made[1:]] == [waiting]
