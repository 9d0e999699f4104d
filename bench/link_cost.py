"""What the link alone costs: CPU time of both ends per small request, at several numbers of requests in flight.

    python bench/link_cost.py [--loop uvloop|asyncio] [--requests 20000]

No HTTP on either side, so the difference to a measurement through the gateway is what its HTTP server costs.
"""

import argparse
import asyncio
import multiprocessing
import resource
import tempfile
import time
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import Any

import uvloop

from gateway.link import Fields, Link, RequestHead, StreamError
from plugin_runtime.link import LinkServer
from plugin_runtime.protocol import Upstream

SECRET = b"secret"
HEAD = RequestHead(
    method="GET",
    raw_path=b"/app/hello/items/42",
    query=b"verbose=1",
    http_version="1.1",
    scheme="http",
    client=("127.0.0.1", 50000),
    server=("127.0.0.1", 8082),
    headers=[(b"host", b"127.0.0.1:8082"), (b"user-agent", b"wrk/4.1"), (b"accept", b"*/*")],
    state={"request_id": "0123456789abcdef", "user": None},
)
RESPONSE_HEAD = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"17")],
}


async def app(_scope: object, receive: Any, send: Any) -> None:
    await receive()
    await send(RESPONSE_HEAD)
    await send({"type": "http.response.body", "body": b'{"hello":"world"}'})


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    return uvloop.new_event_loop() if name == "uvloop" else asyncio.new_event_loop()


def serve(loop_name: str, path: str, ready: Event, stop: Event, result: Connection) -> None:
    async def main() -> None:
        server = LinkServer(app, path=path, secret=SECRET, prefix="/app/hello")
        await server.start()
        ready.set()
        while not stop.is_set():
            await asyncio.sleep(0.05)
            if result.poll():
                result.recv()
                result.send(cpu())
        await server.close()

    with asyncio.Runner(loop_factory=lambda: new_loop(loop_name)) as runner:
        runner.run(main())


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Client:
    """Keeps one request in flight until all are done."""

    def __init__(self, link: Link, left: list[int], done: asyncio.Future[None]) -> None:
        self.link = link
        self.left = left
        self.done = done

    def start(self) -> None:
        if self.left[0]:
            self.left[0] -= 1
            self.link.open(HEAD, self)
        elif not self.done.done() and not self.link.in_flight:
            self.done.set_result(None)

    def response_started(self, status: int, _fields: Fields, /) -> None:
        assert status == 200

    def body_received(self, _data: bytes, _end: bool, /) -> None:  # noqa: FBT001 - the interface of a sink
        # As from a client's own connection: the next request comes in another turn.
        asyncio.get_running_loop().call_soon(self.start)

    def failed(self, error: StreamError) -> None:
        self.done.set_exception(error)


async def load(path: str, worker: Connection, requests: int) -> None:
    link = await Link.connect(Upstream("hello.1", "1", path, SECRET), "bench", closed=lambda *_: None)
    for concurrency in (1, 32, 128):
        worker.send(None)
        before_worker, before, start = worker.recv(), cpu(), time.perf_counter()
        left, done = [requests], asyncio.get_running_loop().create_future()
        for _ in range(concurrency):
            Client(link, left, done).start()
        await done
        elapsed, gateway = time.perf_counter() - start, cpu() - before
        worker.send(None)
        both = [1e6 * seconds / requests for seconds in (gateway, worker.recv() - before_worker)]
        cost = f"{both[0]:6.1f} us gateway, {both[1]:6.1f} us worker"
        print(f"{concurrency:4} in flight: {cost}, {requests / elapsed:8.0f}/s")
    link.close("done")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    parser.add_argument("--requests", type=int, default=20000)
    options = parser.parse_args()
    context = multiprocessing.get_context("fork")
    ready, stop = context.Event(), context.Event()
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/w.link"
        worker = context.Process(target=serve, args=(options.loop, path, ready, stop, theirs))
        worker.start()
        ready.wait()
        with asyncio.Runner(loop_factory=lambda: new_loop(options.loop)) as runner:
            runner.run(load(path, ours, options.requests))
        stop.set()
        worker.join()


if __name__ == "__main__":
    main()
