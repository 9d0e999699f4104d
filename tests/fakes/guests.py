"""Guests as real processes, and the folders of the plugins they load."""

import json
import shutil
import socket
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import msgpack

from plugin_runtime import framing
from plugin_runtime.protocol import PROTOCOL_VERSION, WorkerSettings
from plugin_runtime.task_protocol import TaskPurpose, TaskSettings
from tests.fakes.control_server import FakeSupervisor

BOOTSTRAP = Path(__file__).resolve().parents[2] / "plugin_runtime" / "bootstrap.py"

MINIMAL_RUN = """
from fastapi import APIRouter

PLUGIN_INFO = {"version": "1.2.3", "author": "Ada"}
router = APIRouter(prefix="/app/hello")


@router.get("/")
def hello():
    return {"hello": "world"}


class Plugin:
    def run(self): ...
"""


def write_files(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def make_plugin(root: Path, files: dict[str, str], **settings) -> WorkerSettings:
    """A plugin's folder, a generation of it, and the settings of its worker."""
    name = settings.setdefault("plugin", "hello")
    folder = write_files(root / "project" / "plugins" / name, files)
    source = root / "generation"
    shutil.copytree(folder, source)
    defaults = {
        "contract": "seed",
        "entry": "run",
        "folder": str(folder),
        "source": str(source),
        "working_directory": str(root / "project"),
        "prefix": f"/app/{name}",
        "link_path": str(root / "w.link"),
        "link_secret": b"s" * 32,
        "adopt_grace": 0.3,
    }
    return WorkerSettings(**{**defaults, **settings})


METADATA = """
metadata = {"type": "service", "moduleDir": "core", "description": "a test", "version": "1.2.3", "author": "Ada"}
"""


def make_task(root: Path, code: str, **settings) -> TaskSettings:
    """The file of a task, whose ``metadata`` comes first, a copy of it, and the settings of its process."""
    name = settings.setdefault("owner", "reports")
    text = METADATA + code
    directory = write_files(root / "project" / "backgroundtask", {f"{name}.py": text})
    defaults = {
        "purpose": TaskPurpose.SERVICE.value,
        "module_file": str(directory / f"{name}.py"),
        "module_copy": str(write_files(root / "copies", {"1.py": text}) / "1.py"),
        "working_directory": str(root / "project"),
        "adopt_grace": 0.3,
    }
    return TaskSettings(**{**defaults, **settings})


@dataclass
class Guest:
    """A process that runs the bootstrap. ``python``: its interpreter, ``packages``: its runtime folder."""

    supervisor: FakeSupervisor
    python: str = sys.executable
    packages: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    program: str = ""

    def __enter__(self) -> subprocess.Popen:
        self._process = subprocess.Popen(
            [self.python, "-I", "-u", "-X", "utf8", str(BOOTSTRAP), *([self.program] if self.program else [])],
            env={
                "PATH": "/usr/bin:/bin",
                "XCORE_CONTROL": str(self.supervisor.path),
                "XCORE_NONCE": "nonce",
                "XCORE_CHILD": "hello.1",
                "XCORE_RUNTIME": self.packages,
                **self.environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self._process

    def __exit__(self, *_) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate(timeout=10)


def outcome(process: subprocess.Popen, timeout: float = 20.0) -> tuple[int, str, str]:
    """Wait for the end of a guest; its exit code, stdout and stderr."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def link_get(settings: WorkerSettings, path: str, draining: threading.Event | None = None, *, user=None):
    """GET over a worker's link; status and decoded JSON body. None where the link closes before the answer.

    ``draining`` is set when the worker wants no new requests.
    """
    head = framing.RequestHead(
        method="GET",
        raw_path=path.encode(),
        query=b"",
        http_version="1.1",
        scheme="http",
        client=("127.0.0.1", 1),
        server=("testserver", 80),
        headers=[(b"host", b"testserver")],
        state={"user": user, "request_id": "r1"},
    )
    with socket.socket(socket.AF_UNIX) as link, link.makefile("rb") as stream:
        link.settimeout(20)
        link.connect(settings.link_path)
        link.sendall(framing.hello(PROTOCOL_VERSION, settings.link_secret, "gateway.1", framing.WINDOW))
        link.sendall(framing.request(1, head, end=True, body_length=0))
        return _answer(stream, draining or threading.Event())


def _answer(stream, draining):
    status, body = 0, b""
    while prefix := stream.read(8):
        sizes = struct.unpack(">II", prefix)
        header, chunk = msgpack.unpackb(stream.read(sizes[0])), stream.read(sizes[1])
        if header[0] == framing.FrameType.DRAINING:
            draining.set()
        if header[0] == framing.FrameType.RESPONSE:
            status = header[2]
        if header[0] in {framing.FrameType.RESPONSE, framing.FrameType.BODY}:
            body += chunk
            if header[-1]:
                return status, json.loads(body)
    return None
