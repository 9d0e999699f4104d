"""Who gets the listening socket of a gateway, and who does not."""

import asyncio
import logging
import os
import socket
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway import handover
from gateway.handover import MOST_CALLERS, Handover
from tests.fakes.waiting import until


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


class Scene:
    """A handover at ``path`` that lends a listening socket, and callers."""

    def __init__(self, path):
        self.path = path
        self.door = socket.create_server(("127.0.0.1", 0))
        self.callers = []

    @asynccontextmanager
    async def serving(self, patience):
        with self.door:
            serving = asyncio.create_task(Handover(str(self.path), "nonce", [self.door], patience=patience).serve())
            await until(self.path.exists, "it listens")
            try:
                yield self
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
                for caller in self.callers:
                    caller.close()

    async def call(self, *words):
        caller = socket.socket(socket.AF_UNIX)
        self.callers.append(caller)
        caller.setblocking(False)
        await asyncio.get_running_loop().sock_connect(caller, str(self.path))
        for word in words:
            caller.sendall(word)
            await asyncio.sleep(0)
        return caller

    async def answer(self, caller):
        """All of its answer, and the ports of the sockets that came with it."""
        caller.settimeout(5)
        answer, descriptors, _, _ = await asyncio.to_thread(socket.recv_fds, caller, 64, 16)
        ports = []
        for descriptor in descriptors:
            with socket.socket(fileno=descriptor) as door:
                ports.append(door.getsockname()[1])
        return answer, ports

    async def is_closed(self, caller):
        """Whether it was closed without a word."""
        caller.settimeout(5)
        try:
            return await asyncio.to_thread(caller.recv, 64) == b""
        except ConnectionResetError:  # it had said more than was read
            return True


def run(tmp_path, scenario, patience=5.0):
    async def main():
        async with Scene(tmp_path / "t.door").serving(patience) as at:
            await scenario(at)

    asyncio.run(main())


@pytest.mark.parametrize("words", [[b"nonce\n"], [b"no", b"nce", b"\n"]], ids=["at once", "in pieces"])
def test_who_knows_the_nonce_gets_the_door_in_one_message(tmp_path, words):
    """However the bytes arrive; as often as it asks."""

    async def scenario(at):
        port = at.door.getsockname()[1]
        for _ in range(2):
            assert await at.answer(await at.call(*words)) == (b"door\n", [port])

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    "words", [b"\n", b"nonse\n", b"nonc\n", b"noncence\n", b"nonce ", b"\xff" * 1000, b"nonce\r\n"]
)
def test_who_says_anything_else_is_closed_without_a_word(tmp_path, words):
    """And the next one is served."""

    async def scenario(at):
        assert await at.is_closed(await at.call(words))
        assert (await at.answer(await at.call(b"nonce\n")))[0] == b"door\n"

    run(tmp_path, scenario)


def test_who_hangs_up_before_the_nonce_is_whole_gets_nothing(tmp_path):
    """Half a secret is none."""

    async def scenario(at):
        caller = await at.call(b"nonce")
        caller.shutdown(socket.SHUT_WR)
        assert await at.is_closed(caller)

    run(tmp_path, scenario)


def test_who_says_nothing_is_closed_when_its_time_is_over(tmp_path):
    """It holds a descriptor of a gateway that has better use for it."""

    async def scenario(at):
        assert await at.is_closed(await at.call())
        assert await at.is_closed(await at.call(b"non"))

    run(tmp_path, scenario, patience=0.02)


def test_another_user_is_closed_without_a_word(tmp_path, monkeypatch):
    """The file's mode and the folder's keep others out already; the kernel's word is the second lock."""
    monkeypatch.setattr(handover, "_uid_of", lambda caller: os.geteuid() + 1)

    async def scenario(at):
        assert await at.is_closed(await at.call(b"nonce\n"))

    run(tmp_path, scenario)


def test_callers_that_say_nothing_keep_the_supervisor_out_for_no_longer_than_their_time(tmp_path):
    """A crowd of them is let in a few at a time."""

    async def scenario(at):
        for _ in range(MOST_CALLERS):
            await at.call()
        assert (await at.answer(await at.call(b"nonce\n")))[0] == b"door\n"

    run(tmp_path, scenario, patience=0.05)


def test_nothing_is_left_of_any_caller(tmp_path):
    """No descriptor, and at the end no file."""

    async def scenario(at):
        await at.answer(await at.call(b"nonce\n"))
        at.callers.pop().close()
        before = descriptors()
        for words in (b"nonce\n", b"nonsense\n", b"") * 5:
            (await at.call(words)).close()
        at.callers.clear()
        await until(lambda: descriptors() <= before, "all are closed")
        assert at.path.stat().st_mode & 0o777 == 0o600

    run(tmp_path, scenario)
    assert not (tmp_path / "t.door").exists()


def test_where_it_cannot_listen_it_says_what_is_lost(tmp_path, caplog):
    """The gateway serves all the same."""
    caplog.set_level(logging.WARNING)
    asyncio.run(Handover(str(tmp_path / "none" / "t.door"), "nonce", []).serve())
    assert "no other supervisor will get this door" in caplog.text
