"""Both databases, for real: SQLite files, and a PostgreSQL server that the tests start."""

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from supervisor.store.engine import database_url, sqlite_url
from supervisor.store.settings import StoreSettings
from supervisor.store.store import Store
from tests import machine


class Server:
    """A PostgreSQL server on a Unix socket, without network, run as a user that is not root: it refuses root."""

    def __init__(self, binaries: Path, folder: Path, user: str | None):
        self.binaries, self.folder, self.user = binaries, folder, user
        self.data = folder / "data"
        self.process = None

    def run(self, program, *arguments):
        command = [self.binaries / program, *arguments]
        subprocess.run(command, check=True, user=self.user, cwd=self.folder, stdout=subprocess.DEVNULL, timeout=60)

    def create(self):
        self.run("initdb", "-D", self.data, "-U", "xcore", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")

    def start(self):
        options = ["-D", self.data, "-k", self.folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.binaries / "postgres", *options], user=self.user, cwd=self.folder, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 30
        while subprocess.run([self.binaries / "pg_isready", "-q", "-h", self.folder]).returncode:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, "the PostgreSQL server does not start"
            time.sleep(0.02)

    def kill(self):
        """Immediate shutdown: connections break, and the next start recovers from the log."""
        self.run("pg_ctl", "stop", "-D", self.data, "-m", "immediate", "-w")
        self.process.wait(30)

    def new_database(self):
        name = f"d{uuid.uuid4().hex}"
        self.run("createdb", "-h", self.folder, "-U", "xcore", name)
        return database_url(f"postgresql://xcore@/{name}?host={self.folder}", relative_to=Path("/"))


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if not (found or on_path):
        machine.lacks("PostgreSQL server")
    return (found[-1] if found else Path(on_path)).parent


def _user() -> str | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    """Not in tmp_path: its parents are closed to other users, and Unix socket paths end at 107 bytes."""
    server = Server(_binaries(), Path(tempfile.mkdtemp(prefix="xcore-pg-")), _user())
    try:
        if server.user:
            shutil.chown(server.folder, server.user)
        server.create()
        server.start()
        yield server
        server.kill()
    finally:
        if server.process is not None and server.process.poll() is None:
            server.process.kill()
            server.process.wait()
        shutil.rmtree(server.folder)


@pytest.fixture
def sqlite_database(tmp_path):
    return sqlite_url(tmp_path / "state" / "manager.db")


@pytest.fixture(
    params=[
        pytest.param("sqlite_database", id="sqlite"),
        pytest.param("postgresql_database", id="postgresql", marks=[pytest.mark.process, pytest.mark.slow]),
    ]
)
def url(request):
    """An empty database of each kind."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def postgresql_database(postgresql_server):
    return postgresql_server.new_database()


class FakeClock:
    """Moved by hand."""

    def __init__(self, now=1_000_000.0):
        self.now = now

    def time(self):
        return self.now

    def monotonic(self):
        return self.now


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def quick():
    """Settings with times that tests can wait for."""
    return StoreSettings(
        patience=0.4, observation_patience=0.1, retry_delay=0.02, retry_max_delay=0.1, close_timeout=1.0
    )


@contextmanager
def _scenario(url, **options):
    """Run one coroutine function after another on an open store."""
    with asyncio.Runner() as runner:
        store = runner.run(Store.open(url, **options))
        try:
            yield store, runner.run
        finally:
            runner.run(store.close())


@pytest.fixture
def scenario():
    return _scenario


async def _eventually(condition, message, timeout=10.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, message
        await asyncio.sleep(0.01)


@pytest.fixture
def eventually():
    """Wait in the event loop for what another thread or process brings about."""
    return _eventually
