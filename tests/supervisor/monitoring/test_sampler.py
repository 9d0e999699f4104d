"""Sampling: of real processes, and of imagined ones where time matters."""

import os
import subprocess
from dataclasses import dataclass

import psutil
import pytest

from supervisor.clock import SystemClock
from supervisor.monitoring import sampler
from supervisor.monitoring.sampler import Sampler
from supervisor.processes.process_stat import read_process_stat
from tests.fakes.moved_clock import MovedClock
from tests.fakes.processes import command, wait_until

pytestmark = pytest.mark.usefixtures("nothing_left_behind")

process = pytest.mark.process


# --- real processes ---


def test_a_real_process_is_measured():
    """Ourselves."""
    (sample,) = Sampler(lambda: {"me": os.getpid()}, SystemClock()).sample().values()
    assert 5 < sample.memory_mb < 5000
    assert 0 < sample.uss_mb <= sample.memory_mb * 1.5
    assert sample.cpu_seconds > 0
    assert sample.cpu_percent is None
    assert sample.threads >= 1
    assert sample.open_files >= 3


@process
def test_zombies_and_vanished_processes_are_left_out_and_the_others_measured():
    """Row 34: a process may die between any two lines of a pass."""
    with subprocess.Popen(command("exits_with.py", 0)) as dead:
        wait_until(lambda: read_process_stat(dead.pid).is_zombie, "the child is a zombie")
        pids = {"zombie.1": dead.pid, "gone.1": 2**22 + 1, "waiting.1": None, "me": os.getpid()}
        watching = Sampler(lambda: pids, SystemClock())
        assert list(watching.sample()) == ["me"]
        assert list(watching.sample()) == ["me"]


@process
def test_a_process_that_dies_after_the_first_pass_is_left_out():
    """Row 34: psutil has it cached by then."""
    with subprocess.Popen(command("ignores_sigterm.py"), stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        watching = Sampler(lambda: {"a": child.pid}, SystemClock())
        assert list(watching.sample()) == ["a"]
        child.kill()
        child.wait()
        assert watching.sample() == {}
        assert len(watching.history("a", 1)) == 1


# --- imagined processes ---


@dataclass
class Imagined:
    """What psutil.Process would say; counts how often USS was asked for."""

    pid: int
    cpu: float = 0.0
    memory: int = 10
    denied: bool = False
    broken: Exception | None = None
    uss_measured: int = 0

    def oneshot(self):
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def status(self) -> str:
        return psutil.STATUS_RUNNING

    def cpu_times(self):
        if self.broken:
            raise self.broken
        return _Times(self.cpu)

    def memory_info(self):
        return _Memory(self.memory * 1024 * 1024)

    def memory_full_info(self):
        self.uss_measured += 1
        return self._permitted(_Memory(uss=self.memory * 512 * 1024))

    def num_threads(self) -> int:
        return 1

    def num_fds(self) -> int:
        return self._permitted(4)

    def _permitted(self, value):
        if self.denied:
            raise psutil.AccessDenied(self.pid)
        return value


@dataclass
class _Times:
    user: float
    system: float = 0.0


@dataclass
class _Memory:
    rss: int = 0
    uss: int = 0


class World:
    """Imagined processes by pid, the ids they have, and a clock."""

    def __init__(self, monkeypatch, interval: float = 5.0) -> None:
        self.clock = MovedClock()
        self.pids: dict[str, int | None] = {}
        self.processes: dict[int, Imagined] = {}
        self.sampler = Sampler(lambda: self.pids, self.clock, interval)
        monkeypatch.setattr(sampler.psutil, "Process", self.processes.__getitem__)

    def start(self, id_: str, pid: int) -> Imagined:
        self.pids[id_] = pid
        self.processes[pid] = Imagined(pid)
        return self.processes[pid]

    def passes(self, count: int, every: float = 5.0) -> None:
        for _ in range(count):
            self.clock.advance(every)
            self.sampler.sample()


@pytest.fixture
def world(monkeypatch) -> World:
    return World(monkeypatch)


def test_cpu_usage_is_that_since_the_sample_before(world):
    """The average of a whole life says nothing about now."""
    imagined = world.start("a", 1)
    world.sampler.sample()
    imagined.cpu = 2.5
    world.clock.advance(5)
    assert world.sampler.sample()["a"].cpu_percent == pytest.approx(50)
    assert world.sampler.sample()["a"].cpu_percent is None  # no time has passed


def test_a_new_process_of_an_id_is_not_compared_with_the_one_before(world):
    """After a restart the CPU time starts at zero: a negative usage is nonsense."""
    world.start("a", 1).cpu = 100
    world.sampler.sample()
    world.start("a", 2)
    world.clock.advance(5)
    assert world.sampler.sample()["a"].cpu_percent is None


def test_a_jump_of_the_wall_clock_changes_no_usage(world):
    """Row 35: intervals are measured on the monotonic clock."""
    imagined = world.start("a", 1)
    world.sampler.sample()
    imagined.cpu = 2.5
    world.clock.advance(5)
    world.clock._time -= 86400
    assert world.sampler.sample()["a"].cpu_percent == pytest.approx(50)


def test_uss_is_measured_once_a_minute_and_kept_between(world):
    """It costs fifteen times what the rest costs."""
    imagined = world.start("a", 1)
    world.passes(12)
    assert imagined.uss_measured == 1
    assert world.sampler.sample()["a"].uss_mb == 5
    world.passes(1)
    assert imagined.uss_measured == 2


def test_uss_is_measured_in_every_pass_where_it_is_asked_for(world):
    """A memory limit is checked against it."""
    limited, other = world.start("a", 1), world.start("b", 2)
    for _ in range(3):
        world.sampler.sample(exact={"a"})
    assert (limited.uss_measured, other.uss_measured) == (3, 1)


def test_what_is_denied_is_unknown_and_the_rest_is_measured(world):
    """Row 34: a process that runs as another user, seen without root."""
    world.start("a", 1).denied = True
    sample = world.sampler.sample()["a"]
    assert (sample.open_files, sample.uss_mb, sample.memory_mb) == (None, None, 10)


@pytest.mark.parametrize(
    "error",
    [
        psutil.NoSuchProcess(1),
        psutil.ZombieProcess(1),
        psutil.AccessDenied(1),
        ProcessLookupError(),
        ValueError("empty"),
    ],
    ids=repr,
)
def test_no_error_of_one_process_ends_the_pass(world, error):
    """Row 34: whatever psutil and /proc come up with in mid-read."""
    world.start("a", 1).broken = error
    world.start("b", 2)
    assert list(world.sampler.sample()) == ["b"]
    world.processes[1].broken = None
    assert list(world.sampler.sample()) == ["a", "b"]


def test_the_last_hour_is_kept_in_full_and_the_day_by_the_minute(world):
    """`/admin/resources/history`; memory stays bounded however long we run."""
    imagined = world.start("a", 1)
    for _ in range(26 * 60):
        imagined.cpu += 6
        world.passes(1, every=60)
    world.passes(720, every=5)
    samples = world.sampler.history("a", 24 * 60)
    assert 720 + 23 * 60 - 2 <= len(samples) <= 720 + 23 * 60 + 1
    assert [sample.time for sample in samples] == sorted(sample.time for sample in samples)
    assert samples[0].cpu_percent == pytest.approx(10)
    assert len(world.sampler.history("a", 60)) in (720, 721)
    assert len(world.sampler.history("a", 100_000)) <= 720 + 24 * 60


def test_a_minute_has_the_usage_of_the_whole_minute(world):
    """Its last five seconds may have been idle."""
    imagined = world.start("a", 1)
    world.sampler.sample()
    imagined.cpu = 30
    world.passes(12)
    world.passes(720)
    (minute,) = [sample for sample in world.sampler.history("a", 61) if sample.time <= MovedClock().time() + 60]
    assert minute.cpu_percent == pytest.approx(50)


def test_history_survives_a_restart_and_goes_with_the_id(world):
    """Back-off has no process, and the graph shows it as a gap; a removed plugin leaves nothing in memory."""
    world.start("a", 1)
    world.passes(3)
    world.pids["a"] = None
    world.passes(3)
    world.start("a", 2)
    world.passes(3)
    assert len(world.sampler.history("a", 10)) == 6
    del world.pids["a"]
    world.passes(1)
    assert world.sampler.history("a", 10) == []
    assert (world.sampler._probes, world.sampler._histories) == ({}, {})


def test_what_is_packed_comes_back(world):
    """Unknown values stay unknown, numbers of things stay whole."""
    imagined = world.start("a", 1)
    imagined.denied = True
    taken = world.sampler.sample()["a"]
    assert world.sampler.history("a", 1) == [taken]
    assert isinstance(world.sampler.history("a", 1)[0].threads, int)
