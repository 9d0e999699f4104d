"""A template's control channel, against a real socket."""

import gc
import socket
import threading
from contextlib import contextmanager

import pytest

from plugin_runtime import template_channel
from plugin_runtime.handshake import ControlAddress, HandshakeRefusedError, SupervisorLostError
from plugin_runtime.process_facts import start_ticks
from plugin_runtime.protocol import Beat, Hello, Ready, Stop
from plugin_runtime.task_protocol import ListThreads, Threads
from plugin_runtime.template_channel import TemplateChannel
from plugin_runtime.template_protocol import Fork, TemplateSettings
from plugin_runtime.wire import Envelope, encode
from tests.fakes.control_server import FakeSupervisor

SETTINGS = TemplateSettings("hello", [], adopt_grace=0.3)


@pytest.fixture
def supervisor(tmp_path):
    with FakeSupervisor(tmp_path / "c.sock", SETTINGS) as fake:
        yield fake


@pytest.fixture
def channel(supervisor):
    made = TemplateChannel(ControlAddress(str(supervisor.path), "hello.template", "secret"))
    yield made
    made.close()


@contextmanager
def meanwhile(action):
    """Do it in another thread, since the channel has none."""
    thread = threading.Thread(target=action)
    thread.start()
    try:
        yield
    finally:
        thread.join(20)
        assert not thread.is_alive()


def test_joining_proves_who_we_are_and_brings_the_settings(supervisor, channel):
    """The same handshake as everybody's, and no thread for it: a fork would inherit its locks."""
    before = threading.enumerate()
    welcome = channel.join()
    hello = supervisor.of(Hello)[0]
    assert (hello.child, hello.nonce, hello.start_ticks) == ("hello.template", "secret", start_ticks())
    assert welcome.settings["owner"] == "hello"
    assert set(threading.enumerate()) - set(before) == set(supervisor._threads[1:])


def test_a_refusal_is_an_error_with_the_reason(supervisor, channel):
    """The supervisor does not know this process: there is nothing to try again."""
    supervisor.refuse = "this process is not child 'hello.template'"
    with pytest.raises(HandshakeRefusedError, match="is not child"):
        channel.join()
    assert len(supervisor.of(Hello)) == 1


def test_nobody_there_is_an_error_after_the_grace(tmp_path, monkeypatch):
    """A template that is started while its supervisor dies must not wait for ever."""
    monkeypatch.setattr(template_channel, "FIRST_GRACE", 0.2)
    channel = TemplateChannel(ControlAddress(str(tmp_path / "none"), "hello.template", "n"))
    with pytest.raises(SupervisorLostError, match=r"nobody answered on .*none for 0\.2 s"):
        channel.join()


def test_a_supervisor_that_is_gone_for_longer_than_the_grace_is_lost(supervisor, channel):
    """The grace is the supervisor's own word: adopt_grace of the settings."""
    channel.join()
    supervisor.die()
    with pytest.raises(SupervisorLostError, match=r"for 0\.3 s"):
        channel.receive()
    supervisor.listen()


def test_messages_come_one_by_one_with_their_id(supervisor, channel):
    """Also such as arrive in one piece; an answer goes by the id of its question."""
    channel.join()
    supervisor.connections[-1].sendall(encode(ListThreads(), 7) + encode(Stop("operator", 1.0)))
    assert channel.receive() == Envelope(ListThreads(), 7)
    assert channel.receive().message == Stop("operator", 1.0)
    channel.send(Threads([]), 7)
    assert supervisor.answer_to(7) == Threads([])


def test_the_next_supervisor_hears_what_is_announced_and_not_what_was_said_once(supervisor, channel):
    """It adopts a template that is ready; answers were for whoever had asked."""

    def take_over():
        supervisor.wait_for(Beat)
        supervisor.die()
        supervisor.listen()
        supervisor.wait_for(Ready, 2)
        supervisor.stop_guest()

    channel.join()
    channel.announce(Ready())
    channel.send(Beat(0.0))
    with meanwhile(take_over):
        assert isinstance(channel.receive().message, Stop)
    assert [type(message) for message in supervisor.messages] == [Hello, Ready, Beat, Hello, Ready]


def fork_order(child: str) -> Fork:
    return Fork(child, "nonce", "worker", {"SECRET": f"of {child}"}, "out", "err")


def test_who_forgets_the_channel_holds_no_order_for_another_process(supervisor, channel):
    """Orders that came together are read together: their environments are nothing for the first one's process."""
    channel.join()
    frames = [encode(fork_order(child)) for child in ("hello.1", "hello.2", "hello.3")]
    supervisor.connections[-1].sendall(b"".join(frames)[:-1])
    assert channel.receive().message == fork_order("hello.1")
    assert [order.child for order in orders_in_memory()] == ["hello.2"]
    assert b"of hello.3" in channel._decoder._buffer
    channel.forget()
    assert orders_in_memory() == []
    assert not channel._decoder._buffer
    assert not channel._standing


def orders_in_memory() -> list[Fork]:
    return [found for found in gc.get_objects() if isinstance(found, Fork)]


def test_what_is_sent_while_the_supervisor_is_away_is_lost_without_harm(supervisor, channel):
    """Whoever wanted to know is gone; the template finds it out when it listens again."""
    channel.join()
    channel.announce(Ready())
    supervisor.wait_for(Ready)
    supervisor.die()
    channel.send(Beat(0.0))
    channel.send(Beat(0.0))
    supervisor.listen()
    with meanwhile(lambda: (supervisor.wait_for(Ready, 2), supervisor.stop_guest())):
        assert isinstance(channel.receive().message, Stop)
    assert supervisor.of(Beat) == []


@pytest.mark.parametrize(
    "garbage", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\xc1", b"\x00\x00\x00\x01\x00"], ids=["length", "body", "type"]
)
def test_garbage_is_answered_by_a_new_connection(supervisor, channel, garbage):
    """A stream that is broken stays so; the next one is whole."""
    channel.join()
    channel.announce(Ready())
    supervisor.wait_for(Ready)
    supervisor.connections[-1].sendall(garbage)
    with meanwhile(lambda: (supervisor.wait_for(Ready, 2), supervisor.stop_guest())):
        assert isinstance(channel.receive().message, Stop)


def test_garbage_in_place_of_a_welcome_is_tried_again_and_told(tmp_path, capsys, monkeypatch):
    """The log of the template says why it does not get ready."""
    monkeypatch.setattr(template_channel, "FIRST_GRACE", 0.3)
    path = tmp_path / "c.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        tries = []

        def answer_with_garbage():
            while True:
                connection, _ = listener.accept()
                with connection:
                    if not connection.recv(65536):
                        return
                    tries.append(None)
                    connection.sendall(encode(Ready()))

        channel = TemplateChannel(ControlAddress(str(path), "hello.template", "n"))
        with meanwhile(answer_with_garbage):
            with pytest.raises(SupervisorLostError):
                channel.join()
            channel.close()
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(str(path))
    assert len(tries) > 1
    assert "Control channel of hello.template closed: expected welcome, got Ready\n" in capsys.readouterr().err
