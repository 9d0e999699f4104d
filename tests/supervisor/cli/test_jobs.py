"""``xcore job``: what is asked, what is printed, how it ends."""

import asyncio
import json
import signal
import threading
import time

import pytest

from plugin_runtime.protocol import Error, Result
from supervisor.cli import jobs

RUN = {
    "id": "3f2a91c0",
    "job": "reports.cleanup",
    "started": 1700000000.0,
    "finished": 1700000002.0,
    "outcome": "succeeded",
    "duration": 2.0,
    "exception": None,
    "traceback": None,
    "log_tail": ["done"],
    "scheduled": None,
    "actor": "operator",
    "pid": 44,
    "peak_memory_mb": 20.0,
    "cpu_seconds": 0.5,
    "message": "",
}
BEGUN = {**RUN, "finished": None, "outcome": None, "duration": None, "log_tail": []}
SKIPPED = {**BEGUN, "started": None, "finished": 1700000000.0, "outcome": "skipped", "message": "another has not ended"}
FAILED = {**RUN, "outcome": "failed", "exception": "ValueError: no \x1b[31msuch\nfile"}
JOB = {
    "id": "reports.cleanup",
    "name": "cleanup",
    "owner": "reports",
    "kind": "task",
    "entry": "cleanup",
    "trigger": "every 10 minutes",
    "state": "scheduled",
    "next_run": 1700000600.0,
    "running": 0,
    "queued": 0,
    "overlap": "skip",
    "shared": False,
    "timeout": 0.0,
    "jitter": 0.0,
    "misfire_grace_time": 30.0,
    "last_run": RUN,
}
OTHER = {**JOB, "id": "shop.nightly", "name": "nightly", "owner": "shop", "state": "paused", "next_run": None}
NEVER = {**OTHER, "last_run": None, "running": 1}


@pytest.fixture
def berlin(monkeypatch):
    """This machine's clock."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def supervisor(supervisor):
    supervisor.answers["jobs.list"] = [JOB, OTHER]
    return supervisor


def follows(*logs):
    """Answers one after the other; each is (lines, run)."""
    left = list(logs)
    written = 0

    async def follow(call):
        nonlocal written
        assert call.arguments["after"] == written
        lines, run = left.pop(0)
        written += len(lines)
        return Result({"run": run, "lines": lines, "next": written})

    return follow


@pytest.mark.parametrize(
    ("arguments", "operation", "given", "value"),
    [
        (["list"], "jobs.list", {}, [JOB, OTHER]),
        (["run", "cleanup"], "jobs.run", {"id": "reports.cleanup"}, BEGUN),
        (["history", "cleanup", "-n", "3"], "runs.list", {"job": "reports.cleanup", "limit": 3}, [RUN]),
        (["next", "cleanup"], "jobs.next", {"id": "reports.cleanup", "count": 10}, [{"time": 0.0, "local": "x"}]),
        (["pause", "cleanup"], "jobs.pause", {"id": "reports.cleanup"}, OTHER),
        (["resume", "reports.cleanup"], "jobs.resume", {"id": "reports.cleanup"}, JOB),
        (["reload"], "jobs.reload", {}, [JOB]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) and isinstance(value[0], str) else "",
)
def test_with_json_stdout_is_what_the_operation_returned(xcore, supervisor, arguments, operation, given, value):
    """One document, and nothing on stderr."""
    supervisor.answers[operation] = value
    outcome = xcore("job", *arguments, "--json")
    assert (outcome.code, outcome.err, json.loads(outcome.out)) == (0, "", value)
    assert supervisor.arguments_of(operation) == given


@pytest.mark.usefixtures("berlin")
def test_jobs_are_a_table_in_local_time(xcore, supervisor):
    """When they run next, and how they ended last."""
    supervisor.answers["jobs.list"] = [JOB, NEVER]
    assert xcore("job", "list").out.splitlines() == [
        "JOB              STATE        NEXT RUN             TRIGGER           LAST OUTCOME  LAST END",
        "reports.cleanup  scheduled    2023-11-14 23:23:20  every 10 minutes  succeeded     2023-11-14 23:13:22",
        "shop.nightly     running (1)  -                    every 10 minutes  -             -",
    ]


@pytest.mark.usefixtures("berlin")
def test_a_job_is_shown_as_declared_with_its_next_and_last_runs(xcore, supervisor):
    """All that somebody asks who wonders why it does not run."""
    job = {**JOB, "trigger": "cron 0 3 * * * (Europe/Berlin)", "timezone": "Europe/Berlin", "timeout": 90.0}
    supervisor.answers["jobs.show"] = job
    supervisor.answers["jobs.next"] = [{"time": 1700013600.0, "local": "2023-11-15T03:00:00+01:00"}]
    supervisor.answers["runs.list"] = [FAILED]
    outcome = xcore("job", "show", "cleanup")
    assert outcome.out.splitlines()[:-1] == [
        "job:        reports.cleanup",
        "owner:      task reports",
        "calls:      cleanup",
        "trigger:    cron 0 3 * * * (Europe/Berlin)",
        "time zone:  Europe/Berlin",
        "state:      scheduled",
        "timeout:    1 min 30 s",
        "overlap:    skip",
        "late by:    at most 30.0 s",
        "jitter:     none",
        "runs in:    a process of its own",
        "",
        "next, by its trigger:",
        "Wed 2023-11-15 03:00:00+01:00",
        "",
        "last runs:",
        "RUN       WHEN                 OUTCOME  DURATION  MEMORY MB  BY        WHY",
    ]
    assert outcome.out.splitlines()[-1].endswith("ValueError: no \\x1b[31msuch\\nfile")
    for asked in ("jobs.next", "runs.list"):
        assert 5 in supervisor.arguments_of(asked).values()


def test_a_job_that_waits_for_anything_and_never_ran_is_shown(xcore, supervisor):
    """As declared; a supervisor of the version before does not tell the time zone."""
    supervisor.answers["jobs.show"] = {**JOB, "misfire_grace_time": None, "jitter": 5.0, "shared": True}
    supervisor.answers.update({"jobs.next": [], "runs.list": []})
    outcome = xcore("job", "show", "cleanup")
    for line in ("late by:    anything", "jitter:     up to 5.0 s", "runs in:    the service's process"):
        assert line in outcome.out
    assert "time zone" not in outcome.out
    assert outcome.err == "It will not be due any more.\nIt has not run yet.\n"


def test_show_as_json_is_the_job_with_its_moments_and_runs(xcore, supervisor):
    """One document; nothing of the job's own is hidden."""
    moments = [{"time": 0.0, "local": "1970-01-01T00:00:00+00:00"}]
    supervisor.answers.update({"jobs.show": JOB, "jobs.next": moments, "runs.list": [RUN]})
    assert json.loads(xcore("job", "show", "cleanup", "--json").out) == {**JOB, "next": moments, "runs": [RUN]}


# --- names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["show", "run", "history", "next", "pause", "resume"])
def test_a_name_that_several_owners_use_is_refused_with_all_of_them(xcore, supervisor, command):
    """One of them chosen at random would run the wrong thing."""
    supervisor.answers["jobs.list"] = [JOB, {**JOB, "id": "shop.cleanup", "owner": "shop"}]
    outcome = xcore("job", command, "cleanup")
    said = "xcore: several jobs are named 'cleanup': reports.cleanup, shop.cleanup; write one of these\n"
    assert outcome == (1, "", said)
    assert [call.operation for call in supervisor.calls] == ["jobs.list"]


def test_an_id_wins_over_a_name_of_another(xcore, supervisor):
    """A task `a` with a job `b.c`, and a task `x` with a job named `a.b.c`: the id is what it says."""
    supervisor.answers["jobs.list"] = [{**JOB, "id": "a.b.c"}, {**JOB, "id": "x.a.b.c", "name": "a.b.c"}]
    supervisor.answers["jobs.pause"] = JOB
    xcore("job", "pause", "a.b.c")
    assert supervisor.arguments_of("jobs.pause") == {"id": "a.b.c"}


@pytest.mark.parametrize(
    ("command", "operation"),
    [
        ("show", "jobs.show"),
        ("run", "jobs.run"),
        ("next", "jobs.next"),
        ("pause", "jobs.pause"),
        ("history", "jobs.show"),
    ],
)
def test_an_unknown_job_ends_with_1(xcore, supervisor, command, operation):
    """In the supervisor's own words."""
    supervisor.answers["runs.list"] = []
    supervisor.answers[operation] = Error("UnknownName", "no job named 'x'; known: reports.cleanup", {}, 404)
    assert xcore("job", command, "x") == (1, "", "xcore: no job named 'x'; known: reports.cleanup\n")


def test_the_history_of_a_job_that_is_gone_can_be_read(xcore, supervisor):
    """By its id; it is on record for months."""
    supervisor.answers["runs.list"] = [RUN]
    assert json.loads(xcore("job", "history", "old.job", "--json").out) == [RUN]
    assert supervisor.arguments_of("runs.list") == {"job": "old.job", "limit": 20}


# --- history and next -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("berlin")
def test_history_says_how_each_run_ended_and_why(xcore, supervisor):
    """Those that go on, too; what a run says of itself cannot move the cursor."""
    waiting = {**BEGUN, "started": None, "scheduled": 1700000100.0, "actor": "scheduler"}
    supervisor.answers["runs.list"] = [waiting, BEGUN, SKIPPED, FAILED]
    rows = xcore("job", "history", "cleanup").out.splitlines()
    assert rows[0].split() == ["RUN", "WHEN", "OUTCOME", "DURATION", "MEMORY", "MB", "BY", "WHY"]
    assert "2023-11-14 23:15:00  waiting" in rows[1]
    assert "2023-11-14 23:13:20  running" in rows[2]
    assert rows[3].endswith("another has not ended")
    assert "failed   2.0 s     20.0       operator   ValueError: no \\x1b[31msuch\\nfile" in rows[4]


def test_history_without_the_database_says_that_it_is_not_all(xcore, supervisor):
    """On stderr, so that a table stays one."""
    supervisor.answers["runs.list"] = [{**FAILED, "from_memory": True}]
    assert xcore("job", "history", "cleanup").err == "The database does not answer: older runs are missing.\n"


def test_a_job_that_has_not_run_says_so(xcore, supervisor):
    """Not that it is unknown."""
    supervisor.answers |= {"runs.list": [], "jobs.show": JOB}
    assert xcore("job", "history", "cleanup") == (0, "", "It has not run yet.\n")


def test_next_shows_where_the_clock_is_changed(xcore, supervisor):
    """In the job's own zone: this is about what people there see."""
    supervisor.answers["jobs.next"] = [
        {"time": 0.0, "local": "2026-03-28T02:30:00+01:00"},
        {"time": 0.0, "local": "2026-03-29T03:00:00+02:00"},
        {"time": 0.0, "local": "2026-03-30T02:30:00.25+02:00"},
    ]
    assert xcore("job", "next", "cleanup", "-n", "3").out.splitlines() == [
        "Sat 2026-03-28 02:30:00+01:00",
        "Sun 2026-03-29 03:00:00+02:00  the clock has been changed",
        "Mon 2026-03-30 02:30:00+02:00",
    ]
    supervisor.answers["jobs.next"] = []
    assert xcore("job", "next", "cleanup") == (0, "", "It will not be due any more.\n")


# --- run --------------------------------------------------------------------------------------------------------


def test_a_run_that_nobody_waits_for_is_named(xcore, supervisor):
    """The id is what it is found by."""
    supervisor.answers["jobs.run"] = BEGUN
    assert xcore("job", "run", "cleanup") == (0, "run 3f2a91c0 of reports.cleanup has begun\n", "")
    supervisor.answers["jobs.run"] = {**BEGUN, "started": None}
    assert "begins when the one before has ended" in xcore("job", "run", "cleanup").out


def test_a_run_that_is_skipped_has_failed(xcore, supervisor):
    """What was asked for was not done."""
    supervisor.answers["jobs.run"] = SKIPPED
    said = "xcore: run 3f2a91c0 of reports.cleanup skipped: another has not ended\n"
    assert xcore("job", "run", "cleanup") == (1, "", said)
    outcome = xcore("job", "run", "cleanup", "--json")
    assert (outcome.code, json.loads(outcome.out), outcome.err) == (1, SKIPPED, said)


@pytest.mark.parametrize(
    "words", [["cleanup", "--wait"], ["--wait", "cleanup"], ["--wait", "--config", "config.json", "cleanup"]]
)
def test_a_run_is_watched_until_it_ends(xcore, supervisor, words):
    """Its lines as they come, each once; how it ended on stderr."""
    supervisor.answers["jobs.run"] = BEGUN
    supervisor.answers["runs.follow"] = follows((["one", "two"], BEGUN), ([], BEGUN), (["three"], RUN))
    outcome = xcore("job", "run", *words)
    assert outcome.out == "one\ntwo\nthree\n"
    assert (outcome.code, outcome.err) == (0, "run 3f2a91c0 of reports.cleanup has succeeded after 2.0 s\n")
    asked = [call.arguments["wait"] for call in supervisor.calls if call.operation == "runs.follow"]
    assert asked == [25.0] * 3


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (FAILED, "failed: ValueError: no \\x1b[31msuch\\nfile"),
        ({**RUN, "outcome": "timed_out", "message": "over its timeout of 1 s"}, "timed out: over its timeout of 1 s"),
        ({**RUN, "outcome": "crashed"}, "crashed"),
    ],
)
def test_a_watched_run_that_does_not_succeed_ends_with_1(xcore, supervisor, ended, said):
    """The outcome and the exception in one line; with --json the document is there all the same."""
    supervisor.answers["jobs.run"] = BEGUN
    supervisor.answers["runs.follow"] = follows((["one"], ended))
    line = f"xcore: run 3f2a91c0 of reports.cleanup {said}\n"
    assert xcore("job", "run", "cleanup", "--wait") == (1, "one\n", line)
    supervisor.answers["runs.follow"] = follows((["one"], ended))
    outcome = xcore("job", "run", "cleanup", "--wait", "--json")
    assert (outcome.code, json.loads(outcome.out), outcome.err) == (1, ended, f"one\n{line}")


def test_watching_ends_after_as_long_as_one_said(xcore, supervisor):
    """The run goes on, and the message says so."""
    supervisor.answers["jobs.run"] = BEGUN
    supervisor.answers["runs.follow"] = follows((["one"], BEGUN), (["two"], BEGUN))
    outcome = xcore("job", "run", "cleanup", "--wait", "0")
    assert (outcome.code, outcome.out) == (1, "one\n")
    assert "run 3f2a91c0 of reports.cleanup is not done after 0 s; it goes on" in outcome.err


def test_interrupting_the_watcher_leaves_the_run_alone(xcore, supervisor):
    """^C means the command, not the work; nothing is asked of the supervisor after it."""
    supervisor.answers["jobs.run"] = BEGUN
    asked = threading.Event()

    async def never(_call):
        asked.set()
        await asyncio.get_running_loop().create_future()

    supervisor.answers["runs.follow"] = never
    main = threading.main_thread().ident

    def interrupt():
        assert asked.wait(10)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    outcome = xcore("job", "run", "cleanup", "--wait")
    thread.join(10)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == (
        "xcore: run 3f2a91c0 of reports.cleanup goes on, it is not watched any more; "
        "see xcore job history reports.cleanup\n"
    )
    assert [call.operation for call in supervisor.calls] == ["jobs.list", "jobs.run", "runs.follow"]


@pytest.mark.parametrize("words", [["--wait", "-1", "x"], ["x", "--wait=soon"], ["x", "y"], []])
def test_wrong_use_ends_with_2(xcore, words):
    """Before anything is asked for."""
    assert xcore("job", "run", *words).code == 2


def test_one_question_waits_no_longer_than_a_gateway_lets_it():
    """30 seconds, see docs/reference/api.md."""
    assert jobs.POLL <= 30
