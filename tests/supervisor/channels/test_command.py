"""The command socket's server: the operator is served, our own processes are not."""

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest

from plugin_runtime.protocol import Call, Error, Ready, Result
from plugin_runtime.wire import Decoder, encode
from supervisor.channels.command import CommandServer
from tests.fakes.processes import CHILDREN
from tests.fakes.waiting import DEADLINE, until


class Scene:
    """A server whose operations the test lets go."""

    def __init__(self, path):
        self.path = path
        self.calls = []
        self.answers = asyncio.Event()
        self.server = CommandServer(path, self.perform)

    async def perform(self, call):
        self.calls.append(call)
        if call.operation == "wait":
            await self.answers.wait()
        return Result(call.arguments)


@asynccontextmanager
async def scene(tmp_path):
    made = Scene(tmp_path / "command.sock")
    await made.server.start()
    try:
        yield made
    finally:
        await made.server.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def connected(path):
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


async def hear(reader):
    decoder = Decoder()
    while data := await asyncio.wait_for(reader.read(65536), DEADLINE):
        if envelopes := decoder.feed(data):
            return envelopes[0]
    return None


def test_the_operator_is_answered_on_one_connection_again_and_again(tmp_path):
    """Whoever may open the socket is the operator; answers carry the id of the question."""

    async def main():
        async with scene(tmp_path) as at, connected(at.path) as (reader, writer):
            for number in (5, 6):
                writer.write(encode(Call("ping", {"n": number}, "operator"), number))
                envelope = await hear(reader)
                assert (envelope.id, envelope.message) == (number, Result({"n": number}))
        assert [call.actor for call in at.calls] == ["operator", "operator"]

    asyncio.run(main())


@pytest.mark.process
@pytest.mark.slow
def test_a_process_of_ours_is_refused(tmp_path):
    """Row 70: plugins are not operators, however deep below us they were started."""

    async def main():
        async with scene(tmp_path) as at:
            script = [sys.executable, "-I", str(CHILDREN / "commands.py"), str(at.path)]
            for command in (script, ["/bin/sh", "-c", '"$0" "$@"; exit 0', *script]):
                done = await asyncio.to_thread(
                    subprocess.run, command, capture_output=True, text=True, timeout=DEADLINE
                )
                assert done.stdout.startswith("Error 403 processes that xcore runs cannot command it"), done.stderr
            assert at.calls == []

    asyncio.run(main())


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", encode(Ready(), 1)], ids=["no frame", "no call"])
def test_garbage_closes_only_its_own_connection(tmp_path, garbage, caplog):
    """The next one is served."""

    async def main():
        async with scene(tmp_path) as at:
            async with connected(at.path) as (reader, writer):
                writer.write(garbage)
                assert await hear(reader) is None
            async with connected(at.path) as (reader, writer):
                writer.write(encode(Call("ping"), 1))
                assert isinstance((await hear(reader)).message, Result)

    asyncio.run(main())
    assert "Closing a connection of the command socket" in caplog.text


def test_an_answer_that_cannot_be_sent_is_an_error(tmp_path):
    """Not a closed connection, which would look as if nobody ran."""

    async def main():
        async with scene(tmp_path) as at, connected(at.path) as (reader, writer):
            at.server._perform = lambda call: asyncio.sleep(0, Result({1, 2}))
            writer.write(encode(Call("ping"), 3))
            envelope = await hear(reader)
            assert (envelope.id, type(envelope.message)) == (3, Error)

    asyncio.run(main())


def test_one_slow_operation_holds_up_no_other_and_no_end(tmp_path):
    """Every connection is a conversation of its own; close does not wait for answers."""

    async def main():
        async with scene(tmp_path) as at, connected(at.path) as (_, slow), connected(at.path) as (reader, writer):
            slow.write(encode(Call("wait"), 1))
            await until(lambda: at.calls, "the slow one has begun")
            writer.write(encode(Call("ping"), 1))
            assert isinstance((await hear(reader)).message, Result)
            await asyncio.wait_for(at.server.close(), DEADLINE)
            assert not at.path.exists()
            assert await hear(reader) is None

    asyncio.run(main())


def test_the_socket_is_the_owners_alone(tmp_path):
    """0600, and a stale one is replaced."""
    (tmp_path / "command.sock").touch()

    async def main():
        async with scene(tmp_path) as at:
            assert at.path.stat().st_mode & 0o777 == 0o600

    asyncio.run(main())


def test_an_operation_under_way_is_answered_at_the_end(tmp_path):
    """The order to stop everything is one: who gave it must not take us for gone before."""

    async def main():
        async with scene(tmp_path) as at, connected(at.path) as (reader, writer):
            writer.write(encode(Call("wait", {}, "operator"), 7))
            await until(lambda: at.calls, "it has been asked")
            closing = asyncio.create_task(at.server.close())
            await asyncio.sleep(0)
            at.answers.set()
            envelope = await hear(reader)
            assert (envelope.id, envelope.message) == (7, Result({}))
            await closing

    asyncio.run(main())
