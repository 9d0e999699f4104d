"""How processes ended whose parent is somebody else: what the kernel tells about them."""

import os
import select
import signal
import subprocess
import sys

import pytest

from supervisor.processes.foreign_exit import foreign_exit
from supervisor.processes.process_stat import read_process_stat
from supervisor.spec import ExitStatus
from tests.fakes.processes import wait_until

pytestmark = [pytest.mark.process, pytest.mark.slow]

KERNEL = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
TELLS_OF_THE_REAPED = KERNEL >= (6, 15)

ORPHAN = """
import os, sys
if os.fork() == 0:
    os.setsid()
    print(os.getpid(), flush=True)
    os.read(0, 1)
    exec(sys.argv[1])
"""


class Orphan:
    """A process whose parent has died: init's child, not ours. It ends as ``end`` says, when it is let go."""

    def __init__(self, end: str) -> None:
        reader, self._go = os.pipe()
        command = [sys.executable, "-I", "-c", ORPHAN, end]
        with subprocess.Popen(command, stdin=reader, stdout=subprocess.PIPE, text=True) as parent:
            self.pid = int(parent.stdout.readline())
        os.close(reader)
        self.start_ticks = read_process_stat(self.pid).start_ticks
        self.pidfd = os.pidfd_open(self.pid)

    def ends(self) -> None:
        os.close(self._go)
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        poll.poll()

    def exit(self) -> ExitStatus:
        return foreign_exit(self.pid, self.start_ticks, self.pidfd)


@pytest.fixture
def make():
    made = []

    def make(end):
        made.append(Orphan(end))
        return made[-1]

    yield make
    for orphan in made:
        os.close(orphan.pidfd)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("os._exit(7)", ExitStatus(exit_code=7)),
        ("os._exit(0)", ExitStatus(exit_code=0)),
        ("os.kill(os.getpid(), 9)", ExitStatus(signal=signal.SIGKILL)),
    ],
)
def test_it_is_known_before_and_after_init_has_reaped_it(make, end, expected):
    """Row 23: exit codes are known where the kernel tells."""
    orphan = make(end)
    orphan.ends()
    told = [orphan.exit()]
    wait_until(lambda: read_process_stat(orphan.pid) is None, "init has reaped it")
    told.append(orphan.exit())
    ends = [ExitStatus(status.exit_code, status.signal) for status in told]
    # Init may have been quick: then it is the word of a kernel that tells of the reaped, or nobody's.
    assert ends[1] == (expected if TELLS_OF_THE_REAPED else ExitStatus())
    assert ends[0] in {expected, ends[1]}


def test_another_process_with_its_pid_says_nothing_about_it(make):
    """Known by its start, never by the pid alone."""
    orphan = make("os._exit(7)")
    orphan.ends()
    status = foreign_exit(orphan.pid, orphan.start_ticks + 1, orphan.pidfd)
    assert status.cpu_seconds is None
