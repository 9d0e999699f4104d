"""``xcore config show``, ``check`` and ``reload`` as a user sees them."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from plugin_runtime.protocol import Error
from supervisor.cli.config_commands import config_app


@pytest.fixture
def run(tmp_path):
    """Run one command on a config.json of the given text; returns the result."""

    def invoke(command, text, *options, **environ):
        path = tmp_path / "config.json"
        path.write_text(text)
        environ = {"DATA_URL": None, "LOG_LEVEL": None, **environ}
        return CliRunner().invoke(config_app, [command, "--config", str(path), *options], env=environ)

    return invoke


def test_check_of_a_valid_file_says_ok(run, tmp_path):
    """Exit code 0."""
    result = run("check", "{}")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path}/config.json: ok\n")
    assert json.loads(run("check", "{}", "--json").stdout) == {
        "valid": True,
        "path": f"{tmp_path}/config.json",
        "warnings": [],
    }


def test_check_warns_of_keys_for_plugins_and_tasks_that_are_not_there(run, tmp_path):
    """Misspelt names are silent otherwise; no error, since the folder may come with the next deployment."""
    (tmp_path / "plugins" / "shop").mkdir(parents=True)
    (tmp_path / "backgroundtask").mkdir()
    (tmp_path / "backgroundtask" / "sweep.py").touch()
    text = json.dumps({"plugins": {"shp": {}, "shop": {}}, "tasks": {"sweeep": {}, "sweep": {}}})
    warnings = [
        f"plugins.shp has no effect: there is no plugin 'shp' in {tmp_path}/plugins; did you mean 'shop'?",
        f"tasks.sweeep has no effect: there is no task 'sweeep' in {tmp_path}/backgroundtask; did you mean 'sweep'?",
    ]
    result = run("check", text)
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path}/config.json: ok\n")
    assert result.stderr.splitlines() == [f"{tmp_path}/config.json: {warning}" for warning in warnings]
    assert json.loads(run("check", text, "--json").stdout)["warnings"] == warnings


def test_check_warns_where_there_is_no_directory_at_all(run, tmp_path):
    """There is nothing to suggest, but what to do."""
    (warning,) = json.loads(run("check", '{"tasks": {"sweep": {}}}', "--json").stdout)["warnings"]
    assert warning.endswith("backgroundtask; it counts as soon as there is a task of that name")


@pytest.mark.parametrize("command", ["check", "show"])
def test_an_invalid_file_gives_the_one_error_and_exit_code_1(run, tmp_path, command):
    """On stderr; with --json also as a document on stdout."""
    text = '{"gateway": {"port": "8082"}}'
    result = run(command, text)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f'{tmp_path}/config.json: gateway.port: must be a whole number, not "8082"; write 8082 without quotes\n'
    )
    document = json.loads(run(command, text, "--json").stdout)
    assert document["valid"] is False
    assert (document["error"]["key"], document["error"]["hint"]) == ("gateway.port", "write 8082 without quotes")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_show_prints_what_is_in_force(run, options):
    """Defaults, file and environment together, and which keys the environment holds."""
    result = run("show", '{"gateway": {"host": "::1"}}', *options, XCORE__GATEWAY__PORT="0", LOG_LEVEL="debug")
    document = json.loads(result.stdout)
    assert (document["gateway"]["host"], document["gateway"]["port"], document["gateway"]["processes"]) == ("::1", 0, 1)
    assert (document["log_level"], document["overridden"]) == ("DEBUG", ["gateway.port"])
    assert (result.stdout.count("\n") == 1) == bool(options)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:hunter2@h/d", "postgresql://u:***@h/d"),
        ("postgresql+psycopg://u:hun/ter@2@h/d", "postgresql+psycopg://u:***@h/d"),
        ("postgresql://h/d?user=u&password=hunter2&sslmode=require", "postgresql://h/d?user=u&password=***&sslmode=require"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
    ],
)  # fmt: skip
def test_show_hides_the_password_of_the_database(run, url, shown):
    """Its output ends up in bug reports."""
    result = run("show", "{}", DATA_URL=url)
    assert json.loads(result.stdout)["database_url"] == shown


SECRETS = ("API_TOKEN", "DB_PASS", "SHOP_PWD", "PASSPHRASE", "db_password", "Aws_Key")


def test_show_hides_other_secrets_too(run):
    """Passwords in any address, and variables of plugins whose names say what they are."""
    document = {
        "supervisor": {"index_url": "https://me:hunter2@mirror.example/simple"},
        "plugins": {"shop": {"env": dict.fromkeys(SECRETS, "hunter2") | {"COLOUR": "red"}}},
        "tasks": {"sweep": {"env": {"DB_PASS": "hunter2"}}},
    }
    result = run("show", json.dumps(document))
    assert "hunter2" not in result.stdout
    shown = json.loads(result.stdout)["plugins"]["shop"]["env"]
    assert shown == dict.fromkeys(SECRETS, "***") | {"COLOUR": "red"}


# --- reload -------------------------------------------------------------------------------------------------

CHANGED = {"changed": ["gateway.port", "tasks.sweep.env"], "restarted": ["sweep"], "needs_restart": ["gateway.port"]}
NOTHING = {"changed": [], "restarted": [], "needs_restart": []}


def test_reload_prints_what_changed_and_what_becomes_of_it(xcore, supervisor):
    """One key or task a line."""
    supervisor.answers["config.reload"] = CHANGED
    lines = [
        "changed: gateway.port",
        "changed: tasks.sweep.env",
        "restarted: sweep",
        "takes effect at the next start of xcore: gateway.port",
    ]
    assert xcore("config", "reload") == (0, "".join(f"{line}\n" for line in lines), "")


def test_reload_of_the_same_says_so(xcore, supervisor):
    """Rather than nothing."""
    supervisor.answers["config.reload"] = NOTHING
    assert xcore("config", "reload") == (0, "The configuration is the same.\n", "")


@pytest.mark.parametrize("view", [CHANGED, NOTHING])
def test_reload_with_json_prints_one_document(xcore, supervisor, view):
    """All of the answer, and nothing else."""
    supervisor.answers["config.reload"] = view
    outcome = xcore("config", "reload", "--json")
    assert (outcome.code, json.loads(outcome.out), outcome.err) == (0, view, "")


def test_reload_of_a_broken_file_gives_the_supervisors_error(xcore, supervisor, project):
    """Exit code 1. That the command cannot read the file either does not keep it from asking."""
    (project / "config.json").write_text("{")
    supervisor.answers["config.reload"] = Error("Configuration", "config.json: not valid JSON at line 1", {}, 422)
    assert xcore("config", "reload") == (1, "", "xcore: config.json: not valid JSON at line 1\n")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_reload_without_a_supervisor_ends_with_3(xcore, options):
    """There is nothing in force that could change."""
    outcome = xcore("config", "reload", *options)
    assert (outcome.code, outcome.out) == (3, "")
    assert "no supervisor answers on" in outcome.err


def test_reload_over_http_is_a_route(xcore, monkeypatch):
    """That of the founding interface; what the other side says is shown without its control characters."""
    asked = []

    def call(url, token, operation, timeout, arguments):
        asked.append((url, token, operation, dict(arguments)))
        return {**NOTHING, "changed": ["tasks.\x1b[31mred"]}

    monkeypatch.setattr("supervisor.cli.remote.call", call)
    monkeypatch.setenv("XCORE_TOKEN", "secret")
    outcome = xcore("config", "reload", "--url", "http://127.0.0.1:1")
    assert asked == [("http://127.0.0.1:1", "secret", "config.reload", {})]
    assert (outcome.code, "\x1b" in outcome.out, "tasks." in outcome.out) == (0, False, True)


def test_importing_the_commands_imports_nothing_heavy():
    """Every command pays for what this file imports."""
    program = "import sys, supervisor.cli.config_commands; print('pydantic' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
