"""The control channel from inside a guest, against a real socket."""

import asyncio
import contextlib
import threading
import time

import pytest

from plugin_runtime import control
from plugin_runtime.control import ControlChannel
from plugin_runtime.handshake import (
    ControlAddress,
    HandshakeRefusedError,
    MissingAddressError,
    SupervisorLostError,
)
from plugin_runtime.inbox import Activity, Listener
from plugin_runtime.process_facts import start_ticks
from plugin_runtime.protocol import Beat, ExitCode, Failed, Hello, Progress, Ready, Stop, Welcome, WorkerSettings
from plugin_runtime.task_protocol import ListThreads
from plugin_runtime.wire import encode
from tests.fakes.control_server import FakeSupervisor, eventually

SETTINGS = WorkerSettings("hello", "seed", "run", "/f", "/s", "/", adopt_grace=0.2)


@pytest.fixture
def supervisor(tmp_path):
    with FakeSupervisor(tmp_path / "c.sock", SETTINGS) as fake:
        yield fake


@contextlib.contextmanager
def channel_to(supervisor, **options):
    channel = ControlChannel(ControlAddress(str(supervisor.path), "hello.1", "secret"), **options)
    try:
        yield channel
    finally:
        channel.close(timeout=5)
        assert not any(thread.name == "xcore-control" for thread in threading.enumerate())


@contextlib.contextmanager
def running_loop():
    """An event loop that turns in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_hello_proves_who_we_are(supervisor):
    """Child id, pid, birth and nonce: a supervisor knows its process by all of them."""
    with channel_to(supervisor) as channel:
        welcome = channel.connect()
    hello = supervisor.of(Hello)[0]
    assert (hello.child, hello.nonce, hello.start_ticks) == ("hello.1", "secret", start_ticks())
    assert welcome.settings["plugin"] == "hello"


def test_the_address_is_taken_out_of_the_environment(monkeypatch):
    """Foreign code runs next; the child's id alone stays, for its logs."""
    for name, value in [("XCORE_CONTROL", "/c"), ("XCORE_NONCE", "n"), ("XCORE_CHILD", "hello.1")]:
        monkeypatch.setenv(name, value)
    assert ControlAddress.take_from_environment() == ControlAddress("/c", "hello.1", "n")
    with pytest.raises(MissingAddressError, match="XCORE_CONTROL"):
        ControlAddress.take_from_environment()


def test_a_refusal_is_an_error_with_the_reason(supervisor):
    """The reason is a sentence for people; no second attempt is made."""
    supervisor.refuse = "this process is not child 'hello.1'"
    with channel_to(supervisor) as channel, pytest.raises(HandshakeRefusedError, match="is not child"):
        channel.connect()
    assert len(supervisor.of(Hello)) == 1


def test_a_supervisor_of_another_protocol_is_an_error(supervisor):
    """Guests and supervisors of versions too far apart must not guess what the other means."""
    supervisor.version = 99
    with channel_to(supervisor) as channel, pytest.raises(HandshakeRefusedError, match="protocol 99"):
        channel.connect()


def test_nobody_there_is_an_error_after_the_grace(tmp_path, monkeypatch):
    """A worker that is started while its supervisor dies must not wait for ever."""
    monkeypatch.setattr(control, "FIRST_GRACE", 0.1)
    channel = ControlChannel(ControlAddress(str(tmp_path / "none"), "hello.1", "n"))
    with pytest.raises(SupervisorLostError, match="nobody answered"):
        channel.connect()
    channel.close()


def test_what_is_queued_is_sent_before_the_channel_closes(supervisor):
    """Failed is the last thing a worker says, and the one that must arrive."""
    failed = Failed("import", "SyntaxError", "x" * 1_000_000)
    with channel_to(supervisor) as channel:
        channel.connect()
        channel.send(failed)
    assert supervisor.wait_for(Failed) == failed


def test_beats_tell_of_loop_and_requests(supervisor):
    """What the liveness table is fed with."""
    with channel_to(supervisor) as channel, running_loop() as loop:
        channel.connect()
        listener = Listener(loop, lambda _: None, lambda _: None, lambda: Activity(in_flight=3, requests=7))
        loop.call_soon_threadsafe(channel.attach, listener)
        eventually(lambda: any(beat.in_flight == 3 for beat in supervisor.of(Beat)))
        beat = supervisor.of(Beat)[-1]
    assert beat.requests == 7
    assert beat.loop_age < 1
    assert beat.peak_memory_kb > 0


@pytest.mark.slow
def test_the_loop_age_grows_while_the_loop_is_blocked(supervisor):
    """The thread beats on; only the stamp grows old."""
    release = threading.Event()
    with channel_to(supervisor) as channel, running_loop() as loop:
        channel.connect()
        loop.call_soon_threadsafe(channel.attach, Listener(loop, print, print))
        loop.call_soon_threadsafe(release.wait)
        try:
            eventually(lambda: any(beat.loop_age > 1.5 for beat in supervisor.of(Beat)))
        finally:
            release.set()


def test_threads_are_told_by_the_control_thread(supervisor):
    """Nobody need listen yet: it is asked most where nothing else answers. The answer bears the question's id."""
    with channel_to(supervisor) as channel:
        channel.connect()
        supervisor.send(ListThreads(), request_id=5)
        eventually(lambda: 5 in supervisor.answers)
    names = {thread.name for thread in supervisor.answers[5].threads}
    assert {"MainThread", "xcore-control"} <= names


def test_a_listener_without_a_loop_is_called_by_the_control_thread(supervisor):
    """For who has no loop to be called in, or one that may be blocked; nothing is then watched either."""
    received = []
    with channel_to(supervisor) as channel:
        channel.connect()
        supervisor.send(Stop("operator", 1.0))
        eventually(lambda: channel._inbox._early)
        channel.attach(
            Listener(None, lambda message: received.append((message, threading.current_thread().name)), print)
        )
        supervisor.send(Stop("operator", 2.0))
        eventually(lambda: len(received) == 2)
        channel.beat()
        eventually(lambda: any(beat.loop_age == 0.0 for beat in supervisor.of(Beat)))
    assert received[1] == (Stop("operator", 2.0), "xcore-control")


def test_a_loop_can_be_watched_whoever_listens(supervisor):
    """Messages reach a listener while the loop that is watched stands still."""
    received = []
    release = threading.Event()
    with channel_to(supervisor) as channel, running_loop() as loop:
        channel.connect()
        channel.attach(Listener(None, received.append, print))
        loop.call_soon_threadsafe(channel.watch, loop)
        loop.call_soon_threadsafe(release.wait)
        try:
            eventually(lambda: channel._pulse.age > 0.05)
            supervisor.send(Stop("operator", 1.0))
            eventually(lambda: received == [Stop("operator", 1.0)])
        finally:
            release.set()


def test_messages_that_come_before_the_loop_are_kept(supervisor):
    """A Stop may arrive while the worker has not even begun to import."""
    received = []
    with channel_to(supervisor) as channel, running_loop() as loop:
        channel.connect()
        supervisor.send(Stop("operator", 1.0))
        eventually(lambda: channel._inbox._early)
        loop.call_soon_threadsafe(channel.attach, Listener(loop, received.append, print))
        eventually(lambda: received == [Stop("operator", 1.0)])
        supervisor.send(Stop("operator", 2.0))
        eventually(lambda: len(received) == 2)


def test_what_comes_in_one_piece_with_the_welcome_is_heard(supervisor):
    """Whoever asks again after a reconnect does so in the turn of the event loop that says welcome."""
    supervisor.behind_welcome = [Stop("operator", 1.0), Stop("operator", 2.0)]
    received = []
    with channel_to(supervisor) as channel:
        channel.connect()
        channel.attach(Listener(None, received.append, print))
        eventually(lambda: received == supervisor.behind_welcome)


def test_the_channel_comes_back_and_says_again_what_stands(supervisor):
    """The next supervisor learns that the worker is ready; progress that was made is no news."""
    with channel_to(supervisor) as channel:
        channel.connect()
        channel.send(Progress("import"))
        channel.send(Ready("fastapi"), standing=True)
        supervisor.wait_for(Ready)
        for connection in supervisor.connections:
            connection.shutdown(2)
        supervisor.wait_for(Hello, 2)
        supervisor.wait_for(Ready, 2)
    assert len(supervisor.of(Progress)) == 1


def test_a_last_word_waits_for_the_next_supervisor(supervisor):
    """A run that ends meanwhile would else be one that nobody knows the end of."""
    with channel_to(supervisor) as channel:
        channel.connect()
        supervisor.wait_for(Beat)
        supervisor.die()
        channel.send(Progress("the end"))
        said = threading.Thread(target=channel.deliver)
        said.start()
        supervisor.listen()
        supervisor.wait_for(Progress)
        said.join(10.0)
        assert not said.is_alive()


def test_a_last_word_waits_no_longer_than_somebody_may_come(supervisor):
    """After the grace there is nobody to be told."""
    killed = []
    with channel_to(supervisor, exit_process=killed.append) as channel:
        channel.connect()
        supervisor.wait_for(Beat)
        supervisor.die()
        channel.send(Progress("the end"))
        channel.deliver()
        assert supervisor.of(Progress) == []


def test_rubbish_from_the_supervisor_costs_the_connection_and_no_more(supervisor):
    """A malformed message ends the conversation, never the worker."""
    with channel_to(supervisor) as channel:
        channel.connect()
        supervisor.wait_for(Beat)
        supervisor.connections[-1].sendall(b"\x00\x00\x00\x01\xc1")
        supervisor.wait_for(Hello, 2)


def test_a_message_cut_in_pieces_is_whole(supervisor):
    """Bytes arrive as the kernel likes."""
    received = []
    frame = encode(Stop("operator", 1.0))
    with channel_to(supervisor) as channel, running_loop() as loop:
        channel.connect()
        loop.call_soon_threadsafe(channel.attach, Listener(loop, received.append, print))
        for number in range(len(frame)):
            supervisor.connections[-1].sendall(frame[number : number + 1])
        eventually(lambda: received == [Stop("operator", 1.0)])


def test_a_lost_supervisor_is_told_to_the_loop_after_the_grace(supervisor):
    """The guest gets time to end in order, and by closing the channel says that it has."""
    lost, killed = [], []
    with running_loop() as loop, channel_to(supervisor, exit_process=killed.append) as channel:
        channel.connect()
        loop.call_soon_threadsafe(channel.attach, Listener(loop, print, lost.append))
        supervisor.wait_for(Beat)
        died = time.monotonic()
        supervisor.die()
        eventually(lambda: lost)
        assert time.monotonic() - died >= SETTINGS.adopt_grace
    assert lost == [ExitCode.PARENT_LOST]
    assert killed == []


def test_a_guest_that_does_not_end_is_ended(supervisor, monkeypatch):
    """A loop that is blocked for good must not outlive everybody who could stop it."""
    monkeypatch.setattr(control, "LOST_GRACE", 0.1)
    killed = []
    with running_loop() as loop, channel_to(supervisor, exit_process=killed.append) as channel:
        channel.connect()
        loop.call_soon_threadsafe(channel.attach, Listener(loop, print, lambda _: None))
        supervisor.wait_for(Beat)
        supervisor.die()
        eventually(lambda: killed == [ExitCode.PARENT_LOST])


def test_a_guest_without_a_loop_is_ended_at_once(supervisor):
    """While it imports there is nobody to ask."""
    killed = []
    with channel_to(supervisor, exit_process=killed.append) as channel:
        channel.connect()
        supervisor.wait_for(Beat)
        supervisor.die()
        eventually(lambda: killed == [ExitCode.PARENT_LOST])


def test_a_supervisor_that_does_not_read_gets_no_heap_of_beats(supervisor, monkeypatch):
    """Beats all tell the same; they wait for room, and the thread does not spin meanwhile."""
    monkeypatch.setattr(control, "BEAT_INTERVAL", 0.01)
    release = threading.Event()
    take = supervisor._take

    def take_and_stop_reading(connection, message):
        take(connection, message)
        if isinstance(message, Progress):
            release.wait(10)

    supervisor._take = take_and_stop_reading
    with channel_to(supervisor) as channel:
        channel.connect()
        channel.send(Progress("import"))
        supervisor.wait_for(Progress)
        for _ in range(20):
            channel.send(Failed("import", "E", "x" * 100_000))
        before = time.process_time()
        eventually(lambda: len(channel._outbox._queue) > 5)
        threading.Event().wait(0.3)
        assert time.process_time() - before < 0.2
        assert len(channel._outbox._queue) <= 20
        release.set()
        supervisor.wait_for(Failed, 20)


def test_welcome_is_not_expected_twice(supervisor):
    """A message of the handshake after it is delivered like any other, and does no harm."""
    received = []
    with channel_to(supervisor) as channel, running_loop() as loop:
        channel.connect()
        loop.call_soon_threadsafe(channel.attach, Listener(loop, received.append, print))
        supervisor.send(Welcome(1))
        eventually(lambda: received == [Welcome(1)])
