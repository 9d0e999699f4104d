"""What systemd does for a supervisor: reaps what it leaves behind, and starts the next one."""

import asyncio
import ctypes
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from bench.faults import subject
from bench.faults.http_client import HttpClient, ask
from bench.faults.observed import Absence
from bench.faults.plan import Blow, Fault
from tests.integration.project import Project

POLL = 0.05
STOP_TIMEOUT = 60.0
"""Seconds for everything to stop, with processes in it that are stopped by SIGSTOP and have to be killed."""
BACK_TIMEOUT = 60.0
"""Seconds for the next supervisor to answer."""
LEFT_WITHIN = 10.0
"""Seconds over the grace until everybody has left: the guard sees to it, and may have been stopped itself."""
_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """Adopt what a dead supervisor leaves behind (prctl(2)); ``ServiceManager.reap`` reaps it."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class ServiceManager:
    """Owns the supervisor's process. ``problems``: ends of supervisors that nobody asked for, and bad ones."""

    def __init__(self, project: Project, port: int, token: str, accepting: Callable[[], int]) -> None:
        self._project = project
        self._accepting = accepting
        self._client = HttpClient(port, token)
        self._doorless: float | None = None
        self.absences: list[Absence] = []
        self.problems: list[str] = []
        self.present = True
        """It runs, and nobody is about to end it."""

    async def reap(self) -> None:
        """Reap what has died, until cancelled; the supervisor is Popen's."""
        while True:
            self._reap_now()
            process = self._project.process
            if self.present and process is not None and process.poll() is not None:
                self.problems.append(f"the supervisor ended by itself with {process.returncode}")
                await self._start_next(time.monotonic(), 0.0)
            await asyncio.sleep(POLL)

    def _reap_now(self) -> None:
        process = self._project.process
        with suppress(ChildProcessError):
            while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if process is not None and dead.si_pid == process.pid:
                    return  # seen by Popen.poll; others wait for the next round
                os.waitpid(dead.si_pid, 0)

    def left(self, gateways: int) -> None:
        """A gateway has ended, or was told to; so many are there who accept."""
        if not self.present and gateways == 0 and self._doorless is None:
            self._doorless = time.monotonic()

    async def hit(self, fault: Fault) -> None:
        """Do to the supervisor what the fault says, and see to it that there is one again."""
        process = self._project.process
        assert process is not None
        if fault.blow is Blow.STOP:
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(fault.hold)
            process.send_signal(signal.SIGCONT)
            return
        self.present = False
        begin = time.monotonic()
        process.send_signal(signal.Signals[fault.blow.value])
        await self._wait_for_end(process.pid)
        if fault.blow is Blow.TERM:
            if process.returncode != 0:
                self.problems.append(f"told to stop, the supervisor ended with {process.returncode}")
            self.problems += left_behind(self._project)
        elif fault.late:
            await self._wait_until_all_have_left(begin + subject.GRACE + LEFT_WITHIN)
        await self._start_next(begin, fault.absence, stumble=fault.stumble, ordered=fault.blow is Blow.TERM)

    async def _wait_for_end(self, pid: int) -> None:
        process = self._project.process
        assert process is not None
        deadline = time.monotonic() + STOP_TIMEOUT
        while process.poll() is None:
            if time.monotonic() > deadline:
                self.problems.append(f"the supervisor (pid {pid}) did not end within {STOP_TIMEOUT:g} s")
                process.kill()
            await asyncio.sleep(POLL)

    def _listens(self) -> bool:
        """Whether somebody is there for the children."""
        with socket.socket(socket.AF_UNIX) as tried:
            return tried.connect_ex(str(self._project.state / "run" / "control.sock")) == 0

    async def _wait_until_all_have_left(self, deadline: float) -> None:
        while left := self._project.processes():
            if time.monotonic() > deadline:
                self.problems += [f"left after the grace: {pid} {command}" for pid, command in left.items()]
                return
            await asyncio.sleep(POLL)

    async def _start_next(self, begin: float, delay: float, *, stumble: float = 0.0, ordered: bool = False) -> None:
        self.present = False
        self._doorless = None if self._accepting() else begin
        await asyncio.sleep(delay)
        self._project.start()
        if stumble:
            await asyncio.sleep(stumble)
            assert self._project.process is not None
            self._project.process.kill()
            await self._wait_for_end(self._project.process.pid)
            self._project.start()
        deadline = time.monotonic() + BACK_TIMEOUT
        while not self._listens() and time.monotonic() < deadline:  # noqa: ASYNC110 - it is another process that listens
            await asyncio.sleep(POLL)
        reached = time.monotonic()
        while await ask(self._client, "/admin/processes?kind=supervisor") is None:
            if time.monotonic() > deadline:
                self.problems.append(f"no supervisor answered within {BACK_TIMEOUT:g} s of its start")
                break
            await asyncio.sleep(POLL)
        self.absences.append(Absence(begin, time.monotonic(), ordered, self._doorless, reached))
        self.present = True


def left_behind(project: Project) -> list[str]:
    """What must not be there after a stop in order."""
    processes = [f"left after the stop: {pid} {command}" for pid, command in project.processes().items()]
    files = [f"left in run/: {path.name}" for path in (project.state / "run").iterdir()]
    return processes + files
