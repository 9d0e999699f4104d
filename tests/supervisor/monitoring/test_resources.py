"""What processes use, measured for real."""

import asyncio
import os

import psutil
import pytest

from plugin_runtime.protocol import State
from supervisor.monitoring.resources import OURSELVES, Resources
from supervisor.monitoring.sampler import Sampler
from supervisor.spec import Limits, RestartPolicy
from supervisor.supervision.child import Child
from supervisor.supervision.child_events import StartRequested
from tests.fakes.process_table import guest_spec, process_table
from tests.fakes.processes import state_folder
from tests.fakes.waiting import until

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.usefixtures("nothing_left_behind")]


LIMITED = Limits(memory_hard_mb=60.0)
NEVER = RestartPolicy("never")


@pytest.fixture
def run(tmp_path):
    """Run a scenario with a process table and its resources; ``interval`` in seconds."""

    def run(scenario, interval=3600.0):
        async def main():
            async with process_table(state_folder(tmp_path)) as table:
                pids = lambda: {OURSELVES: os.getpid(), **table.tree.pids}  # noqa: E731 - the shape of app.py
                passes = []
                sampler = Sampler(pids, table.around.clock)
                resources = Resources(table.tree, sampler, lambda: interval, passes.append)
                resources.start()
                try:
                    await scenario(table, resources, passes)
                finally:
                    resources.close()

        asyncio.run(main())

    return run


def test_memory_is_what_psutil_says(run):
    """Soon after it became ready, not at the next regular pass."""

    async def scenario(table, resources, passes):
        child = table.start("hello", "hog:40", "ready", "serve")
        idle = table.add("hello", id="idle.1")
        await until(lambda: child.state is State.RUNNING, "it runs")
        resources.sample_soon()
        resources.sample_soon()
        await until(lambda: resources.latest(child), "it was measured")
        views = {view.id: view for view in resources.views()}
        measured = psutil.Process(child.pid).memory_info().rss / 2**20
        assert views["guest.1"].memory_mb == pytest.approx(measured, rel=0.1)
        assert views["guest.1"].memory_mb > 40
        assert (views["guest.1"].pid, views["guest.1"].kind, views["guest.1"].name) == (child.pid, "worker", "guest")
        assert views["guest.1"].cpu_seconds >= 0
        assert (views["idle.1"].pid, views["idle.1"].memory_mb, views["idle.1"].sampled) == (None, None, None)
        assert passes == []  # an early pass is for people who look, not for the database
        assert idle.state is State.PENDING

    run(scenario)


def test_the_supervisor_itself_is_among_them(run):
    """Every process that we run, and what it uses."""

    async def scenario(table, resources, passes):
        await until(lambda: passes, "a pass has been made")
        (ours,) = resources.views()
        assert (ours.id, ours.kind, ours.pid) == ("supervisor", "supervisor", os.getpid())
        assert passes[0][0].memory_mb > 1

    run(scenario, interval=0.02)


def test_a_worker_over_its_hard_memory_limit_is_killed(run):
    """Row 15: found by the regular pass, replaced, recorded."""

    async def scenario(table, resources, passes):
        limits = Limits(memory_hard_mb=60.0)
        table.start("hello", "hog:80", "ready", "serve", limits=limits, restart=RestartPolicy("never"))
        innocent = table.start("hello", "hog:80", "ready", "serve", id="big.1")
        record = await table.exit_number(1)
        assert (record.instance, record.cause) == ("guest.1", "memory_limit")
        await until(lambda: innocent.state is State.RUNNING, "the one without a limit runs")

    run(scenario, interval=0.05)


def test_one_that_is_being_replaced_is_held_to_its_hard_limit_too(run):
    """Its successor has its name: each is measured by its own process, and only the newest is shown."""

    async def scenario(table, resources, passes):
        former = table.start("hello", "hog:80", "ready", "serve", limits=LIMITED, restart=NEVER)
        await until(lambda: former.state is State.RUNNING, "the former runs")
        pid = former.pid
        successor = Child(
            guest_spec(table.folder, "hello", "ready", "serve", limits=LIMITED), table.owner, table.around
        )
        table.tree.add(successor, beside=former)
        successor.post(StartRequested("test"))
        await until(lambda: successor.state is State.RUNNING, "the successor runs")
        resources.sample_soon()
        record = await table.exit_number(1)
        assert (record.pid, record.cause, successor.state) == (pid, "memory_limit", State.RUNNING)

    run(scenario)


def test_a_process_is_not_shown_with_the_sample_of_another(run):
    """Two of one name: what the newest uses says nothing of the one before."""

    async def scenario(table, resources, passes):
        former = table.start("hello", "ready", "serve")
        await until(lambda: former.state is State.RUNNING, "the former runs")
        successor = Child(guest_spec(table.folder, "hello", "ready", "serve"), table.owner, table.around)
        table.tree.add(successor, beside=former)
        successor.post(StartRequested("test"))
        await until(lambda: successor.state is State.RUNNING, "the successor runs")
        resources.sample_soon()
        await until(lambda: resources.latest(successor), "they were looked at")
        sampled = {view.pid: view.sampled is not None for view in resources.views() if view.id == "guest.1"}
        assert resources.latest(former) is None
        assert sampled == {former.pid: False, successor.pid: True}

    run(scenario)


def test_a_worker_over_its_soft_memory_limit_is_replaced_in_order(run):
    """Exit code 0: it was asked."""

    async def scenario(table, resources, passes):
        table.start("hello", "hog:80", "ready", "serve", limits=Limits(memory_soft_mb=60.0, memory_hard_mb=600.0))
        record = await table.exit_number(1)
        assert (record.cause, record.exit_code) == ("recycle", 0)

    run(scenario, interval=0.05)
