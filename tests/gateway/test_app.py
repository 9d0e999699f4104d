"""A whole gateway process: what the supervisor, clients and signals make of it."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from plugin_runtime.link import LinkServer
from plugin_runtime.protocol import (
    ENV_CHILD,
    ENV_CONTROL,
    ENV_NONCE,
    Beat,
    Caller,
    ExitCode,
    Failed,
    GatewaySettings,
    Health,
    Hello,
    PluginHealth,
    Ready,
    Route,
    RoutingAck,
    RoutingSnapshot,
    Stop,
    TokenTable,
    Upstream,
    UpstreamDied,
    UpstreamLost,
)
from tests.fakes.control_in_loop import ControlInLoop
from tests.fakes.gateway_process import Client, respond
from tests.fakes.tokens import token_record
from tests.fakes.waiting import until

pytestmark = [pytest.mark.process, pytest.mark.slow]

START = 20.0
"""Seconds for a gateway process to be ready; most of it imports FastAPI, on a busy machine."""


class Hall:
    """A gateway process between a supervisor and a worker that both live in the test's event loop."""

    def __init__(self, folder, options, grace):
        self.folder = folder
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.set_inheritable(True)
        self.port = self.listener.getsockname()[1]
        self.door = folder / "gateway.door"
        self.local = socket.socket(socket.AF_UNIX)
        self.local.bind(str(folder / "local.sock"))
        self.local.listen()
        self.local.set_inheritable(True)
        settings = GatewaySettings(
            self.listener.fileno(),
            f"http://127.0.0.1:{self.port}",
            options,
            grace,
            "1.0",
            str(self.door),
            self.local.fileno(),
        )
        self.supervisor = ControlInLoop(folder / "control.sock", settings)
        self.workers = []
        self.clients = []
        self.process = None

    async def start(self):
        environment = {
            "PATH": os.environ["PATH"],
            ENV_CONTROL: str(self.supervisor.path),
            ENV_CHILD: "gateway.1",
            ENV_NONCE: "nonce",
        }
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway",
            env=environment,
            pass_fds=[self.listener.fileno(), self.local.fileno()],
            stderr=asyncio.subprocess.PIPE,
        )

    async def ready(self, count=1):
        async with asyncio.timeout(START):
            while len(self.supervisor.of(Ready)) < count:
                assert self.process.returncode is None, (await self.process.stderr.read()).decode()
                await asyncio.sleep(0.01)

    async def worker(self, app, incarnation="hello.1:1"):
        path = str(self.folder / f"{incarnation}.link")
        server = LinkServer(app, path=path, secret=b"secret", prefix="/hello")
        await server.start()
        self.workers.append(server)
        return Upstream("hello.1", incarnation, path, b"secret")

    async def client(self):
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        return client

    async def caller(self):
        """A connection to the local side."""
        client = Client(*await asyncio.open_unix_connection(self.local.getsockname()))
        self.clients.append(client)
        return client

    async def ended(self, seconds=10.0):
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    async def close(self):
        for client in self.clients:
            client.close()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()
        for worker in self.workers:
            await worker.close()
        self.listener.close()
        self.local.close()


def run(tmp_path, scenario, *, options=None, grace=5.0, app=None, push=True):
    async def main():
        hall = Hall(tmp_path, options or {}, grace)
        async with hall.supervisor:
            upstreams = [await hall.worker(app or hello)]
            if push:
                hall.supervisor.push = [
                    TokenTable([token_record("secret", "superadmin")]),
                    Health("ok", {"hello": PluginHealth("running", 1, 1, 0)}),
                    RoutingSnapshot(1, [Route("hello", "/hello", upstreams)], [Caller("shop", "t1:secret")]),
                ]
            await hall.start()
            try:
                await scenario(hall)
            finally:
                await hall.close()

    asyncio.run(main())


async def hello(scope, receive, send):
    await respond(send, b"hello", fields=[(b"content-length", b"5")])


def test_a_gateway_serves_plugins_and_the_admin_interface_and_stops_when_told(tmp_path):
    """Ready comes after the first routing table and when it listens; Stop ends it with 0."""

    async def scenario(hall):
        await hall.ready()
        assert RoutingAck(1) in hall.supervisor.messages
        client = await hall.client()
        assert (await client.ask("/hello")).body == b"hello"
        assert (await client.ask("/health")).json()["status"] == "ok"
        hall.supervisor.answers["plugins.list"] = []
        assert (await client.ask("/admin/plugins")).status == 401
        answer = await client.ask("/admin/plugins", fields=["authorization: Bearer secret"])
        assert (answer.status, answer.json()) == (200, [])
        await hall.supervisor.wait_for(Beat)
        hall.supervisor.send(Stop("shutdown", 5.0))
        assert await hall.ended() == ExitCode.OK

    run(tmp_path, scenario)


@pytest.mark.parametrize("how", ["Stop", "SIGTERM"])
def test_requests_in_flight_are_finished_before_the_end(tmp_path, how):
    """New connections are refused by us; the others that hold the socket take them."""
    go_on = asyncio.Event()
    begun = asyncio.Event()

    async def slow(scope, receive, send):
        begun.set()
        await go_on.wait()
        await respond(send, b"done", fields=[(b"content-length", b"4")])

    async def scenario(hall):
        await hall.ready()
        busy, idle = await hall.client(), await hall.client()
        assert (await idle.ask("/health")).status == 200
        busy.write("/hello")
        await begun.wait()
        if how == "Stop":
            hall.supervisor.send(Stop("shutdown", 10.0))
            assert await idle.reader.read() == b""
        else:
            hall.process.send_signal(signal.SIGTERM)
            idle.close()  # it would be waited for
        go_on.set()
        response = await busy.read_response()
        assert (response.body, response.complete) == (b"done", True)
        assert await hall.ended() == ExitCode.OK

    run(tmp_path, scenario, app=slow)


def test_calls_of_plugins_are_served_until_the_requests_in_flight_are_finished(tmp_path):
    """They may lead to calls up to their last moment."""
    go_on = asyncio.Event()
    begun = asyncio.Event()

    async def slow(scope, receive, send):
        if "caller" not in scope["state"]["xcore"]:
            begun.set()
            await go_on.wait()
        await respond(send, b"done", fields=[(b"content-length", b"4")])

    async def scenario(hall):
        await hall.ready()
        busy = await hall.client()
        busy.write("/hello")
        await begun.wait()
        hall.supervisor.send(Stop("shutdown", 10.0))
        await until(lambda: not hall.door.exists(), "it drains")
        assert (await (await hall.caller()).ask("/~hello/", fields=["x-xcore-key: t1:secret"])).body == b"done"
        assert (await (await hall.caller()).ask("/~hello/")).status == 403
        go_on.set()
        assert (await busy.read_response()).body == b"done"
        assert await hall.ended() == ExitCode.OK

    run(tmp_path, scenario, app=slow)


@pytest.mark.parametrize("how", ["Stop", "SIGTERM"])
def test_a_call_of_a_gateway_that_is_replaced_is_finished(tmp_path, how):
    """As a request is; the next one goes to whoever accepts in its place."""
    go_on = asyncio.Event()
    begun = asyncio.Event()

    async def slow(scope, receive, send):
        begun.set()
        await go_on.wait()
        await respond(send, b"done", fields=[(b"content-length", b"4")])

    async def scenario(hall):
        await hall.ready()
        caller = await hall.caller()
        caller.write("/~hello/", fields=["x-xcore-key: t1:secret"])
        await begun.wait()
        if how == "Stop":
            hall.supervisor.send(Stop("reload", 20.0))
        else:
            hall.process.send_signal(signal.SIGTERM)
        await until(lambda: not hall.door.exists(), "it drains")
        go_on.set()
        response = await caller.read_response()
        assert (response.body, response.complete) == (b"done", True)
        assert await hall.ended() == ExitCode.OK

    run(tmp_path, scenario, app=slow)


def test_calls_that_do_not_end_are_cut_off_when_everything_stops(tmp_path):
    """Nobody from outside waits for them, and there is no word of it in the log."""

    async def endless(scope, receive, send):
        await asyncio.Event().wait()

    async def scenario(hall):
        await hall.ready()
        (await hall.caller()).write("/~hello/", fields=["x-xcore-key: t1:secret"])
        await until(lambda: hall.workers[0].in_flight == 1)
        hall.supervisor.send(Stop("shutdown", 20.0))
        assert await hall.ended(10.0) == ExitCode.OK
        assert b"ERROR" not in await hall.process.stderr.read()

    run(tmp_path, scenario, app=endless)


@pytest.mark.parametrize("how", ["Stop", "SIGTERM"])
def test_a_gateway_that_is_replaced_answers_once_more_over_each_connection(tmp_path, how):
    """Whatever the cause but the end of everything: others accept in its place, also of one that a stranger ends."""

    async def scenario(hall):
        await hall.ready()
        used, fresh = await hall.client(), await hall.client()
        assert (await used.ask("/hello")).status == 200
        if how == "Stop":
            hall.supervisor.send(Stop("reload", 20.0))
        else:
            hall.process.send_signal(signal.SIGTERM)
        await until(lambda: not hall.door.exists(), "it drains")
        for client in (used, fresh):
            response = await client.ask("/hello")
            assert (response.body, response.fields["connection"]) == (b"hello", "close")
            assert await client.reader.read() == b""
        assert await hall.ended() == ExitCode.OK

    run(tmp_path, scenario)


def test_a_request_that_does_not_end_is_cut_off_when_the_drain_is_over(tmp_path):
    """The supervisor would kill us soon after, with everything."""

    async def endless(scope, receive, send):
        await asyncio.Event().wait()

    async def scenario(hall):
        await hall.ready()
        client = await hall.client()
        client.write("/hello")
        await until(lambda: hall.workers[0].in_flight == 1)
        hall.supervisor.send(Stop("shutdown", 0.5))
        assert await hall.ended(5.0) == ExitCode.OK

    run(tmp_path, scenario, app=endless)


def test_without_a_supervisor_it_serves_on_then_ends_with_its_own_code(tmp_path):
    """Plugins are served meanwhile; health says degraded, the admin interface 503."""

    async def scenario(hall):
        await hall.ready()
        client = await hall.client()
        await hall.supervisor.die()
        await until_degraded(client)
        assert (await client.ask("/hello")).body == b"hello"
        answer = await client.ask("/admin/plugins", fields=["authorization: Bearer secret"])
        assert (answer.status, answer.json()["type"]) == (503, "SupervisorAway")
        assert await hall.ended() == ExitCode.PARENT_LOST

    async def until_degraded(client):
        while (await client.ask("/health")).json()["status"] != "degraded":
            await asyncio.sleep(0.01)

    run(tmp_path, scenario, grace=1.0)


def test_a_supervisor_that_comes_back_is_told_that_we_are_ready(tmp_path):
    """It adopts us: it has to know what the one before knew."""

    async def scenario(hall):
        await hall.ready()
        await hall.supervisor.die()
        await hall.supervisor.listen()
        await hall.ready(2)
        assert len(hall.supervisor.of(Hello)) == 2
        assert (await (await hall.client()).ask("/hello")).status == 200

    run(tmp_path, scenario)


def test_a_worker_that_dies_costs_its_callers_no_error(tmp_path):
    """The request is parked and sent to the successor."""

    async def scenario(hall):
        await hall.ready()
        client = await hall.client()
        client.write("/hello")
        await until(lambda: hall.workers[0].in_flight == 1)
        for connection in list(hall.workers[0]._connections):
            connection.abort()
        await hall.supervisor.wait_for(UpstreamLost)
        hall.supervisor.send(UpstreamDied("hello.1", "hello.1:1", "signal", resend=True))
        hall.supervisor.send(RoutingSnapshot(2, [Route("hello", "/hello", expected=True, state="starting")]))
        successor = await hall.worker(hello, "hello.1:2")
        hall.supervisor.send(RoutingSnapshot(3, [Route("hello", "/hello", [successor])]))
        assert (await client.read_response()).body == b"hello"

    async def hangs(scope, receive, send):
        await asyncio.Event().wait()

    run(tmp_path, scenario, app=hangs)


def descriptors(process):
    return len(list(Path(f"/proc/{process.pid}/fd").iterdir()))


async def ask_at(door, words):
    """Say this where a gateway hands its door over; return all that it answers, and the descriptors with it."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as caller:
        caller.setblocking(False)
        await loop.sock_connect(caller, str(door))
        await loop.sock_sendall(caller, words)
        caller.settimeout(START)
        answer, descriptors, _, _ = await asyncio.to_thread(socket.recv_fds, caller, 64, 16)
        return answer, [socket.socket(fileno=descriptor) for descriptor in descriptors]


def test_the_listening_sockets_are_handed_to_whoever_knows_the_nonce(tmp_path):
    """A supervisor that takes over goes on with it while the gateway serves on; nobody else gets it."""

    async def scenario(hall):
        await hall.ready()
        before = descriptors(hall.process)
        answer, (door, local) = await ask_at(hall.door, b"nonce\n")
        with door, local:
            assert (answer, door.getsockname()[1]) == (b"door\n", hall.port)
            assert local.getsockname() == hall.local.getsockname()
        assert await ask_at(hall.door, b"nonse\n") == (b"", [])
        assert (await (await hall.client()).ask("/hello")).body == b"hello"
        hall.clients.pop().close()
        await until(lambda: descriptors(hall.process) <= before, "no descriptor is left of it")

    run(tmp_path, scenario)


def test_a_gateway_that_drains_hands_nothing_over(tmp_path):
    """It closes the socket; whoever took it from there would have the door of a dead house."""
    begun = asyncio.Event()

    async def endless(scope, receive, send):
        begun.set()
        await asyncio.Event().wait()

    async def scenario(hall):
        await hall.ready()
        (await hall.client()).write("/hello")
        await begun.wait()
        assert hall.door.stat().st_mode & 0o777 == 0o600
        hall.supervisor.send(Stop("shutdown", 1.0))
        await until(lambda: not hall.door.exists(), "it is closed")
        assert hall.process.returncode is None
        assert await hall.ended() == ExitCode.OK

    run(tmp_path, scenario, app=endless)


def test_before_the_first_routing_table_health_is_down_and_ready_is_not_said(tmp_path):
    """A supervisor that is still discovering plugins is not waited for for ever."""

    async def scenario(hall):
        await hall.supervisor.wait_for(Hello, deadline=START)
        client = await hall.client()
        async with asyncio.timeout(START):
            assert (await client.ask("/health")).status == 503
        assert (await client.ask("/hello")).status == 503
        assert hall.supervisor.of(Ready) == []
        hall.supervisor.send(Health("ok"))
        hall.supervisor.send(RoutingSnapshot(1, []))
        await hall.ready()
        assert (await client.ask("/health")).status == 200

    run(tmp_path, scenario, push=False)


def test_a_certificate_that_cannot_be_read_is_reported_and_not_tried_again(tmp_path):
    """Only a change of the configuration can heal it."""

    async def scenario(hall):
        failed = await hall.supervisor.wait_for(Failed, deadline=START)
        assert failed.permanent
        assert "ssl_certfile" in failed.hint
        assert await hall.ended() == ExitCode.INVALID

    run(tmp_path, scenario, options={"ssl_certfile": str(tmp_path / "none.pem"), "ssl_keyfile": str(tmp_path / "k")})


def test_a_refused_gateway_says_why_and_ends(tmp_path):
    """Code 76, and the supervisor's sentence in the log."""

    async def main():
        hall = Hall(tmp_path, {}, 1.0)
        hall.supervisor.refuse = "gateway.1 is not expected"
        async with hall.supervisor:
            await hall.start()
            code = await hall.ended(START)
            errors = await hall.process.stderr.read()
            await hall.close()
        assert code == ExitCode.REFUSED
        assert b"not expected" in errors

    asyncio.run(main())


def test_started_by_hand_it_says_how_to_start_it():
    """People try."""

    async def main():
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", env={"PATH": os.environ["PATH"]}, stderr=asyncio.subprocess.PIPE
        )
        _, errors = await process.communicate()
        assert process.returncode == ExitCode.USAGE
        assert b"xcore up" in errors

    asyncio.run(main())


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_other_signals_do_not_end_it(tmp_path, number):
    """A lost terminal or a stray kill -USR1."""

    async def scenario(hall):
        await hall.ready()
        hall.process.send_signal(number)
        assert (await (await hall.client()).ask("/hello")).status == 200

    run(tmp_path, scenario)
