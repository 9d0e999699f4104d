"""``xcore plugin logs`` and ``xcore task logs`` with --follow; without it they are with their kinds' commands."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from plugin_runtime.protocol import Error
from supervisor.monitoring.log_files import LogFiles

KINDS = ["plugin", "task"]


@pytest.fixture
def log(project, supervisor):
    """The log of ``hello``, which the supervisor knows as a plugin and as a task."""
    folder = project / ".xcore" / "logs"
    folder.mkdir()
    supervisor.answers.update({f"{kind}s.logs": ["never shown"] for kind in KINDS})
    return LogFiles(folder)


def following(kind, *options):
    program = Path(sys.executable).with_name("xcore")
    return subprocess.Popen(
        [program, kind, "logs", "hello", "--follow", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_last_lines_are_followed_by_those_that_come_until_it_is_interrupted(log, supervisor, kind):
    """It asks once whether there is such a one; ^C is how it ends, and no failure."""
    log.append("hello", b"one\ntwo\nthree\n")
    with following(kind, "-n", "2") as process:
        assert [process.stdout.readline() for _ in range(2)] == ["two\n", "three\n"]
        log.append("hello", b"four\n")
        assert process.stdout.readline() == "four\n"
        process.send_signal(signal.SIGINT)
        assert (process.wait(20), *process.communicate()) == (0, "", "")
    assert [(call.operation, call.arguments["name"]) for call in supervisor.calls] == [(f"{kind}s.logs", "hello")]


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("last", [b"", b"two\n"], ids=["while nothing comes", "as something comes"])
def test_it_ends_in_silence_when_nobody_reads_it_any_more(log, last):
    """``| head -1``: also where no further line would tell."""
    log.append("hello", b"one\n")
    with following("plugin") as process:
        assert process.stdout.readline() == "one\n"
        process.stdout.close()
        log.append("hello", last)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""


@pytest.mark.process
@pytest.mark.slow
def test_a_burst_into_a_pipe_that_nobody_reads_ends_in_silence(log):
    """More than a pipe holds, so that it is being written when its reader leaves."""
    log.append("hello", b"%s\n" % (b"x" * 1000) * 1000)
    with following("plugin", "-n", "1000") as process:
        assert process.stdout.read(1) == "x"
        process.stdout.close()
        assert process.wait(20) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("option", "words"),
    [(["--json"], "never becomes one document"), (["--url", "http://127.0.0.1:1"], "on the machine itself")],
)
def test_what_cannot_be_had_of_a_log_that_is_followed_is_wrong_use(xcore, kind, option, words):
    """It has no end for JSON to have, and is read from its file."""
    outcome = xcore(kind, "logs", "hello", "-f", *option)
    assert (outcome.code, outcome.out) == (2, "")
    assert words in " ".join(outcome.err.replace("│", " ").split())


def test_there_is_nothing_to_follow_of_one_that_is_not_known(xcore, supervisor):
    """Else it would wait for ever."""
    supervisor.answers["plugins.logs"] = Error("UnknownName", "no plugin named 'hello'; known: shop", {}, 404)
    outcome = xcore("plugin", "logs", "hello", "-f")
    assert (outcome.code, outcome.out, outcome.err) == (1, "", "xcore: no plugin named 'hello'; known: shop\n")


def test_a_log_that_cannot_be_read_ends_with_1_and_one_line(xcore, log, project, monkeypatch):
    """For want of rights, say."""
    (project / ".xcore" / "logs" / "hello.log").mkdir()
    with Path(os.devnull).open("w") as nowhere:
        monkeypatch.setattr(sys, "stdout", nowhere)  # that of the test has no descriptor
        outcome = xcore("plugin", "logs", "hello", "-f")
    assert (outcome.code, outcome.err.count("\n")) == (1, 1)
    assert outcome.err.startswith("xcore: cannot follow the log of hello: ")
