"""Exit records."""

import pytest

from plugin_runtime.protocol import Beat, Cause, Kind
from supervisor.spec import ChildSpec, ExitStatus
from supervisor.supervision.exits import exit_record, explain

SPEC = ChildSpec("hello.1", "hello", Kind.WORKER, ("x",), "/", generation="abc")


def record(status, cause=Cause.CRASH, **fields):
    return exit_record(SPEC, 42, cause, status, **{"uptime": 1.23456, "log_tail": ["a", "b"], **fields})


def test_it_holds_what_was_known():
    """The last beat says what the process was doing; the guest's own peak, since the kernel's includes the parent's."""
    beat = Beat(0.0, in_flight=3, requests=9, peak_memory_kb=2048)
    made = record(ExitStatus(signal=9, cpu_seconds=0.5), Cause.HANG, beat=beat, stacks=["x", "y"], actor="supervisor")
    assert (made.cause, made.exit_code, made.signal, made.cpu_seconds) == ("hang", None, 9, 0.5)
    assert (made.in_flight, made.peak_memory_mb, made.uptime, made.generation) == (3, 2.0, 1.235, "abc")
    assert (made.stacks, made.log_tail, made.pid) == ("x\ny", ["a", "b"], 42)


def test_what_is_not_known_is_null():
    """Never a made-up 0."""
    made = record(ExitStatus(exit_code=1), beat=Beat(0.0), stacks=[])
    assert (made.peak_memory_mb, made.cpu_seconds, made.stacks) == (None, None, None)
    assert record(ExitStatus()).id != made.id


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (record(ExitStatus(exit_code=1)), "hello.1 (pid 42) ended after 1.2 s, crash, exit code 1"),
        (
            record(ExitStatus(signal=9), Cause.OPERATOR, actor="token:ci"),
            "hello.1 (pid 42) ended after 1.2 s, operator by token:ci, signal 9",
        ),
        (
            record(ExitStatus(exit_code=70), Cause.START_FAILED, message="no module named x"),
            "hello.1 (pid 42) ended after 1.2 s, start_failed, exit code 70: no module named x",
        ),
    ],
)
def test_a_death_is_one_line(made, line):
    """With child and pid."""
    assert explain(made) == line
