"""``Plugin.concured`` in one process: begun in its turn, ended in time, and its failure told."""

import asyncio
import fcntl
import subprocess
import sys
import threading
from contextlib import asynccontextmanager

import pytest

from plugin_runtime.own_job import OwnJob
from tests.fakes.waiting import until

pytestmark = [pytest.mark.process, pytest.mark.slow]

HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def another_process_holds(path):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        await process.stdout.readline()
        yield process
    finally:
        process.stdin.close()
        await process.wait()


def is_free(path) -> bool:
    """Whether another process could begin its job."""
    code = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    return subprocess.run([sys.executable, "-c", code, path], stderr=subprocess.DEVNULL).returncode == 0


class Scene:
    def __init__(self, tmp_path, function):
        self.path = str(tmp_path / "hello.concured")
        self.failures = []
        self.job = OwnJob(lambda: function, self.path, self.failures.append)


@pytest.fixture
def run(tmp_path):
    def run(function, scenario):
        async def main():
            at = Scene(tmp_path, function)
            try:
                await scenario(at)
            finally:
                await at.job.stop(5)
                for task in asyncio.all_tasks() - {asyncio.current_task()}:
                    task.cancel()

        asyncio.run(main())

    return run


def test_an_async_one_is_cancelled_and_awaited(run):
    """What it does on its way out is done before the process ends."""
    events = []

    async def concured():
        events.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            events.append("cleaned up")

    async def scenario(at):
        at.job.start()
        await until(lambda: events, "it has begun")
        assert not is_free(at.path)
        await at.job.stop(5)
        assert events == ["begun", "cleaned up"]
        assert is_free(at.path)
        assert at.failures == []

    run(concured, scenario)


def test_a_sync_one_has_a_thread_of_its_own(run):
    """The event loop serves meanwhile; what returns an awaitable goes on in the loop."""
    threads = []

    async def rest():
        threads.append(threading.current_thread())

    def concured():
        threads.append(threading.current_thread())
        return rest()

    async def scenario(at):
        at.job.start()
        await until(lambda: len(threads) == 2, "both parts have run")
        assert threads[0].name == "concured"
        assert threads[0].daemon
        assert threads[1] is threading.main_thread()

    run(concured, scenario)


def test_a_thread_that_does_not_return_holds_up_nobody(run):
    """Nothing can end it but the end of the process, until which no other process runs the job."""
    release = threading.Event()
    began = threading.Event()

    def concured():
        began.set()
        release.wait()

    async def scenario(at):
        at.job.start()
        await until(began.is_set, "it has begun")
        await asyncio.wait_for(at.job.stop(0.05), 2)
        assert not is_free(at.path)
        release.set()

    run(concured, scenario)


@pytest.fixture
def looks(monkeypatch):
    """Attempts to get the lock."""
    made = []
    lockf = fcntl.lockf

    def counted(*arguments):
        made.append(arguments)
        lockf(*arguments)

    monkeypatch.setattr(fcntl, "lockf", counted)
    return made


def test_it_waits_for_its_turn(run, looks):
    """The worker before it, of whatever generation, has not ended its own yet."""
    events = []

    async def concured():
        events.append("begun")

    async def scenario(at):
        async with another_process_holds(at.path) as other:
            at.job.start()
            await until(lambda: len(looks) > 1, "it has looked more than once")
            assert events == []
            other.kill()
            await until(lambda: events, "it has begun")
        assert not is_free(at.path), "it keeps its turn when it has returned"

    run(concured, scenario)


def test_a_stop_before_its_turn_is_a_stop(run):
    """A worker whose generation is taken away again has run nothing."""
    events = []

    async def concured():
        events.append("begun")

    async def scenario(at):
        async with another_process_holds(at.path):
            at.job.start()
            await asyncio.sleep(0)
            await at.job.stop(5)
        await asyncio.sleep(0)
        assert (events, at.failures) == ([], [])

    run(concured, scenario)


async def raises():
    raise ValueError("no such queue")


def raises_in_a_thread():
    raise StopIteration("no such queue")


async def leaves():
    sys.exit(3)


async def cancels_itself():
    asyncio.current_task().cancel()
    await asyncio.sleep(1)


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (raises, ValueError),
        (raises_in_a_thread, RuntimeError),
        (leaves, SystemExit),
        (cancels_itself, asyncio.CancelledError),
        (len, TypeError),
    ],
)
def test_its_failure_is_told_and_ends_nothing(run, function, kind):
    """The loop goes on, also where it calls sys.exit."""

    async def scenario(at):
        at.job.start()
        await until(lambda: at.failures, "it has failed")
        assert [type(error) for error in at.failures] == [kind]

    run(function, scenario)


def test_a_class_that_cannot_be_made_is_a_failure_of_the_job(tmp_path):
    """Not of the plugin, which is served without an instance."""

    async def main():
        failures = []
        job = OwnJob(lambda: 1 / 0, str(tmp_path / "lock"), failures.append)
        job.start()
        await until(lambda: failures, "it has failed")
        await job.stop(1)
        assert isinstance(failures[0], ZeroDivisionError)

    asyncio.run(main())
