"""config.json as operators write it, at ``xcore up`` and ``xcore config check``."""

import json
import os
import signal
import subprocess

import pytest

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

BROKEN = {
    "empty": (b"", "is empty"),
    "half-written": (b'{"gateway": {"port": 0', "line 1"),
    "not an object": (b"[]", "must be an object"),
    "of a wrong type": (b'{"gateway": {"port": "eight"}}', "gateway.port"),
    "out of range": (b'{"gateway": {"port": 70000}}', "gateway.port"),
    "with an unknown key": (b'{"gateway": {"prot": 0}}', "gateway.prot"),
    "with a key twice": (b'{"gateway": {"port": 0, "port": 1}}', "port"),
    "with NaN": (b'{"supervisor": {"sample_interval": NaN}}', "NaN"),
    "not UTF-8": (b'{"gateway": {"host": "\xff"}}', "UTF-8"),
    "deeply nested": (b"[" * 100_000, "nested"),
}


def assert_refused(result: "subprocess.CompletedProcess", *texts: str) -> None:
    """One line that says where and what, and exit code 1."""
    assert result.returncode == 1, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for text in texts:
        assert text in result.stderr


@pytest.mark.parametrize("command", [("up",), ("config", "check")], ids=" ".join)
@pytest.mark.parametrize("sample", BROKEN)
def test_a_broken_file_is_one_clear_error(project, sample, command):
    """It names the file and the place; nothing is started, nothing is made."""
    content, text = BROKEN[sample]
    (project.folder / "config.json").write_bytes(content)
    assert_refused(project.xcore(*command), "config.json", text)
    assert sorted(path.name for path in project.state.iterdir()) == ["envs", "runtime"]


def test_an_unknown_key_comes_with_the_nearest_known_one(project):
    """A slip of the finger is found at once."""
    project.configure(gateway={"prot": 1})
    assert_refused(project.xcore("up"), "gateway.prot", "port")


def test_a_missing_file_says_how_to_get_one(project):
    """The first thing that a newcomer gets wrong."""
    (project.folder / "config.json").unlink()
    assert_refused(project.xcore("up"), "config.json", "xcore init")


def test_a_file_with_a_byte_order_mark_is_fine(project):
    """Some editors write one."""
    (project.folder / "config.json").write_bytes(b"\xef\xbb\xbf{}")
    assert project.xcore("config", "check").returncode == 0


def test_a_fifo_is_not_waited_for(project):
    """Whatever lies there, the command answers."""
    (project.folder / "config.json").unlink()
    os.mkfifo(project.folder / "config.json")
    assert_refused(project.xcore("up", timeout=10), "config.json")


def test_an_environment_variable_that_is_wrong_is_named(project):
    """Not the file, which is innocent."""
    result = project.xcore("up", XCORE__GATEWAY__PORT="eight")
    assert_refused(result, "XCORE__GATEWAY__PORT")
    assert "config.json" not in result.stderr


def test_a_port_in_use_is_one_clear_error(project):
    """With what to do about it, and nothing left behind."""
    project.up()
    port = int(project.url.rpartition(":")[2])
    configuration = {"gateway": {"port": port}, "supervisor": {"state_dir": "./.other"}}
    (project.folder / "other.json").write_text(json.dumps(configuration))
    refused = project.xcore("up", "--config", "other.json")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("xcore: ")
    assert f"port {port}: Address already in use" in refused.stderr
    assert "gateway.port" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list((project.folder / ".other" / "run").iterdir())


def test_a_running_system_keeps_the_configuration_it_has(project):
    """SIGHUP with a broken file: an error in the log, and everything goes on."""
    project.add_app("bench", "workbench")
    project.up()
    (project.folder / "config.json").write_text("{")
    project.expect_log("Kept the configuration in force")
    project.process.send_signal(signal.SIGHUP)
    project.wait_until(lambda: "Kept the configuration in force" in project.log, "it says so")
    assert project.http.get("/bench/pid").status_code == 200
    project.stop()
