"""``xcore task``: what is asked, what is printed, how it ends."""

import json
import re
import subprocess
import sys

import pytest

from plugin_runtime.protocol import Error

TASK = {
    "id": "u1",
    "name": "sweep",
    "title": "Sweep",
    "type": "service",
    "module": "sweep",
    "module_dir": "core",
    "description": "sweeps",
    "version": "1.0",
    "author": "Ada",
    "meta_file": {"colour": "blue"},
    "enabled": True,
    "state": "running",
    "pid": 42,
    "uptime": 65.0,
    "restarts": 2,
    "retrying": 0,
    "cpu_percent": 0.5,
    "cpu_seconds": 1.5,
    "memory_mb": 30.04,
    "jobs": ["sweep.clean", "sweep.count"],
    "last_exit": None,
    "error": None,
}
BROKEN = {
    **TASK,
    "name": "broken",
    "state": "failed",
    "pid": None,
    "uptime": 0.0,
    "memory_mb": None,
    "jobs": [],
    "last_exit": {
        "instance": "broken",
        "pid": 7,
        "cause": "crash",
        "actor": "",
        "exit_code": 1,
        "signal": None,
        "time": 0.0,
        "uptime": 0.5,
    },
    "error": {
        "phase": "import",
        "message": "no module named \x1b[31mflask",
        "hint": "add it",
        "location": "broken.py:1",
        "traceback": "",
        "log_tail": [],
    },
}
META = {"type": "service", "title": "Sweep", "con": [{"func": "clean", "name": "clean"}]}


@pytest.mark.parametrize(
    ("arguments", "operation", "given", "value"),
    [
        (["list"], "tasks.list", {}, [TASK, BROKEN]),
        (["show", "sweep"], "tasks.show", {"name": "sweep"}, TASK),
        (["start", "sweep", "--wait", "5"], "tasks.start", {"name": "sweep", "wait": 5.0}, TASK),
        (["stop", "sweep"], "tasks.stop", {"name": "sweep"}, TASK),
        (["restart", "sweep", "--wait", "5"], "tasks.restart", {"name": "sweep", "wait": 5.0}, TASK),
        (["logs", "sweep", "-n", "3"], "tasks.logs", {"name": "sweep", "tail": 3}, ["one"]),
        (["meta", "sweep"], "tasks.meta", {"name": "sweep"}, META),
    ],
    ids=lambda value: value[0] if isinstance(value, list) and isinstance(value[0], str) else "",
)
def test_with_json_stdout_is_what_the_operation_returned(xcore, supervisor, arguments, operation, given, value):
    """One document, asked for in the operator's name."""
    supervisor.answers[operation] = value
    outcome = xcore("task", *arguments, "--json")
    assert (outcome.code, outcome.err, json.loads(outcome.out)) == (0, "", value)
    assert supervisor.arguments_of(operation) == given
    assert supervisor.calls[0].actor == "operator"


def test_tasks_are_a_table(xcore, supervisor):
    """What modules say cannot move the cursor; what is not known is a dash."""
    supervisor.answers["tasks.list"] = [TASK, BROKEN]
    assert xcore("task", "list").out.splitlines() == [
        "TASK    STATE    PID  UPTIME     RESTARTS  MEMORY MB  JOBS  ERROR",
        "sweep   running  42   1 min 5 s  2         30.0       2",
        "broken  failed   -    -          2         -          0     no module named \\x1b[31mflask",
    ]


def test_a_list_has_the_first_sentence_and_a_task_shows_one_problem_a_line(xcore, supervisor):
    """Several in one line nobody reads."""
    problems = ["no version; write it", "no author; write that, too"]
    message = "cannot load task 'broken': no version; cannot load task 'broken': no author"
    error = {**BROKEN["error"], "message": message, "hint": "write it; write that, too"}
    task = {**BROKEN, "error": {**error, "problems": problems}}
    supervisor.answers.update({"tasks.list": [task], "tasks.show": task})
    assert xcore("task", "list").out.splitlines()[-1].endswith("  0     no version")
    assert "error:      import: no version; write it\n            no author; write that, too\n" in (
        xcore("task", "show", "broken").out
    )


def test_nothing_to_list_is_said_on_stderr(xcore, supervisor):
    """So that a script sees no lines."""
    supervisor.answers["tasks.list"] = []
    assert xcore("task", "list") == (0, "", "There are no tasks.\n")


def test_a_task_is_shown_with_its_process_and_its_jobs(xcore, supervisor):
    """And whether it comes back at the next start."""
    supervisor.answers["tasks.show"] = TASK
    out = xcore("task", "show", "sweep").out
    assert "state:      running\n" in out
    assert "at boot:    started\n" in out
    assert "jobs:       sweep.clean, sweep.count\n" in out
    assert out.splitlines()[-1].split() == ["42", "1", "min", "5", "s", "2", "0", "0.5", "30.0"]


def test_a_task_whose_environment_is_built_is_shown_with_the_step(xcore, supervisor):
    """Like a plugin."""
    progress = {"step": "installing dependencies", "line": "- Installing six\x1b[2J", "seconds": 12.34}
    task = {**BROKEN, "state": "installing", "error": None, "last_exit": None, "progress": progress}
    supervisor.answers.update({"tasks.show": task, "tasks.list": [task]})
    shown = xcore("task", "show", "broken").out
    assert "progress:   installing dependencies, for 12.3 s: - Installing six\\x1b[2J\n" in shown
    assert "installing (installing dependencies)" in xcore("task", "list").out


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        ("running", "running\n"),
        ("disabled", "disabled: stopped until it is started\n"),
        ("exited", "exited: it has ended, and is not started again by itself\n"),
    ],
)
def test_a_task_that_does_not_run_is_shown_with_what_that_means(xcore, supervisor, state, shown):
    """Who has stopped one looks for that word."""
    supervisor.answers["tasks.show"] = {**TASK, "state": state}
    assert f"state:      {shown}" in xcore("task", "show", "sweep").out


def test_a_broken_task_is_shown_with_what_to_do(xcore, supervisor):
    """Phase, message, hint, place; and how its last process ended."""
    supervisor.answers["tasks.show"] = {**BROKEN, "enabled": False}
    outcome = xcore("task", "show", "broken")
    assert (
        "error:      import: no module named \\x1b[31mflask\n            add it\nwhere:      broken.py:1\n"
        in outcome.out
    )
    assert "last exit:  broken (pid 7): crash, exit code 1, at " in outcome.out
    assert "at boot:    not started\n" in outcome.out
    assert outcome.err == "It has no process.\n"


DOES_NOT_RUN = "task 'broken' does not run: no module named \\x1b[31mflask; see xcore task show broken"
ENDED = {
    **BROKEN,
    "state": "exited",
    "error": None,
    "last_exit": {**BROKEN["last_exit"], "cause": "finished", "exit_code": 0},
}


@pytest.mark.parametrize("command", ["start", "restart"])
@pytest.mark.parametrize(
    ("task", "wait", "said"),
    [
        (TASK, "60", ""),
        ({**TASK, "state": "idle", "pid": None}, "60", ""),
        (BROKEN, "60", DOES_NOT_RUN),
        (BROKEN, "0", ""),
        ({**BROKEN, "state": "backoff"}, "60", DOES_NOT_RUN),
        (ENDED, "60", "task 'broken' does not run: its service_main has returned; see xcore task show broken"),
        (
            {**ENDED, "state": "stopping"},
            "60",
            "task 'broken' does not run: it is stopping; see xcore task show broken",
        ),
        (
            {**TASK, "error": BROKEN["error"]},
            "60",
            DOES_NOT_RUN.replace("broken", "sweep").replace("does not run", "is running, but not as its file says"),
        ),
    ],
    ids=["runs", "idle", "failed", "nobody waits", "backoff", "finished", "stopping", "broken save"],
)
def test_a_start_that_brings_nothing_up_has_failed(xcore, supervisor, command, task, wait, said):
    """Unless nobody waited. What its file said before is not what was asked for; of jobs alone nothing comes up."""
    supervisor.answers[f"tasks.{command}"] = task
    outcome = xcore("task", command, "sweep", "--wait", wait)
    assert (outcome.code, outcome.err) == ((1, f"xcore: {said}\n") if said else (0, ""))


@pytest.mark.parametrize(
    ("state", "said"),
    [("running", "running"), ("idle", "idle"), ("exited", "being started"), ("failed", "being started")],
)
def test_a_start_that_nobody_waits_for_says_what_it_has_begun(xcore, supervisor, state, said):
    """A moment later the state is another one."""
    supervisor.answers["tasks.start"] = {**TASK, "state": state}
    assert xcore("task", "start", "sweep", "--wait", "0") == (0, f"task sweep is {said}\n", "")


def test_metadata_is_printed_by_key(xcore, supervisor):
    """What is no text as JSON."""
    supervisor.answers["tasks.meta"] = META
    assert xcore("task", "meta", "sweep").out.splitlines() == [
        "type: service",
        "title: Sweep",
        'con: [{"func": "clean", "name": "clean"}]',
    ]


@pytest.mark.parametrize("command", ["show", "start", "stop", "restart", "logs", "meta"])
def test_an_unknown_task_ends_with_1(xcore, supervisor, command):
    """In the supervisor's own words."""
    supervisor.answers[f"tasks.{command}"] = Error("UnknownName", "no task named 'x'; known: sweep", {}, 404)
    assert xcore("task", command, "x") == (1, "", "xcore: no task named 'x'; known: sweep\n")


def test_status_shows_tasks_where_the_supervisor_tells(xcore, supervisor):
    """One of the version before does not, and a project may have none."""
    status = {"status": "ok", "pid": 7, "uptime": 65.0, "url": "", "version": "1", "state_dir": "x", "plugins": []}
    for told, shown in [({"tasks": [TASK]}, True), ({"tasks": []}, False), ({}, False)]:
        supervisor.answers["system.status"] = {**status, **told}
        outcome = xcore("status")
        assert outcome.code == 0
        assert ("sweep  running" in outcome.out) is shown


def test_status_says_first_which_tasks_are_in_trouble(xcore, supervisor):
    """The state of the whole is that of /health, which knows of plugins only. What runs may be a former version."""
    tasks = [
        TASK,
        BROKEN,
        {**BROKEN, "name": "moody", "state": "backoff"},
        {**TASK, "name": "late", "error": {**BROKEN["error"], "message": "no version; no author"}},
        {**BROKEN, "name": "off", "state": "disabled", "error": None},
    ]
    answer = {"status": "ok", "pid": 7, "uptime": 65.0, "url": "", "version": "1", "state_dir": "x", "plugins": []}
    supervisor.answers["system.status"] = {**answer, "tasks": tasks}
    assert xcore("status").out.splitlines()[1:4] == [
        "task broken is failed: no module named \\x1b[31mflask",
        "task moody is backoff: no module named \\x1b[31mflask",
        "task late is running: no version",
    ]


def test_a_terminal_has_one_line_for_each(xcore, supervisor, monkeypatch):
    """The error, last, has what the others leave."""
    long = {**BROKEN, "error": {**BROKEN["error"], "message": "no " * 100}}
    supervisor.answers["tasks.list"] = [TASK, long]
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    lines = re.sub(r"\x1b\[[\d;]*m", "", xcore("task", "list").out).splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= 90
    assert lines[-1].rstrip().endswith("no…")


def test_importing_the_command_line_imports_nothing_heavy():
    """`status` must feel instant; whoever needs pydantic, httpx or rich imports it then."""
    program = (
        "import sys, supervisor.cli.main;"
        "print(sorted({'pydantic', 'httpx', 'sqlalchemy', 'apscheduler', 'psutil', 'zoneinfo'} & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
