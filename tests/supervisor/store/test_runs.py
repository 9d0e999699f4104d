"""Records of runs, on both databases."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from plugin_runtime.task_views import RunView
from supervisor.errors import UnknownNameError
from supervisor.store import runs as module
from supervisor.store.runs import RunWriter, coalesced
from supervisor.store.settings import StoreSettings

STARTED = RunView("3f2a91c0", "reports.cleanup", 1000.5, None, None, scheduled=1000.0, actor="scheduler", pid=4711)
ENDED = replace(
    STARTED,
    finished=1003.75,
    outcome="failed",
    duration=3.25,
    exception="ValueError: \0",
    traceback="Traceback\n  \x1b[31m",
    log_tail=["one", "<script>"],
    peak_memory_mb=12.5,
    cpu_seconds=0.5,
    message="why",
)
DAY = 86400.0


@pytest.fixture
def opened(url, scenario, clock):
    with scenario(url, clock=clock, settings=StoreSettings(kept_runs=4)) as (store, run):
        yield store, run


def put(opened, *views):
    """Write each in a transaction of its own."""
    for view in views:
        put_together(opened, [view])


def put_together(opened, views):
    """Write them as the observations do."""
    store, run = opened
    run(store._record(views))


def ended(number, job="reports.cleanup", **fields):
    return replace(ENDED, **{"id": f"{number:08x}", "job": job, "exception": None, **fields})


def ids(opened, job=None, limit=100):
    store, run = opened
    return [int(view.id, 16) for view in run(store.runs.runs(job, limit))]


def test_a_run_is_on_record_from_its_start_and_updated_at_its_end(opened):
    """A supervisor that is killed meanwhile leaves a trace; every field comes back."""
    store, run = opened
    put(opened, STARTED)
    assert run(store.runs.run(STARTED.id)) == STARTED
    put(opened, ENDED)
    assert run(store.runs.runs()) == [replace(ENDED, exception="ValueError: \ufffd")]


def test_start_and_end_may_be_in_one_batch(opened):
    """PostgreSQL would refuse to write one row twice; runs stay in the order of their starts."""
    other = ended(2, job="other")
    put_together(opened, [ended(1, outcome=None), other, ended(1)])
    store, run = opened
    assert run(store.runs.runs()) == [other, ended(1)]


def test_an_end_is_never_overwritten_by_a_start(opened):
    """A retry may write a start again after the end is there."""
    store, run = opened
    put(opened, ended(1), ended(1, outcome=None))
    put_together(opened, [ended(2), ended(2, outcome=None)])
    assert run(store.runs.runs()) == [ended(2), ended(1)]


def test_a_run_written_twice_is_stored_once(opened):
    """A connection lost during COMMIT is retried."""
    put(opened, ended(1), ended(2))
    put_together(opened, [ended(1), ended(2), ended(3)])
    assert ids(opened) == [3, 2, 1]


def test_runs_come_newest_first_even_when_the_clock_was_set_back(opened):
    """Order is that of arrival; of one job, or of all."""
    put(opened, ended(1), ended(2, job="other", started=5.0), ended(3, started=500.0))
    assert ids(opened) == [3, 2, 1]
    assert ids(opened, limit=2) == [3, 2]
    assert ids(opened, "reports.cleanup") == [3, 1]
    assert ids(opened, "nobody's") == []


def test_an_unknown_run_is_not_found(opened):
    """404; a million ids are no hint."""
    store, run = opened
    put(opened, ENDED)
    with pytest.raises(UnknownNameError, match=r"no run named '0'$"):
        run(store.runs.run("0"))


def test_the_last_run_of_each_job_comes_without_its_output(opened):
    """A start reads them for all jobs; skipped ones and those that are under way count."""
    store, run = opened
    assert run(store.runs.last_runs()) == {}
    skipped = ended(5, job="b", started=None, outcome="skipped")
    put(opened, ended(1, job="b"), ended(2, job="a"), ended(3, job="ab"), ended(4, job="c", outcome=None), skipped)
    last = run(store.runs.last_runs())
    assert {job: (int(view.id, 16), view.outcome) for job, view in last.items()} == {
        "a": (2, "failed"),
        "ab": (3, "failed"),
        "b": (5, "skipped"),
        "c": (4, None),
    }
    assert last["a"] == replace(ended(2, job="a"), log_tail=[], traceback=None)


def test_runs_of_a_supervisor_that_died_are_crashed(opened, clock):
    """Nobody saw their ends: they ended at the latest when the next one started, after an unknown time."""
    store, run = opened
    put(opened, ended(1), replace(STARTED, id="2"), replace(STARTED, id="3", job="other"))
    clock.now = 5000.0
    assert run(store.runs.abandon("the supervisor died", "it never began")) == 2
    crashed = replace(STARTED, id="3", job="other", finished=5000.0, outcome="crashed", message="the supervisor died")
    assert run(store.runs.runs()) == [crashed, replace(crashed, id="2", job=STARTED.job), ended(1)]
    assert run(store.runs.abandon("again", "again")) == 0


def test_runs_that_a_supervisor_left_to_the_next_one_are_skipped_where_nobody_begins_them(opened, clock):
    """They did not crash: they never began."""
    store, run = opened
    waiting = replace(STARTED, id="2", started=None, pid=None)
    put(opened, waiting)
    assert run(store.runs.open_runs()) == [waiting]
    assert run(store.runs.abandon("it died", "it never began")) == 0
    (skipped,) = run(store.runs.runs())
    assert (skipped.outcome, skipped.message) == ("skipped", "it never began")


def test_runs_that_go_on_are_not_abandoned(opened):
    """The database may not have been there at the start, and those of the supervisor before be closed only later."""
    store, run = opened
    put(opened, *(replace(STARTED, id=number) for number in "123"))
    assert run(store.runs.abandon("the supervisor died", "it never began", ["1", "3", "4"])) == 1
    assert {view.id: view.outcome for view in run(store.runs.runs())} == {"1": None, "2": "crashed", "3": None}


def test_the_oldest_runs_of_a_job_beyond_the_limit_go(opened):
    """A job that runs every second must not fill the disk, and leaves the runs of the others alone."""
    put(opened, ended(1, job="rare"))
    put(opened, *(ended(number) for number in range(2, 9)))
    assert ids(opened) == [8, 7, 6, 5, 1]
    put_together(opened, [ended(number) for number in range(9, 12)])
    assert ids(opened) == [11, 10, 9, 8, 1]


def test_a_run_under_way_is_not_removed_by_those_that_are_skipped_meanwhile(opened):
    """It is the one that explains them."""
    put(opened, ended(1, outcome=None, finished=None))
    put(opened, *(ended(number, started=None, outcome="skipped") for number in range(2, 9)))
    assert ids(opened)[-1] == 1
    assert len(ids(opened)) <= 6
    put(opened, ended(1), ended(9))
    assert ids(opened) == [9, 8, 7, 6]


def test_runs_that_ended_too_long_ago_go_whatever_their_job(opened):
    """Also those of jobs that are not run any more; with a pause of all jobs, the newest stay."""
    put(opened, ended(1, job="gone", finished=0.0), ended(2, job="gone", finished=2 * DAY))
    put(opened, ended(3, job="new", outcome=None, finished=None, started=0.0))
    assert ids(opened) == [3, 2, 1]
    put(opened, ended(4, job="other", finished=91 * DAY))
    assert ids(opened) == [4, 3, 2]


def test_what_is_old_is_removed_a_little_at_a_time(opened, monkeypatch):
    """After months of standing still, commands must not wait for a million rows to go."""
    monkeypatch.setattr(module, "MOST_REMOVED", 2)
    put_together(opened, [ended(number, job=f"job{number}", finished=float(number)) for number in range(1, 6)])
    put(opened, ended(6, job="new", finished=91 * DAY))
    assert ids(opened) == [6, 5, 4, 3]
    put(opened, ended(7, job="new", finished=91 * DAY))
    assert ids(opened) == [7, 6, 5]


def test_the_rows_of_a_job_are_counted_only_now_and_then(url, scenario, monkeypatch):
    """At once after a start, then after every fiftieth end: with a thousand jobs, counting costs more than writing."""
    counted = []
    real = module._remove_surplus
    monkeypatch.setattr(
        module, "_remove_surplus", lambda session, jobs, kept: (counted.append(jobs), real(session, jobs, kept))
    )
    with scenario(url, settings=StoreSettings(kept_runs=1000)) as (store, run):
        for start in range(0, 110, 10):
            run(store._record([ended(number) for number in range(start, start + 10)]))
        run(store._record([ended(number, outcome=None, finished=None) for number in range(200, 300)]))
    assert counted == [["reports.cleanup"]] * 3


@pytest.mark.parametrize("what", ["newest", "of a job", "last runs", "under way", "start", "end"])
def test_no_question_reads_the_whole_table(sqlite_database, scenario, what):
    """A million runs are kept; only the newest of all are read along the table, up to their number."""
    views = {"start": ended(2, outcome=None, finished=None), "end": ended(2)}
    with scenario(sqlite_database, settings=StoreSettings(kept_runs=1)) as (store, run):
        asked = {
            "newest": store.runs.runs,
            "of a job": lambda: store.runs.runs("a"),
            "last runs": store.runs.last_runs,
            "under way": lambda: store.runs.abandon("x", "y"),
        }
        put((store, run), ended(1))
        statements = []
        engine = store._database._engine
        event.listen(
            engine, "before_cursor_execute", lambda *arguments: statements.append((arguments[2], arguments[3]))
        )
        run(asked[what]() if what in asked else store._record([views[what]]))

        def plans(session):
            chosen = [one for one in statements if not one[0].startswith(("PRAGMA", "BEGIN", "INSERT"))]
            execute = session.connection().exec_driver_sql
            return [row[-1] for sql, values in chosen for row in execute(f"EXPLAIN QUERY PLAN {sql}", values)]

        steps = run(store._database.read("explain", plans))
    # That index holds only runs that have not ended.
    scans = [step for step in steps if step.startswith("SCAN runs") and "ix_runs_open" not in step]
    assert scans == ["SCAN runs"] * (what == "newest")
    assert bool(steps) is (what != "start")
    assert len([sql for sql, _ in statements if sql.startswith("DELETE")]) == (2 if what == "end" else 0)


def test_slack_is_a_part_of_the_limit():
    """At most a twentieth more rows than wanted."""
    writer = RunWriter(StoreSettings(kept_runs=1000))
    assert [bool(writer._crowded(["a"])) for _ in range(101)] == [True, *([False] * 49 + [True]) * 2]


VIEWS = st.lists(
    st.builds(
        replace, st.just(STARTED), id=st.sampled_from("abc"), outcome=st.sampled_from([None, "failed", "succeeded"])
    )
)


@given(VIEWS)
def test_a_batch_leaves_what_its_rows_one_by_one_would_leave(views):
    """The rule of the upsert, row by row, is the rule of the batch."""
    one_by_one: dict[str, RunView] = {}
    for view in views:
        if view.outcome or view.id not in one_by_one or one_by_one[view.id].outcome is None:
            one_by_one[view.id] = view
    batch = coalesced(views)
    assert {view.id: view for view in batch} == one_by_one
    assert [view.id for view in batch] == list(dict.fromkeys(view.id for view in views))
