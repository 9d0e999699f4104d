"""The gateway's end of the control channel."""

import asyncio
import contextlib
import os

import pytest
import uvloop

from gateway.control import ControlAddress, ControlChannel, Load
from gateway.errors import HandshakeRefusedError, OperationFailedError, SupervisorAwayError
from plugin_runtime.gateway_protocol import PluginTraffic, Traffic
from plugin_runtime.process_facts import peak_memory_kb, start_ticks
from plugin_runtime.protocol import Beat, Call, Error, Health, Hello, RoutingAck
from plugin_runtime.task_protocol import ListThreads, Threads
from plugin_runtime.wire import WireError
from tests.fakes.control_in_loop import ControlInLoop
from tests.fakes.waiting import settle, until


class Channel:
    """A channel and what it told its owner."""

    def __init__(self, path):
        self.received = []
        self.joined = 0
        self.channel = ControlChannel(
            ControlAddress(str(path), "gateway.1", "nonce"),
            received=self.received.append,
            joined=self._joined,
            load=lambda: Load(3, 17),
            traffic=lambda: Traffic({"hello": PluginTraffic(1, 2)}),
        )

    def _joined(self):
        self.joined += 1


@contextlib.asynccontextmanager
async def joined(path, grace=5.0, **fields):
    async with ControlInLoop(path) as supervisor:
        for name, value in fields.items():
            setattr(supervisor, name, value)
        owner = Channel(path)
        await owner.channel.open()
        task = asyncio.create_task(owner.channel.run(grace))
        try:
            yield supervisor, owner, task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def run(tmp_path, scenario, **fields):
    async def main():
        async with joined(tmp_path / "control.sock", **fields) as (supervisor, owner, task):
            await scenario(supervisor, owner, task)

    asyncio.run(main())


def test_the_handshake_proves_who_we_are_and_brings_the_settings(tmp_path):
    """pid, start ticks and the nonce that we were spawned with."""

    async def scenario():
        async with ControlInLoop(tmp_path / "c") as supervisor:
            channel = Channel(tmp_path / "c").channel
            settings = await channel.open()
            hello = await supervisor.wait_for(Hello)
            assert (hello.child, hello.pid, hello.nonce) == ("gateway.1", os.getpid(), "nonce")
            assert hello.start_ticks == start_ticks()
            assert settings == supervisor.settings
            await channel.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(("fields", "words"), [({"refuse": "no such child"}, "no such child"), ({"version": 99}, "99")])
def test_a_supervisor_that_does_not_want_us_says_why(tmp_path, fields, words):
    """The reason is for people."""

    async def scenario():
        async with ControlInLoop(tmp_path / "c") as supervisor:
            for name, value in fields.items():
                setattr(supervisor, name, value)
            with pytest.raises(HandshakeRefusedError, match=words):
                await Channel(tmp_path / "c").channel.open()

    asyncio.run(scenario())


def test_an_answer_that_is_no_welcome_is_an_error(tmp_path):
    """Not a supervisor of ours."""

    async def answer(reader, writer):
        writer.write(b"\0\0\0\1x")
        await reader.read()
        writer.close()

    async def scenario():
        async with await asyncio.start_unix_server(answer, tmp_path / "c"):
            with pytest.raises(WireError):
                await Channel(tmp_path / "c").channel.open()
            await settle()

    asyncio.run(scenario())


def test_messages_that_come_with_the_welcome_are_not_lost(tmp_path):
    """Supervisors push at once, and one read may hold it all."""

    async def scenario(supervisor, owner, _):
        await until(lambda: owner.received == [Health("ok"), Health("degraded")])
        assert owner.joined == 1

    run(tmp_path, scenario, push=[Health("ok"), Health("degraded")])


def test_calls_are_answered_each_by_its_own_result(tmp_path):
    """Several at a time, in any order."""

    async def scenario(supervisor, owner, _):
        supervisor.answers = {"one": 1, "two": {"a": [2]}}
        calls = (owner.channel.call(name, {"x": name}, actor="token:ci") for name in ("two", "one"))
        assert await asyncio.gather(*calls) == [{"a": [2]}, 1]
        assert Call("one", {"x": "one"}, "token:ci") in supervisor.messages

    run(tmp_path, scenario)


def test_a_failed_operation_carries_the_supervisor_s_words(tmp_path):
    """Type, message, extension and status."""

    async def scenario(supervisor, owner, _):
        supervisor.answers = {"x": Error("UnknownName", "no such", {"hint": "h"}, 404)}
        with pytest.raises(OperationFailedError) as caught:
            await owner.channel.call("x", actor="a")
        error = caught.value
        assert (error.type, error.message, error.extension, error.status) == (
            "UnknownName",
            "no such",
            {"hint": "h"},
            404,
        )

    run(tmp_path, scenario)


def test_a_call_without_an_answer_ends_in_time(tmp_path):
    """And an answer that comes later hurts nobody."""

    async def scenario(supervisor, owner, _):
        with pytest.raises(SupervisorAwayError, match=r"0\.02 s"):
            await owner.channel.call("never", actor="a", timeout=0.02)
        supervisor.send(Error("Late", "late"), 1)
        supervisor.answers = {"one": 1}
        assert await owner.channel.call("one", actor="a") == 1

    run(tmp_path, scenario)


def test_calls_fail_at_once_when_the_supervisor_dies_and_while_it_is_away(tmp_path):
    """503 for the admin interface, while plugins are served on."""

    async def scenario(supervisor, owner, _):
        call = asyncio.create_task(owner.channel.call("never", actor="a"))
        await supervisor.wait_for(Call)
        await supervisor.die()
        with pytest.raises(SupervisorAwayError, match="went away"):
            await call
        assert not owner.channel.connected
        with pytest.raises(SupervisorAwayError, match="is away"):
            await owner.channel.call("one", actor="a")
        assert owner.channel.send(RoutingAck(1)) is False

    run(tmp_path, scenario)


@pytest.mark.slow
def test_a_call_in_the_moment_of_the_supervisor_s_death_is_no_failure_of_the_gateway(tmp_path):
    """The connection is closed, and whoever reads from it has not been told yet: uvloop raises at once, asyncio not."""

    async def main():
        async with joined(tmp_path / "control.sock") as (_, owner, _):
            connection = owner.channel._connection
            connection.close()
            await asyncio.sleep(0)
            owner.channel._connection = connection
            with pytest.raises(SupervisorAwayError, match="went away"):
                await owner.channel.call("plugins.list", actor="token:ci", timeout=5.0)
            owner.channel._connection = connection
            assert not owner.channel.send(RoutingAck(1))
            owner.channel._connection = None

    uvloop.run(main())


def test_a_supervisor_that_comes_back_is_joined_again(tmp_path):
    """Its successor adopts us; what we owe it is said anew by our owner."""

    async def scenario(supervisor, owner, _):
        await until(lambda: owner.joined == 1)
        await supervisor.die()
        await supervisor.listen()
        await until(lambda: owner.joined == 2)
        supervisor.answers = {"one": 1}
        assert await owner.channel.call("one", actor="a") == 1

    run(tmp_path, scenario)


@pytest.mark.slow
def test_without_a_supervisor_for_longer_than_the_grace_the_channel_ends(tmp_path):
    """The gateway then drains and exits: somebody else may own its port by now."""

    async def scenario(supervisor, owner, task):
        await supervisor.die()
        assert "no supervisor for 0.2 s" in await task

    run(tmp_path, scenario, grace=0.2)


@pytest.mark.slow
def test_a_new_supervisor_that_refuses_us_ends_the_channel(tmp_path):
    """It does not know us; knocking on would not change that."""

    async def scenario(supervisor, owner, task):
        await supervisor.die()
        supervisor.refuse = "unknown child"
        await supervisor.listen()
        with pytest.raises(HandshakeRefusedError, match="unknown child"):
            await task

    run(tmp_path, scenario)


@pytest.mark.slow
def test_threads_are_told_by_the_loop(tmp_path):
    """The answer goes to the supervisor that asked, with the id of its question."""

    async def scenario(supervisor, owner, task):
        supervisor.send(ListThreads(), request_id=9)
        threads = (await supervisor.wait_for(Threads)).threads
        assert supervisor.answered == [9]
        assert any(thread.name == "MainThread" and thread.native == os.getpid() for thread in threads)
        assert owner.received == []

    run(tmp_path, scenario)


def test_a_beat_tells_every_second_what_we_do(tmp_path):
    """Silence for long means that our loop is stuck."""

    async def scenario(supervisor, owner, _):
        beat = await supervisor.wait_for(Beat)
        assert (beat.in_flight, beat.requests) == (3, 17)
        assert 0 <= beat.loop_age < 1
        assert beat.peak_memory_kb == pytest.approx(peak_memory_kb(), rel=0.2)

    run(tmp_path, scenario)


def test_news_of_requests_come_with_a_beat(tmp_path):
    """Plugin by plugin; what has not changed is not said again."""

    async def scenario(supervisor, owner, _):
        assert await supervisor.wait_for(Traffic) == Traffic({"hello": PluginTraffic(1, 2)})

    run(tmp_path, scenario)


def test_the_nonce_is_taken_out_of_the_environment():
    """Nothing that we start may inherit it; it is not printed either."""
    environment = {"XCORE_CONTROL": "/c", "XCORE_CHILD": "gateway.1", "XCORE_NONCE": "n"}
    address = ControlAddress.take_from(environment)
    assert environment == {"XCORE_CHILD": "gateway.1"}
    assert "'n'" not in repr(address)
    with pytest.raises(KeyError):
        ControlAddress.take_from(environment)
