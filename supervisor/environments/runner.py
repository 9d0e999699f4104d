"""The seam through which environments start programs: an installer needs no supervision, only an end.

Only supervisor/processes/spawn.py starts processes; what is written here is what this package asks of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

SUPERVISOR = "supervisor"
"""Name of programs that are run for no single plugin."""
TAIL_LINES = 50
"""Lines of output that are kept; what a person reads after a failure fits on a screen."""
MAX_LINE = 4096
"""Bytes of one line; what is longer is cut, since a program may print megabytes without a newline."""


@dataclass(frozen=True)
class Completed:
    """How a program ended. Neither exit code nor signal where the kernel did not tell."""

    exit_code: int | None
    signal: int | None = None
    tail: tuple[str, ...] = ()
    """Its last TAIL_LINES lines of stdout and stderr, in the order they came."""
    timed_out: bool = False
    """Killed because its time was up."""

    @property
    def succeeded(self) -> bool:
        return self.exit_code == 0 and not self.timed_out

    def __str__(self) -> str:
        if self.timed_out:
            return "killed at its time limit"
        return f"killed by signal {self.signal}" if self.signal is not None else f"exit code {self.exit_code}"


class Runner(Protocol):
    """Runs a program to its end, in a process group of its own, with /dev/null as stdin."""

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
        """Start ``command`` and wait for its end; ``environment`` is all it gets, ``name`` the plugin it is run for.

        After ``timeout`` seconds, and when the caller is cancelled, the whole process group gets SIGKILL before this
        returns. ``on_line`` is called on the event loop with every line as it comes, cut at MAX_LINE bytes.

        Raises:
            SpawnError: the operating system did not start it.
        """
