"""The project that suffers: plugins that prove what reached them, tasks, jobs, two gateways, little patience."""

import socket
from collections import Counter
from pathlib import Path

from tests.integration.project import Project

GRACE = 10.0
"""Seconds, ``adopt_grace``: the default. On a busy machine a supervisor takes two to start."""
STALLED, HUNG = 2.0, 7.0
"""Seconds. A supervisor that was stopped itself notices it after five: being hung has to take longer."""
GATEWAYS = 2
PLUGINS = {"one": {"instances": 1}, "three": {"instances": 3}, "alone": {"exclusive": True}}
SCALED, SCALES = "three", (2, 3, 4)
SWITCHED = "switched"
TASKS = ("steady", SWITCHED)
PAUSED = "steady.paused"
SETTING, VALUES = "tasks.max_retries", range(1000, 2000)

_ALONE = """
import fcntl
import os

DATA = os.environ["XCORE_DATA_DIR"]
held = {{}}


def claim(what):
    \"\"\"The kernel gives the lock back when the process is gone: who does not get it is one too many.\"\"\"
    held[what] = os.open(f"{{DATA}}/{{what}}.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(held[what], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note("doubles", f"{name} {{what}} (pid {{os.getpid()}})")


def note(file, line):
    descriptor = os.open(f"{{DATA}}/{{file}}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{{line}}\\n".encode())
    os.close(descriptor)
"""

_PLUGIN = (
    _ALONE
    + """
import asyncio

EXCLUSIVE = {exclusive}
VERSION = {version}


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await live(receive, send)
    elif scope["type"] == "http":
        await answer(scope, await read(receive), send)


async def live(receive, send):
    await receive()
    if EXCLUSIVE:
        claim("worker")
    await send({{"type": "lifespan.startup.complete"}})
    await receive()
    await send({{"type": "lifespan.shutdown.complete"}})


async def read(receive):
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def answer(scope, body, send):
    nonce, _, seconds = scope["query_string"].decode().partition("&")
    if scope["method"] == "POST":
        note("posts", nonce)
    await asyncio.sleep(float(seconds))
    said = str(VERSION).encode() if nonce == "version" else nonce.encode() + b" " + body
    await send({{
        "type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(said)).encode())]
    }})
    await send({{"type": "http.response.body", "body": said}})
"""
)

_TASK = (
    _ALONE
    + """
import time


def short():
    claim("short")


def long():
    claim("long")
    time.sleep(4)


def inside():
    time.sleep(0.1)


def paused():
    pass


def service_main(service):
    claim("service")
    while not service.wait(0.2):
        print("turning", flush=True)
"""
)
_CON = """[
    {"func": short, "name": "short", "seconds": 2},
    {"func": long, "name": "long", "seconds": 3},
    {"func": inside, "name": "inside", "seconds": 2, "shared": True},
    {"func": paused, "name": "paused", "days": 1},
]"""


def make_project(shared: Path) -> Project:
    """``shared``: a folder for the environments."""
    project = Project(shared)
    project.configure(
        gateway={"processes": GATEWAYS, "port": _free_port()},
        supervisor={
            "sample_interval": 1,
            "adopt_grace": GRACE,
            "restart": {"delay": 0.05, "max_delay": 0.2, "limit": 1000},
            "heartbeat": {"stalled": STALLED, "hung": HUNG, "hang_cpu_limit": 15},
        },
        manager={"tasks": {"max_retries": VALUES[0]}},
        # A SIGTERM ends a task in order, which would be no reason to start it again.
        tasks={name: {"restart": "always"} for name in TASKS},
    )
    for name, keys in PLUGINS.items():
        project.add_code(name, _code_of(name), **keys)
    for name in TASKS:
        project.add_task(name, _TASK.format(name=name), con="[]" if name == SWITCHED else _CON)
    return project


def _code_of(name: str, version: int = 0) -> str:
    return _PLUGIN.format(name=name, exclusive=PLUGINS[name].get("exclusive", False), version=version)


def save(project: Project, name: str, version: int) -> None:
    """Save other code of a plugin, as editors do it; ``/<name>/?version&0`` answers with its version."""
    file = project.plugins / name / "main.py"
    draft = file.with_name(".main.py.swp")
    draft.write_text(_code_of(name, version))
    draft.rename(file)


def posts(project: Project) -> Counter[str]:
    """How often each POST reached a plugin."""
    return Counter(line for name in PLUGINS for line in _lines(project.data(name) / "posts"))


def doubles(project: Project) -> list[str]:
    """Who ran beside another of its kind."""
    return [line for path in sorted((project.state / "data").glob("*/doubles")) for line in _lines(path)]


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _free_port() -> int:
    """The same for every supervisor, as in earnest."""
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])
