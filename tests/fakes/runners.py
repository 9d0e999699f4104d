"""Stand-ins for supervisor.programs.Programs: one runs programs, one only plays them, one must not be used."""

import asyncio
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from supervisor.environments.runner import MAX_LINE, TAIL_LINES, Completed


class SubprocessRunner:
    """Runs programs for real, in a process group each; remembers what it ran."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.pids: list[int] = []

    async def run(
        self,
        command: Sequence[str],
        *,
        name: str,
        cwd: Path,
        environment: Mapping[str, str],
        timeout: float,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        self.commands.append(list(command))
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=cwd,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self.pids.append(process.pid)
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        timed_out = False
        try:
            async with asyncio.timeout(timeout):
                await self._read(process, tail, on_line)
                await process.wait()
        except TimeoutError:
            timed_out = True
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.communicate()
        code = process.returncode
        if code is not None and code < 0:
            return Completed(None, -code, tuple(tail), timed_out)
        return Completed(code, None, tuple(tail), timed_out)

    async def _read(
        self, process: asyncio.subprocess.Process, tail: deque[str], on_line: Callable[[str], None] | None
    ) -> None:
        assert process.stdout is not None
        rest = b""
        while data := await process.stdout.read(65536):
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[:MAX_LINE]
            for line in lines:
                text = line[:MAX_LINE].decode(errors="replace")
                tail.append(text)
                if on_line is not None:
                    on_line(text)
        if rest:
            tail.append(rest.decode(errors="replace"))


@dataclass(frozen=True)
class Call:
    """One request to run a program."""

    command: tuple[str, ...]
    name: str
    cwd: Path
    environment: Mapping[str, str]
    timeout: float

    @property
    def verb(self) -> str:
        """What is run: "venv", "lock", "install", "index", "probe"."""
        if "venv" in self.command:
            return "venv"
        if "poetry" in self.command:
            return self.command[self.command.index("poetry") + 1]
        return "index" if self.command[-1].endswith("index_probe.py") else "probe"


class ScriptedRunner:
    """Plays programs: ``play`` says how each ends, and does on disk what it would have done."""

    def __init__(self, play: Callable[[Call], Completed]) -> None:
        self._play = play
        self.calls: list[Call] = []

    @property
    def verbs(self) -> list[str]:
        return [call.verb for call in self.calls]

    async def run(
        self,
        command: Sequence[str],
        *,
        name: str,
        cwd: Path,
        environment: Mapping[str, str],
        timeout: float,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        call = Call(tuple(command), name, cwd, dict(environment), timeout)
        self.calls.append(call)
        await asyncio.sleep(0)
        completed = self._play(call)
        for line in completed.tail:
            if on_line is not None:
                on_line(line)
        return completed


class ForbiddenRunner:
    """Fails the test when anything is started."""

    async def run(
        self,
        command: Sequence[str],
        *,
        name: str,
        cwd: Path,
        environment: Mapping[str, str],
        timeout: float,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        raise AssertionError(f"a process was to be started: {list(command)}")
