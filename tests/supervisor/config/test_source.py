"""Loading: precedence, defaults, resolved paths, and one clear error for everything that can be wrong."""

import json
import os
import re
from pathlib import Path

import pytest

from supervisor.config.source import load, validate
from supervisor.errors import ConfigurationError


@pytest.fixture
def write(tmp_path):
    """Write config.json and return its path."""

    def write_file(document, name="config.json"):
        path = tmp_path / name
        if isinstance(document, bytes):
            path.write_bytes(document)
        else:
            path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    return write_file


def refusal(path, environ=None) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load(path, environ or {})
    return caught.value


# --- what is right ------------------------------------------------------------------------------------------


def test_an_empty_object_gives_every_default(write, tmp_path):
    """Nothing has to be configured."""
    configuration = load(write("{}"), {})
    assert configuration.gateway.port == 8082
    assert configuration.gateway.host == "127.0.0.1"
    assert configuration.manager.tasks.max_retries == 3
    assert configuration.supervisor.restart.limit == 8
    assert configuration.state_dir == tmp_path / ".xcore"
    assert configuration.plugins_directory == tmp_path / "plugins"
    assert configuration.tasks_directory == tmp_path / "backgroundtask"
    assert configuration.base_environment is None
    assert configuration.log_file is None
    assert configuration.database_url == f"sqlite:///{tmp_path}/.xcore/manager.db"
    assert configuration.log_level == "INFO"
    assert configuration.overridden == frozenset()


def test_the_example_of_the_repository_loads():
    """What we ship is valid and shows defaults."""
    example = Path(__file__).parents[3] / "config.json"
    assert load(example, {"XCORE__MANAGER__DOTENV": "null"}).gateway.port == 8082


def test_relative_paths_start_at_the_folder_of_the_file(write, tmp_path, monkeypatch):
    """The working directory plays no part, the file may be named relative to it."""
    folder = tmp_path / "conf"
    folder.mkdir()
    write({"manager": {"plugins": {"directory": "../p"}, "log": {"file": "/var/log/x.log"}}}, "conf/config.json")
    monkeypatch.chdir(tmp_path)
    configuration = load(Path("conf/config.json"), {})
    assert configuration.folder == folder
    assert configuration.plugins_directory == tmp_path / "p"
    assert configuration.log_file == Path("/var/log/x.log")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///x.db", "sqlite:///{folder}/x.db"),
        ("sqlite+pysqlite:///./x.db", "sqlite+pysqlite:///{folder}/./x.db"),
        ("sqlite:////abs/x.db", "sqlite:////abs/x.db"),
        ("postgresql://u:p@h/d", "postgresql://u:p@h/d"),
        ("postgres://h/d?sslmode=require", "postgres://h/d?sslmode=require"),
    ],
)
def test_a_relative_database_file_starts_at_the_folder_too(write, tmp_path, url, expected):
    """The same rule for DATA_URL as for every path."""
    assert load(write("{}"), {"DATA_URL": url}).database_url == expected.format(folder=tmp_path)


def test_a_byte_order_mark_is_ignored(write):
    """Windows editors write one; it harms nobody."""
    assert load(write(b'\xef\xbb\xbf{"gateway": {"port": 1}}'), {}).gateway.port == 1


def test_a_schema_key_for_editors_is_allowed(write):
    """It means nothing to us."""
    assert load(write({"$schema": "https://example.org/s.json"}), {}).gateway.port == 8082


def test_the_configuration_is_frozen(write):
    """Nobody changes settings behind the others' back; a reload makes a new object."""
    configuration = load(write("{}"), {})
    with pytest.raises(ValueError):
        configuration.gateway.port = 1
    with pytest.raises(AttributeError):
        configuration.log_level = "DEBUG"


def test_overrides_of_plugins_hold_only_what_was_written(write):
    """A key that config.json does not mention must not hide the manifest's."""
    configuration = load(
        write({"plugins": {"shop": {"instances": 2, "restart": "never"}}, "tasks": {"t": {"max_age": 5}}}), {}
    )
    assert configuration.plugin_overrides("shop") == {"instances": 2, "restart": "never"}
    assert configuration.plugin_overrides("other") == {}
    assert configuration.task_keys("t").max_age == 5
    assert configuration.task_keys("other").stop_timeout == 30


# --- precedence ---------------------------------------------------------------------------------------------


def test_environment_wins_over_dotenv_over_file_over_default(write, tmp_path):
    """One key set in all places; taking them away one by one."""
    path = write({"gateway": {"port": 3}})
    (tmp_path / ".env").write_text("XCORE__GATEWAY__PORT=2\nLOG_LEVEL=warning\nDATA_URL=postgresql://dotenv/x\n")
    first = load(path, {"XCORE__GATEWAY__PORT": "1", "LOG_LEVEL": "debug", "DATA_URL": "postgresql://real/x"})
    assert (first.gateway.port, first.log_level, first.database_url) == (1, "DEBUG", "postgresql://real/x")
    second = load(path, {})
    assert (second.gateway.port, second.log_level, second.database_url) == (2, "WARNING", "postgresql://dotenv/x")
    (tmp_path / ".env").unlink()
    assert load(path, {}).gateway.port == 3


def test_the_dotenv_file_does_not_reach_the_environment(write, tmp_path):
    """Its secrets would reach every plugin otherwise."""
    (tmp_path / ".env").write_text("XCORE__GATEWAY__PORT=2\nDOTENV_SECRET=x\n")
    environ = {}
    load(write("{}"), environ)
    assert environ == {}
    assert "DOTENV_SECRET" not in os.environ
    assert "XCORE__GATEWAY__PORT" not in os.environ


def test_the_dotenv_file_may_be_named_by_the_environment_or_be_none(write, tmp_path):
    """manager.dotenv is a key like any other."""
    (tmp_path / "prod.env").write_text("LOG_LEVEL=ERROR\n")
    (tmp_path / ".env").write_text("LOG_LEVEL=DEBUG\n")
    assert load(write("{}"), {"XCORE__MANAGER__DOTENV": "prod.env"}).log_level == "ERROR"
    assert load(write({"manager": {"dotenv": None}}), {}).log_level == "INFO"
    assert load(write({"manager": {"dotenv": "missing/.env"}}), {}).log_level == "INFO"


def test_an_empty_data_url_or_log_level_is_as_good_as_none(write):
    """Compose files set variables to nothing when they are not set."""
    configuration = load(write("{}"), {"DATA_URL": "", "LOG_LEVEL": ""})
    assert configuration.log_level == "INFO"
    assert configuration.database_url.startswith("sqlite:///")


def test_overridden_keys_are_known_and_answer_for_their_parents(write, tmp_path):
    """A change of them over HTTP would have no effect, so it will be refused."""
    (tmp_path / ".env").write_text("XCORE__MANAGER__TASKS__INTERVAL=9\n")
    environ = {"XCORE__GATEWAY": '{"port": 0, "parking": {"mb": 1}}', "XCORE__PLUGINS__shop__ENV__DEBUG": "1"}
    configuration = load(write("{}"), environ)
    assert configuration.overridden == {
        "gateway.port",
        "gateway.parking.mb",
        "manager.tasks.interval",
        "plugins.shop.env.DEBUG",
    }
    assert configuration.is_overridden("manager.tasks.interval")
    assert configuration.is_overridden("manager.tasks")
    assert not configuration.is_overridden("manager.tasks.max_retries")
    assert not configuration.is_overridden("gateway.portal")


# --- what is wrong with the file (reliability.md, 43) ---------------------------------------------------------


def test_a_missing_file_says_how_to_make_one(tmp_path):
    """The first thing a new user sees."""
    error = refusal(tmp_path / "config.json")
    assert str(error) == (
        f"{tmp_path}/config.json: there is no such file; make one with 'xcore init', or name it with --config"
    )


def test_a_missing_file_names_the_project_around_it(tmp_path):
    """Who asks in a plugin's folder is inside of one already."""
    (tmp_path / "config.json").write_text("{}")
    assert str(refusal(tmp_path / "plugins/shop/config.json")).endswith(
        f"; there is one in {tmp_path}: run it there, name it with --config, or make one here with 'xcore init'"
    )


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("content", "key", "problem"),
    [
        ("", "", "is empty"),
        ("  \n", "", "is empty"),
        ('{"gateway": {"port": 80', "", r"not valid JSON at line 1, column 24"),
        ('{\n  "gateway": {},\n}', "", r"not valid JSON at line \d, column \d+"),
        ("{} {}", "", r"not valid JSON at line 1, column 4: Extra data"),
        ("[]", "", "must be an object, not a list"),
        ('"x"', "", 'must be an object, not "x"'),
        ("null", "", "must be an object, not null"),
        (b'{"manager": {\n"dotenv": "\xff"}}', "", r"is not UTF-8 \(line 2\)"),
        ('{"gateway": {}}'.encode("utf-16"), "", r"is not UTF-8 \(line 1\)"),
        (b"x" * (1024 * 1024 + 1), "", "is larger than 1048576 bytes"),
        (DEEP, "", "nested more than 32 levels deep"),
        ('{"gateway":' + "[" * 500 + "]" * 500 + "}", "gateway[0][0]", "nested more than 32 levels deep"),
        ('{"gateway": {"port": 1, "port": 2}}', "gateway.port", "the key is given twice"),
        ('{"gateway": {}, "gateway": {}}', "gateway", "the key is given twice"),
        ('{"gateway": {"port": NaN}}', "gateway.port", "must be a whole number, not NaN"),
        ('{"gateway": {"head_timeout": NaN}}', "gateway.head_timeout", "must be a finite number, not NaN"),
        ('{"gateway": {"head_timeout": -Infinity}}', "gateway.head_timeout", "must be a finite number, not -Infinity"),
        ('{"gateway": {"head_timeout": 1e999}}', "gateway.head_timeout", "must be a finite number, not Infinity"),
        ('{"gateway": {"port": ' + "9" * 5000 + "}}", "", "not valid JSON"),
        ('{"gateway": {"port": ' + "9" * 4000 + "}}", "gateway.port", "must be at most 65535, not a number that large"),
        (r'{"supervisor": {"state_dir": "a\u0000b"}}', "supervisor.state_dir", "must not contain a NUL"),
        (r'{"supervisor": {"state_dir": "\ud800"}}', "supervisor.state_dir", "must not contain half of a surrogate"),
        (r'{"\ud800": 1}', r'"\ud800"', "the key must not contain half of a surrogate pair"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_configuration_is_refused_with_its_place(write, content, key, problem):
    """One error, never a traceback, whatever the bytes."""
    path = write(content)
    error = refusal(path)
    assert error.source == str(path)
    assert error.key == key
    assert re.match(problem, error.problem)


@pytest.mark.parametrize(
    ("document", "key", "problem"),
    [
        ({"gateway": {"port": "8082"}}, "gateway.port", 'must be a whole number, not "8082"'),
        ({"gateway": {"port": True}}, "gateway.port", "must be a whole number, not true"),
        ({"gateway": {"port": 8082.0}}, "gateway.port", "must be a whole number, not 8082.0"),
        ({"gateway": {"port": None}}, "gateway.port", "must be a whole number, not null"),
        ({"gateway": {"port": 65536}}, "gateway.port", "must be at most 65535, not 65536"),
        ({"gateway": {"port": -1}}, "gateway.port", "must be at least 0, not -1"),
        ({"gateway": {"head_timeout": 0}}, "gateway.head_timeout", "must be more than 0, not 0"),
        ({"gateway": {"head_timeout": True}}, "gateway.head_timeout", "must be a number, not true"),
        ({"gateway": {"metrics_public": 1}}, "gateway.metrics_public", "must be true or false, not 1"),
        ({"gateway": {"access_log": "xml"}}, "gateway.access_log", "must be 'text', 'json' or 'off', not \"xml\""),
        ({"gateway": {"cors_origins": "*"}}, "gateway.cors_origins", 'must be a list, not "*"'),
        ({"gateway": {"cors_origins": ["*", 5]}}, "gateway.cors_origins[1]", "must be a string, not 5"),
        ({"gateway": {"trusted_proxies": ["x"]}}, "gateway.trusted_proxies[0]", "must be an address or a network"),
        ({"gateway": []}, "gateway", "must be an object, not a list"),
        ({"gateway": 8082}, "gateway", "must be an object, not 8082"),
        ({"gateway": {"parking": {"seconds": -0.5}}}, "gateway.parking.seconds", "must be at least 0, not -0.5"),
        ({"manager": {"tasks": {"interval": 1e9}}}, "manager.tasks.interval", "must be at most 3.1536e+07"),
        ({"manager": {"plugins": {"directory": "~/p"}}}, "manager.plugins.directory", "must be written out"),
        ({"manager": {"plugins": {"entry_point": "run.py"}}}, "manager.plugins.entry_point", "must be the name of"),
        ({"supervisor": {"index_url": "pypi"}}, "supervisor.index_url", "must be the http(s) address"),
        ({"supervisor": {"restart": {"delay": 60}}}, "supervisor.restart", "max_delay 30 must not be below delay 60"),
        ({"supervisor": {"heartbeat": {"hung": 5}}}, "supervisor.heartbeat", "stalled, hung and hang_cpu_limit"),
        ({"plugins": {"my shop": {"instances": 0}}}, 'plugins."my shop".instances', "must be at least 1, not 0"),
        ({"plugins": {"shop": {"env": {"A": 1}}}}, "plugins.shop.env.A", "must be a string, not 1"),
        ({"tasks": {"mail": {"instances": 2}}}, "tasks.mail.instances", "unknown key"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(write, document, key, problem):
    """File, dotted key and value are in the message."""
    path = write(document)
    error = refusal(path)
    assert (error.source, error.key) == (str(path), key)
    assert error.problem.startswith(problem)


@pytest.mark.parametrize(
    ("document", "key", "hint"),
    [
        ({"gatway": {}}, "gatway", "did you mean 'gateway'?"),
        ({"gateway": {"Port": 1}}, "gateway.Port", "did you mean 'port'?"),
        ({"manager": {"tasks": {"max_retry": 1}}}, "manager.tasks.max_retry", "did you mean 'max_retries'?"),
        ({"plugins": {"shop": {"instance": 1}}}, "plugins.shop.instance", "did you mean 'instances'?"),
        ({"manager": {"log": {"zzz": 1}}}, "manager.log.zzz", "known: console, file"),
        ({"plugins": {"shop": {"jobs": [{"name": "a", "entry": "a:b", "crom": ""}]}}},
         "plugins.shop.jobs[0].crom", "did you mean 'cron'?"),
        ({"gateway": {"port": "8082"}}, "gateway.port", "write 8082 without quotes"),
        ({"gateway": {"metrics_public": "true"}}, "gateway.metrics_public", "write true without quotes"),
        ({"gateway": {"port": []}}, "gateway.port", "the default is 8082"),
    ],
)  # fmt: skip
def test_the_error_says_what_to_write(write, document, key, hint):
    """The nearest known key, or the right form of the value."""
    error = refusal(write(document))
    assert (error.key, error.hint) == (key, hint)


def test_several_wrong_keys_are_still_one_error(write):
    """The first one; a list of them would be read by nobody."""
    error = refusal(write({"manager": {"dotenv": 1}, "gateway": {"port": "x"}, "extra": 1}))
    assert error.key == "manager.dotenv"
    assert "\n" not in str(error)


def test_a_long_value_is_cut(write):
    """A pasted file must not fill the screen."""
    assert len(str(refusal(write({"gateway": {"port": "x" * 100_000}})))) < 300


@pytest.mark.parametrize("where", ["config.json", ".env"])
@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (os.mkfifo, "is a FIFO, not a regular file"),
        (os.mkdir, "is a folder, not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device, not a regular file"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
    ],
    ids=["fifo", "folder", "device", "loop"],
)
def test_what_is_no_regular_file_is_refused_without_waiting(write, tmp_path, where, make, problem):
    """Opening a FIFO blocks for ever and /dev/zero never ends; both would hang the supervisor."""
    if where == ".env":
        write("{}")
    make(tmp_path / where)
    error = refusal(tmp_path / "config.json")
    assert (error.source, error.problem) == (str(tmp_path / where), problem)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(write):
    """With the system's own reason."""
    path = write("{}")
    path.chmod(0)
    assert refusal(path).problem == "cannot be read: Permission denied"


def test_a_refusal_by_the_operating_system_is_told(write, monkeypatch):
    """The same for root, whom no file mode keeps out."""

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    path = write("{}")
    monkeypatch.setattr(os, "open", refuse)
    assert refusal(path).problem == "cannot be read: Permission denied"


# --- what is wrong with variables -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"XCORE__GATEWAY__PORT": "x"}, "environment variable XCORE__GATEWAY__PORT: gateway.port: must be a whole"),
        ({"XCORE__GATWAY__PORT": "1"}, "environment variable XCORE__GATWAY__PORT: gatway: unknown key; did you mean"),
        ({"XCORE__GATEWAY": "5"}, "environment variable XCORE__GATEWAY: gateway: must be an object, not 5"),
        ({"XCORE__": "5"}, "environment variable XCORE__: names no key; write XCORE__SECTION__KEY"),
        ({"XCORE__GATEWAY__": "5"}, "environment variable XCORE__GATEWAY__: names no key"),
        ({"XCORE__\udcff": "1"}, "environment variable XCORE__\\udcff: names no key"),
        ({"XCORE" + "__A" * 5000: "1"}, "environment variable XCORE__A__A"),
        ({"XCORE__GATEWAY__PORT": DEEP[:50_000]}, "environment variable XCORE__GATEWAY__PORT: gateway.port: must be"),
        ({"XCORE__SUPERVISOR__STATE_DIR": "a\udcff"}, "environment variable XCORE__SUPERVISOR__STATE_DIR: superv"),
        ({"LOG_LEVEL": "warn"}, "environment variable LOG_LEVEL: there is no log level \"warn\"; did you mean 'WARN"),
        ({"DATA_URL": "mysql://u:secret@h/d"}, "environment variable DATA_URL: must be the address of a SQLite"),
        ({"DATA_URL": "sqlite:///:memory:"}, "environment variable DATA_URL: must be the address of a SQLite"),
        ({"DATA_URL": "sqlite:///file:x.db?mode=memory"}, "environment variable DATA_URL: must be the address of a"),
        ({"DATA_URL": "sqlite+aiosqlite:///x.db"}, "environment variable DATA_URL: must be the address of a SQLite"),
    ],
)  # fmt: skip
def test_a_wrong_variable_is_named(write, environ, message):
    """Not the file: the operator would look in vain there."""
    error = refusal(write("{}"), environ)
    assert str(error).startswith(message)
    assert "secret" not in str(error)


def test_a_wrong_variable_in_the_dotenv_file_names_that_file(write, tmp_path):
    """And the line that is no assignment, too."""
    path = write("{}")
    (tmp_path / ".env").write_text("XCORE__GATEWAY__PORT=x\n")
    assert str(refusal(path)).startswith(f"{tmp_path}/.env: XCORE__GATEWAY__PORT: gateway.port: must be")
    (tmp_path / ".env").write_text("A=1\n\nwhat is this?\n")
    assert str(refusal(path)) == f"{tmp_path}/.env: cannot read line 3; write NAME=value, or # for a comment"


def test_a_wrong_section_in_the_file_is_not_blamed_on_a_variable_inside_it(write):
    """The file is wrong, whatever is laid over it."""
    path = write({"gateway": 5})
    error = refusal(path, {"XCORE__GATEWAY__PORT": "1"})
    assert (error.source, error.key) == (str(path), "gateway")


def test_a_pair_that_only_variables_broke_names_the_variable(write):
    """ssl_certfile came from the environment, so its missing partner is told there."""
    error = refusal(write("{}"), {"XCORE__GATEWAY__SSL_CERTFILE": "c.pem"})
    assert error.source == "environment variable XCORE__GATEWAY__SSL_CERTFILE"
    assert error.problem == "ssl_certfile and ssl_keyfile come together, ssl_keyfile is missing"


# --- checks against the machine -------------------------------------------------------------------------------


def test_certificate_and_key_must_exist(write, tmp_path):
    """Found at start, not at the first connection."""
    path = write({"gateway": {"ssl_certfile": "c.pem", "ssl_keyfile": "k.pem"}})
    (tmp_path / "c.pem").touch()
    error = refusal(path)
    assert (error.key, error.problem) == ("gateway.ssl_keyfile", f"there is no file {tmp_path}/k.pem")
    (tmp_path / "k.pem").touch()
    assert load(path, {}).ssl_keyfile == tmp_path / "k.pem"


def test_the_base_environment_must_exist(write, tmp_path):
    """A typo would only show when the first plugin without pyproject.toml starts."""
    error = refusal(write({"supervisor": {"base_environment": "base/pyproject.toml"}}))
    assert error.key == "supervisor.base_environment"


def test_the_state_folder_must_leave_room_for_socket_names(write):
    """bind(2) takes 107 bytes; the longest folder that fits is taken, one byte more is not."""
    longest = "/" + "d" * 84
    assert str(load(write({"supervisor": {"state_dir": longest}}), {}).state_dir) == longest
    error = refusal(write({"supervisor": {"state_dir": longest + "d"}}))
    assert error.key == "supervisor.state_dir"
    assert error.hint == "name a folder whose whole path has at most 85 bytes"
    umlauts = "/" + "ä" * 43
    assert refusal(write({"supervisor": {"state_dir": umlauts}})).key == "supervisor.state_dir"


def test_a_document_can_be_checked_before_it_is_written(tmp_path):
    """POST /tasks/config/update refuses what the next start would refuse."""
    path = tmp_path / "config.json"
    assert validate(path, {"gateway": {"port": 1}}).gateway.port == 1
    with pytest.raises(ConfigurationError, match=r"gateway\.port"):
        validate(path, {"gateway": {"port": "1"}})
