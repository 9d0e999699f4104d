"""The CLI's end of the command socket, against servers that misbehave."""

import socket
import threading
from contextlib import contextmanager

import pytest

from plugin_runtime.protocol import Error, Ready, Result
from plugin_runtime.wire import encode
from supervisor.cli.client import OperationFailedError, call
from supervisor.errors import NotRunningError, XcoreError


@contextmanager
def answering(path, *answer):
    """A server that reads the question, sends these bytes and hangs up."""

    def serve():
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            for part in answer:
                connection.sendall(part)
            done.wait(10)

    done = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        if not answer:
            done.set()
        try:
            yield
        finally:
            done.set()
            thread.join(10)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "command.sock"


def test_an_answer_may_come_in_pieces(path):
    """Bytes, not messages, are what a socket keeps together."""
    frame = encode(Result({"a": [1]}), 1)
    with answering(path, frame[:3], frame[3:7], frame[7:]):
        assert call(path, "ping", size=1) == {"a": [1]}


def test_an_error_keeps_its_type_and_status(path):
    """As over HTTP."""
    answer = encode(Error("Conflict", "not now", {"hint": "later"}, 409), 1)
    with answering(path, answer), pytest.raises(OperationFailedError, match="not now") as caught:
        call(path, "ping")
    assert (caught.value.type, caught.value.status, caught.value.extension) == ("Conflict", 409, {"hint": "later"})


def test_nobody_there_is_not_running(path):
    """No socket, a stale one, and one whose supervisor went away before it answered."""
    with pytest.raises(NotRunningError, match="no supervisor answers on"):
        call(path, "ping")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with pytest.raises(NotRunningError):
        call(path, "ping")
    path.unlink()
    with answering(path), pytest.raises(NotRunningError):
        call(path, "ping")


def test_no_answer_in_time_is_no_endless_wait(path):
    """It says what was asked and how long."""
    with answering(path, b"\0"), pytest.raises(XcoreError, match=r"did not answer ping within 0\.05 s"):
        call(path, "ping", timeout=0.05)


@pytest.mark.parametrize("answer", [b"\xff\xff\xff\xff", encode(Ready(), 1)], ids=["no frame", "no answer"])
def test_an_answer_that_is_none_is_a_sentence(path, answer):
    """Another version of xcore, most likely."""
    with answering(path, answer), pytest.raises(XcoreError, match="cannot understand what answers on"):
        call(path, "ping")


def test_a_path_too_long_for_a_socket_is_a_sentence(tmp_path):
    """The kernel's limit, not a traceback."""
    with pytest.raises(XcoreError, match=r"cannot ask the supervisor at .*: AF_UNIX path too long"):
        call(tmp_path / ("x" * 120), "ping")
