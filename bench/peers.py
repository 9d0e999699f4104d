"""Other ways to keep a FastAPI application running, each as its documentation has it, in an environment of its own."""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from sides import APPLICATION, PACKAGES, PREFIX, Side, SideError, free_port

SERVERS = ("uvicorn", "uvloop", "httptools")
MANAGERS = ("gunicorn", "uvicorn-worker", "supervisor", "circus", "setuptools<81", "granian[reload]")
"""circus imports pkg_resources."""

_SUPERVISORD = """
[supervisord]
nodaemon=true
user={user}
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}

[program:application]
command={command}
directory={application}
autorestart=true
"""
_CIRCUS = """
[circus]
endpoint = ipc://{folder}/endpoint
pubsub_endpoint = ipc://{folder}/pubsub
statsd = false

[watcher:web]
cmd = {python} -m uvicorn --fd $(circus.sockets.web) --no-access-log run:app
working_dir = {application}
use_sockets = True
numprocesses = 1
copy_env = True

[socket:web]
host = 127.0.0.1
port = {port}
"""


@dataclass(frozen=True)
class Peers:
    """What is installed for one run; nothing of it stays."""

    python: Path
    pm2: Path | None

    def program(self, name: str) -> str:
        return str(self.python.with_name(name))

    def versions(self) -> dict[str, str]:
        script = "import importlib.metadata, json, sys; "
        script += "print(json.dumps({name: importlib.metadata.version(name) for name in sys.argv[1:]}))"
        names = [re.split("[<[]", name)[0] for name in (*PACKAGES, *SERVERS, *MANAGERS)]
        found: dict[str, str] = json.loads(subprocess.check_output([self.python, "-I", "-c", script, *names]))
        if self.pm2 is not None:
            package = self.pm2.parent.parent / "pm2" / "package.json"
            found["pm2"] = json.loads(package.read_text())["version"]
        return found


def install(folder: Path, pinned: dict[str, str], *, pm2: bool = False) -> Peers:
    """Make the environment below ``folder``, unless it is there; ``pinned``: versions that are the same on all sides.

    Raises:
        SideError: pip or npm failed.
    """
    python, runtime = folder / "venv" / "bin" / "python", folder / "node_modules" / ".bin" / "pm2-runtime"
    if not (folder / "complete").exists():
        folder.mkdir(exist_ok=True)
        _run(folder, sys.executable, "-m", "venv", str(folder / "venv"))
        exact = [f"{name}=={version}" for name, version in pinned.items()]
        quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
        _run(folder, str(python), "-m", "pip", "install", *quiet, *exact, *MANAGERS)
        (folder / "complete").touch()
    if pm2 and not runtime.exists():
        _run(folder, "npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), "pm2")
    return Peers(python, runtime if pm2 else None)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What every command that has peers can be told."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to this file as well")
    parser.add_argument("--peers", type=Path, metavar="FOLDER", help="install the peers here, and keep them")


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SideError(f"cannot install the peers: {' '.join(command)}:\n{done.stdout}{done.stderr}")


class Peer(Side):
    """A side on one port of its own, whose first process is the manager, or the application itself."""

    def __init__(self, folder: Path, peers: Peers, instances: int = 1) -> None:
        super().__init__(folder)
        self.peers = peers
        self.instances = instances
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PREFIX}"

    def uvicorn(self, *options: str) -> tuple[str, ...]:
        return (str(self.peers.python), "-m", "uvicorn", "run:app", "--no-access-log", *options)

    def find_processes(self) -> list[psutil.Process]:
        """Of all sides here: every process that answers requests, whoever is above it."""
        return [process for first in self.started_processes for process in first.children(recursive=True)]


class Supervisord(Peer):
    """``command`` in the foreground and ``autorestart``."""

    name = "supervisord"

    def start(self) -> None:
        file = self.folder / "supervisord.conf"
        command = " ".join(self.uvicorn("--port", str(self.port)))
        values = {"folder": self.folder, "command": command, "application": APPLICATION.parent, "user": _user()}
        file.write_text(_SUPERVISORD.format(**values))
        self._spawn(self.peers.program("supervisord"), "-c", str(file))


class Circus(Peer):
    """A socket of circus', which the workers inherit: uvicorn's documentation has it so."""

    name = "circus"

    def start(self) -> None:
        file = self.folder / "circus.ini"
        values = {"folder": self.folder, "python": self.peers.python, "application": APPLICATION.parent}
        file.write_text(_CIRCUS.format(**values, port=self.port))
        self._spawn(self.peers.program("circusd"), str(file))


class Gunicorn(Peer):
    """gunicorn with uvicorn's worker class."""

    name = "gunicorn"
    options: tuple[str, ...] = ()

    def start(self) -> None:
        address, workers = f"127.0.0.1:{self.port}", str(self.instances)
        worker = ("-k", "uvicorn_worker.UvicornWorker", "--log-level", "error")
        command = (self.peers.program("gunicorn"), "run:app", "-b", address, "-w", workers, *worker, *self.options)
        self._spawn(*command, folder=APPLICATION.parent)


class GunicornPreload(Gunicorn):
    """The same, with the application imported before it forks."""

    name = "gunicorn --preload"
    options = ("--preload",)


class Pm2(Peer):
    """``pm2-runtime`` with an ecosystem file."""

    name = "pm2"

    def start(self) -> None:
        _, *arguments = self.uvicorn("--port", str(self.port))
        app = {
            "name": "application",
            "script": str(self.peers.python),
            "args": " ".join(arguments),
            "interpreter": "none",
            "cwd": str(APPLICATION.parent),
        }
        file = self.folder / "ecosystem.config.js"
        file.write_text(f"module.exports = {json.dumps({'apps': [app]})}\n")
        environment = ("env", f"PM2_HOME={self.folder}/pm2")
        self._spawn(*environment, str(self.peers.pm2), "start", str(file))

    def find_processes(self) -> list[psutil.Process]:
        return [found for found in super().find_processes() if "uvicorn" in found.cmdline()]


class UvicornWorkers(Peer):
    """uvicorn that starts its own workers."""

    name = "uvicorn --workers"

    def start(self) -> None:
        self._spawn(
            *self.uvicorn("--port", str(self.port), "--workers", str(self.instances)), folder=APPLICATION.parent
        )


class UvicornProcesses(Peer):
    """As many uvicorn processes as wanted, each on a port of its own, started at once."""

    name = "uvicorn processes"

    def __init__(self, folder: Path, peers: Peers, instances: int = 1) -> None:
        super().__init__(folder, peers, instances)
        self.ports = [self.port, *(free_port() for _ in range(instances - 1))]

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}{PREFIX}" for port in self.ports]

    def start(self) -> None:
        for port in self.ports:
            self._spawn(*self.uvicorn("--port", str(port)), folder=APPLICATION.parent)

    def find_processes(self) -> list[psutil.Process]:
        return self.started_processes


@contextmanager
def started(side: Side) -> Iterator[Side]:
    """The side, ready; ended after that.

    Raises:
        SideError
    """
    try:
        side.start()
        side.wait_ready()
        yield side
    finally:
        side.stop()


def _user() -> str:
    """supervisord warns where root has not said that it means to be root."""
    return psutil.Process().username()
