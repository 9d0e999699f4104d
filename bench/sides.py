"""What is compared: each side serves the same application on a loopback port, from processes it can name."""

import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from supervisor.state_folder import StateFolder

APPLICATION = Path(__file__).with_name("measured") / "run.py"
PREFIX = "/app/measured"
PACKAGES = ("fastapi", "starlette", "pydantic", "pydantic-core")
"""Their versions have to be the same on all sides."""
START_TIMEOUT = 300.0
"""Seconds; xcore builds the plugin's environment first."""
STOP_TIMEOUT = 30.0

_UVICORN = (
    *(sys.executable, "-m", "uvicorn", "run:app", "--loop", "uvloop", "--http", "httptools", "--no-access-log"),
    *("--log-level", "warning"),
)
_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/client_body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    upstream application {{
        server unix:{folder}/uvicorn.sock;
        keepalive 64;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 0;
        location {prefix}/ {{
            proxy_pass http://application;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_request_buffering off;
        }}
    }}
}}
"""


class SideError(Exception):
    """A side cannot be started, or is not comparable; the message says what to do."""


class Side(ABC):
    """One way to serve the application, below a folder of its own."""

    name: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder / self.name.replace(" ", "")
        self.folder.mkdir()
        self.processes: list[psutil.Process] = []
        """Those that a request goes through; known once the side is ready."""
        self._started: list[subprocess.Popen[bytes]] = []

    @abstractmethod
    def start(self) -> None:
        """Start every process; returns without waiting for them."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where the application is, without a slash at its end; "" while that is not known."""

    @abstractmethod
    def find_processes(self) -> list[psutil.Process]:
        """Those that a request goes through."""

    @property
    def started_processes(self) -> list[psutil.Process]:
        """Those without a parent here."""
        return [psutil.Process(process.pid) for process in self._started]

    def versions(self) -> dict[str, str]:
        """Of PACKAGES, where the application runs."""
        return {name: importlib.metadata.version(name) for name in PACKAGES}

    def wait_ready(self) -> None:
        """Wait until the application answers.

        Raises:
            SideError: a process ended, or START_TIMEOUT passed.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            if any(process.poll() is not None for process in self._started) or time.monotonic() > deadline:
                raise SideError(f"cannot start {self.name}:\n{self._log.read_text()}")
            time.sleep(0.05)
        self.processes = self.find_processes()

    def stop(self) -> None:
        """End what was started, last first."""
        for process in reversed(self._started):
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._started.clear()

    @property
    def _log(self) -> Path:
        return self.folder / "output.log"

    def _spawn(self, *command: str, folder: Path | None = None) -> psutil.Process:
        with self._log.open("ab") as log:
            # A session each, as from a service manager: the kernel's autogroups share out CPU by session.
            process = subprocess.Popen(
                command, cwd=folder or self.folder, stdout=log, stderr=log, start_new_session=True
            )
        self._started.append(process)
        return psutil.Process(process.pid)

    def _answers(self) -> bool:
        try:
            return bool(self.url) and httpx.get(f"{self.url}/hello/world").is_success
        except httpx.TransportError:
            return False


class Xcore(Side):
    """``xcore up`` in a project of its own, with the application as its one plugin."""

    name = "xcore"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._state = StateFolder(self.folder / ".xcore")

    def start(self) -> None:
        plugin = self.folder / "plugins" / "measured"
        plugin.mkdir(parents=True)
        shutil.copy(APPLICATION, plugin)
        (self.folder / "config.json").write_text(json.dumps(self.configuration()))
        self._spawn(str(Path(sys.executable).with_name("xcore")), "up")

    def configuration(self) -> dict[str, object]:
        return {"manager": {"plugins": {"directory": "./plugins"}}, "gateway": {"port": 0}}

    @property
    def url(self) -> str:
        try:
            return f"{json.loads(self._state.gateway_file.read_text())['url']}{PREFIX}"
        except FileNotFoundError:
            return ""

    def find_processes(self) -> list[psutil.Process]:
        return self._listed("gateway") + self._listed("worker")

    def versions(self) -> dict[str, str]:
        (worker,) = self._listed("worker")
        script = "import importlib.metadata, json, sys; "
        script += "print(json.dumps({name: importlib.metadata.version(name) for name in sys.argv[1:]}))"
        command = (worker.cmdline()[0], "-I", "-c", script, *PACKAGES)
        versions: dict[str, str] = json.loads(subprocess.check_output(command))
        return versions

    def _listed(self, kind: str) -> list[psutil.Process]:
        answer = httpx.get(
            f"{self.url.removesuffix(PREFIX)}/admin/processes",
            params={"kind": kind},
            headers={"Authorization": f"Bearer {self._state.admin_token.read_text().strip()}"},
        )
        return [psutil.Process(process["pid"]) for process in answer.raise_for_status().json()]


class NginxUvicorn(Side):
    """nginx before uvicorn on a Unix socket, as the documentation of both has it.

    Of nginx's defaults the faster ones: responses buffered, but not requests, which would go through a file.
    """

    name = "nginx + uvicorn"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._port = free_port()

    def start(self) -> None:
        # What is behind a Unix socket has no address that --forwarded-allow-ips could name.
        server = (*_UVICORN, "--uds", f"{self.folder}/uvicorn.sock", "--forwarded-allow-ips", "*")
        self._uvicorn = self._spawn(*server, folder=APPLICATION.parent)
        configuration = self.folder / "nginx.conf"
        # Started by root, its worker would be somebody who may not enter this folder.
        user = "user root;" if os.geteuid() == 0 else ""
        configuration.write_text(_NGINX.format(folder=self.folder, port=self._port, prefix=PREFIX, user=user))
        nginx = ("nginx", "-p", str(self.folder), "-e", str(self.folder / "nginx.log"), "-c", str(configuration))
        self._nginx = self._spawn(*nginx)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}{PREFIX}"

    def find_processes(self) -> list[psutil.Process]:
        return [self._nginx, *self._nginx.children(), self._uvicorn]


class Uvicorn(Side):
    """uvicorn alone, on TCP: what there is without any process in front."""

    name = "uvicorn alone"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._port = free_port()

    def start(self) -> None:
        self._uvicorn = self._spawn(*_UVICORN, "--port", str(self._port), folder=APPLICATION.parent)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}{PREFIX}"

    def find_processes(self) -> list[psutil.Process]:
        return [self._uvicorn]


def free_port() -> int:
    """A port of the loopback interface that nobody had a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(folder: Path) -> Iterator[list[Side]]:
    """All sides, ready, on the same versions; ours first, its peer second.

    Raises:
        SideError
    """
    sides: list[Side] = [Xcore(folder), NginxUvicorn(folder), Uvicorn(folder)]
    try:
        for side in sides:
            side.start()
        for side in sides:
            side.wait_ready()
        _check_versions(sides)
        yield sides
    finally:
        for side in reversed(sides):
            side.stop()


def _check_versions(sides: list[Side]) -> None:
    first, *others = (side.versions() for side in sides)
    if any(other != first for other in others):
        raise SideError(f"cannot compare different versions: {first} and {others}; set the project up anew")
