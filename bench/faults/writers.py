"""Writers on the admin interface: what each wanted, and what it was told came of it."""

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

from bench.faults import subject
from bench.faults.http_client import Answer, HttpClient, NoAnswerError
from bench.faults.observed import Register, Write

PAUSE = 0.3
"""Seconds between two writes of a writer."""
PATIENCE = 15.0
"""Seconds for an answer."""
UNDERSTOOD = frozenset({404, 409})
"""Refusals that tell of the state of what was to be changed."""


class Writers:
    """One writer per kind of thing. ``problems``: answers that no writer should get."""

    def __init__(self, port: int, token: str, seed: int) -> None:
        self._port = port
        self._token = token
        self._dice = random.Random(seed)
        self._stopping = False
        self.acknowledged = 0
        self.problems: list[str] = []
        self._job = Register(f"job {subject.PAUSED}", "scheduled")
        self._task = Register(f"enabled of task {subject.SWITCHED}", initial=True)
        self._scale = Register(f"instances of {subject.SCALED}", subject.PLUGINS[subject.SCALED]["instances"])
        self._setting = Register(f"setting {subject.SETTING}", subject.VALUES[0])
        self._tokens: dict[str, Register] = {}

    async def run(self) -> None:
        """Write until ``stop``."""
        steps = (self._pause_or_resume, self._start_or_stop, self._scale_plugin, self._set, self._create_or_revoke)
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(self._writer(step))

    def stop(self) -> None:
        self._stopping = True

    @property
    def registers(self) -> list[Register]:
        return [self._job, self._task, self._scale, self._setting, *self._tokens.values()]

    async def read_back(self) -> None:
        """Ask what everything is at the end.

        Raises:
            NoAnswerError: there is none.
        """
        client = HttpClient(self._port, self._token)
        with contextlib.closing(client):
            self._job.final = (await client.request("GET", f"/admin/jobs/{subject.PAUSED}")).json["state"]
            self._task.final = (await client.request("GET", f"/admin/tasks/{subject.SWITCHED}")).json["enabled"]
            self._scale.final = (await client.request("GET", f"/admin/plugins/{subject.SCALED}")).json["wanted"]
            section = (await client.request("GET", "/tasks/config")).json
            self._setting.final = section["tasks"]["max_retries"]
            names = {token["name"] for token in (await client.request("GET", "/admin/tokens")).json}
        for name, register in self._tokens.items():
            register.final = name in names

    async def _writer(self, step: Callable[[HttpClient], Awaitable[None]]) -> None:
        client = HttpClient(self._port, self._token)
        with contextlib.closing(client):
            while not self._stopping:
                await step(client)
                await asyncio.sleep(PAUSE)

    async def _pause_or_resume(self, client: HttpClient) -> None:
        order, state = self._dice.choice((("pause", "paused"), ("resume", "scheduled")))
        await self._write(client, self._job, state, "POST", f"/admin/jobs/{subject.PAUSED}/{order}")

    async def _start_or_stop(self, client: HttpClient) -> None:
        order, enabled = self._dice.choice((("start", True), ("start", True), ("stop", False)))
        await self._write(client, self._task, enabled, "POST", f"/tasks/{order}?name={subject.SWITCHED}")
        await asyncio.sleep(1)  # so that there is a process to be hit

    async def _scale_plugin(self, client: HttpClient) -> None:
        count = self._dice.choice(subject.SCALES)
        await self._write(
            client, self._scale, count, "POST", f"/admin/plugins/{subject.SCALED}/scale?instances={count}"
        )

    async def _set(self, client: HttpClient) -> None:
        value = self._dice.choice(subject.VALUES)
        path = f"/tasks/config/update?key={subject.SETTING}"
        await self._write(client, self._setting, value, "POST", path, value)

    async def _create_or_revoke(self, client: HttpClient) -> None:
        there = [name for name, register in self._tokens.items() if register.writes[-1] == Write(True, True)]
        if there and self._dice.random() < 0.5:
            name = self._dice.choice(there)
            await self._write(client, self._tokens[name], False, "DELETE", f"/admin/tokens/{name}")
            return
        name = f"token-{len(self._tokens)}"
        register = self._tokens[name] = Register(f"token {name}", initial=False)
        await self._write(client, register, True, "POST", "/admin/tokens", {"name": name, "role": "user"})

    async def _write(
        self, client: HttpClient, register: Register, value: object, method: str, path: str, body: Any = None
    ) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        try:
            answer = await client.request(method, path, data, timeout=PATIENCE)
        except NoAnswerError:
            register.writes.append(Write(value, None))
            return
        register.writes.append(Write(value, self._understand(answer, f"{method} {path}")))

    def _understand(self, answer: Answer, asked: str) -> bool | None:
        """Whether it was done; None where that is not known."""
        if answer.status < 300:
            self.acknowledged += 1
            return True
        if answer.status not in {*UNDERSTOOD, 503, 504}:
            self.problems.append(f"{asked} was answered with {answer.status}: {answer.body[:300]!r}")
        return None if answer.status >= 500 else False
