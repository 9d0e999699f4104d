"""Templates as real processes, and what is forked of them: children of the test, which has to be a subreaper."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Self

from plugin_runtime.protocol import Ready
from plugin_runtime.template_protocol import Fork, Forked, NotForked, TemplateSettings
from tests.fakes.control_server import FakeSupervisor, Settings, eventually
from tests.fakes.guests import Guest

TEMPLATE = "hello.template"


class Fifo:
    """Where a forked process prints to; read without waiting."""

    def __init__(self, path: Path):
        os.mkfifo(path)
        self.path = path
        self._reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._bytes = b""

    @property
    def text(self) -> str:
        """All that was printed so far."""
        with suppress(BlockingIOError):
            while chunk := os.read(self._reader, 65536):
                self._bytes += chunk
        return self._bytes.decode()

    def close(self) -> None:
        os.close(self._reader)


@dataclass
class Streams:
    """Both FIFOs of one process."""

    stdout: Fifo
    stderr: Fifo

    @classmethod
    def below(cls, folder: Path) -> Self:
        folder.mkdir()
        return cls(Fifo(folder / "out"), Fifo(folder / "err"))

    def close(self) -> None:
        self.stdout.close()
        self.stderr.close()


@dataclass
class ForkedProcess:
    """One that a template was asked for."""

    pid: int
    start_ticks: int
    streams: Streams
    exit_code: int | None = None
    """As subprocess has it: negative where a signal has ended it."""

    def is_over(self) -> bool:
        if self.exit_code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.exit_code = os.waitstatus_to_exitcode(status)
        return self.exit_code is not None

    def outcome(self, deadline: float = 20.0) -> tuple[int | None, str, str]:
        """Wait for the end; exit code, stdout and stderr."""
        eventually(self.is_over, deadline, f"pid {self.pid} does not end")
        return self.exit_code, self.streams.stdout.text, self.streams.stderr.text

    def end(self) -> None:
        if not self.is_over():
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@dataclass
class Template:
    """The template program under a supervisor; a context manager that ends what was forked, too."""

    root: Path
    modules: list[str] = field(default_factory=list)
    adopt_grace: float = 10.0
    python: str = sys.executable
    packages: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen = field(init=False)
    supervisor: FakeSupervisor = field(init=False)

    def __enter__(self) -> Self:
        settings = TemplateSettings("hello", self.modules, self.adopt_grace)
        environment = {**self.environment, "XCORE_CHILD": TEMPLATE}
        self._numbers = count(1)
        self._closing = ExitStack()
        self.supervisor = self._closing.enter_context(FakeSupervisor(self.root / "c.sock"))
        self.supervisor.settings_of[TEMPLATE] = settings
        guest = Guest(self.supervisor, self.python, self.packages, environment, program="template")
        self.process = self._closing.enter_context(guest)
        return self

    def __exit__(self, *_) -> None:
        self._closing.close()

    def wait_until_ready(self) -> Self:
        self.supervisor.wait_for(Ready, child=TEMPLATE)
        return self

    def ask(self, message):
        """Answer to a question."""
        return self.supervisor.answer_to(self._send(message))

    def order(self, child: str, program: str = "worker", **environment: str) -> tuple[Forked | NotForked, Streams]:
        """Answer to the order to fork, and where the process prints to."""
        number, streams = self.order_nowait(child, program, **environment)
        return self.supervisor.answer_to(number), streams

    def order_nowait(self, child: str, program: str = "worker", **environment: str) -> tuple[int, Streams]:
        """Number that the answer will bear, and where the process will print to."""
        streams = Streams.below(self.root / f"{child}-{next(self._numbers)}")
        self._closing.callback(streams.close)
        variables = {"PATH": "/usr/bin:/bin", **environment}
        paths = (str(streams.stdout.path), str(streams.stderr.path))
        return self._send(Fork(child, "its nonce", program, variables, *paths)), streams

    def fork(
        self, child: str = "hello.1", program: str = "worker", settings: Settings | None = None, **environment: str
    ) -> ForkedProcess:
        """A process that will be told these settings."""
        self.supervisor.settings_of[child] = settings
        return self.adopt(*self.order_nowait(child, program, **environment))

    def adopt(self, number: int, streams: Streams) -> ForkedProcess:
        """The process of the order with this number."""
        answer = self.supervisor.answer_to(number)
        assert isinstance(answer, Forked), answer
        process = ForkedProcess(answer.pid, answer.start_ticks, streams)
        self._closing.callback(process.end)
        return process

    def _send(self, message) -> int:
        number = next(self._numbers)
        self.supervisor.send(message, number, child=TEMPLATE)
        return number
