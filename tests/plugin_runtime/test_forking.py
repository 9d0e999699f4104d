"""Real forks: whose children they are, where they print to, and that nothing of them stays behind."""

import errno
import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from plugin_runtime.forking import fork
from plugin_runtime.template_protocol import Fork, Forked, NotForked
from supervisor.processes.process_stat import read_process_stat
from tests.fakes.control_server import eventually
from tests.fakes.processes import descriptors_below, nothing_left_behind
from tests.fakes.templates import ForkedProcess, Streams

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True)
def _nothing_left_behind():
    """The test is a subreaper: what is forked becomes a child of it, as it becomes one of the supervisor."""
    with nothing_left_behind():
        yield


@pytest.fixture
def streams(tmp_path):
    made = Streams.below(tmp_path / "streams")
    yield made
    made.close()


def order(streams: Streams, stderr: Path | None = None) -> Fork:
    return Fork("hello.1", "nonce", "worker", {}, str(streams.stdout.path), str(stderr or streams.stderr.path))


def forked(wanted: Fork, life=lambda: None) -> Forked | NotForked:
    """What fork tells; the new process runs ``life`` and never comes back into the tests."""
    tests = os.getpid()
    try:
        answer = fork(wanted)
        if answer is None:
            life()
    finally:
        if os.getpid() != tests:
            os._exit(0)
    return answer


def target_of(descriptor: str) -> str:
    return str(Path("/proc/self/fd", descriptor).readlink())


def show_itself() -> None:
    descriptors = {name: target_of(name) for name in ("0", "1", "2")}
    facts = {"session": os.getsid(0), "group": os.getpgrp(), **descriptors}
    os.write(1, json.dumps(facts).encode())
    os.write(2, b"and this is an error")


def test_the_new_process_is_a_child_of_the_nearest_subreaper_and_leads_its_session(streams):
    """The supervisor reaps it and signals its group, as if it had started it itself."""
    answer = forked(order(streams), show_itself)
    assert psutil.Process(answer.pid).ppid() == os.getpid()  # dead or alive: nobody but its parent can reap it
    code, printed, errors = ForkedProcess(answer.pid, answer.start_ticks, streams).outcome()
    facts = json.loads(printed)
    assert facts["session"] == facts["group"] == answer.pid
    assert (code, errors) == (0, "and this is an error")


def test_it_prints_to_its_fifos_and_reads_what_the_template_reads(streams):
    """Every process has its own log; nobody types anything for any of them."""
    answer = forked(order(streams), show_itself)
    _, printed, _ = ForkedProcess(answer.pid, answer.start_ticks, streams).outcome()
    facts = json.loads(printed)
    assert (facts["1"], facts["2"]) == (str(streams.stdout.path), str(streams.stderr.path))
    assert facts["0"] == target_of("0")


def test_it_is_told_by_pid_and_moment_of_birth(streams):
    """The two name a process for ever; they are those that the kernel tells, and that it says itself in Hello."""
    answer = forked(order(streams))
    stat = read_process_stat(answer.pid)
    ForkedProcess(answer.pid, answer.start_ticks, streams).outcome()
    assert stat.start_ticks == answer.start_ticks


@pytest.mark.parametrize("there", ["stdout", "stderr"])
def test_a_fifo_that_is_not_there_is_the_reason_for_no_process(streams, tmp_path, there):
    """The supervisor removes the FIFOs of a child that it has given up meanwhile."""
    gone = str(tmp_path / "gone")
    paths = (
        {"stdout": str(streams.stdout.path), "stderr": gone} if there == "stdout" else {"stdout": gone, "stderr": ""}
    )
    answer = forked(Fork("hello.1", "nonce", "worker", {}, **paths))
    assert isinstance(answer, NotForked)
    assert "No such file or directory" in answer.reason
    assert gone in answer.reason


@pytest.mark.parametrize("last", [1, 2], ids=["the one in between", "the new process"])
def test_a_fork_that_the_kernel_refuses_is_told_with_its_reason(streams, monkeypatch, last):
    """A limit of processes heals when others end: whoever asked can ask again. No limit binds root, hence a fake."""
    attempts = []

    def scarce():
        attempts.append(None)
        if len(attempts) == last:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return real()

    real = os.fork
    monkeypatch.setattr(os, "fork", scarce)
    answer = forked(order(streams))
    assert isinstance(answer, NotForked)
    assert "Resource temporarily unavailable" in answer.reason


def test_without_a_descriptor_left_nothing_is_forked(streams):
    """The template is alive after it and says so."""
    lowest_free = os.dup(0)
    os.close(lowest_free)
    with descriptors_below(lowest_free + 1):
        answer = forked(order(streams))
    assert answer == NotForked("cannot make a pipe: Too many open files")


def test_a_process_that_dies_at_once_is_none(streams, monkeypatch):
    """Killed before it could say that it is there: told as well."""
    monkeypatch.setattr(os, "setsid", lambda: os._exit(1))
    answer = forked(order(streams))
    assert answer == NotForked("it died at once")
    # Its parent was gone before: it is ours to reap, as it would be the supervisor's.
    eventually(lambda: os.waitpid(-1, os.WNOHANG)[0])


def test_a_library_that_ignores_the_deaths_of_children_does_not_keep_the_template_from_forking(streams):
    """With SIGCHLD ignored the kernel reaps, and waitpid finds nobody: the process is there all the same."""
    reader, writer = os.pipe()

    def wait_for_the_test():
        os.close(writer)
        os.read(reader, 1)

    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        answer = forked(order(streams), wait_for_the_test)
    finally:
        signal.signal(signal.SIGCHLD, before)
        os.close(reader)
        os.close(writer)
    assert isinstance(answer, Forked)
    assert ForkedProcess(answer.pid, answer.start_ticks, streams).outcome() == (0, "", "")


def test_many_forks_leave_no_descriptor_and_no_process_in_the_template(streams, tmp_path):
    """A template lives for weeks and forks for every run of a job."""
    before = {entry.name for entry in Path("/proc/self/fd").iterdir()}
    children = psutil.Process().children()
    for _ in range(25):
        answer = forked(order(streams))
        os.waitpid(answer.pid, 0)
        assert isinstance(forked(order(streams, tmp_path / "gone")), NotForked)
    assert {entry.name for entry in Path("/proc/self/fd").iterdir()} == before
    assert psutil.Process().children() == children
