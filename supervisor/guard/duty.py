"""What a guard is told on its command line: there is no moment in which it runs and does not know its duty yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from supervisor.guard.selection import Identity


@dataclass(frozen=True)
class Duty:
    """Whom it watches, for whom it waits, and how long."""

    state_folder: Path
    supervisor: Identity
    grace: float
    """Seconds that the lock of the state folder must be free; ``supervisor.adopt_grace``."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """The command line, after the program."""
        return (str(self.state_folder), *map(str, self.supervisor), str(self.grace))

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> "Duty":
        """Raise ValueError where these are not what ``arguments`` has made."""
        folder, pid, start_ticks, grace = arguments
        return cls(Path(folder), Identity(int(pid), int(start_ticks)), float(grace))
