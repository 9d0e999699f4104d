"""The admin interface with a supervisor that answers what a test wants."""

import asyncio
from functools import cache

import httpx
from fastapi import FastAPI

from gateway.admin import Backend, create_admin
from gateway.catalogue import Catalogue
from gateway.identity import Tokens
from plugin_runtime.protocol import Health
from plugin_runtime.task_views import (
    JobView,
    MetricsView,
    MomentView,
    ReloadView,
    RunLog,
    RunView,
    TaskView,
    ThreadView,
)
from plugin_runtime.views import ExitView, InstanceView, PluginView, ProcessView, ResourceView, TokenView
from plugin_runtime.wire import to_wire
from tests.fakes.tokens import token_record

TOKENS = {role: f"token-of-{role}" for role in ("user", "admin", "root", "superadmin")}

EXIT = ExitView("e1", "hello", "hello.1", "worker", "signal", None, 9, "", 1.0, 2.0, ["last line"])
PLUGIN = PluginView(
    "hello", "Hello", "1.0", "me", "/hello", ["a"], 1, True, "running", "g1", 1,
    [InstanceView("hello.1", 42, "running", 1.0, 0, None, None, 0, 0)], EXIT,
)  # fmt: skip
TASK = TaskView(
    "u1", "sweep", "Sweep", "service", "sweep", "core", "sweeps", "1.0", "me", {"colour": "blue"},
    enabled=True, state="running", pid=43, uptime=9.5, restarts=2, retrying=1, cpu_percent=0.5, cpu_seconds=1.5,
    memory_mb=30.0, jobs=["sweep.clean"],
)  # fmt: skip
RUN = RunView("3f2a91c0", "sweep.clean", 1.0, 3.0, "succeeded", 2.0, log_tail=["done"], actor="scheduler", pid=44)
JOB = JobView(
    "sweep.clean", "clean", "sweep", "task", "clean", "every 10 minutes", "scheduled", 1700000000.5, 0, 0,
    overlap="skip", shared=False, timeout=0.0, jitter=0.0, misfire_grace_time=30.0, last_run=RUN,
)  # fmt: skip
TOKEN = TokenView("t1", "ci", "admin", 1.0, None)
ANSWERS = {
    "plugins.list": [PLUGIN],
    "plugins.show": PLUGIN,
    "plugins.add": PLUGIN,
    "plugins.update": PLUGIN,
    "plugins.delete": {"name": "hello", "folder": "/x/plugins/hello"},
    "plugins.restart": PLUGIN,
    "plugins.reload": PLUGIN,
    "plugins.rollback": PLUGIN,
    "plugins.install": PLUGIN,
    "plugins.enable": PLUGIN,
    "plugins.disable": PLUGIN,
    "plugins.scale": PLUGIN,
    "plugins.logs": ["one", "two"],
    "processes.list": [ProcessView("worker", "hello", "hello.1", 42, "running", 1.0, 0)],
    "resources.list": [ResourceView("worker", "hello", "hello.1", 42, 0.5, 1.0, 30.0, None, 3, 9, 5.0)],
    "exits.list": [EXIT],
    "tasks.list": [TASK],
    "tasks.show": TASK,
    "tasks.start": TASK,
    "tasks.stop": TASK,
    "tasks.restart": TASK,
    "tasks.meta": {"type": "service", "con": [{"func": "clean", "name": "clean"}]},
    "tasks.logs": ["one", "two"],
    "jobs.list": [JOB],
    "jobs.show": JOB,
    "jobs.run": RUN,
    "jobs.pause": JOB,
    "jobs.resume": JOB,
    "jobs.reload": [JOB],
    "jobs.next": [MomentView(1700000000.0, "2023-11-14T23:13:20+01:00")],
    "runs.list": [RUN],
    "runs.show": RUN,
    "runs.follow": RunLog(RUN, ["done"], 1),
    "config.show": {"tasks": {"max_retries": 3}},
    "config.update": {"tasks.max_retries": 5},
    "config.autorestart": {"tasks.auto_restart": False},
    "config.reload": ReloadView(["tasks.max_retries"], [], []),
    "threads.list": [ThreadView("gateway.1", 7, "MainThread", True, False, 42)],
    "system.metrics": MetricsView(1.5, 20.0, 9, 4),
    "tokens.list": [TOKEN],
    "tokens.create": {**to_wire(TOKEN), "token": "secret"},
    "tokens.revoke": None,
}


class FakeSupervisor:
    """Writes down every call; ``failure``, once set, is raised instead of answering from ``answers``."""

    def __init__(self):
        self.calls = []
        self.answers = {operation: to_wire(answer) for operation, answer in ANSWERS.items()}
        self.failure = None
        self.seen_health = Health("ok")
        tokens = Tokens()
        tokens.replace([token_record(token, role, name=f"the-{role}") for role, token in TOKENS.items()])
        self.backend = Backend(self.call, lambda: self.seen_health, tokens, Catalogue(), ("https://ui.example",), "1.2")

    async def call(self, operation, arguments, *, actor, timeout):
        self.calls.append((operation, arguments, actor, timeout))
        if self.failure is not None:
            raise self.failure
        return self.answers[operation]


@cache
def _interface() -> FastAPI:
    """Made once: its first request builds every route, a quarter of a second. Its state names the backend."""
    return create_admin(FakeSupervisor().backend)


def ask(supervisor, method, path, token=None, **request):
    """The answer of the admin interface to one request."""
    interface = _interface()
    interface.state.backend = supervisor.backend

    async def scenario():
        transport = httpx.ASGITransport(interface, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return await client.request(method, path, headers={**headers, **request.pop("headers", {})}, **request)

    return asyncio.run(scenario())


def is_error_model(response):
    return response.json().keys() == {"type", "message", "extension"}
