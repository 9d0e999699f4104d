"""The control socket's server, over real Unix sockets."""

import asyncio
import os
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest

from plugin_runtime.process_facts import start_ticks
from plugin_runtime.protocol import PROTOCOL_VERSION, Beat, Hello, Ready, Refused, Stop, Welcome
from plugin_runtime.wire import Decoder, Envelope, encode
from supervisor.channels.control import ControlServer, Expected
from tests.fakes.waiting import DEADLINE, until

NONCE = "secret"


class RecordingListener:
    """What a child would be told."""

    def __init__(self):
        self.connection = None
        self.messages = []
        self.closed = 0

    def connected(self, connection):
        self.connection = connection

    def received(self, envelope):
        self.messages.append(envelope)

    def disconnected(self, connection):
        self.closed += 1


class Guest:
    """A child's end of one connection."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self._decoder = Decoder()

    def say(self, *messages):
        self.writer.write(b"".join(encode(message) for message in messages))

    async def hear(self):
        """The next message; None when the supervisor closed the connection."""
        while data := await asyncio.wait_for(self.reader.read(65536), DEADLINE):
            if envelopes := self._decoder.feed(data):
                return envelopes[0].message
        return None


class Scene:
    """A server that expects this process as child ``hello.1``."""

    def __init__(self, path, **options):
        self.path = path
        self.server = ControlServer(path, **options)
        self.listener = RecordingListener()
        self._guests = []

    def expect(self, child="hello.1", **fields):
        defaults = {
            "pid": os.getpid(),
            "start_ticks": start_ticks(),
            "nonce": NONCE,
            "settings": {"answer": 42},
            "listener": self.listener,
        }
        self.server.expect(child, Expected(**{**defaults, **fields}))

    async def connect(self) -> Guest:
        guest = Guest(*await asyncio.open_unix_connection(str(self.path)))
        self._guests.append(guest)
        return guest

    async def join(self) -> Guest:
        guest = await self.connect()
        guest.say(hello())
        assert isinstance(await guest.hear(), Welcome)
        return guest

    async def close(self):
        await self.server.close()
        for guest in self._guests:
            guest.writer.close()
        await asyncio.sleep(0)


def hello(**fields):
    defaults = {
        "version": PROTOCOL_VERSION,
        "child": "hello.1",
        "pid": os.getpid(),
        "start_ticks": start_ticks(),
        "nonce": NONCE,
        "python": "3.12.1",
    }
    return Hello(**{**defaults, **fields})


@asynccontextmanager
async def scene(tmp_path, **options):
    made = Scene(tmp_path / "control.sock", **options)
    await made.server.start()
    made.expect()
    try:
        yield made
    finally:
        await made.close()


def test_a_child_that_proves_itself_gets_its_settings(tmp_path):
    """Pid by the kernel's word, start ticks and nonce; then both sides may talk."""

    async def main():
        async with scene(tmp_path) as at:
            guest = await at.connect()
            guest.say(hello())
            assert await guest.hear() == Welcome(PROTOCOL_VERSION, {"answer": 42})
            assert at.listener.connection.hello.python == "3.12.1"
            guest.say(Beat(0.5), Ready())
            await until(lambda: len(at.listener.messages) == 2, "both messages arrived")
            assert at.listener.messages == [Envelope(Beat(0.5)), Envelope(Ready())]
            at.listener.connection.send(Stop("operator", 1.0))
            assert await guest.hear() == Stop("operator", 1.0)
            guest.writer.close()
            await until(lambda: at.listener.closed, "the child is known to be gone")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"nonce": "guessed"}, "this process is not child 'hello.1'"),
        ({"nonce": ""}, "this process is not child 'hello.1'"),
        ({"nonce": "sécret"}, "this process is not child 'hello.1'"),
        ({"pid": 1}, "this process is not child 'hello.1'"),
        ({"start_ticks": 1}, "this process is not child 'hello.1'"),
        ({"child": "other.1"}, "no child 'other.1' is expected"),
        ({"version": PROTOCOL_VERSION + 1}, "restart the supervisor with this version of xcore"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_whoever_is_not_the_child_is_refused_with_a_reason(tmp_path, fields, reason):
    """No worker speaks for another: every part of the proof counts."""

    async def main():
        async with scene(tmp_path) as at:
            guest = await at.connect()
            guest.say(hello(**fields), hello())  # trying again on the same connection does not help
            answer = await guest.hear()
            assert isinstance(answer, Refused)
            assert reason in answer.reason
            assert await guest.hear() is None
            assert at.listener.connection is None

    asyncio.run(main())


@pytest.mark.process
@pytest.mark.slow
def test_another_process_cannot_use_a_stolen_nonce(tmp_path):
    """It says the right pid, but the kernel says who it is."""
    thief = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.sendall(bytes.fromhex(sys.argv[2])); sys.stdout.buffer.write(s.recv(65536))"
    )

    async def main():
        async with scene(tmp_path) as at:
            command = [sys.executable, "-I", "-S", "-c", thief, str(at.path), encode(hello()).hex()]
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=DEADLINE)
            (answer,) = Decoder().feed(done.stdout)
            assert answer.message == Refused("this process is not child 'hello.1'")

    asyncio.run(main())


def test_a_silent_connection_is_cut_at_the_deadline(tmp_path):
    """It holds a descriptor of ours; one that has said hello may be silent for ever."""

    async def main():
        async with scene(tmp_path, handshake_timeout=0.1) as at:
            joined = await at.join()
            silent = await at.connect()
            assert not await asyncio.wait_for(silent.reader.read(), DEADLINE)
            joined.say(Ready())
            await until(lambda: at.listener.messages, "the other one is still heard")

    asyncio.run(main())


@pytest.mark.parametrize(
    "garbage",
    [b"\xff\xff\xff\xff", b"\0\0\0\1\xc1", b"\0\0\0\0", encode(Ready())],
    ids=["too long", "no msgpack", "empty", "no hello"],
)
def test_garbage_closes_only_its_own_connection(tmp_path, garbage, caplog):
    """Row 68: that connection is dropped, nobody else notices."""

    async def main():
        async with scene(tmp_path) as at:
            good = await at.join()
            bad = await at.connect()
            bad.writer.write(garbage)
            assert await bad.hear() is None
            good.say(Ready())
            await until(lambda: at.listener.messages, "the other one is heard")
            assert at.listener.closed == 0

    asyncio.run(main())
    assert "Closing the control channel of pid" in caplog.text


def test_garbage_after_the_handshake_is_a_disconnect(tmp_path):
    """The child may come back; what it said before was heard."""

    async def main():
        async with scene(tmp_path) as at:
            guest = await at.join()
            guest.say(Ready())
            await until(lambda: at.listener.messages, "it was heard")
            guest.writer.write(b"\xff\xff\xff\xff")
            assert await guest.hear() is None
            assert (len(at.listener.messages), at.listener.closed) == (1, 1)
            await at.join()
            assert at.listener.connection is not None

    asyncio.run(main())


def test_a_forgotten_child_cannot_come_back(tmp_path):
    """Nor can a late ``forget`` take the next incarnation's place away."""

    async def main():
        async with scene(tmp_path) as at:
            at.server.forget("hello.1", "the one before")
            await at.join()
            at.server.forget("hello.1", NONCE)
            guest = await at.connect()
            guest.say(hello())
            assert await guest.hear() == Refused("no child 'hello.1' is expected")

    asyncio.run(main())


def test_two_of_one_name_are_told_apart_by_nonce_and_pid(tmp_path):
    """A successor has the name of the one that it replaces: each speaks for itself, with settings of its own."""

    async def main():
        async with scene(tmp_path) as at:
            successor = RecordingListener()
            at.expect(nonce="next", settings={"answer": 43}, listener=successor)
            at.expect(nonce="elsewhere", pid=1)
            former, guest, thief = await at.join(), await at.connect(), await at.connect()
            guest.say(hello(nonce="next"), Beat(1.0))
            assert await guest.hear() == Welcome(PROTOCOL_VERSION, {"answer": 43})
            former.say(Beat(2.0))
            await until(lambda: at.listener.messages and successor.messages, "both are heard")
            assert (at.listener.messages, successor.messages) == ([Envelope(Beat(2.0))], [Envelope(Beat(1.0))])
            thief.say(hello(nonce="elsewhere"))
            assert await thief.hear() == Refused("this process is not child 'hello.1'")

    asyncio.run(main())


def test_forgetting_one_of_two_leaves_the_other(tmp_path):
    """The old process is dead, the new one may come back."""

    async def main():
        async with scene(tmp_path) as at:
            at.expect(nonce="next")
            at.server.forget("hello.1", NONCE)
            former, guest = await at.connect(), await at.connect()
            former.say(hello())
            assert await former.hear() == Refused("this process is not child 'hello.1'")
            guest.say(hello(nonce="next"))
            assert isinstance(await guest.hear(), Welcome)

    asyncio.run(main())


def test_a_process_that_speaks_before_it_is_known_waits_for_its_answer(tmp_path):
    """What a template forked may be faster than the template's word that it did."""

    async def main():
        async with scene(tmp_path) as at:
            with at.server.birth("hello.2", "newborn"):
                guest, stranger = await at.connect(), await at.connect()
                guest.say(hello(child="hello.2", nonce="newborn"))
                stranger.say(hello(child="hello.2", nonce="guessed"))
                assert await stranger.hear() == Refused("no child 'hello.2' is expected")
                at.expect(child="hello.2", nonce="newborn")
                assert at.listener.connection is None
            assert isinstance(await guest.hear(), Welcome)
            guest.say(Ready())
            await until(lambda: at.listener.messages, "it is heard")

    asyncio.run(main())


def test_a_survivor_waits_for_its_answer_until_it_is_taken_over(tmp_path):
    """It outlived its supervisor; the next one does not know yet what becomes of it."""
    survivors = {("hello.2", "old"), ("hello.3", "old")}

    async def main():
        async with scene(tmp_path, may_be_expected=lambda *child: child in survivors) as at:
            wanted, unwanted, stranger = await at.connect(), await at.connect(), await at.connect()
            wanted.say(hello(child="hello.2", nonce="old"))
            unwanted.say(hello(child="hello.3", nonce="old"))
            stranger.say(hello(child="hello.2", nonce="guessed"))
            assert await stranger.hear() == Refused("no child 'hello.2' is expected")
            survivors.discard(("hello.2", "old"))
            at.expect(child="hello.2", nonce="old")
            assert at.listener.connection is None  # whoever expects it is not done yet
            assert isinstance(await wanted.hear(), Welcome)
            survivors.clear()
            at.server.answer_early()
            assert await unwanted.hear() == Refused("no child 'hello.3' is expected")

    asyncio.run(main())


def test_a_guest_of_the_version_before_is_spoken_to_in_its_own(tmp_path, monkeypatch):
    """An upgrade replaces the supervisor first: what runs goes on with the protocol that it knows."""
    monkeypatch.setattr("supervisor.channels.control.PROTOCOL_VERSION", PROTOCOL_VERSION + 1)
    monkeypatch.setattr("supervisor.channels.control.ACCEPTED_VERSIONS", {PROTOCOL_VERSION, PROTOCOL_VERSION + 1})

    async def main():
        async with scene(tmp_path) as at:
            guest = await at.connect()
            guest.say(hello())
            assert await guest.hear() == Welcome(PROTOCOL_VERSION, {"answer": 42})

    asyncio.run(main())


def test_a_process_that_is_not_claimed_is_refused_at_the_end_of_its_birth(tmp_path):
    """The fork came too late, and another process has its place; nor does anybody wait for one that has gone."""

    async def main():
        async with scene(tmp_path) as at:
            with at.server.birth("hello.1", "newborn"):
                late, gone, last = await at.connect(), await at.connect(), await at.connect()
                for guest in (late, gone):
                    guest.say(hello(nonce="newborn"))
                gone.writer.close()
                last.say(hello(nonce="guessed"))
                await last.hear()
                at.expect(nonce="newborn", pid=1)
            assert await late.hear() == Refused("this process is not child 'hello.1'")
            assert at.listener.connection is None

    asyncio.run(main())


def test_a_child_that_does_not_read_is_cut_off(tmp_path, monkeypatch, caplog):
    """What waits for it is bounded; it is told anew when it is back."""
    monkeypatch.setattr("supervisor.channels.control.SEND_BUFFER_LIMIT", 1024 * 1024)

    async def main():
        async with scene(tmp_path) as at:
            await at.join()
            message = Stop("x" * 100_000, 1.0)
            for _ in range(100):
                at.listener.connection.send(message)
            await until(lambda: at.listener.closed, "it is cut off")
            at.listener.connection.send(message)  # into the void

    asyncio.run(main())
    assert "it does not read" in caplog.text


def test_only_the_owner_may_connect_and_nothing_is_left_at_the_end(tmp_path):
    """The socket is 0600, replaces a stale one, and goes."""
    path = tmp_path / "control.sock"
    path.touch()

    async def main():
        async with scene(tmp_path) as at:
            assert path.stat().st_mode & 0o777 == 0o600
            await at.join()

    asyncio.run(main())
    assert not path.exists()
