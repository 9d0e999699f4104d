"""A worker as the supervisor sees it: real processes, a real control socket, a real link."""

import asyncio
import json
import signal
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import msgpack
import pytest

from plugin_runtime import worker
from plugin_runtime.protocol import (
    STACKS_SIGNAL,
    Beat,
    Description,
    ExitCode,
    Failed,
    Hello,
    MakeSchema,
    Notes,
    Progress,
    Ready,
    Schema,
    WorkerSettings,
)
from tests.fakes.control_server import FakeSupervisor, eventually
from tests.fakes.guests import MINIMAL_RUN, Guest, link_get, make_plugin, outcome

pytestmark = [pytest.mark.process, pytest.mark.slow]

LIFESPAN_APP = """
import os, pathlib, signal, threading, time

log = pathlib.Path(__file__).with_name("log.txt")

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            with log.open("a") as file:
                file.write(event["type"] + "\\n")
            await send({"type": event["type"] + ".complete"})
            if event["type"] == "lifespan.shutdown":
                return
"""


def serve_app(tmp_path: Path, code: str, **settings):
    return make_plugin(tmp_path, {"main.py": code}, contract="app", entry="main:app", **settings)


def test_a_plugin_goes_through_its_phases_and_says_that_it_is_ready(tmp_path):
    """Ready means imported, started up and listening, and is said in that order."""
    settings = make_plugin(tmp_path, {"run.py": MINIMAL_RUN})
    with FakeSupervisor(tmp_path / "c.sock", settings) as supervisor, Guest(supervisor) as process:
        ready = supervisor.wait_for(Ready)
        assert Path(settings.link_path).is_socket()
        supervisor.stop_guest()
        code, _, errors = outcome(process)
    assert code == ExitCode.OK, errors
    assert errors == ""
    assert [message.phase for message in supervisor.of(Progress)] == ["import", "lifespan", "ready"]
    assert ready.framework.startswith("fastapi ")
    assert ready.path_mode == "full"
    assert ready.has_schema
    assert supervisor.of(Schema) == []
    assert supervisor.of(Hello)[0].pid == process.pid


def test_stop_shuts_the_app_down_and_removes_the_link(tmp_path):
    """An orderly end runs the lifespan shutdown and exits 0."""
    settings = serve_app(tmp_path, LIFESPAN_APP)
    with FakeSupervisor(tmp_path / "c.sock", settings) as supervisor, Guest(supervisor) as process:
        supervisor.wait_for(Ready)
        supervisor.stop_guest()
        assert outcome(process)[0] == ExitCode.OK
    assert (Path(settings.folder) / "log.txt").read_text() == "lifespan.startup\nlifespan.shutdown\n"
    assert not Path(settings.link_path).exists()


SLOW_APP = """
import asyncio, pathlib
from fastapi import FastAPI

app = FastAPI()

@app.get("/slow")
async def slow(seconds: float = {seconds}):
    pathlib.Path(__file__).with_name("working").touch()
    await asyncio.sleep(seconds)
    return "done"
"""


def test_requests_in_flight_are_finished_before_the_end(tmp_path):
    """Stop means no new ones; whoever is being answered gets the answer."""
    settings = serve_app(tmp_path, SLOW_APP.format(seconds=0.5))
    with (
        FakeSupervisor(tmp_path / "c.sock", settings) as supervisor,
        Guest(supervisor) as process,
        ThreadPoolExecutor() as pool,
    ):
        supervisor.wait_for(Ready)
        answer = pool.submit(link_get, settings, "/app/hello/slow")
        eventually(Path(settings.folder, "working").exists)
        supervisor.stop_guest(drain=20)
        assert answer.result(20) == (200, "done")
        assert outcome(process)[0] == ExitCode.OK


def test_sigterm_after_stop_cuts_the_drain_short(tmp_path):
    """The supervisor's next rung: SIGKILL follows, so what is left of the time goes to the shutdown."""
    settings = serve_app(tmp_path, SLOW_APP.format(seconds=600))
    with (
        FakeSupervisor(tmp_path / "c.sock", settings) as supervisor,
        Guest(supervisor) as process,
        ThreadPoolExecutor() as pool,
    ):
        supervisor.wait_for(Ready)
        draining = threading.Event()
        answer = pool.submit(link_get, settings, "/app/hello/slow", draining)
        eventually(Path(settings.folder, "working").exists)
        supervisor.stop_guest(drain=600)
        assert draining.wait(20)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert outcome(process)[0] == ExitCode.OK
        assert time.monotonic() - began < 5
        assert answer.result(20) is None


def test_a_stop_during_start_up_cancels_it(tmp_path):
    """Nobody waits for a database that a worker which is not wanted any more cannot reach."""
    code = """
import asyncio

async def app(scope, receive, send):
    await asyncio.sleep(600)
"""
    settings = serve_app(tmp_path, code)
    with FakeSupervisor(tmp_path / "c.sock", settings) as supervisor, Guest(supervisor) as process:
        supervisor.wait_for(Progress, 2)
        supervisor.stop_guest()
        assert outcome(process)[0] == ExitCode.OK
    assert supervisor.of(Ready) == []


def test_sigterm_alone_is_an_orderly_stop(tmp_path):
    """An operator's kill ends a worker as well as the supervisor's Stop."""
    settings = serve_app(tmp_path, LIFESPAN_APP)
    with FakeSupervisor(tmp_path / "c.sock", settings) as supervisor, Guest(supervisor) as process:
        supervisor.wait_for(Ready)
        process.send_signal(signal.SIGTERM)
        assert outcome(process)[0] == ExitCode.OK
    assert "lifespan.shutdown" in (Path(settings.folder) / "log.txt").read_text()


def test_a_thread_that_never_returns_does_not_keep_the_process(tmp_path):
    """Threads of the plugin that ignore the end are left behind after a moment."""
    code = LIFESPAN_APP + "\nthreading.Thread(target=time.sleep, args=(600,)).start()\n"
    settings = serve_app(tmp_path, code)
    with FakeSupervisor(tmp_path / "c.sock", settings) as supervisor, Guest(supervisor) as process:
        supervisor.wait_for(Ready)
        supervisor.stop_guest()
        assert outcome(process, timeout=15)[0] == ExitCode.OK


@pytest.mark.parametrize(
    ("code", "kind", "location", "exit_code"),
    [
        ("import nowhere_to_be_found\n", "ModuleNotFoundError", "main.py:1", ExitCode.INVALID),
        ("x = 1\ndef app(:\n", "SyntaxError", "main.py:2", ExitCode.INVALID),
        ("x = 1\n\nraise ConnectionError('no database')\n", "ConnectionError", "main.py:3", ExitCode.START_FAILED),
        ("import sys\nsys.exit(3)\n", "SystemExit", "main.py:2", ExitCode.START_FAILED),
        ("application = 1\n", "PluginInvalid", "", ExitCode.INVALID),
    ],
    ids=["missing dependency", "syntax error", "database away", "exits at import", "no app"],
)
def test_a_failed_import_is_reported_before_the_process_ends(tmp_path, code, kind, location, exit_code):
    """What went wrong and where is known to the supervisor, on stderr, and by the exit code."""
    settings = serve_app(tmp_path, code)
    with FakeSupervisor(tmp_path / "c.sock", settings) as supervisor, Guest(supervisor) as process:
        failed = supervisor.wait_for(Failed)
        result, _, errors = outcome(process)
    assert (failed.type, failed.location) == (kind, location)
    assert failed.permanent == (exit_code is ExitCode.INVALID)
    assert result == exit_code
    assert failed.message in errors
    assert "plugin_runtime" not in failed.traceback


def test_a_failed_start_up_may_heal(tmp_path):
    """A database that is away at start-up comes back: not permanent, told with the line that raised."""
    code = """
from contextlib import asynccontextmanager
from fastapi import FastAPI

@asynccontextmanager
async def lifespan(app):
    raise ConnectionError("database is away")
    yield

app = FastAPI(lifespan=lifespan)
"""
    settings = serve_app(tmp_path, code)
    with FakeSupervisor(tmp_path / "c.sock", settings) as supervisor, Guest(supervisor) as process:
        failed = supervisor.wait_for(Failed)
        assert outcome(process)[0] == ExitCode.START_FAILED
    assert (failed.phase, failed.type, failed.permanent) == ("lifespan", "ConnectionError", False)
    assert failed.location == "main.py:7"
    assert "database is away" in failed.message


def test_the_validator_describes_the_plugin_and_exits(tmp_path):
    """Validation serves nothing: it tells what the plugin is and ends with 0."""
    settings = replace(make_plugin(tmp_path, {"run.py": MINIMAL_RUN}), validate_only=True, prefix="")
    with FakeSupervisor(tmp_path / "c.sock", settings) as supervisor, Guest(supervisor) as process:
        description = supervisor.wait_for(Description)
        assert outcome(process)[0] == ExitCode.OK
    assert (description.title, description.version, description.author) == ("hello", "1.2.3", "Ada")
    assert (description.api_prefix, description.router_prefix, description.trigger) == ("", "/app/hello", 1)
    assert {"fastapi", "starlette", "pydantic", "json"} <= set(description.modules)
    assert not {"plugin_runtime", "plugins", "plugins.hello.run"} & set(description.modules)
    assert description.errors == []


def test_the_validator_exits_78_with_everything_that_is_wrong(tmp_path):
    """All breaches of the contract are reported at once."""
    settings = replace(make_plugin(tmp_path, {"run.py": "PLUGIN_INFO = {}\n"}), validate_only=True)
    with FakeSupervisor(tmp_path / "c.sock", settings) as supervisor, Guest(supervisor) as process:
        errors = supervisor.wait_for(Description).errors
        assert outcome(process)[0] == ExitCode.INVALID
    assert len(errors) == 4
    assert all(error.permanent and error.hint for error in errors)


def test_a_blocked_loop_shows_in_the_beats(tmp_path):
    """The control thread beats on while the loop stands still, and says for how long."""
    code = LIFESPAN_APP + "\nimport asyncio\nasyncio.get_running_loop().call_later(0.2, time.sleep, 600)\n"
    settings = serve_app(tmp_path, code)
    with FakeSupervisor(tmp_path / "c.sock", settings) as supervisor, Guest(supervisor):
        supervisor.wait_for(Ready)
        eventually(lambda: any(beat.loop_age > 2 for beat in supervisor.of(Beat)))
        assert supervisor.of(Beat)[-1].peak_memory_kb > 1000


def test_a_long_import_does_not_make_a_ready_worker_look_hung(tmp_path):
    """The supervisor watches from Ready on; the beat it has by then must be of a loop that turns."""
    settings = serve_app(tmp_path, LIFESPAN_APP + "\ntime.sleep(1.5)\n")
    with FakeSupervisor(tmp_path / "c.sock", settings) as supervisor, Guest(supervisor):
        ready = supervisor.wait_for(Ready)
        before = supervisor.messages[: supervisor.messages.index(ready)]
    beats = [message.loop_age for message in before if isinstance(message, Beat)]
    assert max(beats) > 0.5
    assert beats[-1] < 0.1


def test_stacks_are_written_while_the_gil_is_held(tmp_path):
    """The signal for stacks works where no Python code can run any more; they name the line that hangs."""
    hog = """
import asyncio, re

def hog():
    pathlib.Path(__file__).with_name("hogging").touch()
    re.match("(a+)+$", "a" * 60 + "b")

asyncio.get_running_loop().call_later(0.2, hog)
"""
    settings = serve_app(tmp_path, LIFESPAN_APP + hog)
    with FakeSupervisor(tmp_path / "c.sock", settings) as supervisor, Guest(supervisor) as process:
        supervisor.wait_for(Ready)
        eventually(Path(settings.folder, "hogging").exists)
        process.send_signal(STACKS_SIGNAL)
        eventually(lambda: "in hog" in process.stderr.readline())


def test_a_worker_without_a_supervisor_ends_after_the_grace(tmp_path):
    """Nobody left to answer to: the worker shuts down in order and says why by its exit code."""
    settings = serve_app(tmp_path, LIFESPAN_APP)
    with FakeSupervisor(tmp_path / "c.sock", settings) as supervisor, Guest(supervisor) as process:
        supervisor.wait_for(Ready)
        supervisor.die()
        assert outcome(process)[0] == ExitCode.PARENT_LOST
        supervisor.listen()
    assert "lifespan.shutdown" in (Path(settings.folder) / "log.txt").read_text()


def test_the_document_of_a_worker_is_made_when_it_is_asked_for(tmp_path):
    """It takes as long as a dozen requests: not on the way to the first one, and not where it is known."""
    settings = make_plugin(tmp_path, {"run.py": MINIMAL_RUN})
    with FakeSupervisor(tmp_path / "c.sock", settings) as supervisor, Guest(supervisor) as process:
        supervisor.wait_for(Ready)
        supervisor.send(MakeSchema())
        schema = supervisor.wait_for(Schema)
        supervisor.stop_guest()
        assert outcome(process)[0] == ExitCode.OK
    assert schema.hash == sha256(schema.document).hexdigest()
    assert json.loads(schema.document)["paths"]


def test_one_without_a_document_passes_over_the_question(tmp_path):
    """It says so when it is ready; whoever asks all the same waits for nothing."""
    code = "async def app(scope, receive, send): ...\n"
    with FakeSupervisor(tmp_path / "c.sock", serve_app(tmp_path, code)) as supervisor, Guest(supervisor) as process:
        assert not supervisor.wait_for(Ready).has_schema
        supervisor.send(MakeSchema())
        supervisor.stop_guest()
        assert outcome(process)[0] == ExitCode.OK
    assert supervisor.of(Schema) == []


def test_the_next_supervisor_learns_that_the_worker_is_ready(tmp_path):
    """A supervisor that takes over is told what the one before knew, and its Stop is obeyed."""
    settings = replace(make_plugin(tmp_path, {"run.py": MINIMAL_RUN}), adopt_grace=10.0)
    with FakeSupervisor(tmp_path / "c.sock", settings) as supervisor, Guest(supervisor) as process:
        supervisor.wait_for(Ready)
        supervisor.die()
        supervisor.listen()
        supervisor.wait_for(Hello, 2)
        supervisor.wait_for(Ready, 2)
        assert supervisor.of(Ready)[0] == supervisor.of(Ready)[1]
        supervisor.stop_guest()
        assert outcome(process)[0] == ExitCode.OK


def test_the_environment_of_a_plugin_holds_no_secret_of_ours(tmp_path):
    """Address and nonce of the control channel are gone before the plugin's code runs."""
    code = LIFESPAN_APP + "\nprint(sorted(name for name in os.environ if name.startswith('XCORE')))\n"
    settings = serve_app(tmp_path, code)
    with FakeSupervisor(tmp_path / "c.sock", settings) as supervisor, Guest(supervisor) as process:
        supervisor.wait_for(Ready)
        supervisor.stop_guest()
        assert outcome(process)[1] == "['XCORE_CHILD']\n"


def test_nothing_of_ours_but_the_guest_is_importable(tmp_path):
    """A plugin sees its own modules, its packages and plugin_runtime; the project's folders are not on its path."""
    code = """
import importlib.util
found = {n for n in ("supervisor", "gateway", "tests", "bootstrap", "plugin_runtime") if importlib.util.find_spec(n)}
print(found)
"""
    settings = serve_app(tmp_path, LIFESPAN_APP + code)
    # Not this environment's own interpreter, to which an editable install shows the whole project.
    python = sys._base_executable
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "msgpack").symlink_to(Path(msgpack.__file__).parent)
    with (
        FakeSupervisor(tmp_path / "c.sock", settings) as supervisor,
        Guest(supervisor, python=python, packages=str(packages)) as process,
    ):
        supervisor.wait_for(Ready)
        supervisor.stop_guest()
        assert outcome(process)[1] == "{'plugin_runtime'}\n"


def test_what_requests_import_is_told_once_it_is_there(monkeypatch):
    """The next worker shall find it in its template; while nothing is new nothing is said."""
    told = []
    monkeypatch.setattr(worker, "IMPORTS_INTERVAL", 0.01)
    monkeypatch.setattr(worker, "tell_imports", lambda channel: told.append((channel, next(reversed(sys.modules)))))
    settings = WorkerSettings("hello", "app", "main:app", "", "", "")

    async def scenario():
        worker.Worker(settings, "channel")._tell_imports()
        monkeypatch.setitem(sys.modules, "imported_by_a_request", types.ModuleType("imported_by_a_request"))
        for _ in range(10):
            await asyncio.sleep(0.01)

    asyncio.run(scenario())
    assert told[-1] == ("channel", "imported_by_a_request")
    assert len(told) == len({newest for _, newest in told}) > 1


CONCURED = MINIMAL_RUN.replace(
    "def run(self): ...",
    """def run(self): ...
    async def concured(self):
        import asyncio
        print("begun", flush=True)
        try:
            {work}
        finally:
            print("ended", flush=True)
""",
)


def own_job_of(tmp_path, work, **settings):
    lock = str(tmp_path / "hello.concured")
    return make_plugin(tmp_path, {"run.py": CONCURED.replace("{work}", work)}, concured_lock=lock, **settings)


def test_the_plugins_own_job_runs_from_ready_to_stop(tmp_path):
    """Cancelled and awaited before the app is shut down."""
    settings = own_job_of(tmp_path, "await asyncio.Event().wait()")
    with FakeSupervisor(tmp_path / "c.sock", settings) as supervisor, Guest(supervisor) as process:
        assert process.stdout.readline() == "begun\n"
        supervisor.wait_for(Ready)
        supervisor.stop_guest()
        assert outcome(process) == (ExitCode.OK, "ended\n", "")
    assert supervisor.of(Notes) == []


def test_the_failure_of_the_plugins_own_job_is_noted_and_its_worker_serves_on(tmp_path):
    """The traceback is the author's; a supervisor that takes over is told, too."""
    settings = own_job_of(tmp_path, "raise ValueError('no such queue')")
    with FakeSupervisor(tmp_path / "c.sock", settings) as supervisor, Guest(supervisor) as process:
        (note,) = supervisor.wait_for(Notes).sentences
        assert link_get(settings, "/app/hello/") == (200, {"hello": "world"})
        supervisor.connections[-1].shutdown(2)
        assert supervisor.wait_for(Notes, 2).sentences == [note]
        supervisor.stop_guest()
        code, _, errors = outcome(process)
    assert code == ExitCode.OK
    assert note.startswith(
        "Plugin.concured has failed: ValueError: no such queue; its traceback is in the plugin's log"
    )
    assert "raise ValueError('no such queue')" in errors
    assert "plugin_runtime" not in errors.partition("Plugin.concured has failed")[0]


@pytest.mark.parametrize("settings", [{"concured_lock": ""}, {"validate_only": True}], ids=["other", "validator"])
def test_the_plugins_own_job_runs_nowhere_else(tmp_path, settings):
    """Neither in a second instance nor where the plugin is only looked at."""
    settings = replace(own_job_of(tmp_path, "pass"), **settings)
    with FakeSupervisor(tmp_path / "c.sock", settings) as supervisor, Guest(supervisor) as process:
        if not settings.validate_only:
            supervisor.wait_for(Ready)
            assert link_get(settings, "/app/hello/") == (200, {"hello": "world"})
            supervisor.stop_guest()
        assert outcome(process)[:2] == (ExitCode.OK, "")


def test_a_thread_of_the_plugins_own_job_does_not_keep_the_process(tmp_path):
    """Nothing can end it; what the interpreter does at its end is done all the same."""
    code = MINIMAL_RUN.replace(
        "def run(self): ...",
        "run = None\n    def concured(self):\n        import atexit, time\n"
        "        atexit.register(print, 'bye')\n        print('begun')\n        time.sleep(600)\n",
    )
    settings = make_plugin(tmp_path, {"run.py": code}, concured_lock=str(tmp_path / "lock"))
    with FakeSupervisor(tmp_path / "c.sock", settings) as supervisor, Guest(supervisor) as process:
        assert process.stdout.readline() == "begun\n"
        supervisor.stop_guest(drain=0.2)
        assert outcome(process)[:2] == (ExitCode.OK, "bye\n")
