"""How a process of a child is asked for; who makes it is in births.py."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from supervisor.errors import SpawnError
from supervisor.processes.spawn import Process
from supervisor.spec import ChildSpec
from supervisor.supervision.trust import BirthOutcome


@dataclass(frozen=True, eq=False)
class Birth:
    """One process that is wanted. Exactly one of ``born`` and ``failed`` is called, once, in the event loop."""

    spec: ChildSpec
    token: str
    nonce: str
    born: Callable[[Process], None]
    """Has to hand the process to the reaper before the loop turns again."""
    failed: Callable[[SpawnError], None]


class Origin(Protocol):
    """Makes processes. Called by a child, in the event loop."""

    def begin(self, birth: Birth) -> None:
        """Make the process, now or later."""

    def abandon(self, birth: Birth) -> bool:
        """Nobody wants it any more. True: neither of its callbacks is called; False: it is too late."""

    def conclude(self, birth: Birth, outcome: BirthOutcome) -> None:
        """It is ready, or gone: somebody else may start. Called once for each that was not abandoned."""

    def learn(self, spec: ChildSpec, modules: Sequence[str]) -> None:
        """A process of ``spec`` had to import these itself."""


class CurrentBirth:
    """The process of one child that starts or is about to; at most one."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._birth: Birth | None = None

    def begin(self, birth: Birth) -> None:
        self._birth = birth
        self._origin.begin(birth)

    def cancel(self) -> bool:
        """Prevent it; whether that was still possible."""
        if self._birth is None or not self._origin.abandon(self._birth):
            return False
        self._birth = None
        return True

    def conclude(self, outcome: BirthOutcome) -> None:
        """It is ready, or gone."""
        birth, self._birth = self._birth, None
        if birth is not None:
            self._origin.conclude(birth, outcome)
