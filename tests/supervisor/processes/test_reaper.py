"""Real deaths: how they are reported, and that nothing of the dead remains."""

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
import uvloop

from supervisor.processes import reaper as reaper_module
from supervisor.processes.output import Output
from supervisor.processes.process_stat import read_process_stat
from supervisor.processes.reaper import Reaper
from supervisor.processes.spawn import Process, spawn
from supervisor.spec import ExitStatus
from supervisor.state_folder import StateFolder
from tests.fakes.processes import (
    CHILDREN,
    command,
    descriptors_below,
    exists,
    nasty_spec,
    state_folder,
    until,
    wait_until,
)

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("nothing_left_behind")]


@pytest.fixture(autouse=True, scope="module")
def _uvloop_was_used():
    """It keeps descriptors from its first loop for all later ones."""
    uvloop.run(asyncio.sleep(0))


@pytest.fixture
def folder(tmp_path) -> StateFolder:
    return state_folder(tmp_path)


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request) -> Callable[[Coroutine], object]:
    return request.param


class Watched:
    """A child under a reaper, with what it printed and how it died."""

    def __init__(self, reaper: Reaper, folder: StateFolder, script: str, *arguments: object, token: str = "a1") -> None:
        loop = asyncio.get_running_loop()
        self.lines: list[str] = []
        self.statuses: list[ExitStatus] = []
        self.process: Process = spawn(nasty_spec(folder, script, *arguments), token, "nonce", folder)
        reaper.watch(self.process, self._exited)
        self._output = Output(loop, self.process.pipes, "nasty.1", lambda _, __, lines: self.lines.extend(lines))
        self._output.start()

    def _exited(self, status: ExitStatus) -> None:
        self._output.finish()
        self.statuses.append(status)

    async def printed(self, count: int = 1) -> list[str]:
        await until(lambda: len(self.lines) >= count, f"the child has printed {count} lines")
        return self.lines

    async def died(self) -> ExitStatus:
        await until(lambda: self.statuses, "the death is reported")
        (status,) = self.statuses
        return status

    async def kill(self) -> ExitStatus:
        """Kill the process alone, as an operator or the kernel would."""
        os.kill(self.process.pid, signal.SIGKILL)
        return await self.died()


@asynccontextmanager
async def reaping(**settings) -> AsyncIterator[Reaper]:
    reaper = Reaper(asyncio.get_running_loop(), **settings)
    reaper.start()
    try:
        yield reaper
    finally:
        reaper.close()


def test_an_exit_code_is_reported_with_the_cpu_time(folder, run):
    """Row 10: from wait4, while asyncio's own child watcher stays out of it."""

    async def body() -> None:
        async with reaping() as reaper:
            status = await Watched(reaper, folder, "exits_with.py", 3, 0.1).died()
        assert (status.exit_code, status.signal) == (3, None)
        assert status.cpu_seconds >= 0.1

    run(body())


def test_the_signal_of_a_death_is_reported(folder, run):
    """Row 1."""

    async def body() -> None:
        async with reaping() as reaper:
            child = Watched(reaper, folder, "ignores_sigterm.py")
            await child.printed()
            status = await child.kill()
        assert (status.exit_code, status.signal) == (None, signal.SIGKILL)

    run(body())


def test_a_dead_child_is_reaped_and_released_when_its_death_is_reported(folder):
    """Whoever is told may start the next one at once."""

    async def body() -> None:
        async with reaping() as reaper:
            child = Watched(reaper, folder, "exits_with.py", 0)
            await child.died()
            assert read_process_stat(child.process.pid) is None
            assert not child.process.is_alive
            assert child.process.pidfd == -1

    asyncio.run(body())


def test_sigterm_may_be_ignored_but_not_sigkill(folder):
    """Row 12: the last rung of the stop ladder always works."""

    async def body() -> None:
        async with reaping() as reaper:
            child = Watched(reaper, folder, "ignores_sigterm.py")
            await child.printed()
            child.process.signal_group(signal.SIGTERM)
            assert await child.printed(2) == ["ready", "ignored"]
            assert child.statuses == []
            child.process.signal_group(signal.SIGKILL)
            assert (await child.died()).signal == signal.SIGKILL

    asyncio.run(body())


def test_a_stopped_child_can_be_killed(folder):
    """Row 6: a stopped process gets no SIGTERM, and its stop is not taken for a death."""

    async def body() -> None:
        async with reaping() as reaper:
            child = Watched(reaper, folder, "ignores_sigterm.py")
            await child.printed()
            child.process.signal_group(signal.SIGSTOP)
            await until(lambda: read_process_stat(child.process.pid).state == "T", "the child is stopped")
            assert child.statuses == []
            child.process.signal_group(signal.SIGKILL)
            assert (await child.died()).signal == signal.SIGKILL

    asyncio.run(body())


def test_a_grandchild_in_the_group_dies_with_the_child(folder):
    """Row 13, the simple case: the group is killed while the zombie still keeps its number."""

    async def body() -> None:
        async with reaping() as reaper:
            child = Watched(reaper, folder, "forks_grandchild.py")
            (grandchild,) = map(int, await child.printed())
            await child.kill()
            await until(lambda: read_process_stat(grandchild) is None, "the grandchild is gone and reaped")

    asyncio.run(body())


def test_a_daemon_dies_within_a_second_of_the_child(folder, run):
    """Row 13: double-forked and in a session of its own, it is found because it is re-parented to the subreaper."""

    async def body() -> None:
        async with reaping(sweep_interval=3600) as reaper:
            child = Watched(reaper, folder, "leaves_orphan.py", "daemon")
            (daemon,) = map(int, await child.printed())
            assert os.getsid(daemon) != child.process.pid
            before = time.monotonic()
            await child.kill()
            await until(lambda: read_process_stat(daemon) is None, "the daemon is gone and reaped")
            assert time.monotonic() - before < 1

    run(body())


def test_daemons_of_daemons_are_found_without_waiting_for_the_timer(folder):
    """Each becomes an orphan only when the one before is dead; a timer alone would take a period for each."""

    async def body() -> None:
        async with reaping(sweep_interval=3600) as reaper:
            child = Watched(reaper, folder, "leaves_orphan.py", "daemon", 4)
            daemons = list(map(int, await child.printed(4)))
            await child.kill()
            await until(lambda: not any(map(read_process_stat, daemons)), "all daemons are gone and reaped")

    asyncio.run(body())


@pytest.mark.parametrize("kind", ["daemon", "background"])
def test_an_orphan_of_a_living_child_is_killed_and_the_child_is_not(folder, kind, caplog):
    """What is re-parented to us goes, even before the child does; one in the child's group must not take it along."""
    caplog.set_level(logging.INFO, "supervisor.processes.reaper")

    async def body() -> None:
        async with reaping(sweep_interval=0.05) as reaper:
            child = Watched(reaper, folder, "leaves_orphan.py", kind)
            (orphan,) = map(int, await child.printed())
            await until(lambda: read_process_stat(orphan) is None, "the orphan is gone and reaped")
            assert exists(child.process.pid)
            assert child.statuses == []
            await child.kill()
            assert any(f"pid {orphan}) of nasty.1" in message for message in caplog.messages)

    asyncio.run(body())


def test_what_is_younger_than_a_birth_under_way_is_spared_until_its_end(folder):
    """The kernel gives us what a template forked before the template has said so; unclaimed it is an orphan."""

    async def body() -> None:
        async with reaping(sweep_interval=3600) as reaper:
            elder = Watched(reaper, folder, "leaves_orphan.py", "background")
            (old,) = map(int, await elder.printed())
            await until(lambda: psutil.Process(old).ppid() == os.getpid(), "it is ours")
            born = read_process_stat(old).start_ticks
            await until(lambda: reaper_module.ticks_now() > born, "it is older than what begins now")
            with reaper.birth():
                child = Watched(reaper, folder, "leaves_orphan.py", "background", token="a2")
                (young,) = map(int, await child.printed())
                await until(lambda: psutil.Process(young).ppid() == os.getpid(), "it is ours, too")
                with reaper.birth():
                    assert [orphan.pid for orphan in reaper.sweep()] == [old]
                await until(lambda: reaper.sweep() == [] and read_process_stat(old) is None, "the old one is reaped")
                assert exists(young)
            assert [orphan.pid for orphan in reaper.sweep()] == [young]
            await until(lambda: reaper.sweep() == [] and read_process_stat(young) is None, "the young one is reaped")
            await elder.kill()
            await child.kill()

    asyncio.run(body())


def test_who_is_to_be_taken_over_is_spared(folder):
    """After an upgrade: a child of ours that another program of the same process has started."""

    async def body() -> None:
        child = spawn(nasty_spec(folder, "ignores_sigterm.py"), "a1", "nonce", folder)
        spared = {child.pid}
        async with reaping(sweep_interval=3600, spared=lambda: spared) as reaper:
            assert reaper.sweep() == []
            assert exists(child.pid)
            spared.clear()
            assert [orphan.pid for orphan in reaper.sweep()] == [child.pid]
            await until(lambda: reaper.sweep() == [] and read_process_stat(child.pid) is None, "it is reaped")
        child.reaped(0)
        child.release()
        for pipe in child.pipes:
            pipe.close()

    asyncio.run(body())


def test_an_orphan_is_reported_once(folder):
    """It may take a while to die; the log shall not repeat itself."""

    async def body() -> None:
        reaper = Reaper(asyncio.get_running_loop())
        child = Watched(reaper, folder, "leaves_orphan.py", "background", 1)
        (pid,) = map(int, await child.printed())
        await until(lambda: psutil.Process(pid).ppid() == os.getpid(), "it is an orphan")
        (orphan,) = reaper.sweep()
        assert (orphan.pid, orphan.child) == (pid, "nasty.1")
        assert reaper.sweep() == []
        await child.kill()
        await until(lambda: reaper.sweep() == [] and read_process_stat(pid) is None, "the orphan is reaped")
        reaper.close()

    asyncio.run(body())


def test_what_a_library_of_ours_started_is_left_alone(folder):
    """A child of our own session is somebody's in-flight subprocess: neither killed nor robbed of its exit status."""

    async def body() -> None:
        reaper = Reaper(asyncio.get_running_loop())
        with (
            subprocess.Popen(command("ignores_sigterm.py"), stdout=subprocess.DEVNULL) as living,
            subprocess.Popen(command("exits_with.py", 5)) as dead,
        ):
            await until(lambda: read_process_stat(dead.pid).is_zombie, "one is dead")
            assert reaper.sweep() == []
            assert exists(living.pid)
            assert dead.wait() == 5
            living.kill()

    asyncio.run(body())


def test_sweeping_never_takes_the_exit_status_of_a_watched_child(folder):
    """The sweep may come between a child's death and the event loop's turn."""

    async def body() -> None:
        async with reaping() as reaper:
            child = Watched(reaper, folder, "exits_with.py", 7)
            wait_until(lambda: read_process_stat(child.process.pid).is_zombie, "the child is dead")
            assert reaper.sweep() == []
            assert read_process_stat(child.process.pid).is_zombie
            assert (await child.died()).exit_code == 7

    asyncio.run(body())


def test_a_death_is_reported_though_somebody_else_took_its_status(folder):
    """As the kernel tells it to whoever holds a pidfd (Linux 6.15); before that its cause is not known."""

    async def body() -> None:
        async with reaping() as reaper:
            child = Watched(reaper, folder, "exits_with.py", 7)
            os.waitpid(child.process.pid, 0)
            assert await child.died() in {ExitStatus(exit_code=7), ExitStatus()}

    asyncio.run(body())


def test_deaths_at_the_same_moment_are_all_reported(folder):
    """A signal or a wakeup may stand for many deaths; a pidfd stands for one."""

    async def body() -> None:
        async with reaping() as reaper:
            children = [Watched(reaper, folder, "exits_with.py", code, token=f"t{code}") for code in range(12)]
            for child in children:
                wait_until(lambda pid=child.process.pid: read_process_stat(pid).is_zombie, "all are dead")
            assert [(await child.died()).exit_code for child in children] == list(range(12))

    asyncio.run(body())


@pytest.mark.slow
def test_no_zombie_is_left_after_many_restarts(folder):
    """Row 13: each of them leaves a daemon behind."""

    async def body() -> None:
        before = _children()
        async with reaping() as reaper:
            for number in range(100):
                child = Watched(reaper, folder, "leaves_orphan.py", "daemon", token=f"t{number}")
                await child.printed()
                await child.kill()
            await until(lambda: _children() <= before, "all daemons are dead and all zombies reaped")

    asyncio.run(body())


def _children() -> set[str]:
    """Ours, living and dead."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split())


def test_a_death_is_reported_while_no_descriptor_is_left(folder, caplog):
    """Row 31: looking for orphans needs descriptors and has to wait; the report must not."""

    async def body() -> None:
        async with reaping(sweep_interval=3600) as reaper:
            child = Watched(reaper, folder, "leaves_orphan.py", "daemon")
            (daemon,) = map(int, await child.printed())
            with descriptors_below(1):
                await child.kill()
            assert "Cannot look for orphans: [Errno 24]" in caplog.text
            assert exists(daemon)
            reaper.sweep()
            await until(lambda: not exists(daemon), "the daemon is gone")
            await until(lambda: not reaper.sweep() and read_process_stat(daemon) is None, "the daemon is reaped")

    asyncio.run(body())


def test_close_leaves_the_children_running(folder):
    """A supervisor that is replaced hands its children over."""

    async def body() -> None:
        async with reaping() as reaper:
            child = Watched(reaper, folder, "ignores_sigterm.py")
            await child.printed()
        assert exists(child.process.pid)
        async with reaping() as successor:
            successor.watch(child.process, child._exited)
            assert (await child.kill()).signal == signal.SIGKILL

    asyncio.run(body())


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("unshare"), reason="needs a PID namespace of its own")
def test_everything_is_reaped_as_pid_one(folder):
    """Row 28: in a container the supervisor is init, and every orphan is its own."""
    program = command("leaves_orphan.py", "daemon", 2)
    one = [sys.executable, str(CHILDREN / "pid_one.py"), str(folder.root), *program]
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    finished = subprocess.run([*unshare, *one], capture_output=True, text=True, timeout=30)
    assert (finished.stdout.split(), finished.stderr) == (["SIGKILL", "alone"], "")


def test_the_stat_of_a_process_with_a_hostile_name_is_read_right(folder):
    """A name may hold parentheses, spaces and digits that look like fields."""
    name = b") Z 1 1 1 ("
    script = f"import time; open('/proc/self/comm', 'wb').write({name!r}); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", script], stdout=subprocess.PIPE) as hostile:
        hostile.stdout.readline()
        stat = read_process_stat(hostile.pid)
        hostile.kill()
    assert (stat.name, stat.is_zombie, stat.group) == (name.decode(), False, os.getpgid(0))
    assert stat.start_ticks > 0
