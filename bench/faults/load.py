"""Clients of the plugins: every answer is checked, every failure written down, nothing is sent twice."""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Iterable

from bench.faults.http_client import Answer, HttpClient, NoAnswerError
from bench.faults.observed import Failure

PAUSE = 0.03
"""Seconds between two requests of a client."""
SLOW = 0.1
"""Part of the requests that take up to LONGEST seconds in the plugin, so that something is always in flight."""
LONGEST = 0.3


class Load:
    """For each plugin a client that reads, one that writes, and one that never uses a connection again."""

    def __init__(self, port: int, plugins: Iterable[str], seed: int) -> None:
        self._port = port
        self._plugins = list(plugins)
        self._dice = random.Random(seed)
        self._stopping = False
        self._count = 0
        self.requests = 0
        self.failures: list[Failure] = []
        self.answered_posts: set[str] = set()

    async def run(self) -> None:
        """Ask until ``stop``."""
        async with asyncio.TaskGroup() as group:
            for plugin in self._plugins:
                group.create_task(self._client(plugin, ("GET",)))
                group.create_task(self._client(plugin, ("POST",)))
                group.create_task(self._client(plugin, ("GET", "POST"), fresh=True))

    def stop(self) -> None:
        """Let the requests that are on their way be the last."""
        self._stopping = True

    async def _client(self, plugin: str, methods: tuple[str, ...], *, fresh: bool = False) -> None:
        client = HttpClient(self._port)
        with contextlib.closing(client):
            while not self._stopping:
                await self._request(client, plugin, self._dice.choice(methods))
                if fresh:
                    client.close()
                await asyncio.sleep(PAUSE)

    async def _request(self, client: HttpClient, plugin: str, method: str) -> None:
        self._count += 1
        self.requests += 1
        nonce = f"n{self._count}"
        seconds = self._dice.uniform(0, LONGEST) if self._dice.random() < SLOW else 0.0
        body = nonce.encode() * self._dice.randrange(1, 100) if method == "POST" else b""
        begin = time.monotonic()
        try:
            answer = await client.request(method, f"/{plugin}/?{nonce}&{seconds:.3f}", body)
        except NoAnswerError as error:
            failure = Failure(
                plugin, method, begin, time.monotonic(), error.what, reused=client.reused, message=error.reason
            )
            self.failures.append(failure)
            return
        if answer.status == 200 and answer.body == f"{nonce} ".encode() + body:
            if method == "POST":
                self.answered_posts.add(nonce)
            return
        self.failures.append(_failed(plugin, method, begin, answer, reused=client.reused))


def _failed(plugin: str, method: str, begin: float, answer: Answer, *, reused: bool) -> Failure:
    what = "wrong" if answer.status == 200 else str(answer.status)
    try:
        error = json.loads(answer.body)
        told = error["extension"]
        instance, cause, message = told.get("instance") or "", told.get("cause") or "", error["message"]
    except (ValueError, KeyError, TypeError, AttributeError):
        instance, cause, message = "", "", repr(answer.body[:200])
    return Failure(plugin, method, begin, time.monotonic(), what, instance, cause, reused, message)
