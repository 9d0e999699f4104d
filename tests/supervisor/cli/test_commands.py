"""Commands against a supervisor on this machine: what is asked, what is printed, how it ends."""

import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gateway.admin.plugins import LONGEST_WAIT
from plugin_runtime.protocol import Error
from supervisor.cli import steps
from supervisor.cli.options import Target
from supervisor.environments.builder import BuildSettings

INSTANCE = {
    "id": "hello.1",
    "pid": 42,
    "state": "running",
    "uptime": 3725.0,
    "restarts": 2,
    "cpu_percent": 1.26,
    "memory_mb": None,
    "in_flight": 0,
    "requests": 9,
}
PLUGIN = {
    "name": "hello",
    "title": "Hello",
    "version": "1.0",
    "author": "Ada",
    "prefix": "/app/hello",
    "tags": [],
    "trigger": 1,
    "active": True,
    "state": "running",
    "generation": "abc",
    "wanted": 2,
    "instances": [INSTANCE],
    "last_exit": None,
    "error": None,
    "notes": [],
    "progress": None,
    "build_log": "",
}
BROKEN = {
    **PLUGIN,
    "name": "broken",
    "prefix": "",
    "state": "failed",
    "instances": [],
    "last_exit": {
        "instance": "broken.1",
        "pid": 7,
        "cause": "crash",
        "actor": "",
        "exit_code": 3,
        "signal": None,
        "time": 0.0,
        "uptime": 0.5,
    },
    "error": {
        "phase": "import",
        "message": "no module named \x1b[31mflask\nreally",
        "hint": "add it",
        "location": "run.py:1",
        "traceback": "File run.py",
        "log_tail": ["Traceback"],
    },
}
TOKEN = {"id": "t1", "name": "ci", "role": "admin", "created": 0.0, "expires": None, "last_used": None}
STATUS = {
    "status": "ok",
    "pid": 7,
    "uptime": 65.0,
    "version": "0.1.0",
    "url": "http://127.0.0.1:8082",
    "state_dir": "x",
    "plugins": [PLUGIN],
}


def test_without_a_supervisor_every_question_ends_with_3(xcore):
    """And says how to start one; also where a dead one left its socket."""
    for arguments in (["status"], ["down"], ["plugin", "list"], ["token", "list"], ["status", "--json"]):
        outcome = xcore(*arguments)
        assert (outcome.code, outcome.out) == (3, "")
        assert "no supervisor answers on" in outcome.err
        assert "start it with 'xcore up'" in outcome.err


def test_wrong_use_ends_with_2(xcore):
    """Unknown commands and options, missing arguments."""
    for arguments in (["statuss"], ["status", "--jsn"], ["plugin", "show"], ["token", "create", "--name", "x"]):
        assert xcore(*arguments).code == 2


def test_a_broken_configuration_ends_with_1_and_one_line(xcore, project):
    """The file, the key and the problem."""
    (project / "config.json").write_text('{"gateway": {"prt": 1}}')
    outcome = xcore("status")
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert "config.json: gateway.prt" in outcome.err


def test_an_error_of_the_supervisors_ends_with_1_and_its_message(xcore, supervisor):
    """An unknown name, for one."""
    supervisor.answers["plugins.show"] = Error("UnknownName", "no plugin named 'x'; known: hello", {}, 404)
    outcome = xcore("plugin", "show", "x", "--json")
    assert outcome == (1, "", "xcore: no plugin named 'x'; known: hello\n")


@pytest.mark.parametrize(
    ("arguments", "operation", "value"),
    [
        (["status"], "system.status", STATUS),
        (["plugin", "list"], "plugins.list", [PLUGIN, BROKEN]),
        (["plugin", "show", "hello"], "plugins.show", PLUGIN),
        (["plugin", "reload", "hello"], "plugins.reload", PLUGIN),
        (["plugin", "rollback", "hello"], "plugins.rollback", PLUGIN),
        (["plugin", "install", "hello"], "plugins.install", PLUGIN),
        (["plugin", "enable", "hello"], "plugins.enable", PLUGIN),
        (["plugin", "disable", "hello"], "plugins.disable", PLUGIN),
        (["plugin", "restart", "hello"], "plugins.restart", PLUGIN),
        (["plugin", "remove", "hello"], "plugins.delete", {"name": "hello", "folder": ""}),
        (["plugin", "logs", "hello"], "plugins.logs", ["one", "two"]),
        (["token", "list"], "tokens.list", [TOKEN]),
        (["token", "create", "--role", "admin", "--name", "ci"], "tokens.create", {"token": "secret", **TOKEN}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and isinstance(value[0], str) else "",
)
def test_with_json_stdout_is_one_document(xcore, supervisor, arguments, operation, value):
    """Just what the operation returned, and nothing on stderr."""
    supervisor.answers[operation] = value
    outcome = xcore(*arguments, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out) == value


def test_plugins_are_a_table_without_colours_where_there_is_no_terminal(xcore, supervisor):
    """Aligned, one line each; what plugins say cannot move the cursor."""
    supervisor.answers["plugins.list"] = [PLUGIN, BROKEN]
    assert xcore("plugin", "list").out.splitlines() == [
        "NAME    STATE    READY  PREFIX      VERSION  ERROR",
        "hello   running  1/2    /app/hello  1.0",
        "broken  failed   0/2    -           1.0      no module named \\x1b[31mflask\\nreally",
    ]


def test_a_plugin_is_shown_with_its_instances(xcore, supervisor):
    """What is not known is a dash."""
    supervisor.answers["plugins.show"] = PLUGIN
    lines = xcore("plugin", "show", "hello").out.splitlines()
    assert lines[:2] == ["name:       hello", "title:      Hello"]
    assert lines[-1].split() == ["hello.1", "42", "running", "1", "h", "2", "min", "2", "1.3", "-", "0", "9"]


@pytest.mark.parametrize(
    ("figures", "line"),
    [
        ({}, "0, 0 in flight"),
        (
            {"requests": 12, "in_flight": 1, "parked_total": 3, "parked": 1},
            "12, 1 in flight; 3 parked, 1 of them still",
        ),
        (
            {"resent": 2, "refused": {"overloaded": 4, "died": 1}},
            "0, 0 in flight; 2 sent again; refused: 1 died, 4 overloaded",
        ),
    ],
)
def test_what_became_of_its_requests_is_shown(xcore, supervisor, figures, line):
    """As far as there is anything to tell."""
    nothing = {"in_flight": 0, "requests": 0, "parked": 0, "parked_total": 0, "resent": 0, "refused": {}}
    supervisor.answers["plugins.show"] = {**PLUGIN, "traffic": {**nothing, **figures}}
    assert f"requests:   {line}" in xcore("plugin", "show", "hello").out.splitlines()


BUILDING = {"step": "installing dependencies", "line": "- Installing six\x1b[2J", "seconds": 12.34}


def test_a_build_under_way_is_shown_with_its_step_its_last_line_and_its_log(xcore, supervisor):
    """Building takes long; whoever looks sees that something happens, and where all of it is kept."""
    plugin = {**PLUGIN, "state": "installing", "progress": BUILDING, "build_log": "/x/logs/builds/hello/000001-a.log"}
    supervisor.answers.update({"plugins.show": plugin, "plugins.list": [plugin]})
    shown = xcore("plugin", "show", "hello").out
    assert "progress:   installing dependencies, for 12.3 s: - Installing six\\x1b[2J\n" in shown
    assert "build log:  /x/logs/builds/hello/000001-a.log\n" in shown
    assert "installing (installing dependencies)" in xcore("plugin", "list").out
    step = "making a virtual environment with Python 3.11.7 at /usr/bin/python3.11"
    supervisor.answers["plugins.list"] = [{**plugin, "progress": {**BUILDING, "step": step}}]
    assert "installing (making a virtual environment with ...)  " in xcore("plugin", "list").out


def test_a_supervisor_that_tells_no_progress_is_shown_without(xcore, supervisor):
    """It is of the version before."""
    plugin = {key: value for key, value in PLUGIN.items() if key not in {"progress", "build_log"}}
    supervisor.answers.update({"plugins.show": plugin, "plugins.list": [plugin]})
    assert "progress" not in xcore("plugin", "show", "hello").out
    assert xcore("plugin", "list").code == 0


def test_each_step_is_told_once_on_stderr_while_somebody_waits(monkeypatch, capsys):
    """A line for each, terminal or not; what is told of the end is the command's affair."""
    views = [None, BUILDING, BUILDING, {**BUILDING, "step": "checking\n"}, None]
    all_told = threading.Event()

    def call(target, operation, timeout=30.0, **arguments):
        if not views:
            all_told.set()
        return {"progress": views.pop(0) if views else None}

    monkeypatch.setattr("supervisor.cli.options.Target.call", call)
    monkeypatch.setattr(steps, "INTERVAL", 0.0)
    with steps.steps_told(Target(Path("config.json")), "hello"):
        assert all_told.wait(10.0)
    assert capsys.readouterr().err == "installing dependencies\nchecking\\n\n"


def test_a_plugin_is_shown_with_its_notes(xcore, supervisor):
    """What works, but not as its author thinks; a supervisor of the version before has none to tell."""
    supervisor.answers["plugins.show"] = {**PLUGIN, "notes": ["cannot import 'pandsa'", "\x1b[31mred"]}
    lines = xcore("plugin", "show", "hello").out.splitlines()
    assert [line for line in lines if line.startswith("note:")] == [
        "note:       cannot import 'pandsa'",
        "note:       \\x1b[31mred",
    ]
    supervisor.answers["plugins.show"] = {key: value for key, value in PLUGIN.items() if key != "notes"}
    assert "note:" not in xcore("plugin", "show", "hello").out


def test_a_plugin_is_shown_with_its_template(xcore, supervisor):
    """Others may share it; where nothing is forked there is nothing to tell."""
    supervisor.answers["plugins.show"] = {**PLUGIN, "template": "_plugins.1.template"}
    assert "template:   _plugins.1.template" in xcore("plugin", "show", "hello").out.splitlines()
    supervisor.answers["plugins.show"] = {**PLUGIN, "template": ""}
    assert "template:" not in xcore("plugin", "show", "hello").out


def test_a_broken_plugin_is_shown_with_what_to_do(xcore, supervisor):
    """Phase, message, hint, place and last lines."""
    supervisor.answers["plugins.show"] = BROKEN
    outcome = xcore("plugin", "show", "broken")
    assert "error:      import: no module named \\x1b[31mflask\\nreally\n" in outcome.out
    assert "            add it\nwhere:      run.py:1\ntraceback:  File run.py\nlast lines: Traceback\n" in outcome.out
    assert "last exit:  broken.1 (pid 7): crash, exit code 3, at " in outcome.out
    assert outcome.err == "It has no instances.\n"


def test_the_line_that_is_wrong_is_shown_with_its_neighbours(xcore, supervisor):
    """The author need not open a file to see it."""
    error = {**BROKEN["error"], "excerpt": ["     1 | import json", ">    2 | import \x1b[31mflask"]}
    supervisor.answers["plugins.show"] = {**BROKEN, "error": error}
    expected = "where:      run.py:1\n                 1 | import json\n            >    2 | import \\x1b[31mflask\n"
    assert expected in xcore("plugin", "show", "broken").out


def test_a_plugin_that_serves_older_code_says_so_everywhere(xcore, supervisor):
    """Running and in trouble: which generation answers, that the newest code does not, and why."""
    outdated = {**BROKEN, "state": "running", "generation": "abc123", "outdated": True}
    supervisor.answers["plugins.show"] = outdated
    supervisor.answers["plugins.list"] = [outdated]
    said = "generation abc123 serves, its newest code does not: no module named"
    assert "serves:     generation abc123; its newest code cannot be served\n" in xcore("plugin", "show", "broken").out
    assert said in xcore("plugin", "list").out
    supervisor.answers["system.status"] = {**STATUS, "plugins": [outdated]}
    assert f"plugin broken is running: {said}" in xcore("status").out


def test_forgetting_a_plugin_names_the_folder_that_would_bring_it_back(xcore, supervisor):
    """Otherwise it is served again after the next start; a supervisor of the version before does not tell."""
    supervisor.answers["plugins.delete"] = {"name": "hello", "folder": "/x/plugins/hello\x1b[2J"}
    assert xcore("plugin", "remove", "hello").out == (
        "hello is forgotten; its folder /x/plugins/hello\\x1b[2J is still there: remove it, "
        "or the next start of xcore serves it as a new plugin\n"
    )
    for answer in ({"name": "hello", "folder": ""}, {"name": "hello"}):
        supervisor.answers["plugins.delete"] = answer
        assert xcore("plugin", "remove", "hello").out == "hello is forgotten\n"


def test_install_waits_for_longer_than_a_build_may_take(xcore, supervisor):
    """A build that fails at its limit is told with its error, not as one that took too long; gateways allow it, too."""
    supervisor.answers["plugins.install"] = PLUGIN
    assert xcore("plugin", "install", "hello").code == 0
    assert BuildSettings().time_limit + 60.0 < supervisor.arguments_of("plugins.install")["wait"] <= LONGEST_WAIT


@pytest.mark.parametrize("begin", ["", "cannot load ", "cannot start "])
def test_what_is_wrong_is_told_beside_a_name_without_it(xcore, supervisor, begin):
    """A table has the name already, and no room."""
    broken = {**BROKEN, "error": {**BROKEN["error"], "message": f"{begin}plugin 'broken': it is bad"}}
    refused = {**BROKEN, "error": {**BROKEN["error"], "message": "plugin 'broken' refused: '/x' is reserved"}}
    supervisor.answers["plugins.list"] = [broken, refused]
    first, second = xcore("plugin", "list").out.splitlines()[1:]
    assert first.split(maxsplit=5)[4:] == ["1.0", "it is bad"]
    assert second.split(maxsplit=5)[4:] == ["1.0", "'/x' is reserved"]


def test_nothing_to_list_is_said_on_stderr(xcore, supervisor):
    """So that a script sees no lines."""
    supervisor.answers["plugins.list"] = []
    assert xcore("plugin", "list") == (0, "", "There are no plugins yet.\n")


def test_status_says_where_it_runs(xcore, supervisor):
    """The first line is the answer."""
    supervisor.answers["system.status"] = STATUS
    lines = xcore("status").out.splitlines()
    assert lines[0] == "ok: pid 7, up 1 min 5 s, http://127.0.0.1:8082"
    assert lines[-1].startswith("hello")


def test_restart_waits_as_long_as_it_is_told(xcore, supervisor):
    """The supervisor's wait, not a poll of ours."""
    supervisor.answers["plugins.restart"] = PLUGIN
    assert xcore("plugin", "restart", "hello", "--wait", "5").code == 0
    assert supervisor.arguments_of("plugins.restart") == {"name": "hello", "wait": 5.0}
    assert supervisor.calls[0].actor == "operator"


def test_logs_are_printed_as_they_are(xcore, supervisor):
    """Lines only, as many as asked for."""
    supervisor.answers["plugins.logs"] = ["one", "two"]
    assert xcore("plugin", "logs", "hello", "-n", "2").out == "one\ntwo\n"
    assert supervisor.arguments_of("plugins.logs") == {"name": "hello", "tail": 2}


def test_a_token_is_printed_bare(xcore, supervisor):
    """For $(...); its life time is in days."""
    supervisor.answers["tokens.create"] = {"token": "secret", **TOKEN}
    assert xcore("token", "create", "--role", "admin", "--name", "ci", "--expires", "3").out == "secret\n"
    assert supervisor.arguments_of("tokens.create") == {"name": "ci", "role": "admin", "expires_days": 3}


def test_revoke_takes_a_name_or_an_id(xcore, supervisor):
    """And says nothing, unless asked for JSON."""
    supervisor.answers["tokens.revoke"] = None
    assert xcore("token", "revoke", "ci") == (0, "", "")
    assert json.loads(xcore("token", "revoke", "ci", "--json").out) == {"revoked": "ci"}
    assert supervisor.arguments_of("tokens.revoke") == {"id": "ci"}


@pytest.mark.process
def test_down_waits_until_the_process_is_gone(xcore, supervisor):
    """A zombie counts as gone: whoever started the supervisor may be slow to reap it."""
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE) as process:
        supervisor.answers["system.stop"] = {"pid": process.pid}
        outcome = xcore("down", "--wait", "0.1")
        assert (outcome.code, outcome.out) == (1, "")
        assert f"the supervisor (pid {process.pid}) is still stopping after 0.1 s" in outcome.err
        process.stdin.close()
        outcome = xcore("down", "--json", "--wait", "20")
        assert json.loads(outcome.out) == {"pid": process.pid, "stopped": True}


def test_init_makes_a_project_and_changes_nothing_that_is_there(xcore, project):
    """A second time, it makes nothing."""
    outcome = xcore("init", "new", "--json")
    assert json.loads(outcome.out)["made"] == [
        "new/.gitignore",
        "new/config.json",
        "new/plugins/hello/pyproject.toml",
        "new/plugins/hello/run.py",
        "new/backgroundtask/first.py",
    ]
    assert xcore("config", "check", "--config", "new/config.json").code == 0
    compile((project / "new/plugins/hello/run.py").read_text(), "run.py", "exec")
    (project / "new/config.json").write_text('{"gateway": {"port": 1}}')
    (project / "new/plugins/hello/run.py").unlink()
    assert json.loads(xcore("init", "new", "--json").out)["made"] == []
    assert "port" in (project / "new/config.json").read_text()
    assert re.fullmatch(r"Run it: cd new && \S*xcore up\n", xcore("init", "new").out)


def test_init_in_an_impossible_place_is_one_error(xcore, project):
    """A file in the way."""
    outcome = xcore("init", "config.json/x")
    assert (outcome.code, outcome.err.count("\n")) == (1, 1)
    assert "cannot make a project in config.json/x" in outcome.err


@pytest.mark.process
@pytest.mark.slow
def test_the_installed_command_is_this_one(project):
    """A real process: the exit code arrives, and stderr has one sentence."""
    done = subprocess.run(
        [Path(sys.executable).with_name("xcore"), "status"], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("xcore: no supervisor answers on")
