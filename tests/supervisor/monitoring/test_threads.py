"""Threads and figures of everything that we run."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from plugin_runtime.protocol import Kind, State
from supervisor.monitoring import threads as threads_module
from supervisor.monitoring.threads import CPU_SPAN, PATIENCE, ThreadCensus
from supervisor.spec import RestartPolicy
from supervisor.supervision.tree import Tree
from tests.fakes.moved_clock import MovedClock
from tests.fakes.process_table import process_table
from tests.fakes.processes import CHILDREN, nothing_left_behind, state_folder
from tests.fakes.waiting import until

ONCE = RestartPolicy("never")


def tells(how=""):
    """The command line of a guest that knows the question."""
    return (sys.executable, "-I", str(CHILDREN / "tells_threads.py"), *([how] if how else []))


@pytest.fixture
def run(tmp_path):
    """Run a scenario with a process table and a census of it."""

    def run(scenario):
        async def main():
            async with process_table(state_folder(tmp_path)) as table:
                await scenario(table, ThreadCensus(table.tree, table.around.clock))

        with nothing_left_behind():
            asyncio.run(main())

    return run


async def all_running(*children):
    await until(lambda: all(child.state is State.RUNNING for child in children), "all are running", 10.0)


def of(views, process):
    return [view for view in views if view.process == process]


# --- ourselves and the machine ------------------------------------------------------------------------------


@pytest.fixture
def census():
    """Of a system without children."""
    clock = MovedClock()
    return ThreadCensus(Tree(clock), clock)


def test_our_own_threads_are_among_them(census):
    """With Python's ids and names, and the kernel's."""
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait, name="database", daemon=True)
    thread.start()
    try:
        views = asyncio.run(census.list_threads())
    finally:
        ended.set()
        thread.join()
    ours = {view.name: view for view in views}
    assert {view.process for view in views} == {"supervisor"}
    main = threading.main_thread()
    assert (ours["MainThread"].id, ours["MainThread"].native, ours["MainThread"].daemon) == (
        main.ident,
        main.native_id,
        False,
    )
    assert (ours["database"].id, ours["database"].alive, ours["database"].daemon) == (thread.ident, True, True)


def test_the_figures_are_the_machines_and_ours(census):
    """Percent of all processors and of all memory; the supervisor is a process, too."""
    view = asyncio.run(census.metrics())
    assert 0 <= view.cpu_percent <= 100
    assert view.memory_percent == pytest.approx(psutil.virtual_memory().percent, abs=5)
    assert (view.active_threads, view.active_processes) == (threading.active_count(), 1)


@pytest.fixture
def cpu(monkeypatch):
    """What psutil measures, one value after the other."""
    values = iter([0.0, 11.0, 22.0, 33.0])
    monkeypatch.setattr(threads_module.psutil, "cpu_percent", lambda interval: next(values))


def test_the_first_figure_of_the_cpu_means_something(cpu):
    """psutil's first one is 0.0 whatever happens: it is taken when the census is made, and shown to nobody."""
    census = ThreadCensus(Tree(MovedClock()), MovedClock())
    assert asyncio.run(census.metrics()).cpu_percent == 11.0


def test_two_who_ask_in_one_moment_see_the_same(cpu):
    """The time between them is too short to measure anything in."""
    clock = MovedClock()
    census = ThreadCensus(Tree(clock), clock)
    seen = []
    for seconds in (0.0, CPU_SPAN / 2, CPU_SPAN / 2, 0.0):
        clock.advance(seconds)
        seen.append(asyncio.run(census.metrics()).cpu_percent)
    assert seen == [11.0, 11.0, 22.0, 22.0]


def test_operations_have_the_names_that_gateway_and_cli_use(census):
    """Each is a coroutine function of this object."""
    assert sorted(census.operations) == ["system.metrics", "threads.list"]


# --- processes ----------------------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.slow
def test_every_python_process_tells_its_threads_itself(run):
    """As Python knows them, under the id of the process; others of ours are counted as processes only."""

    async def scenario(table, census):
        kinds = {"gateway.1": Kind.GATEWAY, "hello.1": Kind.WORKER, "sweep": Kind.TASK, "sweep.a.1f": Kind.JOB}
        children = [table.start(id=id_, kind=kind, command=tells()) for id_, kind in kinds.items()]
        validator = table.start("hello", "ready", "serve", id="hello.validator", kind=Kind.VALIDATOR)
        table.add(id="idle.1")
        await all_running(*children, validator)
        views = await census.list_threads()
        assert list(dict.fromkeys(view.process for view in views)) == ["supervisor", *kinds]
        for child in children:
            found = {view.name: view for view in of(views, child.spec.id)}
            assert sorted(found) == ["MainThread", "helper"]
            assert (found["MainThread"].native, found["MainThread"].daemon) == (child.pid, False)
            assert (found["helper"].alive, found["helper"].daemon) == (True, True)
            assert found["helper"].id != found["helper"].native
        metrics = await census.metrics()
        assert metrics.active_processes == 6
        assert metrics.active_threads == len(of(views, "supervisor")) + 2 * len(children)

    run(scenario)


@pytest.mark.process
@pytest.mark.slow
def test_who_does_not_answer_is_counted_by_the_kernel_and_delays_nobody(run):
    """Stopped, answering nonsense, not joined yet: a second for all of them together, and their threads are there."""

    async def scenario(table, census):
        well = table.start(id="well.1", command=tells())
        stopped = [table.start(id=f"stopped.{number}", command=tells()) for number in range(3)]
        nonsense = table.start(id="nonsense.1", command=tells("garbage"))
        silent = table.start("pause", id="silent.1")
        await all_running(well, *stopped, nonsense)
        await until(lambda: "python" in _comm(silent.pid), "it has become another program")
        for child in stopped:
            os.kill(child.pid, signal.SIGSTOP)
        began = time.monotonic()
        views = await census.list_threads()
        took = time.monotonic() - began
        for child in stopped:
            os.kill(child.pid, signal.SIGCONT)
        assert PATIENCE <= took < 2 * PATIENCE
        assert [view.name for view in of(views, "well.1")] == ["MainThread", "helper"]
        for child, count in [*((child, 2) for child in stopped), (nonsense, 2), (silent, 1)]:
            found = of(views, child.spec.id)
            assert len(found) == count
            assert found[0].native == child.pid
            for view in found:
                assert (view.id, view.alive, view.daemon) == (view.native, True, False)
                assert view.name.startswith(_comm(child.pid))

    run(scenario)


def _comm(pid):
    return Path(f"/proc/{pid}/comm").read_text().strip()


@pytest.mark.process
@pytest.mark.slow
def test_who_ends_while_it_is_asked_is_not_waited_for(run):
    """Its connection closes; the kernel may show the last of its threads for a moment, and then none."""

    async def scenario(table, census):
        child = table.start(id="dies.1", command=tells("dies"), restart=ONCE)
        well = table.start(id="well.1", command=tells())
        await all_running(child, well)
        began = time.monotonic()
        views = await census.list_threads()
        assert time.monotonic() - began < PATIENCE
        assert len(of(views, "well.1")) == 2
        assert not [view for view in of(views, "dies.1") if view.id != view.native]
        await child.settled.wait()
        assert of(await census.list_threads(), "dies.1") == []

    run(scenario)


@pytest.mark.process
def test_a_process_that_is_gone_has_no_threads(monkeypatch):
    """Between the look at the table and that at /proc; single threads may go, too."""
    ended = subprocess.Popen(["true"])
    ended.wait(10)
    assert threads_module._by_the_kernel(ended.pid) == []
    monkeypatch.setattr(threads_module.Path, "read_bytes", _vanished)
    assert threads_module._by_the_kernel(os.getpid()) == []


def _vanished(path):
    raise ProcessLookupError(3, "No such process")


def test_a_thread_may_call_itself_anything():
    """It is text when it arrives, in whatever bytes it was written."""
    named, ended = threading.Event(), threading.Event()

    def name_itself():
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_bytes(b"\xff(\n) x")
        named.set()
        ended.wait()

    thread = threading.Thread(target=name_itself)
    thread.start()
    try:
        assert named.wait(5)
        names = {facts.id: facts.name for facts in threads_module._by_the_kernel(os.getpid())}
    finally:
        ended.set()
        thread.join()
    assert names[thread.native_id] == "\\xff(\n) x"
