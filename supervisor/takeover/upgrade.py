"""Another version of xcore takes the place of this one, in the same process, while everything it runs goes on.

The supervisor executes itself anew: its children stay its children, and it takes them over like one that died. Before
that the new code has to show that it can be imported and accepts the configuration, since there is no way back.
"""

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from supervisor.channels.operations import Operation
from supervisor.errors import ConflictError
from supervisor.supervision.programs import Programs

logger = logging.getLogger(__name__)

LEAST_GRACE = 3.0
"""Seconds in which the next one surely listens."""
TRIAL_TIMEOUT = 30.0
"""Seconds for each trial of the new code."""
UP = "up"


class Upgrade:
    """Owns the decision; whoever it is reported to has everything let go and executes the program."""

    def __init__(self, programs: Programs, configuration: Path, grace: float, request: Callable[[str], None]) -> None:
        """``grace``: seconds that what runs lives on without a supervisor; ``request``: called with the actor."""
        self._grace = grace
        self._programs = programs
        self._configuration = configuration
        self._request = request

    @property
    def operations(self) -> Mapping[str, Operation]:
        return {"system.upgrade": self.upgrade}

    async def upgrade(self, actor: str) -> dict[str, Any]:
        """Begin to execute what is installed now; the answer comes before that.

        Raises:
            ConflictError: it would not start; this one goes on.
        """
        program = own_program()
        if self._grace < LEAST_GRACE:
            raise ConflictError(
                f"cannot upgrade: what runs ends {self._grace:g} s after this supervisor, before the next one is there",
                hint=f"set supervisor.adopt_grace to {LEAST_GRACE:g} or more, and start xcore again",
            )
        check = [*program, "config", "check", "--config", str(self._configuration)]
        for trial in ([sys.executable, "-I", "-c", "import supervisor.app, gateway.app"], check):
            await self._try(trial)
        self._request(actor)
        return {"pid": os.getpid()}

    async def _try(self, command: Sequence[str]) -> None:
        done = await self._programs.run(
            command,
            name="supervisor",
            cwd=Path.cwd(),
            environment=os.environ,  # our own code: it has to see what we see
            timeout=TRIAL_TIMEOUT,
        )
        if not done.succeeded:
            said = "; ".join(line for line in done.tail[-3:] if line) or "it said nothing"
            raise ConflictError(f"cannot upgrade: what is installed does not start: {said}", hint="this one goes on")


def own_program() -> list[str]:
    """How this program was started, up to its command.

    Raises:
        ConflictError: it is not what ``xcore up`` runs.
    """
    words = sys.orig_argv
    if UP not in words:
        raise ConflictError("cannot upgrade: this supervisor was not started by 'xcore up'")
    return [sys.executable, *words[1 : words.index(UP)]]


def execute_anew() -> None:
    """Have the program of this process start from the beginning, with what it was started with; never returns.

    Raises:
        OSError: it cannot be executed.
    """
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - without a shell, on purpose
