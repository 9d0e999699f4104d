"""A template as the supervisor sees it: the whole program, and real workers and tasks forked of it."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from plugin_runtime.protocol import STACKS_SIGNAL, Beat, ExitCode, Failed, Hello, Ready
from plugin_runtime.task_protocol import ListThreads, RunFinished
from plugin_runtime.template_protocol import Fork, Imported, NotForked, NotImported
from tests.fakes.control_server import eventually
from tests.fakes.guests import MINIMAL_RUN, link_get, make_plugin, make_task, outcome, write_files
from tests.fakes.processes import nothing_left_behind
from tests.fakes.templates import TEMPLATE, Template

pytestmark = [pytest.mark.process, pytest.mark.slow]

WORKER = "hello.1"

TELLS_ITSELF = """
import gc, json, os, random, sys, threading, time

facts = {
    "environment": dict(os.environ),
    "gc": gc.isenabled(),
    "frozen": gc.get_freeze_count(),
    "threads": sorted(thread.name for thread in threading.enumerate()),
    "zone": time.strftime("%Z"),
    "random": random.random(),
    "argv": sys.argv[1:],
    "wave": "wave" in sys.modules,
    "orders": [found.child for found in gc.get_objects() if type(found).__name__ == "Fork"],
    "guest": sorted(name for name in sys.modules if name.startswith("plugins.")),
}

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(facts).encode()})
"""


@pytest.fixture(autouse=True)
def _nothing_left_behind():
    """The test is a subreaper, as the supervisor is: what is forked becomes a child of it."""
    with nothing_left_behind():
        yield


@pytest.fixture
def app(tmp_path):
    """Settings of a worker whose plugin answers every request with what it has found at its import."""
    return make_plugin(tmp_path, {"main.py": TELLS_ITSELF}, contract="app", entry="main:app", adopt_grace=10.0)


def facts_of(template, settings, child=WORKER):
    template.supervisor.wait_for(Ready, child=child)
    status, facts = link_get(settings, "/app/hello/x")
    assert status == 200
    return facts


def test_a_template_is_ready_when_its_modules_are_imported_and_ends_when_it_is_told_to(tmp_path):
    """It says what it could not import, beats once, so that there is a measure of its memory, and prints nothing."""
    with Template(tmp_path, ["wave", "nowhere_to_be_found"]) as template:
        template.wait_until_ready()
        template.supervisor.stop_guest(child=TEMPLATE)
        assert outcome(template.process) == (ExitCode.OK, "", "")
        said = [type(message) for message in template.supervisor.messages]
        assert template.supervisor.of(Beat)[0].peak_memory_kb > 1000
        (missing,) = template.supervisor.of(NotImported)
    assert said == [Hello, NotImported, Beat, Ready]
    assert missing.reasons["nowhere_to_be_found"] == "ModuleNotFoundError: No module named 'nowhere_to_be_found'"


def test_a_forked_worker_serves_its_plugin_and_ends_in_order(tmp_path):
    """All that a worker is, with nothing on its streams; the id and the nonce are those of the order."""
    settings = make_plugin(tmp_path, {"run.py": MINIMAL_RUN})
    with Template(tmp_path, ["fastapi"]) as template:
        worker = template.wait_until_ready().fork(WORKER, settings=settings)
        supervisor = template.supervisor
        assert supervisor.wait_for(Ready, child=WORKER).framework.startswith("fastapi ")
        hello = supervisor.of(Hello, WORKER)[0]
        assert link_get(settings, "/app/hello/") == (200, {"hello": "world"})
        supervisor.stop_guest(child=WORKER)
        assert worker.outcome() == (ExitCode.OK, "", "")
        assert template.process.poll() is None
    assert (hello.pid, hello.start_ticks, hello.nonce) == (worker.pid, worker.start_ticks, "its nonce")


@pytest.mark.parametrize("purpose", ["service", "run"])
def test_a_forked_task_runs_and_prints_to_its_own_streams(tmp_path, purpose):
    """Services and runs of jobs are forked by the same order."""
    code = """
import sys

def service_main(service):
    print("served")

def job():
    print("ran")
    print("badly", file=sys.stderr)

metadata["con"] = [{"func": job, "name": "job"}]
"""
    settings = make_task(tmp_path, code, purpose=purpose, **({"job": "job", "run": "3f"} if purpose == "run" else {}))
    with Template(tmp_path) as template:
        task = template.wait_until_ready().fork("reports.1", "task", settings)
        result = task.outcome()
        finished = [word.outcome for word in template.supervisor.of(RunFinished)]
        template.supervisor.stop_guest(child=TEMPLATE)
        assert outcome(template.process) == (ExitCode.OK, "", "")
    assert result == (ExitCode.OK, *(("ran\n", "badly\n") if purpose == "run" else ("served\n", "")))
    assert finished == (["succeeded"] if purpose == "run" else [])


def test_the_environment_is_that_of_the_order_and_holds_no_secret_of_ours(tmp_path, app):
    """Nothing of the template's is left, and the time zone is the plugin's."""
    environment = {"OPENBLAS_NUM_THREADS": "1", "LEFT": "over", "TZ": "UTC"}
    with Template(tmp_path, environment=environment) as template:
        template.wait_until_ready().fork(settings=app, SHOP="1", TZ="EST5", XCORE_RUNTIME="/packages")
        facts = facts_of(template, app)
    assert facts["environment"] == {"PATH": "/usr/bin:/bin", "SHOP": "1", "TZ": "EST5", "XCORE_CHILD": WORKER}
    assert facts["zone"] == "EST"


def test_a_forked_worker_finds_itself_as_in_a_process_of_its_own(tmp_path, app):
    """Collected garbage, no argument, no thread but the guest's own, no module of another plugin."""
    with Template(tmp_path, ["wave"]) as template:
        template.wait_until_ready().fork(settings=app)
        facts = facts_of(template, app)
    assert (facts["gc"], facts["argv"], facts["guest"]) == (True, [], [])
    assert facts["frozen"] > 1000
    assert facts["wave"] is True
    assert facts["threads"] == ["MainThread", "xcore-control"]


def test_the_garbage_collector_is_off_in_the_template(tmp_path):
    """It writes to all objects, which would unshare the memory of everything that is forked."""
    package = write_files(tmp_path / "packages", {"told.py": "import gc; print(gc.isenabled())"})
    with Template(tmp_path, ["told"], packages=str(package)) as template:
        template.wait_until_ready()
        template.supervisor.stop_guest(child=TEMPLATE)
        assert outcome(template.process) == (ExitCode.OK, "False\n", "")


def test_two_forked_workers_do_not_draw_the_same_numbers(tmp_path, app):
    """Tokens and file names are made of them."""
    with Template(tmp_path, ["random"]) as template:
        template.wait_until_ready()
        drawn = set()
        for child in ("hello.1", "hello.2"):
            worker = template.fork(child, settings=app)
            drawn.add(facts_of(template, app, child)["random"])
            template.supervisor.stop_guest(child=child)
            worker.outcome()
    assert len(drawn) == 2


def test_orders_that_are_read_at_once_are_each_for_one_process(tmp_path, app):
    """An order holds a whole environment, with its secrets: it stays out of what is forked by the one before."""
    with Template(tmp_path) as template:
        template.wait_until_ready()
        template.supervisor.settings_of.update({"hello.1": app, "hello.2": None})
        template.process.send_signal(signal.SIGSTOP)
        eventually(lambda: psutil.Process(template.process.pid).status() == psutil.STATUS_STOPPED)
        orders = [template.order_nowait(child) for child in ("hello.1", "hello.2")]
        template.process.send_signal(signal.SIGCONT)
        for waiting in orders:
            template.adopt(*waiting)
        facts = facts_of(template, app, "hello.1")
    assert facts["orders"] == ["hello.1"]


def descriptors_of(pid: int) -> list[str]:
    return sorted(str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir())


def sockets_of(pid: int) -> set[str]:
    return {target for target in descriptors_of(pid) if target.startswith("socket:")}


def test_template_and_worker_share_no_connection(tmp_path, app):
    """Two that read from one socket would steal each other's orders, and its end would not be seen."""
    with Template(tmp_path) as template:
        worker = template.wait_until_ready().fork(settings=app)
        template.supervisor.wait_for(Ready, child=WORKER)
        own = sockets_of(worker.pid)
        assert own
        assert not own & sockets_of(template.process.pid)


def test_a_worker_tells_only_what_its_template_had_not(tmp_path):
    """That is what the next template imports."""
    settings = make_plugin(tmp_path, {"run.py": f"import wave, shelve\n{MINIMAL_RUN}"})
    with Template(tmp_path, ["fastapi", "wave"]) as template:
        template.wait_until_ready().fork(settings=settings)
        modules = template.supervisor.wait_for(Imported, child=WORKER).modules
    assert "shelve" in modules
    assert not {"wave", "fastapi", "json", "plugins.hello.run"} & set(modules)


def test_there_is_no_other_program(tmp_path):
    """A supervisor of another version asks for what this guest does not know."""
    with Template(tmp_path) as template:
        answer, _ = template.wait_until_ready().order(WORKER, "dance")
        assert answer == NotForked("there is no program 'dance'")
        answer, _ = template.order(WORKER, "template")
        assert answer == NotForked("there is no program 'template'")


def test_a_module_that_cannot_be_forked_ends_the_template_for_good(tmp_path):
    """The supervisor starts workers without a template from then on, and can say why."""
    code = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"
    package = write_files(tmp_path / "packages", {"watchful.py": code})
    with Template(tmp_path, ["watchful"], packages=str(package)) as template:
        failed = template.supervisor.wait_for(Failed)
        assert outcome(template.process)[0] == ExitCode.INVALID
    assert (failed.type, failed.permanent) == ("TemplateUnsafe", True)
    assert "'watchful' leaves 1 thread behind" in failed.message


def test_a_forked_worker_outlives_its_template(tmp_path, app):
    """Templates are replaced, and killed for their memory; nobody's requests depend on them."""
    with Template(tmp_path) as template:
        worker = template.wait_until_ready().fork(settings=app)
        template.supervisor.wait_for(Ready, child=WORKER)
        template.process.kill()
        assert outcome(template.process)[0] == -signal.SIGKILL
        assert facts_of(template, app)["gc"] is True
        template.supervisor.stop_guest(child=WORKER)
        assert worker.outcome()[0] == ExitCode.OK


def test_stacks_of_a_forked_worker_go_to_its_own_log(tmp_path, app):
    """The signal works there as in any guest; the template has a stack of its own to tell."""
    with Template(tmp_path) as template:
        worker = template.wait_until_ready().fork(settings=app)
        template.supervisor.wait_for(Ready, child=WORKER)
        os.kill(worker.pid, STACKS_SIGNAL)
        eventually(lambda: "(most recent call first)" in worker.streams.stderr.text)
        assert " in _serve" in worker.streams.stderr.text
        template.process.send_signal(STACKS_SIGNAL)
        eventually(lambda: " in receive" in template.process.stderr.readline())
        assert isinstance(template.order(WORKER, "dance")[0], NotForked)


def test_template_and_worker_name_their_threads_by_the_kernel_s_ids(tmp_path, app):
    """A template has one thread; the main thread of a forked process is not the one that it was forked by."""
    with Template(tmp_path) as template:
        worker = template.wait_until_ready().fork(settings=app)
        template.supervisor.wait_for(Ready, child=WORKER)
        (only,) = template.ask(ListThreads()).threads
        template.supervisor.send(ListThreads(), 99, child=WORKER)
        threads = {thread.name: thread.native for thread in template.supervisor.answer_to(99).threads}
        existing = {int(task.name) for task in Path(f"/proc/{worker.pid}/task").iterdir()}
    assert (only.name, only.native) == ("MainThread", template.process.pid)
    assert threads["MainThread"] == worker.pid
    assert set(threads.values()) <= existing


def test_a_template_without_a_supervisor_ends_after_the_grace(tmp_path):
    """Nobody is left to order anything."""
    with Template(tmp_path, adopt_grace=0.3) as template:
        template.wait_until_ready()
        template.supervisor.die()
        code, _, errors = outcome(template.process)
        template.supervisor.listen()
    assert code == ExitCode.PARENT_LOST
    assert "cannot reach the supervisor: nobody answered on" in errors


def test_the_next_supervisor_forks_of_the_same_template(tmp_path, app):
    """An upgrade of the supervisor does not cost the warm start; the workers come along, too."""
    with Template(tmp_path) as template:
        worker = template.wait_until_ready().fork("hello.1", settings=app)
        supervisor = template.supervisor
        supervisor.wait_for(Ready, child="hello.1")
        supervisor.die()
        supervisor.listen()
        supervisor.wait_for(Ready, 2, child="hello.1")
        supervisor.wait_for(Ready, 2, child=TEMPLATE)
        supervisor.stop_guest(child="hello.1")
        assert worker.outcome()[0] == ExitCode.OK
        template.fork("hello.2", settings=app)
        assert facts_of(template, app, "hello.2")["gc"] is True


def test_a_template_forks_for_ever(tmp_path):
    """Its descriptors and its children do not grow in number, whether a fork succeeds or not."""
    gone = str(tmp_path / "gone")
    with Template(tmp_path) as template:
        template.wait_until_ready()
        before = descriptors_of(template.process.pid)
        for _ in range(25):
            template.fork(settings=None).outcome()  # refused: a worker cannot do without settings
            answer = template.ask(Fork(WORKER, "nonce", "worker", {}, gone, gone))
            assert isinstance(answer, NotForked)
        assert descriptors_of(template.process.pid) == before
        assert Path(f"/proc/{template.process.pid}/task/{template.process.pid}/children").read_text() == ""
