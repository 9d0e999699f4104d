"""A project of its own in a temporary folder, run by the real ``xcore``, and a check that nothing is left of it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parent.parent.parent
XCORE = Path(sys.executable).parent / "xcore"
APPS = Path(__file__).parent / "plugins"
DEADLINE = 60.0
"""Seconds; generous, since it is only used up by a failing test on a loaded machine."""
END_DEADLINE = 20.0
"""Seconds for everything to stop."""
MARK = "INTEGRATION_RUN"
"""Variable by which everything that descends from one project is found again, however it got away."""

_PAUSE = 0.01
_TROUBLE = re.compile(r"\b(ERROR|CRITICAL)\b|Traceback|Exception ignored|never awaited|ResourceWarning")
_NOT_INHERITED = re.compile(r"XCORE.*|DATA_URL|LOG_LEVEL|PYTHON.*|VIRTUAL_ENV.*|COV_.*|COVERAGE_.*|PYTEST_.*")
SHARED = ("envs", "runtime")
"""Parts of the state folder that all projects of one run of the tests have in common: built once."""


class Project:
    """Owns a folder with config.json and plugins, and at most one supervisor that runs it."""

    def __init__(self, shared: Path) -> None:
        # Not pytest's folder, whose names are long: paths of Unix sockets end at 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="xcore-"))
        self.state = self.folder / ".xcore"
        self.plugins = self.folder / "plugins"
        self.tasks = self.folder / "backgroundtask"
        self.run_id = uuid.uuid4().hex
        self.process: subprocess.Popen[bytes] | None = None
        self._log_path = self.folder / "up.log"
        self._expected: list[str] = []
        self._shared = shared
        self.plugins.mkdir()
        self.state.mkdir()
        for name in SHARED:
            (shared / name).mkdir(exist_ok=True)
            (self.state / name).symlink_to(shared / name)
        self.configure()

    # --- what is in it ---

    def configure(self, **sections: Any) -> None:
        """Write config.json: any free port, little patience between restarts, and ``sections`` over that."""
        defaults = {
            "gateway": {"port": 0},
            "supervisor": {"sample_interval": 1, "restart": {"delay": 0.05, "max_delay": 0.2, "limit": 1000}},
        }
        settings = {name: {**defaults.get(name, {}), **sections.get(name, {})} for name in {*defaults, *sections}}
        (self.folder / "config.json").write_text(json.dumps(settings))

    def add_example(self, *names: str) -> None:
        for name in names:
            shutil.copytree(
                ROOT / "plugins" / name, self.plugins / name, ignore=shutil.ignore_patterns("__pycache__", ".*")
            )

    def add_app(self, name: str, app: str, **keys: Any) -> None:
        """Add a program of tests/integration/plugins as an ASGI plugin, with these keys of ``[tool.xcore]``."""
        self.add_code(name, (APPS / f"{app}.py").read_text(), **keys)

    def add_code(self, name: str, code: str, **keys: Any) -> None:
        """Add an ASGI plugin with this source text; its app is ``main:app``."""
        folder = self.plugins / name
        folder.mkdir()
        (folder / "main.py").write_text(code)
        manifest = {"app": "main:app", **keys}
        lines = "".join(f"{key} = {_toml(value)}\n" for key, value in manifest.items())
        project = '[project]\nname = "nasty"\nversion = "1.0.0"\nauthors = [{ name = "tests" }]\n'
        (folder / "pyproject.toml").write_text(f"{project}[tool.xcore]\n{lines}")

    def add_run_py(self, name: str, code: str) -> None:
        """Add a plugin of the seed contract."""
        folder = self.plugins / name
        folder.mkdir()
        (folder / "run.py").write_text(code)

    def add_task(self, name: str, code: str, **metadata: Any) -> Path:
        """Add a background task, saved as editors do it: its metadata, ``con`` given as source text, then ``code``."""
        self.tasks.mkdir(exist_ok=True)
        con = metadata.pop("con", "[]")
        required = {
            "type": "service",
            "moduleDir": "core",
            "description": "a test",
            "version": "1.0.0",
            "author": "tests",
        }
        path = self.tasks / f"{name}.py"
        draft = path.with_name(f".{name}.tmp")
        draft.write_text(f"{textwrap.dedent(code)}\nmetadata = {{**{ {**required, **metadata}!r}, 'con': {con}}}\n")
        draft.rename(path)
        return path

    def data(self, plugin: str) -> Path:
        return self.state / "data" / plugin

    # --- its supervisor ---

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not _NOT_INHERITED.fullmatch(name)}
        return {**kept, MARK: self.run_id}

    def xcore(self, *arguments: str, timeout: float = DEADLINE, **environment: str) -> "subprocess.CompletedProcess":
        """Run one command of the CLI to its end."""
        return subprocess.run(
            [XCORE, *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def start(self, program: Sequence[object] = (XCORE, "up"), **environment: str) -> None:
        """Start ``xcore up``, or what ends in it; returns before it serves anything."""
        with self._log_path.open("ab") as log, (self.folder / "up.out").open("ab") as out:
            self.process = subprocess.Popen(
                [str(word) for word in program],
                cwd=self.folder,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                start_new_session=True,
            )

    def up(self, program: Sequence[object] = (XCORE, "up"), **environment: str) -> "Project":
        """Start it and wait until it is known of each plugin how it ends up."""
        self.start(program, **environment)
        return self.wait_until_up()

    def wait_until_up(self) -> "Project":
        """See ``up``, of what was started before."""
        self.wait_until(self.gateway_file.exists, "the gateway is announced")
        self.wait_until(self._is_settled, "all plugins and tasks are settled")
        return self

    def _is_settled(self) -> bool:
        on_the_way = {"pending", "installing", "starting", "backoff", "degraded"}
        states = [plugin["state"] for plugin in self.health()["plugins"].values()]
        if self.tasks.is_dir():
            states += [task["state"] for task in self.admin.get("/admin/tasks").raise_for_status().json()]
        return on_the_way.isdisjoint(states)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop it in order, and make sure that it ended well and left nothing."""
        assert self.process is not None
        self.forget_clients()
        self.process.send_signal(number)
        self.join()

    def join(self) -> None:
        """Wait for the end of a supervisor that was told to stop; see ``stop``."""
        assert self.process is not None
        code = self.process.wait(END_DEADLINE)
        self.process = None
        assert code == 0, f"xcore up ended with {code}\n{self.log}"
        self.assert_nothing_left()

    def kill(self) -> None:
        """Kill the supervisor alone, and wait until its children have ended by themselves."""
        assert self.process is not None
        self.forget_clients()
        self.process.kill()
        self.process.wait()
        self.process = None
        self.wait_until(lambda: not self.processes(), "its children have ended by themselves")
        self.gateway_file.unlink(missing_ok=True)  # the next supervisor's is not to be mistaken for it

    def assert_nothing_left(self) -> None:
        assert not self.processes(), f"processes are left: {self.processes()}\n{self.log}"
        assert not list((self.state / "run").iterdir()), "the folder run/ is not empty"

    def close(self) -> None:
        """End everything, remove the folder, and fail if anything of it was not as it should be."""
        try:
            if self.process is not None:
                self.stop()
            self._assert_quiet_log()
        finally:
            self.forget_clients()
            print(f"--- log of {self.folder}\n{self.log}")
            for pid in self.processes():
                os.kill(pid, signal.SIGKILL)
            if self.process is not None:
                self.process.kill()
                self.process.wait()
            shutil.rmtree(self.folder)

    # --- what can be seen of it ---

    @property
    def log(self) -> str:
        """All that supervisors of this project have logged."""
        return self._log_path.read_text() if self._log_path.exists() else ""

    def expect_log(self, pattern: str) -> None:
        """Say that a line like this may be logged, though it tells of trouble."""
        self._expected.append(pattern)

    def _assert_quiet_log(self) -> None:
        gateway = self.state / "logs" / "gateway.log"
        lines = self.log.splitlines() + (gateway.read_text().splitlines() if gateway.exists() else [])
        trouble = [line for line in lines if _TROUBLE.search(line)]
        unexplained = [line for line in trouble if not any(re.search(pattern, line) for pattern in self._expected)]
        assert not unexplained, "\n".join(["unexplained trouble in the log:", *unexplained])

    def processes(self) -> dict[int, str]:
        """Every living process that descends from this project, with its command line."""
        mark = f"{MARK}={self.run_id}".encode()
        return {
            int(process.name): _read(process / "cmdline").replace(b"\0", b" ").decode(errors="replace")
            for process in Path("/proc").glob("[0-9]*")
            if mark in _read(process / "environ").split(b"\0")
        }

    @property
    def gateway_file(self) -> Path:
        return self.state / "run" / "gateway.json"

    @property
    def url(self) -> str:
        return json.loads(self.gateway_file.read_text())["url"]

    @cached_property
    def http(self) -> httpx.Client:
        """A client without a token."""
        return self.client()

    @cached_property
    def admin(self) -> httpx.Client:
        """A client with the token that was made at the first start."""
        return self.client((self.state / "admin.token").read_text().strip())

    def client(self, token: str = "") -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=DEADLINE, trust_env=False)

    def forget_clients(self) -> None:
        """Close the connections of ``http`` and ``admin``: the next request makes new ones."""
        for name in ("http", "admin"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()

    def health(self) -> Mapping[str, Any]:
        return self.http.get("/health").json()

    def plugin(self, name: str) -> Mapping[str, Any]:
        return self.admin.get(f"/admin/plugins/{name}").raise_for_status().json()

    def task(self, name: str) -> Mapping[str, Any]:
        return self.admin.get(f"/admin/tasks/{name}").raise_for_status().json()

    def wait_for_task(self, name: str, *states: str, within: float = DEADLINE) -> Mapping[str, Any]:
        """Return it as soon as it is in one of these states."""

        def reached() -> Mapping[str, Any] | None:
            answer = self.admin.get(f"/admin/tasks/{name}")
            return answer.json() if answer.is_success and answer.json()["state"] in states else None

        return self.wait_until(reached, f"task {name} is {' or '.join(states)}", within)

    def job(self, job: str) -> Mapping[str, Any]:
        return self.admin.get(f"/admin/jobs/{job}").raise_for_status().json()

    def run_job(self, job: str) -> Mapping[str, Any]:
        """Ask for a run; return it as it begins."""
        return self.admin.post(f"/admin/jobs/{job}/run").raise_for_status().json()

    def runs(self, job: str, *outcomes: str) -> list[Mapping[str, Any]]:
        """Newest first; only those with one of these outcomes, or all."""
        runs = self.admin.get("/admin/runs", params={"job": job}).raise_for_status().json()
        return [run for run in runs if not outcomes or run["outcome"] in outcomes]

    def finished(self, run: Mapping[str, Any], within: float = DEADLINE) -> Mapping[str, Any]:
        """Wait for the end of a run."""

        def ended() -> Mapping[str, Any] | None:
            now = self.admin.get(f"/admin/runs/{run['id']}").raise_for_status().json()
            return now if now["outcome"] else None

        return self.wait_until(ended, f"run {run['id']} of {run['job']} ends", within)

    def pid(self, name: str) -> int:
        """Of the first instance of a plugin."""
        return self.plugin(name)["instances"][0]["pid"]

    def exits(self, name: str) -> list[Mapping[str, Any]]:
        return self.admin.get("/admin/exits", params={"name": name}).raise_for_status().json()

    def exit_of(self, name: str, pid: int) -> Mapping[str, Any]:
        """Return the record of this process's death; the database gets it a moment after the fact."""

        def recorded() -> Mapping[str, Any] | None:
            return next((record for record in self.exits(name) if record["pid"] == pid), None)

        return self.wait_until(recorded, f"the exit of {name} (pid {pid}) is recorded")

    def plugin_log(self, name: str) -> str:
        """All that is left of what the plugin printed, straight from the files."""
        paths = sorted((self.state / "logs").glob(f"{name}.log*"), reverse=True)
        return "".join(written(path) for path in paths)

    def wait_for_text(self, path: Path) -> str:
        """Return what a process of the project writes there, which is little and written at once."""
        return self.wait_until(lambda: _read(path), f"{path.name} is written").decode()

    def wait_until(self, condition: Callable[[], Any], what: str, within: float = DEADLINE) -> Any:
        """Return the first true value of ``condition``; fail with the log when none comes or the supervisor is gone."""
        deadline = time.monotonic() + within
        while not (value := condition()):
            assert self.process is None or self.process.poll() is None, f"xcore up has ended\n{self.log}"
            assert time.monotonic() < deadline, f"not within {within:g} s: {what}\n{self.log}"
            time.sleep(_PAUSE)
        return value

    def wait_for_state(self, name: str, *states: str, within: float = DEADLINE) -> None:
        self.wait_until(lambda: self.plugin(name)["state"] in states, f"{name} is {' or '.join(states)}", within)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def _read(path: Path) -> bytes:
    """b"" where the process went away or is another user's."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def written(path: Path) -> str:
    """The lines that another process has written there, without one that it has just begun; "" without the file."""
    data = _read(path)
    return data[: data.rfind(b"\n") + 1].decode()


def is_alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    stat = _read(Path(f"/proc/{pid}/stat"))
    return bool(stat) and stat.rpartition(b")")[2].split()[0] not in {b"Z", b"X"}
