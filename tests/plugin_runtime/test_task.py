"""The task program as the supervisor sees it: real processes, a real control socket."""

import signal
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import Popen

import pytest

from plugin_runtime.protocol import STACKS_SIGNAL, Beat, ExitCode, Failed, Progress, Ready
from plugin_runtime.task_protocol import (
    ListThreads,
    Outcome,
    RunFinished,
    RunJob,
    TaskDescription,
    TaskPurpose,
    TaskSettings,
    Threads,
)
from plugin_runtime.template_protocol import Imported
from tests.fakes.control_server import FakeSupervisor, eventually
from tests.fakes.guests import Guest, make_plugin, make_task, outcome

pytestmark = [pytest.mark.process, pytest.mark.slow]

NOTE = """
import asyncio, os, pathlib, signal, sys, threading, time

here = pathlib.Path(__file__).parent

def note(text):
    with (here / "notes.txt").open("a") as file:
        file.write(text + "\\n")
"""


@dataclass
class Scene:
    """A process of the task program and its supervisor."""

    supervisor: FakeSupervisor
    process: Popen
    settings: TaskSettings

    @property
    def notes(self) -> list[str]:
        """What the task's code noted."""
        file = Path(self.settings.module_file).with_name("notes.txt")
        return file.read_text().splitlines() if file.exists() else []

    def wait_for_note(self, text: str) -> None:
        eventually(lambda: text in self.notes, message=f"{text!r} was not noted: {self.notes}")

    def stop(self) -> None:
        self.supervisor.stop_guest()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


@contextmanager
def started(tmp_path, settings, **guest):
    with (
        FakeSupervisor(tmp_path / "c.sock", settings) as supervisor,
        Guest(supervisor, program="task", **guest) as process,
    ):
        yield Scene(supervisor, process, settings)


@contextmanager
def service(tmp_path, code, **settings):
    """A service that has said that it is ready."""
    with started(tmp_path, make_task(tmp_path, NOTE + code, **settings)) as scene:
        scene.supervisor.wait_for(Ready)
        yield scene


def run_job(tmp_path, code, job="work", **settings):
    """The settings of one run; ``code`` defines ``work``."""
    con = f'\nmetadata["con"] = [{{"func": {job}, "name": "{job}"}}]\n'
    settings = {"purpose": TaskPurpose.RUN.value, "job": job, "run": "3f2a91c0", **settings}
    return make_task(tmp_path, NOTE + code + con, **settings)


# --- describe ----------------------------------------------------------------------------------------------------


def test_a_module_is_described_by_a_process_that_ends(tmp_path):
    """What it prints is its own; nothing of it is run but the import."""
    code = """
print("imported")
def cleanup(): ...
metadata["con"] = [{"func": cleanup, "name": "cleanup"}]
def service_main(service): note("called")
"""
    with started(tmp_path, make_task(tmp_path, NOTE + code, purpose=TaskPurpose.DESCRIBE.value)) as scene:
        description = scene.supervisor.wait_for(TaskDescription)
        assert outcome(scene.process) == (ExitCode.OK, "imported\n", "")
    assert (description.title, description.version, description.has_service) == ("reports", "1.2.3", True)
    assert [job.name for job in description.jobs] == ["cleanup"]
    assert scene.notes == []
    assert scene.supervisor.of(Ready) == []


@pytest.mark.parametrize(("code", "kind"), [("", "MetadataInvalid"), ("import nowhere\n", "ModuleNotFoundError")])
def test_a_module_that_cannot_be_run_is_described_with_its_errors(tmp_path, code, kind):
    """Exit code 78: nothing but a change can heal it."""
    with started(tmp_path, make_task(tmp_path, code, purpose=TaskPurpose.DESCRIBE.value)) as scene:
        description = scene.supervisor.wait_for(TaskDescription)
        assert outcome(scene.process)[0] == ExitCode.INVALID
    assert [error.type for error in description.errors] == [kind]


CALLS = """
from plugin_runtime.local_side import CURRENT, LOCAL_SIDE

def tell(where):
    note(f"{where}: {LOCAL_SIDE.path} {LOCAL_SIDE.key} {(CURRENT.get() or [0, {}])[1]}")

tell("import")

def work():
    tell("run")

async def gentle():
    await asyncio.sleep(0)
    tell("coroutine")
"""


@pytest.mark.parametrize(("job", "where"), [("work", "run"), ("gentle", "coroutine")])
def test_a_run_calls_plugins_as_the_run_that_it_is(tmp_path, job, where):
    """From its import on, in whatever it turns into."""
    settings = run_job(tmp_path, CALLS, job=job, local_path="/run/local.sock", local_key="t1:x")
    with started(tmp_path, settings) as scene:
        assert outcome(scene.process)[0] == ExitCode.OK
    told = "/run/local.sock t1:x {'request_id': '3f2a91c0'}"
    assert scene.notes == [f"import: {told}", f"{where}: {told}"]


@pytest.mark.parametrize(
    "main", ["def service_main(service):\n    tell('main')", "async def service_main(service):\n    tell('main')"]
)
@pytest.mark.parametrize(("job", "where"), [("work", "run"), ("gentle", "coroutine")])
def test_a_service_calls_plugins_and_a_shared_run_does_so_by_its_id(tmp_path, main, job, where):
    """The service itself serves nothing that has an id."""
    con = f"\nmetadata['con'] = [{{'func': {job}, 'name': '{job}', 'shared': True}}]\n"
    wait = "service.wait" if main.startswith("def") else "await service.wait_async"
    code = f"{CALLS}{con}{main}\n    {wait}(60)\n"
    with service(tmp_path, code, local_path="/run/local.sock", local_key="t1:x") as scene:
        scene.wait_for_note("main: /run/local.sock t1:x {}")
        scene.supervisor.send(RunJob("ab12", job))
        scene.wait_for_note(f"{where}: /run/local.sock t1:x {{'request_id': 'ab12'}}")
        scene.stop()
        assert outcome(scene.process)[0] == ExitCode.OK
    assert scene.notes[0] == "import: /run/local.sock t1:x {}"


def test_a_purpose_of_another_version_is_refused(tmp_path):
    """A guest that guessed would run what it was to describe."""
    with started(tmp_path, make_task(tmp_path, "", purpose="rehearse")) as scene:
        code, _, errors = outcome(scene.process)
    assert code == ExitCode.REFUSED
    assert "'rehearse'" in errors


# --- service -----------------------------------------------------------------------------------------------------

LISTENS = """
def service_main(service):
    note("begun")
    while service.running:
        service.wait(60)
    note("ended")
"""
LISTENS_ASYNC = """
async def service_main(service):
    note("begun")
    while service.running:
        await service.wait_async(60)
    note("ended")
"""
DEAF = """
def service_main(service):
    try:
        note("begun")
        time.sleep(600)
    finally:
        note("woken")
"""
DEAF_ASYNC = """
async def service_main(service):
    try:
        note("begun")
        await asyncio.sleep(600)
    finally:
        note("woken")
"""
STUBBORN = """
def service_main(service):
    while True:
        try:
            note("begun")
            time.sleep(600)
        except BaseException:
            note("not now")
"""
BOTH = pytest.mark.parametrize("code", [LISTENS, LISTENS_ASYNC], ids=["sync", "async"])


@BOTH
def test_a_service_ends_when_it_is_asked_to(tmp_path, code):
    """The first rung: running is false, pauses return at once, exit code 0."""
    with service(tmp_path, code) as scene:
        scene.wait_for_note("begun")
        scene.stop()
        assert outcome(scene.process) == (ExitCode.OK, "", "")
    assert scene.notes == ["begun", "ended"]
    assert [message.phase for message in scene.supervisor.of(Progress)] == ["import"]


@BOTH
def test_sigterm_alone_asks_a_service_to_end(tmp_path, code):
    """An operator's kill."""
    with service(tmp_path, code) as scene:
        scene.wait_for_note("begun")
        scene.terminate()
        assert outcome(scene.process)[0] == ExitCode.OK
    assert scene.notes == ["begun", "ended"]


@pytest.mark.parametrize("code", [DEAF, DEAF_ASYNC], ids=["sync", "async"])
def test_sigterm_after_stop_interrupts_a_service(tmp_path, code):
    """The second rung: SystemExit in ``finally``, for who does not look at running."""
    with service(tmp_path, code) as scene:
        scene.wait_for_note("begun")
        scene.stop()
        scene.supervisor.wait_for(Beat, len(scene.supervisor.of(Beat)) + 1)  # so the message before was read
        assert scene.notes == ["begun"]
        scene.terminate()
        assert outcome(scene.process)[0] == ExitCode.OK
    assert scene.notes == ["begun", "woken"]


def test_a_service_that_ignores_everything_is_left_to_sigkill(tmp_path):
    """The last rung is the supervisor's; the process lives and beats until then."""
    with service(tmp_path, STUBBORN) as scene:
        scene.wait_for_note("begun")
        scene.stop()
        scene.supervisor.wait_for(Beat, len(scene.supervisor.of(Beat)) + 1)
        scene.terminate()
        scene.wait_for_note("not now")
        scene.supervisor.wait_for(Beat, len(scene.supervisor.of(Beat)) + 1)
        scene.process.kill()
        assert outcome(scene.process)[0] == -signal.SIGKILL


def test_a_service_that_returns_is_finished(tmp_path):
    """It did what it was there for."""
    with service(tmp_path, "def service_main(service):\n    print('done', service.name)\n") as scene:
        assert outcome(scene.process) == (ExitCode.OK, "done reports\n", "")


@pytest.mark.parametrize("prefix", ["", "async "])
def test_a_service_that_raises_has_crashed(tmp_path, prefix):
    """The traceback is in its log, with the lines of its file."""
    with service(tmp_path, f"{prefix}def service_main(service):\n    raise ValueError('no luck')\n") as scene:
        code, _, errors = outcome(scene.process)
    assert code == ExitCode.FAILED
    assert "    raise ValueError('no luck')\nValueError: no luck\n" in errors
    assert f'File "{scene.settings.module_file}", line ' in errors
    assert "plugin_runtime" not in errors


def test_a_thread_that_never_returns_does_not_keep_the_process(tmp_path):
    """Threads that the service leaves behind have two seconds."""
    code = "def service_main(service):\n    threading.Thread(target=time.sleep, args=(600,)).start()\n"
    with service(tmp_path, code) as scene:
        assert outcome(scene.process, timeout=15)[0] == ExitCode.OK


def test_a_module_that_has_lost_its_service_cannot_start(tmp_path):
    """It was there when the module was described."""
    code = "def work(): ...\nmetadata['con'] = [{'func': work, 'name': 'work'}]\n"
    with started(tmp_path, make_task(tmp_path, code)) as scene:
        failed = scene.supervisor.wait_for(Failed)
        assert outcome(scene.process)[0] == ExitCode.INVALID
    assert failed.type == "MetadataInvalid"
    assert "no service_main" in failed.message


@pytest.mark.parametrize(
    ("code", "kind", "exit_code"),
    [
        ("import nowhere\n", "ModuleNotFoundError", ExitCode.INVALID),
        ("raise ConnectionError('no database')\n", "ConnectionError", ExitCode.START_FAILED),
        ("del metadata\n", "MetadataInvalid", ExitCode.INVALID),
    ],
)
@pytest.mark.parametrize("purpose", [TaskPurpose.SERVICE, TaskPurpose.RUN])
def test_a_module_that_cannot_be_imported_is_reported(tmp_path, code, kind, exit_code, purpose):
    """As for plugins: to the supervisor, to the log, by the exit code."""
    settings = make_task(tmp_path, LISTENS + code, purpose=purpose.value, job="work")
    with started(tmp_path, settings) as scene:
        failed = scene.supervisor.wait_for(Failed)
        result, _, errors = outcome(scene.process)
    assert (result, failed.type) == (exit_code, kind)
    assert failed.message in errors
    assert scene.supervisor.of(Ready) == scene.supervisor.of(RunFinished) == []


def test_a_working_directory_that_is_gone_is_no_fault_of_the_author(tmp_path):
    settings = replace(make_task(tmp_path, LISTENS), working_directory=str(tmp_path / "gone"))
    with started(tmp_path, settings) as scene:
        failed = scene.supervisor.wait_for(Failed)
        assert outcome(scene.process)[0] == ExitCode.START_FAILED
    assert (failed.phase, failed.type, failed.permanent) == ("ready", "FileNotFoundError", False)


# --- is it alive? ------------------------------------------------------------------------------------------------


def test_a_sync_service_beats_whatever_it_does(tmp_path):
    """There is no loop that could be late; a long import does not make it look hung either."""
    code = "time.sleep(1.2)\ndef service_main(service):\n    time.sleep(600)\n"
    with service(tmp_path, code) as scene:
        before = len(scene.supervisor.of(Beat))
        scene.supervisor.wait_for(Beat, before + 3)
        beats = [beat.loop_age for beat in scene.supervisor.of(Beat)]
    assert max(beats) > 0.5  # while it was imported
    assert beats[before - 1] == beats[-1] == 0.0


def test_a_blocked_loop_of_an_async_service_shows_in_the_beats(tmp_path):
    """And its stacks can be asked for."""
    with service(tmp_path, "async def service_main(service):\n    time.sleep(600)\n") as scene:
        eventually(lambda: any(beat.loop_age > 1.5 for beat in scene.supervisor.of(Beat)))
        scene.process.send_signal(STACKS_SIGNAL)
        eventually(lambda: "in service_main" in scene.process.stderr.readline())


@pytest.mark.parametrize("prefix", ["", "async "])
def test_threads_are_told_while_the_service_is_blocked(tmp_path, prefix):
    """By the control thread itself; the answer bears the id of the question."""
    code = f"""
{prefix}def service_main(service):
    threading.Thread(target=time.sleep, args=(600,), name="helper", daemon=True).start()
    note("begun")
    time.sleep(600)
"""
    with service(tmp_path, code) as scene:
        scene.wait_for_note("begun")
        scene.supervisor.send(ListThreads(), request_id=7)
        scene.supervisor.wait_for(Threads)
        facts = {thread.name: thread for thread in scene.supervisor.answers[7].threads}
    assert {"MainThread", "xcore-control", "helper"} <= set(facts)
    assert facts["MainThread"].native == scene.process.pid
    assert (facts["helper"].daemon, facts["helper"].alive) == (True, True)


def test_a_service_without_a_supervisor_ends_in_order(tmp_path):
    """Asked first, interrupted after that; its exit code says why."""
    with service(tmp_path, DEAF) as scene:
        scene.wait_for_note("begun")
        scene.supervisor.die()
        assert outcome(scene.process)[0] == ExitCode.PARENT_LOST
        scene.supervisor.listen()
    assert scene.notes == ["begun", "woken"]


# --- runs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "async "])
def test_a_run_says_that_it_succeeded(tmp_path, prefix):
    """After Ready, so that its time is counted from where it began."""
    with started(tmp_path, run_job(tmp_path, f"{prefix}def work():\n    print('worked')\n")) as scene:
        finished = scene.supervisor.wait_for(RunFinished)
        assert outcome(scene.process) == (ExitCode.OK, "worked\n", "")
    assert finished == RunFinished("3f2a91c0", Outcome.SUCCEEDED.value)
    order = [type(message) for message in scene.supervisor.messages if not isinstance(message, Beat)]
    assert order[-3:] == [Ready, Imported, RunFinished]


@pytest.mark.parametrize("prefix", ["", "async "])
def test_a_run_that_raises_says_where(tmp_path, prefix):
    """To the supervisor and in the log."""
    with started(tmp_path, run_job(tmp_path, f"{prefix}def work():\n    raise ValueError('no luck')\n")) as scene:
        finished = scene.supervisor.wait_for(RunFinished)
        code, _, errors = outcome(scene.process)
    assert (code, finished.outcome, finished.exception) == (1, Outcome.FAILED.value, "ValueError: no luck")
    assert finished.traceback == errors
    assert "plugin_runtime" not in errors
    assert f'File "{scene.settings.module_file}", line ' in errors


@pytest.mark.parametrize("code", [DEAF, DEAF_ASYNC], ids=["sync", "async"])
def test_a_run_is_interrupted_by_stop(tmp_path, code):
    """``finally`` runs; nothing is said, since the supervisor knows why."""
    settings = run_job(tmp_path, code.replace("service_main(service)", "work()"))
    with started(tmp_path, settings) as scene:
        scene.wait_for_note("begun")
        scene.stop()
        assert outcome(scene.process)[0] == ExitCode.FAILED
    assert scene.notes == ["begun", "woken"]
    assert scene.supervisor.of(RunFinished) == []


def test_a_run_that_ignores_everything_is_left_to_sigkill(tmp_path):
    settings = run_job(tmp_path, STUBBORN.replace("service_main(service)", "work()"))
    with started(tmp_path, settings) as scene:
        scene.wait_for_note("begun")
        scene.stop()
        scene.wait_for_note("not now")
        scene.terminate()
        eventually(lambda: scene.notes.count("not now") == 2)
        scene.process.kill()
        assert outcome(scene.process)[0] == -signal.SIGKILL
    assert scene.supervisor.of(RunFinished) == []


@pytest.mark.parametrize(("contract", "entry"), [("seed", "jobs:cleanup"), ("app", "shop.jobs:cleanup")])
def test_a_plugins_job_runs_with_the_plugins_code(tmp_path, contract, entry):
    """[[tool.xcore.jobs]] of its manifest; from the generation, in the working directory of its workers."""
    jobs = "import os\nfrom {} import PRICE\n\ndef cleanup():\n    print(PRICE, os.getcwd(), __file__)\n"
    file = entry.partition(":")[0].replace(".", "/") + ".py"
    models = str(Path(file).with_name("models.py"))
    files = {file: jobs.format(".models" if contract == "seed" else "shop.models"), models: "PRICE = 3\n"}
    plugin = make_plugin(tmp_path, files, plugin="shop", contract=contract)
    settings = TaskSettings(
        owner="shop",
        purpose=TaskPurpose.RUN.value,
        working_directory=plugin.working_directory,
        plugin="shop",
        plugin_folder=plugin.folder,
        plugin_source=plugin.source,
        plugin_contract=contract,
        job="cleanup",
        entry=entry,
        run="3f2a91c0",
    )
    Path(plugin.folder, file).write_text("this is not Python")
    with started(tmp_path, settings) as scene:
        assert outcome(scene.process) == (ExitCode.OK, f"3 {plugin.working_directory} {plugin.folder}/{file}\n", "")
    assert [finished.outcome for finished in scene.supervisor.of(RunFinished)] == [Outcome.SUCCEEDED.value]


@pytest.mark.parametrize(
    ("entry", "problems"),
    [("jobs:cleanup", []), ("jobs:clean", ["jobs has no attribute 'clean'"]), ("jobs:order", ["it needs arguments"])],
)
def test_a_plugins_job_is_described_without_being_run(tmp_path, entry, problems):
    """What is wrong with it can be known before it is due."""
    files = {"jobs.py": "def cleanup():\n    print('run')\n\ndef order(item): ...\n"}
    plugin = make_plugin(tmp_path, files, plugin="shop")
    settings = TaskSettings(
        owner="shop",
        purpose=TaskPurpose.DESCRIBE.value,
        working_directory=plugin.working_directory,
        plugin="shop",
        plugin_folder=plugin.folder,
        plugin_source=plugin.source,
        plugin_contract="seed",
        job="cleanup",
        entry=entry,
    )
    with started(tmp_path, settings) as scene:
        description = scene.supervisor.wait_for(TaskDescription)
        assert outcome(scene.process) == (ExitCode.INVALID if problems else ExitCode.OK, "", "")
    assert len(description.errors) == len(problems)
    for error, problem in zip(description.errors, problems, strict=True):
        assert problem in error.message


def test_what_a_run_sees_of_its_surroundings(tmp_path):
    """The project, no secret of ours, nothing of ours on the path or in sys.argv; the task directory comes last."""
    code = """
def work():
    print(os.getcwd() == os.path.dirname(os.path.dirname(__file__)), len(sys.argv), sys.path[-1] == str(here))
    print(sorted(name for name in os.environ if name.startswith("XCORE")))
"""
    with started(tmp_path, run_job(tmp_path, code)) as scene:
        code, text, errors = outcome(scene.process)
    assert (code, errors) == (ExitCode.OK, "")
    assert text == "True 1 True\n['XCORE_CHILD']\n"


# --- shared runs -------------------------------------------------------------------------------------------------

JOBS = """
def quick(): note(f"quick {os.getpid()}")
async def gentle(): note(f"gentle {os.getpid()}")
def fails(): raise ValueError("no luck")
def slow():
    note("slow")
    time.sleep(600)
async def slow_async():
    try:
        await asyncio.sleep(600)
    finally:
        note("cancelled")
def waits():
    note("waits")
    while not (here / "go").exists():
        time.sleep(0.01)
    note("went")
metadata["con"] = [
    {"func": function, "name": function.__name__, "shared": True}
    for function in (quick, gentle, fails, slow, slow_async, waits)
]
"""


@BOTH
def test_jobs_run_inside_the_service(tmp_path, code):
    """Sync and async ones, whatever the service is; a failure is theirs alone."""
    with service(tmp_path, code + JOBS) as scene:
        finished = {}
        for job in ("quick", "gentle", "fails"):
            scene.supervisor.send(RunJob(f"run of {job}", job))
            last = scene.supervisor.wait_for(RunFinished, len(finished) + 1)
            finished[last.run] = last
        scene.stop()
        assert outcome(scene.process)[0] == ExitCode.OK
    pid = scene.process.pid
    assert {f"quick {pid}", f"gentle {pid}", "ended"} <= set(scene.notes)
    outcomes = {run: word.outcome for run, word in finished.items()}
    assert outcomes == {"run of quick": "succeeded", "run of gentle": "succeeded", "run of fails": "failed"}
    assert finished["run of fails"].exception == "ValueError: no luck"


@BOTH
def test_a_shared_run_over_its_timeout_is_reported_and_the_service_goes_on(tmp_path, code):
    """An async one is cancelled, a sync one left alone; neither keeps the service from ending."""
    with service(tmp_path, code + JOBS) as scene:
        scene.supervisor.send(RunJob("r1", "slow", 0.1))
        scene.supervisor.send(RunJob("r2", "slow_async", 0.1))
        scene.supervisor.wait_for(RunFinished, 2)
        assert {word.outcome for word in scene.supervisor.of(RunFinished)} == {Outcome.TIMED_OUT.value}
        scene.wait_for_note("cancelled")
        scene.supervisor.send(RunJob("r3", "quick"))
        assert scene.supervisor.wait_for(RunFinished, 3).outcome == Outcome.SUCCEEDED.value
        scene.stop()
        assert outcome(scene.process)[0] == ExitCode.OK


def test_a_word_that_could_not_be_sent_is_kept_for_the_next_supervisor(tmp_path):
    """A run that ended while nobody listened has ended all the same."""
    with service(tmp_path, LISTENS + JOBS, adopt_grace=20.0) as scene:
        scene.supervisor.send(RunJob("r1", "waits"))
        scene.wait_for_note("waits")
        scene.supervisor.die()
        Path(scene.settings.module_file).with_name("go").touch()
        scene.wait_for_note("went")
        scene.supervisor.listen()
        assert scene.supervisor.wait_for(RunFinished) == RunFinished("r1", Outcome.SUCCEEDED.value)
        scene.stop()
        assert outcome(scene.process)[0] == ExitCode.OK


@pytest.mark.parametrize("process", ["service", "run"])
def test_children_of_the_task_are_its_own(tmp_path, process):
    """multiprocessing imports the main file again, which is then no guest."""
    code = """
import multiprocessing

def double(number):
    return 2 * number

def work(service=None):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(double, [1, 2]))

service_main = work
"""
    settings = run_job(tmp_path, code) if process == "run" else make_task(tmp_path, NOTE + code)
    with started(tmp_path, settings) as scene:
        code, text, errors = outcome(scene.process, timeout=60)
    assert (code, text) == (ExitCode.OK, "[2, 4]\n"), errors
